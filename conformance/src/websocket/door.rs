//! Handshakes on the bare machines, and what stands in them.

use http::{Method, StatusCode};
use sinew_core::error::Error;
use sinew_core::http1::{BodySize, Client, ClientEvent, RequestLine, Server, ServerEvent};
use sinew_core::time::Instant;
use sinew_core::websocket::handshake::{Agreed, BadAnswer, Opening, ServerHandshake};

use crate::end::Application;

/// A server that accepts a handshake, or says why not.
#[derive(Debug)]
pub struct Doorkeeper {
    /// What it offers.
    pub handshake: ServerHandshake,
    /// What was agreed on.
    pub agreed: Option<Agreed>,
}

impl Doorkeeper {
    /// One that offers this.
    pub fn new(handshake: ServerHandshake) -> Self {
        Self { handshake, agreed: None }
    }
}

impl Application<Server> for Doorkeeper {
    fn event(&mut self, server: &mut Server, event: ServerEvent, now: Instant) {
        let ServerEvent::Request { head, .. } = event else { return };
        let sent = match self.handshake.accept(&head) {
            Ok(accepted) => {
                let switching = StatusCode::SWITCHING_PROTOCOLS;
                let sent = server.send_response(now, switching, accepted.fields(), BodySize::Empty);
                self.agreed = Some(accepted.into_agreed());
                sent
            }
            Err(refusal) => {
                server.send_response(now, refusal.status(), refusal.fields(), BodySize::Empty)
            }
        };
        if sent.is_err() {
            server.abort(now);
        }
    }
}

/// A client that checks the answer to its handshake.
#[derive(Debug)]
pub struct Visitor {
    opening: Opening,
    /// What was agreed on, or what is wrong with the answer.
    pub agreed: Option<Result<Agreed, BadAnswer>>,
}

impl Visitor {
    /// Sends the request.
    pub fn knock(
        client: &mut Client,
        opening: Opening,
        target: &str,
        authority: &str,
        now: Instant,
    ) -> Result<Self, Error> {
        let (target, authority) = (target.as_bytes(), authority.as_bytes());
        let line = RequestLine { method: &Method::GET, target, authority };
        client.send_request(now, line, opening.fields(), BodySize::Empty)?;
        Ok(Self { opening, agreed: None })
    }
}

impl Application<Client> for Visitor {
    fn event(&mut self, client: &mut Client, event: ClientEvent, now: Instant) {
        if let ClientEvent::Response { head, .. } = event {
            let checked = self.opening.check(&head);
            if checked.is_err() {
                client.abort(now);
            }
            self.agreed = Some(checked);
        }
    }
}
