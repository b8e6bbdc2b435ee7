//! What servers hold in memory: for connections that sleep, and while large bodies pass.
//!
//! It is the resident memory of the server's process, as the kernel counts it; what the kernel itself
//! holds for a socket is not in it.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Result;
use crate::load::{self, Shape};
use crate::pki::Pki;
use crate::server::{Server, build_peers, build_sinew, peer};

/// Connections when the memory is looked at first; what they needed once is warm then.
const FEW: u64 = 1_000;

/// Connections at the end.
const MANY: u64 = 9_000;

const MIB: u64 = 1 << 20;

/// Bytes a second that curl takes or sends at most.
const RATE: &str = "200M";

/// Prints the bytes per kept-alive connection on which one request was answered.
pub(crate) fn idle() -> Result<ExitCode> {
    build_peers()?;
    raise_descriptors()?;
    let pki = Pki::mint()?;
    println!("{:<14}{:>12}{:>12}", "per connection", "plain", "mutual TLS");
    for server in ["sinew", "hyper"] {
        let plain = idle_of(Command::new(peer(server)), None)?;
        let mut command = Command::new(peer(server));
        command.arg(pki.dir());
        let secure = idle_of(command, Some(&pki))?;
        println!("{server:<14}{plain:>12}{secure:>12}");
    }
    Ok(ExitCode::SUCCESS)
}

fn idle_of(mut command: Command, pki: Option<&Pki>) -> Result<u64> {
    let server = Server::start(&mut command)?;
    let mut open = Vec::new();
    let mut grow_to = |count: u64| {
        while (open.len() as u64) < count {
            let mut connection = load::connect(server.address, pki)?;
            load::run(&mut connection, Shape { depth: 1, gap: Duration::ZERO }, 1)?;
            open.push(connection);
        }
        server.resident()
    };
    let (few, many) = (grow_to(FEW)?, grow_to(MANY)?);
    if server.descriptors()? < MANY {
        return Err("connections were closed before the memory was looked at".into());
    }
    Ok(many.saturating_sub(few) / (MANY - FEW))
}

/// A process has 1,024 descriptors by default, and may ask for more. Servers inherit them.
fn raise_descriptors() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if maximum.is_some_and(|most| most < MANY + 100) {
        return Err(format!("{MANY} connections need more descriptors: ulimit -Hn").into());
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// Prints the peak of `sinew serve` before and after curl moved a body, on each runtime.
pub(crate) fn bodies() -> Result<ExitCode> {
    let sinew = build_sinew()?;
    let pki = Pki::mint()?;
    println!(
        "{:<12}{:<12}{:>10}{:>10}{:>10}{:>10}",
        "peak, MiB", "", "start", "down", "up", "both"
    );
    for runtime in ["tokio", "smol", "async-std"] {
        for (security, pki) in [("plain", None), ("mutual TLS", Some(&pki))] {
            let [start, down, up, both] = peaks(&sinew, runtime, pki)?;
            println!("{runtime:<12}{security:<12}{start:>10}{down:>10}{up:>10}{both:>10}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// At the start; after 1 GiB down and after 1 GiB up, at a limited rate; after 64 MiB up and down at
/// once. Each in a process of its own.
fn peaks(sinew: &Path, runtime: &str, pki: Option<&Pki>) -> Result<[String; 4]> {
    let large = sparse(1024 * MIB)?;
    let small = sparse(64 * MIB)?;
    let download = format!("/stream/{}", 1024 * MIB);
    let peak = |arguments: &[&str], body: Option<&Path>, path: &str| {
        let mut command = Command::new(sinew);
        command.args(["serve", "--runtime", runtime, "--listen", "127.0.0.1:0"]);
        if let Some(pki) = pki {
            command.arg("--tls").arg(pki.dir());
        }
        let server = Server::start(&mut command)?;
        let start = server.peak()?;
        transfer(&server, pki, arguments, body, path)?;
        Ok::<_, Box<dyn std::error::Error>>((start, server.peak()?))
    };
    let (start, down) = peak(&["--limit-rate", RATE], None, &download)?;
    let (_, up) = peak(&["--limit-rate", RATE, "-X", "POST"], Some(large.path()), "/sink")?;
    let (_, both) = peak(&["-X", "POST"], Some(small.path()), "/echo")?;
    Ok([start, down, up, both].map(mib))
}

/// A file of that length without blocks on disk.
fn sparse(bytes: u64) -> Result<tempfile::NamedTempFile> {
    let file = tempfile::NamedTempFile::new()?;
    file.as_file().set_len(bytes)?;
    Ok(file)
}

fn transfer(
    server: &Server,
    pki: Option<&Pki>,
    arguments: &[&str],
    body: Option<&Path>,
    path: &str,
) -> Result<()> {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail", "--max-time", "120"]).args(arguments);
    curl.args(["-o", "/dev/null"]);
    if let Some(body) = body {
        curl.arg("-T").arg(body);
    }
    let port = server.address.port();
    match pki {
        None => curl.arg(format!("http://127.0.0.1:{port}{path}")),
        Some(pki) => {
            let file = |name| pki.dir().join(name);
            curl.arg("--cacert").arg(file("ca.pem"));
            curl.arg("--cert").arg(file("client.pem")).arg("--key").arg(file("client.key"));
            curl.arg(format!("https://localhost:{port}{path}"))
        }
    };
    let status = curl.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("curl {path}: {status}").into()) }
}

/// With one digit behind the point.
fn mib(bytes: u64) -> String {
    let tenths = (bytes * 10 + MIB / 2) / MIB;
    format!("{}.{}", tenths / 10, tenths % 10)
}
