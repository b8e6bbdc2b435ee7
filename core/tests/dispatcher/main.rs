//! `sinew_core::client::Dispatcher` through its public interface.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

mod admission;
mod balancing;
mod draining;
mod hedging;
mod history;
mod limits;
mod pool;
mod retries;
mod routes;
mod sharing;

use std::time::Duration;

use http::StatusCode;
use sinew_core::Machine;
use sinew_core::client::Dispatcher;
use sinew_core::client::dispatcher::{
    Action, CallId, CallSpec, ConnectionId, Endpoint, ExchangeId, HeadFacts, HeadVerdict, Policy,
    PoolPolicy, Reuse, Sharing,
};
use sinew_core::error::Delivery;
use sinew_core::resilience::{Replay, Safety};
use sinew_core::time::Instant;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A dispatcher, its clock, and what it wants to be done.
struct Bench {
    dispatcher: Dispatcher,
    now: Instant,
}

impl Bench {
    #[expect(clippy::large_types_passed_by_value, reason = "once a test")]
    fn new(policy: Policy, endpoints: u64) -> Self {
        let mut dispatcher = Dispatcher::new(policy, 7).unwrap();
        dispatcher.observe(true);
        let now = Instant::from_nanos(1_000_000_000);
        let endpoints: Vec<Endpoint> = (0..endpoints).map(Endpoint).collect();
        dispatcher.update_endpoints(now, 1, &endpoints);
        Self { dispatcher, now }
    }

    fn start(&mut self, token: u64, sharing: Sharing) -> CallId {
        let deadline = self.now + ms(30_000);
        let spec = CallSpec { sharing, ..CallSpec::new(token, deadline, Safety::Safe) };
        self.dispatcher.start(self.now, spec)
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.dispatcher.poll_event(self.now).unwrap()).collect()
    }

    /// The one thing that it wants: a connection.
    fn dialled(&mut self) -> ConnectionId {
        match self.actions()[..] {
            [Action::Dial { connection, .. }] => connection,
            ref other => panic!("{other:?}"),
        }
    }

    /// The one thing that it wants: this call sent.
    fn sent(&mut self, expected: u64) -> (ExchangeId, ConnectionId) {
        match self.actions()[..] {
            [Action::Send { token, exchange, connection, .. }] if token == expected => {
                (exchange, connection)
            }
            ref other => panic!("{other:?}"),
        }
    }

    fn quiet(&mut self) {
        assert_eq!(self.actions(), []);
    }

    fn head(&mut self, exchange: ExchangeId, status: u16) -> HeadVerdict {
        let facts = HeadFacts {
            status: StatusCode::from_u16(status).unwrap(),
            delivery: Delivery::Processed,
            retry_after: None,
            replay: Replay::Possible,
        };
        self.dispatcher.head(self.now, exchange, facts)
    }

    /// Answered with 200, to the end, and its call complete.
    fn done(&mut self, exchange: ExchangeId) {
        assert_eq!(self.head(exchange, 200), HeadVerdict::Deliver);
        self.dispatcher.finished(self.now, exchange, Reuse::Keep);
    }
}

fn completes(action: &Action) -> bool {
    matches!(action, Action::Complete { .. })
}
