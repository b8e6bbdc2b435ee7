//! A server in a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Result;

/// A server that runs until it is stopped, or killed by being dropped.
pub(crate) struct Server {
    /// Where it listens: the last word of its first line.
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Server {
    /// Starts it, below a measuring tool perhaps.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|error| {
                format!("cannot run {}: {error}", command.get_program().display())
            })?;
        match first_line(&mut child).and_then(|line| address_in(&line)) {
            Ok(address) => Ok(Self { address, child }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Ends its input, which a peer takes as its end, so that a measuring tool can write down what
    /// it saw.
    pub(crate) fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("a server failed: {status}").into()) }
    }

    /// Bytes of memory that it has now.
    pub(crate) fn resident(&self) -> Result<u64> {
        self.status("VmRSS:")
    }

    /// Bytes of memory that it had at most.
    pub(crate) fn peak(&self) -> Result<u64> {
        self.status("VmHWM:")
    }

    /// Files and sockets that it has open.
    pub(crate) fn descriptors(&self) -> Result<u64> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count() as u64)
    }

    fn status(&self, field: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        kib(&status, field).map(|kib| kib * 1024).ok_or_else(|| format!("no {field}").into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn first_line(child: &mut Child) -> Result<String> {
    let mut line = String::new();
    let stdout = child.stdout.take().ok_or("no output")?;
    BufReader::new(stdout).read_line(&mut line)?;
    Ok(line)
}

fn address_in(line: &str) -> Result<SocketAddr> {
    Ok(line.split_whitespace().next_back().ok_or("the server said no address")?.parse()?)
}

fn kib(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

fn manifest() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Builds the servers of the workspace in `benches/peers`. Each binds a port of its own choice,
/// prints the address, serves on one thread and ends when its input ends. With a directory of
/// certificates as its argument it speaks TLS and asks for one of the client's.
pub(crate) fn build_peers() -> Result<()> {
    let peers = manifest().join("peers");
    build(&peers.join("Cargo.toml"), &peers.join("target"))
}

/// One of them, once they are built.
pub(crate) fn peer(name: &str) -> PathBuf {
    manifest().join("peers/target/release").join(name)
}

/// Builds the command `sinew`, and says where it is.
pub(crate) fn build_sinew() -> Result<PathBuf> {
    let root = manifest().join("..");
    build(&root.join("conformance/Cargo.toml"), &root.join("target"))?;
    Ok(root.join("target/release/sinew"))
}

fn build(manifest: &Path, target: &Path) -> Result<()> {
    let status = Command::new("cargo")
        .args(["build", "--release", "--bins", "--target-dir"])
        .arg(target)
        .arg("--manifest-path")
        .arg(manifest)
        .status()?;
    if status.success() { Ok(()) } else { Err("a server does not build".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_status_of_a_process() {
        let status = "Name:\thyper\nVmHWM:\t    9120 kB\nVmRSS:\t    8004 kB\n";
        assert_eq!(kib(status, "VmRSS:"), Some(8004));
        assert_eq!(kib(status, "VmSwap:"), None);
    }

    #[test]
    fn finds_the_address_with_or_without_words() {
        for line in ["127.0.0.1:80\n", "listening on 127.0.0.1:80\n"] {
            assert_eq!(address_in(line).ok(), "127.0.0.1:80".parse().ok());
        }
        assert!(address_in("").is_err());
    }
}
