//! `sinew restart`: a rolling restart under steady load, with real processes.
//!
//! A server is replaced by its successor, again and again, while clients that never retry go on: each
//! successor takes the listeners over. In the first server an event stream, a WebSocket and two other
//! upgraded connections are open; one of them does not end when it is told.

mod witness;

use std::io::Write as _;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use sinew_conformance::network::adapter::Adapter;
use sinew_conformance::network::conversation::Transport;

use super::Problem;
use super::load::{Habit, Load, Tally};
use super::process::{Folder, Server, name, on_each};
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
    /// Over TLS
    #[arg(long)]
    tls: bool,
}

impl Restart {
    pub(crate) fn run(&self) -> Result<ExitCode, Problem> {
        on_each(self.runtime, |runtime| self.on(runtime))
    }

    /// Whether nothing was lost.
    fn on(&self, runtime: Adapter) -> Result<bool, Problem> {
        let mut out = std::io::stdout().lock();
        let mut say = |line: String| writeln!(out, "{line}").map_err(Problem::new);
        let folder = Folder::make()?;
        let path = |path: &std::path::Path| path.display().to_string();
        let mut arguments = vec!["--deadline".to_owned(), DEADLINE.as_secs().to_string()];
        arguments.extend(["--handover".to_owned(), path(&folder.path().join("handover"))]);
        let transport = if self.tls {
            arguments.extend(["--tls".to_owned(), path(folder.path())]);
            folder.issue()?
        } else {
            Transport::Plain
        };
        let mut server = Server::start(runtime, &arguments)?;
        let place = server.place;
        let witnesses = [
            Witness::of_events(place, &transport),
            Witness::of_websocket(place, &transport),
            Witness::of_session(place, &transport, "/session"),
            Witness::of_session(place, &transport, "/session/stubborn"),
        ];
        let witnesses = witnesses.into_iter().collect::<std::io::Result<Vec<_>>>();
        let witnesses = witnesses.map_err(Problem::new)?;
        let load = Load::start(place, &transport, Habit::Keeps, self.clients, self.rate);
        say(format!(
            "{}, {}: {} restarts, {} clients, {} requests a second asked for",
            name(runtime),
            if self.tls { "TLS" } else { "plaintext" },
            self.restarts,
            self.clients,
            self.rate
        ))?;
        let mut leaving = Vec::new();
        for _ in 0..self.restarts {
            thread::sleep(STEADY);
            let next = Server::start(runtime, &arguments)?;
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
        drop(server);
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
