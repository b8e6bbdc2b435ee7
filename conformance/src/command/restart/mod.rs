//! `sinew restart`: a rolling restart under steady load, with real processes.
//!
//! A server is replaced by its successor, again and again, while clients that never retry go on: each
//! successor takes the listeners over. In the first server an event stream and two upgraded connections
//! are open; one of them does not end when it is told.

mod load;
mod witness;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use clap::ValueEnum as _;
use sinew_conformance::network::adapter::Adapter;

use super::Problem;
use load::{Load, Tally};
use witness::Witness;

/// How long a server that leaves waits for what still runs.
const DEADLINE: Duration = Duration::from_secs(5);

/// Load alone, before the first restart, between two, and behind the last.
const STEADY: Duration = Duration::from_secs(1);

/// Arguments of `sinew restart`.
#[derive(clap::Args)]
pub(crate) struct Restart {
    /// The runtime; each of them, if unsaid
    #[arg(long, value_enum)]
    runtime: Option<Adapter>,
    /// How often the server is replaced
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    restarts: u32,
    /// Requests a second, of all clients together
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Clients; each has one connection at a time, and keeps it as long as it may
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    clients: u32,
}

impl Restart {
    pub(crate) fn run(&self) -> Result<ExitCode, Problem> {
        let runtimes = match self.runtime {
            Some(runtime) => vec![runtime],
            None => Adapter::value_variants().to_vec(),
        };
        let mut all = true;
        for runtime in runtimes {
            all &= self.on(runtime)?;
        }
        Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Whether nothing was lost.
    fn on(&self, runtime: Adapter) -> Result<bool, Problem> {
        let mut out = std::io::stdout().lock();
        let mut say = |line: String| writeln!(out, "{line}").map_err(Problem::new);
        let folder = Folder::make()?;
        let mut server = Server::start(runtime, &folder.0)?;
        let place = server.place;
        let witnesses = [
            Witness::of_events(place),
            Witness::of_session(place, "/session"),
            Witness::of_session(place, "/session/stubborn"),
        ];
        let witnesses = witnesses.into_iter().collect::<std::io::Result<Vec<_>>>();
        let witnesses = witnesses.map_err(Problem::new)?;
        let load = Load::start(place, self.clients, self.rate);
        say(format!(
            "{}: {} restarts, {} clients, {} requests a second asked for",
            server.runtime, self.restarts, self.clients, self.rate
        ))?;
        let mut leaving = Vec::new();
        for _ in 0..self.restarts {
            thread::sleep(STEADY);
            let next = Server::start(runtime, &folder.0)?;
            if next.place != place {
                return Err(Problem::new("the successor listens elsewhere"));
            }
            let before = std::mem::replace(&mut server, next);
            leaving.push(thread::spawn(move || before.finish()));
        }
        for (number, server) in leaving.into_iter().enumerate() {
            let report = server.join().map_err(|_| Problem::new("a thread panicked"))??;
            say(format!("  server {}  {report}", number + 1))?;
        }
        thread::sleep(STEADY);
        let tally = load.stop();
        server.kill();
        let mut told = true;
        for witness in witnesses {
            let end = witness.end();
            told &= end.is_as_it_should;
            say(format!("  {:9} {}", end.what, end.how))?;
        }
        say(format!("  {tally}\n"))?;
        let Tally { failed, answered, .. } = tally;
        Ok(failed.is_empty() && answered > 0 && told)
    }
}

/// A `sinew serve` with a place where its successor finds it.
struct Server {
    runtime: String,
    process: Child,
    lines: BufReader<ChildStdout>,
    place: SocketAddr,
}

impl Server {
    fn start(runtime: Adapter, folder: &Path) -> Result<Self, Problem> {
        let runtime = runtime.to_possible_value().map(|value| value.get_name().to_owned());
        let runtime = runtime.unwrap_or_default();
        let mut process = Command::new(std::env::current_exe().map_err(Problem::new)?)
            .args(["serve", "--listen", "127.0.0.1:0", "--runtime", &runtime])
            .args(["--deadline", &DEADLINE.as_secs().to_string()])
            .arg("--handover")
            .arg(folder.join("handover"))
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Problem::new)?;
        let stdout = process.stdout.take().ok_or_else(|| Problem::new("no output"))?;
        let mut lines = BufReader::new(stdout);
        let line = read(&mut lines)?;
        let place = line.strip_prefix("listening on ").and_then(|place| place.parse().ok());
        let place = place.ok_or_else(|| Problem::new(format!("not a place: {line:?}")))?;
        Ok(Self { runtime, process, lines, place })
    }

    /// Waits until it has left, and gives its report.
    fn finish(mut self) -> Result<String, Problem> {
        let line = read(&mut self.lines)?;
        self.process.wait().map_err(Problem::new)?;
        Ok(line)
    }

    fn kill(mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read(lines: &mut BufReader<ChildStdout>) -> Result<String, Problem> {
    let mut line = String::new();
    lines.read_line(&mut line).map_err(Problem::new)?;
    Ok(line.trim_end().to_owned())
}

/// A folder that this user alone can enter; it goes with the run.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self, Problem> {
        let path = std::env::temp_dir().join(format!("sinew-restart-{}", std::process::id()));
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path).map_err(Problem::new)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
