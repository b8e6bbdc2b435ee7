//! A `sinew serve` in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};

use clap::ValueEnum as _;
use sinew_conformance::network::adapter::Adapter;
use sinew_conformance::network::certificate::Issued;
use sinew_conformance::network::conversation::Transport;

use super::Problem;

/// A server that runs.
pub(super) struct Server {
    process: Child,
    lines: BufReader<ChildStdout>,
    pub(super) place: SocketAddr,
}

impl Server {
    /// Starts it on a free port.
    pub(super) fn start(runtime: Adapter, arguments: &[String]) -> Result<Self, Problem> {
        let mut process = Command::new(std::env::current_exe().map_err(Problem::new)?)
            .args(["serve", "--listen", "127.0.0.1:0", "--runtime", &name(runtime)])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Problem::new)?;
        let stdout = process.stdout.take().ok_or_else(|| Problem::new("no output"))?;
        let mut lines = BufReader::new(stdout);
        let line = read(&mut lines)?;
        let place = line.strip_prefix("listening on ").and_then(|place| place.parse().ok());
        let place = place.ok_or_else(|| Problem::new(format!("not a place: {line:?}")))?;
        Ok(Self { process, lines, place })
    }

    /// The number of its process.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it says next.
    pub(super) fn hear(&mut self) -> Result<String, Problem> {
        read(&mut self.lines)
    }

    /// Waits until it has left, and gives its report.
    pub(super) fn finish(mut self) -> Result<String, Problem> {
        let line = self.hear()?;
        self.process.wait().map_err(Problem::new)?;
        Ok(line)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Does something on this runtime, or on each of them; exit code 1 if it does not hold on one.
pub(super) fn on_each(
    runtime: Option<Adapter>,
    mut holds: impl FnMut(Adapter) -> Result<bool, Problem>,
) -> Result<ExitCode, Problem> {
    let all = Adapter::value_variants();
    let runtimes = runtime.as_ref().map_or(all, std::slice::from_ref);
    let mut code = ExitCode::SUCCESS;
    for runtime in runtimes {
        if !holds(*runtime)? {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// What a runtime is called on the command line.
pub(super) fn name(runtime: Adapter) -> String {
    let runtime = runtime.to_possible_value().map(|value| value.get_name().to_owned());
    runtime.unwrap_or_default()
}

fn read(lines: &mut BufReader<ChildStdout>) -> Result<String, Problem> {
    let mut line = String::new();
    lines.read_line(&mut line).map_err(Problem::new)?;
    Ok(line.trim_end().to_owned())
}

/// A folder that this user alone can enter; it goes with the run.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn make() -> Result<Self, Problem> {
        let path = std::env::temp_dir().join(format!("sinew-{}", std::process::id()));
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path).map_err(Problem::new)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Puts a fresh certificate there; how clients reach a server that has it.
    pub(super) fn issue(&self) -> Result<Transport, Problem> {
        let issued = Issued::generate().map_err(Problem::new)?;
        for (name, text) in [("cert.pem", &issued.certificate), ("key.pem", &issued.key)] {
            std::fs::write(self.0.join(name), text).map_err(Problem::new)?;
        }
        Transport::trusting(&issued.authority).map_err(Problem::new)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
