//! A client machine and a server machine wired in memory, with a virtual clock.
//!
//! Both are driven through [`Wire::step`] only. Time moves when nothing else
//! does, and then to the next deadline; a pair that sleeps without one has hung.

use sinew_core::error::Error;
use sinew_core::http1::{Client, Server};
use sinew_core::machine::Wire;
use sinew_core::time::Instant;

use crate::end::{Application, Breach, End, Turn, check_over};
use crate::weather::{Pipe, Port, Weather};

/// A pair needs less than this many turns of both ends to move a byte: what was read is looked at
/// event by event, and a full inbox has no more of them.
const TURNS: usize = 100_000;

/// A client end and a server end with two pipes between them.
#[derive(Debug)]
pub struct Pair<C, S> {
    /// The client.
    pub client: End<Client, C>,
    /// The server.
    pub server: End<Server, S>,
    /// From the client to the server.
    up: Pipe,
    /// From the server to the client.
    down: Pipe,
    now: Instant,
    /// Turns since a byte moved.
    turns: usize,
}

/// How one end sleeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sleep {
    /// With a deadline.
    Until(Instant),
    /// Without one.
    Forever,
    /// Its connection is over.
    Over,
}

impl<C: Application<Client>, S: Application<Server>> Pair<C, S> {
    /// Wires two machines; `up` is the weather towards the server.
    pub fn new(client: (Client, C), server: (Server, S), up: Weather, down: Weather) -> Self {
        Self {
            client: End::new(client.0, client.1),
            server: End::new(server.0, server.1),
            up: Pipe::new(up),
            down: Pipe::new(down),
            now: Instant::ZERO,
            turns: 0,
        }
    }

    /// The virtual time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Runs until both ends dropped the connection.
    pub fn run(&mut self) -> Result<(), Breach> {
        loop {
            let sleeps = self.settle()?;
            if sleeps == [Sleep::Over; 2] {
                check_over(&mut self.client.wire)?;
                return check_over(&mut self.server.wire);
            }
            let timers = sleeps.iter().filter_map(|sleep| match sleep {
                Sleep::Until(at) => Some(*at),
                Sleep::Forever | Sleep::Over => None,
            });
            let wakes = timers
                .chain(self.up.wakes_at())
                .chain(self.down.wakes_at())
                .chain(self.app_wakes());
            let Some(next) = wakes.min() else {
                return Err(Breach(format!("the pair hangs: {}", self.describe())));
            };
            if next <= self.now {
                return Err(Breach(format!("the pair spins: {}", self.describe())));
            }
            self.advance(next);
        }
    }

    /// Gives both ends their turns until both sleep or are over.
    fn settle(&mut self) -> Result<[Sleep; 2], Breach> {
        loop {
            let before = self.up.changes() + self.down.changes();
            let mut port = Port { out: &mut self.up, into: &mut self.down };
            let client = self.client.turn(&mut port, self.now)?;
            let mut port = Port { out: &mut self.down, into: &mut self.up };
            let server = self.server.turn(&mut port, self.now)?;
            if before != self.up.changes() + self.down.changes() {
                self.client.socket_woke();
                self.server.socket_woke();
                self.turns = 0;
            } else if client != Turn::Moved && server != Turn::Moved {
                let sleeps = |turn| match turn {
                    Turn::Waits(Some(deadline)) => Sleep::Until(deadline.at),
                    Turn::Waits(None) => Sleep::Forever,
                    Turn::Moved | Turn::Over(_) => Sleep::Over,
                };
                return Ok([sleeps(client), sleeps(server)]);
            }
            self.turns += 1;
            if self.turns > TURNS {
                return Err(Breach(format!("no rest after {TURNS} turns: {}", self.describe())));
            }
        }
    }

    /// When the applications wake that have something to wake for.
    fn app_wakes(&self) -> impl Iterator<Item = Instant> + use<C, S> {
        let client = self.client.over.is_none().then(|| self.client.app.wakes_at()).flatten();
        let server = self.server.over.is_none().then(|| self.server.app.wakes_at()).flatten();
        let now = self.now;
        client.into_iter().chain(server).filter(move |at| *at > now)
    }

    fn advance(&mut self, next: Instant) {
        self.now = next;
        self.up.clear_until(next);
        self.down.clear_until(next);
        wake(&mut self.client, next);
        wake(&mut self.server, next);
    }

    fn describe(&self) -> String {
        format!(
            "at {:?}, {} bytes up, {} bytes down, client {:?} over {:?}, server {:?} over {:?}",
            self.now,
            self.up.in_flight(),
            self.down.in_flight(),
            self.client.error,
            self.client.over,
            self.server.error,
            self.server.over,
        )
    }
}

fn wake<W: Wire<Error = Error>, A: Application<W>>(end: &mut End<W, A>, now: Instant) {
    end.socket_woke();
    if end.wire.deadline().is_some_and(|deadline| deadline.at <= now) {
        end.fire(now);
    }
    if end.app.wakes_at().is_some_and(|at| at <= now) {
        end.app_woke();
    }
}
