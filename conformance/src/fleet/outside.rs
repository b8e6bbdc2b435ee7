//! What is around the clients of a fleet: the clock, the network, the backends.

use core::time::Duration;

use sinew_core::client::dispatcher::{ConnectionId, Endpoint, ExchangeId};
use sinew_core::time::Instant;

use super::Event;
use super::agenda::Agenda;
use super::backend::Backend;
use super::figures::Figures;

/// What is around the clients of a fleet.
#[derive(Debug)]
pub(super) struct Outside {
    pub(super) agenda: Agenda<Event>,
    pub(super) backends: Vec<Backend>,
    pub(super) figures: Figures,
    /// One way through the network.
    pub(super) link: Duration,
}

impl Outside {
    /// Opens a connection: there and back.
    pub(super) fn dial(
        &mut self,
        now: Instant,
        client: u32,
        connection: ConnectionId,
        endpoint: Endpoint,
    ) {
        let Some(backend) = self.backends.get(endpoint.0 as usize) else { return };
        let accepted = backend.accepts(now + self.link);
        if !accepted {
            self.figures.attempted(now);
        }
        let dialled = Event::Dialled { client, connection, accepted };
        self.agenda.enter(now + self.link + self.link, dialled);
    }

    /// Sends a request.
    pub(super) fn send(
        &mut self,
        now: Instant,
        client: u32,
        connection: ConnectionId,
        exchange: ExchangeId,
        endpoint: Endpoint,
    ) {
        self.figures.attempted(now);
        let Some(backend) = self.backends.get_mut(endpoint.0 as usize) else { return };
        if let Some(answer) = backend.receive(now + self.link) {
            let status = answer.status;
            let answered = Event::Answered { client, connection, exchange, status };
            self.agenda.enter(answer.at + self.link, answered);
        }
    }
}
