//! Who says how long a request matters, and what became of one that nobody waits for.

use super::{Arrival, Decision, Interest, Layer, Record};
use crate::head::Single;
use crate::policy::Stage;
use crate::reason::Reason;
use crate::resilience::{self, DeadlineConfig, Trust};
use crate::security::Network;

/// Gives each request the deadline that its caller names, where the caller is to be believed, and
/// refuses work that nobody waits for any more. The calls that a handler makes inherit it:
/// [`CallContext::deadline`](crate::propagation::CallContext::deadline).
///
/// Believed are peers whose certificate the handshake accepted, and those of
/// [`networks`](Self::networks). What others say about time is ignored.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Deadlines {
    /// How long a request may have, at most.
    pub config: DeadlineConfig,
    /// Where connections of trusted peers come from that show no certificate. Default: nowhere. The
    /// address is that of the connection, not one that a proxy names.
    pub networks: Box<[Network]>,
}

impl Deadlines {
    fn trust(&self, arrival: &Arrival<'_>) -> Trust {
        if arrival.peer.is_trusted(&self.networks) { Trust::Trusted } else { Trust::Untrusted }
    }
}

impl Layer for Deadlines {
    fn stage(&self) -> Stage {
        Stage::Deadline
    }

    fn interest(&self) -> Interest {
        Interest::HEAD
    }

    fn on_head(&self, arrival: &Arrival<'_>, record: &mut Record) -> Decision {
        let field = |name| match arrival.head.fields().single(name) {
            Single::Absent => None,
            Single::Once(value) => Some(value),
            // In no grammar: nobody knows which line is meant.
            Single::Repeated => Some(&b""[..]),
        };
        match self.config.arrive(arrival.now, self.trust(arrival), field) {
            Ok(resilience::Arrival::Unlimited) => Decision::Continue,
            Ok(resilience::Arrival::Until(at)) => {
                record.context.deadline = Some(at);
                Decision::Continue
            }
            Ok(resilience::Arrival::Expired) => Decision::Refuse(Reason::Expired),
            Err(_) => Decision::Refuse(Reason::MalformedRequest),
        }
    }

    fn explain(&self, record: &Record) -> Option<String> {
        let refused = record.refused.filter(|refused| refused.stage == Stage::Deadline)?;
        let why = match refused.reason {
            Reason::Expired => "the caller's time was over when the request came",
            _ => "a field that says how long the caller waits is malformed, or comes twice",
        };
        Some(why.to_owned())
    }
}
