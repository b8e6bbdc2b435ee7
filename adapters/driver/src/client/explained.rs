//! What became of one call, and why, for whoever asked for it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sinew_core::client::dispatcher::{CallHistory, Endpoint};
use sinew_core::observe::Event;
use sinew_core::time::Instant;

use super::response::ClientResponse;
use crate::error::Error;

/// Errors of attempts that are kept of one request.
const ERRORS: usize = 32;

/// What became of a call that was to be [explained](super::Call::explain), and why: each attempt, and why there
/// was no further one. Written out, it is a few lines.
#[derive(Debug, Default)]
pub struct Explained {
    requests: Vec<ExplainedRequest>,
}

/// One request of a call: there are several where an answer sent it elsewhere, or where a token was refused.
#[derive(Debug)]
pub struct ExplainedRequest {
    /// What was decided about it.
    pub history: CallHistory,
    addresses: BTreeMap<Endpoint, String>,
    errors: Vec<(u8, Error)>,
}

impl Explained {
    /// Each request, in order. None: the call ended before anything was asked.
    pub fn requests(&self) -> &[ExplainedRequest] {
        &self.requests
    }

    /// What was decided about the last request.
    pub fn history(&self) -> Option<&CallHistory> {
        self.requests.last().map(|request| &request.history)
    }
}

impl ExplainedRequest {
    /// Where an endpoint is.
    pub fn address(&self, endpoint: Endpoint) -> Option<&str> {
        self.addresses.get(&endpoint).map(String::as_str)
    }

    /// What attempts failed with, each with its number: the last 32. They have no
    /// [source](std::error::Error::source): only the error of the call has, which says how the last one
    /// failed. Those that could not be sent as no connection could be opened are not among them.
    pub fn errors(&self) -> &[(u8, Error)] {
        &self.errors
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.requests.iter().try_for_each(|request| request.fmt(f))
    }
}

impl fmt::Display for ExplainedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.history.display_with(|endpoint, f| match self.address(endpoint) {
            Some(address) => f.write_str(address),
            None => write!(f, "endpoint {}", endpoint.0),
        });
        named.fmt(f)?;
        self.errors
            .iter()
            .try_for_each(|(attempt, error)| writeln!(f, "attempt {attempt} failed: {error}"))
    }
}

/// A call that is to be explained, for those who know something about it.
#[derive(Clone, Default, Debug)]
pub(super) struct Explaining(Arc<Mutex<Explained>>);

impl Explaining {
    /// A request begins.
    pub(super) fn begin(&self, token: u64, now: Instant) {
        let history = CallHistory::new(token, now);
        let (addresses, errors) = (BTreeMap::new(), Vec::new());
        self.lock().requests.push(ExplainedRequest { history, addresses, errors });
    }

    /// Something was decided. `address`: where an endpoint is.
    pub(super) fn note(
        &self,
        now: Instant,
        event: &Event,
        address: impl Fn(Endpoint) -> Option<String>,
    ) {
        let mut explained = self.lock();
        let Some(request) = explained.requests.last_mut() else { return };
        request.history.note(now, event);
        let named = match event {
            Event::Picked { pick, .. } => {
                [Some(pick.chosen.endpoint), pick.runner_up.map(|other| other.endpoint)]
            }
            Event::AttemptSent { endpoint, .. } | Event::AttemptEnded { endpoint, .. } => {
                [Some(*endpoint), None]
            }
            _ => [None; 2],
        };
        for endpoint in named.into_iter().flatten() {
            if let (None, Some(address)) = (request.address(endpoint), address(endpoint)) {
                request.addresses.insert(endpoint, address);
            }
        }
    }

    /// An attempt failed with this.
    pub(super) fn failed(&self, attempt: u8, error: &Error) {
        let mut explained = self.lock();
        if let Some(request) = explained.requests.last_mut() {
            if request.errors.len() >= ERRORS {
                request.errors.remove(0);
            }
            let error = Error::new(error.kind().clone(), error.phase(), error.delivery());
            request.errors.push((attempt, error));
        }
    }

    /// The call is over, or its answer begins: what is known goes with it.
    #[cold]
    pub(super) fn end(
        &self,
        answered: Result<ClientResponse, Error>,
    ) -> Result<ClientResponse, Error> {
        let mut explained = Box::new(std::mem::take(&mut *self.lock()));
        match answered {
            Ok(response) => Ok(response.explained(explained)),
            Err(error) => {
                if let Some(request) = explained.requests.last_mut() {
                    request.history.give_up();
                }
                Err(error.explained(explained))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Explained> {
        // Nothing panics under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
