//! Many clients and a few servers in virtual time: what a policy does to a mesh.
//!
//! The clients are [`Dispatcher`]s as they are shipped; the servers and the network are simulated. One
//! thread takes one [event](agenda) after the other, so that the same [`Scenario`] gives the same
//! decisions, and the same [digest](figures::Figures::digest), each time and everywhere.
//!
//! [`Dispatcher`]: sinew_core::client::dispatcher::Dispatcher

pub mod agenda;
pub mod backend;
mod client;
pub mod digest;
pub mod figures;
mod outside;
pub mod scenario;
pub mod shows;

use core::time::Duration;

use http::StatusCode;
use sinew_core::client::dispatcher::{
    BadPolicy, ConnectionId, Dispatcher, Endpoint, ExchangeId, Policy,
};
use sinew_core::jitter::Jitter;
use sinew_core::time::Instant;

use agenda::Agenda;
use backend::{Backend, Fault};
use client::Client;
use figures::Figures;
use outside::Outside;

pub use client::Load;
pub use scenario::Scenario;

/// What happens to somebody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    /// A call comes.
    Call { client: u32 },
    /// A timer of a client.
    Wake { client: u32 },
    /// A connection is open, or refused.
    Dialled { client: u32, connection: ConnectionId, accepted: bool },
    /// An answer is there.
    Answered { client: u32, connection: ConnectionId, exchange: ExchangeId, status: StatusCode },
    /// A backend resets its connections.
    Reset { endpoint: Endpoint },
}

/// Clients, backends, and the time between them.
#[derive(Debug)]
pub struct Fleet {
    clients: Vec<Client>,
    outside: Outside,
}

impl Fleet {
    /// `clients` clients that do the same, each in its own time. Each knows all of `backends`; `link` is
    /// one way through the network.
    ///
    /// # Errors
    ///
    /// The policy makes no sense.
    pub fn new(
        clients: u32,
        policy: Policy,
        load: Load,
        backends: Vec<Backend>,
        link: Duration,
        seed: u64,
    ) -> Result<Self, BadPolicy> {
        let mut jitter = Jitter::new(seed);
        let mut agenda = Agenda::new();
        let endpoints: Vec<Endpoint> = (0..backends.len() as u64).map(Endpoint).collect();
        for (endpoint, backend) in endpoints.iter().zip(&backends) {
            for incident in backend.incidents().iter().filter(|i| i.fault == Fault::Refuse) {
                agenda.enter(incident.from + link, Event::Reset { endpoint: *endpoint });
            }
        }
        let mut fleet = Vec::new();
        for name in 0..clients {
            let mut dispatcher = Dispatcher::new(policy, jitter.draw())?;
            dispatcher.update_endpoints(Instant::ZERO, 1, &endpoints);
            let mut client = Client::new(name, dispatcher, load, Jitter::new(jitter.draw()));
            agenda.enter(client.next_call(Instant::ZERO), Event::Call { client: name });
            fleet.push(client);
        }
        let figures = Figures::default();
        Ok(Self { clients: fleet, outside: Outside { agenda, backends, figures, link } })
    }

    /// Lets calls come until then, waits for the last of them, and says what became of all.
    pub fn run(mut self, until: Instant) -> Figures {
        let Self { clients, outside } = &mut self;
        while let Some((now, event)) = outside.agenda.take() {
            match event {
                Event::Call { client } => {
                    let Some(who) = clients.get_mut(client as usize) else { continue };
                    if now >= until {
                        continue;
                    }
                    who.call(now, outside);
                    let next = who.next_call(now);
                    outside.agenda.enter(next, Event::Call { client });
                }
                Event::Wake { client } => {
                    if let Some(who) = clients.get_mut(client as usize) {
                        who.wake(now, outside);
                    }
                }
                Event::Dialled { client, connection, accepted } => {
                    if let Some(who) = clients.get_mut(client as usize) {
                        who.dialled(now, connection, accepted, outside);
                    }
                }
                Event::Answered { client, connection, exchange, status } => {
                    if let Some(who) = clients.get_mut(client as usize) {
                        who.answered(now, connection, exchange, status, outside);
                    }
                }
                Event::Reset { endpoint } => {
                    for who in clients.iter_mut() {
                        who.reset(now, endpoint, outside);
                    }
                }
            }
        }
        self.outside.figures.over(self.outside.agenda.entered());
        self.outside.figures
    }
}
