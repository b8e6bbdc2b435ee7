//! `sinew reload`: all that a server goes by is replaced under steady load, again and again.
//!
//! Each reload brings a certificate of another authority, another limit and another route. Then an
//! authority of clients is removed, and files are broken. Clients that never retry go on meanwhile: most
//! keep their connection, others open one for each request.

mod papers;
mod stage;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use sinew_conformance::network::adapter::{Adapter, Work, until};
use sinew_conformance::network::conversation::{Patience, Transport};
use sinew_conformance::network::line::{Heard, Line};
use sinew_core::http1;
use sinew_core::server::drain::Phase;
use sinew_driver::server::Conn;
use sinew_driver::{Datagrams, Error, Runtime, Spawn, Task, Threads};
use sinew_tls::Tls;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::Problem;
use super::load::{Habit, Load, Tally};
use super::process::{name, on_each};
use papers::{Client, Papers};
use stage::{Stage, WORK, limit};

/// Between two reloads, before the first and behind the last.
const STEADY: Duration = Duration::from_millis(500);

/// Clients that open a connection for each request, and what they ask for in a second, all together.
const ANEW: (u32, u32) = (4, 50);

/// An answer, or an end, that takes longer does not come.
const PATIENCE: Patience =
    Patience { answer: Duration::from_secs(5), silence: Duration::from_millis(300) };

/// Arguments of `sinew reload`.
#[derive(clap::Args)]
pub(crate) struct Reload {
    /// The runtime; each of them, if unsaid
    #[arg(long, value_enum)]
    runtime: Option<Adapter>,
    /// How often all is replaced
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    reloads: u32,
    /// Requests a second, of all clients that keep their connection
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Clients that keep their connection
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=256))]
    clients: u32,
}

impl Reload {
    pub(crate) fn run(&self) -> Result<ExitCode, Problem> {
        on_each(self.runtime, |runtime| {
            let Self { reloads, rate, clients, .. } = *self;
            println!(
                "{}: {reloads} reloads, {clients} clients that keep their connection and {} that do \
                 not, {rate} and {} requests a second asked for, {WORK:?} each",
                name(runtime),
                ANEW.0,
                ANEW.1
            );
            let papers = Papers::issue(reloads + 1)?;
            let show = Show { papers, reloads, rate, clients };
            let seen = runtime.run(show).map_err(Problem::new)??;
            seen.print()
        })
    }
}

/// What is shown.
struct Show {
    papers: Papers,
    reloads: u32,
    rate: u32,
    clients: u32,
}

impl Work for Show {
    type Outcome = Result<Seen, Problem>;

    async fn on<R>(self, runtime: R) -> Self::Outcome
    where
        R: Datagrams
            + Spawn<Task>
            + Spawn<Conn<http1::Server, R, Threads>>
            + Spawn<Conn<Tls<http1::Server>, R, Threads>>,
    {
        let stage = Arc::new(Stage::new(runtime, self.papers.folder()));
        self.papers.put(1, &[Client::Stays, Client::Goes])?;
        let server = stage.build(1).map_err(Problem::new)?.listen("127.0.0.1:0");
        let server = server.bind().await.map_err(Problem::new)?;
        let place = server.local_addrs().first().copied();
        let place = place.ok_or_else(|| Problem::new("the server has no address"))?;
        let (handle, reloader) = (server.handle(), server.reloader());
        let (orders, mut ordered) = unbounded_channel::<Order>();
        // Whoever looks on blocks.
        let seen = Arc::clone(&stage);
        let audience = thread::spawn(move || {
            let seen = self.watch(place, &orders, &seen);
            handle.advance(Phase::StopAccept);
            seen
        });
        let reloading = async {
            while let Some((epoch, tell)) = ordered.recv().await {
                let _ = tell.send(reloader.reload(|| stage.build(epoch)).await);
            }
        };
        until(reloading, server.serve()).await;
        audience.join().map_err(|_| Problem::new("a thread panicked"))?
    }
}

/// What is to come into force, and who is told what became of that.
type Order = (u32, mpsc::Sender<Result<u64, Error>>);

