//! One client of a fleet: a dispatcher, what it was told to open and send, and calls that come.

use core::time::Duration;

use http::StatusCode;
use sinew_core::client::dispatcher::{
    Action, CallSpec, ConnectionId, Dispatcher, Endpoint, ExchangeId, Failure, HeadFacts,
    HeadVerdict, Outcome, Reuse,
};
use sinew_core::error::{Delivery, Fault, Phase};
use sinew_core::jitter::Jitter;
use sinew_core::machine::Machine as _;
use sinew_core::resilience::{Replay, Safety};
use sinew_core::time::Instant;

use super::Event;
use super::outside::Outside;

/// The calls that a client makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// Calls a second, on the average; at least 1. Between two lies any time up to twice the average.
    pub per_second: u32,
    /// Calls of a hundred that are safe to repeat; the others are not.
    pub safe_percent: u32,
    /// How long a call may take over all attempts.
    pub deadline: Duration,
}

/// A connection, from the dial on.
#[derive(Clone, Copy, Debug)]
struct Connection {
    id: ConnectionId,
    endpoint: Endpoint,
    exchange: Option<ExchangeId>,
}

/// A dispatcher in its surroundings.
#[derive(Debug)]
pub(super) struct Client {
    name: u32,
    dispatcher: Dispatcher,
    load: Load,
    jitter: Jitter,
    /// By place.
    connections: Vec<Option<Connection>>,
    /// When it wants to be woken next, as far as the agenda knows.
    wake_at: Instant,
    /// Of the answer that was delivered last.
    status: StatusCode,
}

impl Client {
    pub(super) fn new(name: u32, dispatcher: Dispatcher, load: Load, jitter: Jitter) -> Self {
        Self {
            name,
            dispatcher,
            load,
            jitter,
            connections: Vec::new(),
            wake_at: Instant::MAX,
            status: StatusCode::OK,
        }
    }

    /// When the next call comes.
    pub(super) fn next_call(&mut self, now: Instant) -> Instant {
        let twice = Duration::from_secs(2) / self.load.per_second.max(1);
        now + self.jitter.between(Duration::ZERO, twice)
    }

    /// A call comes.
    pub(super) fn call(&mut self, now: Instant, outside: &mut Outside) {
        outside.figures.called(now);
        let safe = self.jitter.below(100) < u64::from(self.load.safe_percent);
        let safety = if safe { Safety::Safe } else { Safety::Unsafe };
        // Its start is all that is to be known of it.
        let token = now.as_nanos();
        self.dispatcher.start(now, CallSpec::new(token, now + self.load.deadline, safety));
        self.obey(now, outside);
    }

    /// A connection that was dialled is open, or not.
    pub(super) fn dialled(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        accepted: bool,
        outside: &mut Outside,
    ) {
        if accepted {
            self.dispatcher.connected(now, connection, 1);
        } else {
            if self.find(connection).is_some() {
                self.forget(connection);
            }
            let failure = Failure {
                delivery: Delivery::NotSent,
                phase: Phase::Connect,
                fault: Fault::Network,
            };
            self.dispatcher.dial_failed(now, connection, failure);
        }
        self.obey(now, outside);
    }

    /// An answer came. It is for nobody if its exchange is over.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        exchange: ExchangeId,
        status: StatusCode,
        outside: &mut Outside,
    ) {
        let Some(carrier) = self.find(connection) else { return };
        if carrier.exchange != Some(exchange) {
            return;
        }
        carrier.exchange = None;
        let delivery = match status {
            StatusCode::SERVICE_UNAVAILABLE => Delivery::MaybeProcessed,
            _ => Delivery::Processed,
        };
        let facts = HeadFacts { status, delivery, retry_after: None, replay: Replay::Possible };
        if self.dispatcher.head(now, exchange, facts) == HeadVerdict::Deliver {
            self.status = status;
        }
        self.dispatcher.finished(now, exchange, Reuse::Keep);
        self.obey(now, outside);
    }

    /// An endpoint resets all its connections.
    pub(super) fn reset(&mut self, now: Instant, endpoint: Endpoint, outside: &mut Outside) {
        for place in 0..self.connections.len() {
            let Some(Some(gone)) = self.connections.get(place).copied() else { continue };
            if gone.endpoint != endpoint {
                continue;
            }
            self.forget(gone.id);
            match gone.exchange {
                Some(exchange) => {
                    let failure = Failure {
                        delivery: Delivery::MaybeProcessed,
                        phase: Phase::ResponseHead,
                        fault: Fault::Network,
                    };
                    let replay = Replay::Possible;
                    self.dispatcher.failed(now, exchange, failure, replay, Reuse::Close);
                }
                None => self.dispatcher.retire(now, gone.id),
            }
            self.obey(now, outside);
        }
    }

    /// It asked to be woken.
    pub(super) fn wake(&mut self, now: Instant, outside: &mut Outside) {
        if now != self.wake_at {
            return;
        }
        self.wake_at = Instant::MAX;
        self.dispatcher.handle_timeout(now);
        self.obey(now, outside);
    }

    /// Does what the dispatcher decided.
    fn obey(&mut self, now: Instant, outside: &mut Outside) {
        while let Ok(Some(action)) = self.dispatcher.poll_event(now) {
            outside.figures.decided(self.name, now, &action);
            match action {
                Action::Dial { connection, endpoint, .. } => {
                    let place = connection.index();
                    if self.connections.len() <= place {
                        self.connections.resize(place + 1, None);
                    }
                    let opened = Connection { id: connection, endpoint, exchange: None };
                    self.connections[place] = Some(opened);
                    outside.dial(now, self.name, connection, endpoint);
                }
                // The fleet's policies have no probes.
                Action::Probe { .. } => {}
                Action::Send { exchange, connection, .. } => {
                    if let Some(carrier) = self.find(connection) {
                        carrier.exchange = Some(exchange);
                        let endpoint = carrier.endpoint;
                        outside.send(now, self.name, connection, exchange, endpoint);
                    }
                }
                Action::Reset { connection, .. } => {
                    if let Some(carrier) = self.find(connection) {
                        carrier.exchange = None;
                    }
                }
                Action::Close { connection, .. } => self.forget(connection),
                Action::Complete { token, outcome, .. } => {
                    let started = Instant::from_nanos(token);
                    if outcome == Outcome::Done && self.status.is_success() {
                        outside.figures.answered(started, now);
                    } else {
                        outside.figures.missed(started, outcome);
                    }
                }
            }
        }
        let Some(deadline) = self.dispatcher.deadline() else { return };
        if deadline.at < self.wake_at {
            self.wake_at = deadline.at;
            outside.agenda.enter(deadline.at, Event::Wake { client: self.name });
        }
    }

    fn find(&mut self, connection: ConnectionId) -> Option<&mut Connection> {
        let place = self.connections.get_mut(connection.index())?.as_mut()?;
        (place.id == connection).then_some(place)
    }

    fn forget(&mut self, connection: ConnectionId) {
        if self.find(connection).is_some()
            && let Some(place) = self.connections.get_mut(connection.index())
        {
            *place = None;
        }
    }
}
