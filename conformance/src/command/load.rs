//! Clients that never retry.

use core::fmt;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sinew_conformance::network::conversation::{Patience, Transport};
use sinew_conformance::network::line::{Heard, Line};

/// What a client does with its connection.
#[derive(Clone, Copy)]
pub(super) enum Habit {
    /// Keeps it for as long as the server does.
    Keeps,
    /// Opens one for each request.
    Opens,
}

impl Habit {
    const fn request(self) -> &'static [u8] {
        match self {
            Self::Keeps => b"GET /plain HTTP/1.1\r\nhost: localhost\r\n\r\n",
            Self::Opens => b"GET /plain HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        }
    }
}

/// An answer that takes longer has failed.
const PATIENCE: Patience =
    Patience { answer: Duration::from_secs(5), silence: Duration::from_millis(300) };

/// Clients at work, each on a thread of its own.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    started: Instant,
    clients: Vec<JoinHandle<Tally>>,
}

/// What became of all requests.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) answered: u64,
    pub(super) connections: u64,
    /// By what was seen.
    pub(super) failed: BTreeMap<String, u64>,
    slowest: Duration,
    took: Duration,
}

impl Load {
    /// So many clients, which ask so often a second, all together.
    pub(super) fn start(
        place: SocketAddr,
        transport: &Transport,
        habit: Habit,
        clients: u32,
        rate: u32,
    ) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let pace = Duration::from_secs(1) * clients / rate;
        let client = |_| {
            let (stop, transport) = (Arc::clone(&stop), transport.clone());
            thread::spawn(move || client(place, &transport, habit, pace, &stop))
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, started: Instant::now(), clients }
    }

    pub(super) fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally { took: self.started.elapsed(), ..Tally::default() };
        for client in self.clients {
            let Ok(one) = client.join() else {
                all.fail("a client panicked");
                continue;
            };
            all.answered += one.answered;
            all.connections += one.connections;
            all.slowest = all.slowest.max(one.slowest);
            for (what, count) in one.failed {
                *all.failed.entry(what).or_default() += count;
            }
        }
        all
    }
}

/// Asks at its pace.
fn client(
    place: SocketAddr,
    transport: &Transport,
    habit: Habit,
    pace: Duration,
    stop: &AtomicBool,
) -> Tally {
    let mut tally = Tally::default();
    let mut kept = None;
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let asked = Instant::now();
        // Who fell behind does not hurry.
        due = (due + pace).max(asked);
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => match transport.connect(place, PATIENCE) {
                Ok(connection) => {
                    tally.connections += 1;
                    connection
                }
                Err(error) => {
                    tally.fail(&format!("connect: {error}"));
                    continue;
                }
            },
        };
        match ask(&mut connection, habit) {
            Ok(keeps) => {
                tally.answered += 1;
                tally.slowest = tally.slowest.max(asked.elapsed());
                kept = keeps.then_some(connection);
            }
            Err(error) => tally.fail(&error.to_string()),
        }
    }
    tally
}

/// Whether the connection is kept.
fn ask(connection: &mut Line, habit: Habit) -> io::Result<bool> {
    connection.say(habit.request(), PATIENCE.answer);
    let mut answer = Vec::new();
    // The route answers with these words alone.
    while !answer.ends_with(b"\r\n\r\nHello, World!") {
        match connection.hear(&mut answer, PATIENCE.answer) {
            Heard::Bytes(_) => {}
            Heard::End => return Err(io::ErrorKind::UnexpectedEof.into()),
            Heard::Broken(why) => return Err(io::Error::other(why)),
            Heard::Nothing => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
    let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    if !text.starts_with("http/1.1 200 ") {
        return Err(io::Error::other("another status"));
    }
    Ok(!text.contains("\r\nconnection: close\r\n"))
}

impl Tally {
    fn fail(&mut self, what: &str) {
        *self.failed.entry(what.to_owned()).or_default() += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed: u64 = self.failed.values().sum();
        let rate = u128::from(self.answered) * 1_000 / self.took.as_millis().max(1);
        write!(
            f,
            "{} requests answered, {rate} a second, on {} connections, {failed} failed; the slowest \
             took {:.0?}",
            self.answered, self.connections, self.slowest
        )?;
        for (what, count) in &self.failed {
            write!(f, "\n  {count} x {what}")?;
        }
        Ok(())
    }
}