impl Show {
    /// Replaces, removes and breaks, and looks at what holds then.
    fn watch<R: Runtime>(
        &self,
        place: SocketAddr,
        orders: &UnboundedSender<Order>,
        stage: &Stage<R>,
    ) -> Result<Seen, Problem> {
        let papers = &self.papers;
        let everywhere = papers.client(Client::Stays, 1..=self.reloads + 1)?;
        let kept = Load::start(place, &everywhere, Habit::Keeps, self.clients, self.rate);
        let anew = Load::start(place, &everywhere, Habit::Opens, ANEW.0, ANEW.1);
        let reload = |epoch| -> Result<Result<Duration, Error>, Problem> {
            let (began, (tell, told)) = (Instant::now(), mpsc::channel());
            orders.send((epoch, tell)).map_err(Problem::new)?;
            let outcome = told.recv().map_err(Problem::new)?;
            Ok(outcome.map(|_| began.elapsed()))
        };
        let mut seen = Vec::new();
        for epoch in 2..=self.reloads + 1 {
            thread::sleep(STEADY);
            papers.put(epoch, &[Client::Stays, Client::Goes])?;
            let took = reload(epoch)?.map_err(Problem::new)?;
            let all = papers.holds(place, epoch)? && holds(place, &everywhere, epoch);
            let what = "certificate, limit and route are the new ones, and no more the old ones";
            seen.push((format!("reload {epoch:3}"), format!("{took:.1?}: {what}"), all));
        }
        let last = self.reloads + 1;
        let goes = papers.client(Client::Goes, last..=last)?;
        let mut idle = opened(place, &goes)?;
        let mut running = opened(place, &goes)?;
        // By a session, if it was offered one.
        drop(opened(place, &goes)?);
        stage.run_slowly(&mut running)?;
        papers.put(last, &[Client::Stays])?;
        reload(last)?.map_err(Problem::new)?;
        stage.let_end();
        let slow = answer(&mut running).is_some_and(|answer| answer.contains("connection: close"));
        let ends = ends(&mut idle) && ends(&mut running);
        let stays_out = status(place, &goes, "GET /plain", "").is_none();
        // The one that was dropped may still have been there.
        let told = stage.distrusted() >= 2;
        for (what, is_so) in [
            ("what it asked is answered, and told to be the last", slow),
            ("its connections are closed", ends),
            ("it can neither connect nor go on with a session", stays_out),
            ("its connections are told to the observer", told),
        ] {
            seen.push(("removed   ".to_owned(), what.to_owned(), is_so));
        }
        for file in Papers::FILES {
            thread::sleep(STEADY);
            let before = stage.refusals();
            let whole = papers.spoil(file)?;
            let is_refused = reload(last + 1)?.is_err();
            papers.restore(file, &whole)?;
            let is_kept = papers.holds(place, last)? && holds(place, &everywhere, last);
            let is_told = is_refused && stage.refusals() == before + 1;
            let what = format!("{file} is refused, told, and what was in force still is");
            seen.push(("broken    ".to_owned(), what, is_kept && is_told));
        }
        thread::sleep(STEADY);
        Ok(Seen { promises: seen, kept: kept.stop(), anew: anew.stop() })
    }
}

/// What came of it.
struct Seen {
    /// When, what should be, and whether it was.
    promises: Vec<(String, String, bool)>,
    kept: Tally,
    anew: Tally,
}

impl Seen {
    /// Whether all was as it should be.
    fn print(&self) -> Result<bool, Problem> {
        let mut out = std::io::stdout().lock();
        let mut say = |line: String| writeln!(out, "{line}").map_err(Problem::new);
        for (when, what, is_so) in &self.promises {
            say(format!("  {when}  {what}: {}", if *is_so { "yes" } else { "NO" }))?;
        }
        say(format!("  kept        {}", self.kept))?;
        say(format!("  anew        {}\n", self.anew))?;
        let lost_none = |tally: &Tally| tally.failed.is_empty() && tally.answered > 0;
        Ok(self.promises.iter().all(|(.., is_so)| *is_so)
            && lost_none(&self.kept)
            && lost_none(&self.anew))
    }
}

/// Whether limit and route are those of this epoch, and not those of the one before.
fn holds(place: SocketAddr, transport: &Transport, epoch: u32) -> bool {
    let body = |bytes: u32| {
        let body = "x".repeat(usize::try_from(bytes).unwrap_or_default());
        status(place, transport, "POST /body", &body)
    };
    let route = |epoch: u32| status(place, transport, &format!("GET /epoch/{epoch}"), "");
    body(limit(epoch)) == Some(200)
        && body(limit(epoch) + 1) == Some(413)
        && route(epoch) == Some(200)
        && route(epoch - 1) == Some(404)
}

/// The status of an answer on a connection of its own; `None`: there is none.
fn status(place: SocketAddr, transport: &Transport, line: &str, body: &str) -> Option<u16> {
    let mut connection = transport.connect(place, PATIENCE).ok()?;
    let length = body.len();
    let request =
        format!("{line} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}");
    connection.say(request.as_bytes(), PATIENCE.answer);
    answer(&mut connection)?.get(9..12)?.parse().ok()
}

/// The head of an answer, at least.
fn answer(connection: &mut Line) -> Option<String> {
    let mut seen = Vec::new();
    while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
        if !matches!(connection.hear(&mut seen, PATIENCE.answer), Heard::Bytes(_)) {
            return None;
        }
    }
    Some(String::from_utf8_lossy(&seen).into_owned())
}

/// A connection that was used, and is kept.
fn opened(place: SocketAddr, transport: &Transport) -> Result<Line, Problem> {
    let mut connection = transport.connect(place, PATIENCE).map_err(Problem::new)?;
    connection.say(b"GET /plain HTTP/1.1\r\nhost: localhost\r\n\r\n", PATIENCE.answer);
    let answer = answer(&mut connection).filter(|answer| answer.starts_with("HTTP/1.1 200"));
    answer.map(|_| connection).ok_or_else(|| Problem::new("a client is not let in from the start"))
}

/// Whether the server closes it, without another answer.
fn ends(connection: &mut Line) -> bool {
    let mut rest = Vec::new();
    loop {
        match connection.hear(&mut rest, PATIENCE.answer) {
            // What is left of a body.
            Heard::Bytes(_) => {}
            Heard::End | Heard::Broken(_) => return !rest.starts_with(b"HTTP"),
            Heard::Nothing => return false,
        }
    }
}
