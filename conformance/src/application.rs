//! The applications that the cases run under: they take what comes and write it down.

use bytes::Bytes;
use http::{Method, StatusCode};
use sinew_core::error::Error;
use sinew_core::head::RequestHead;
use sinew_core::http1::{BodySize, Client, ClientEvent, NO_FIELDS, Rejected, Server, ServerEvent};
use sinew_core::time::Instant;

use crate::end::Application;
use crate::transcript::Message;

/// Answers every request with 200 and a tiny body, once the request body was pulled to its end.
///
/// Sends 100 to those who wait for it, switches to WebSocket when asked properly, opens a tunnel
/// for CONNECT, and ignores every other offer to switch.
#[derive(Debug, Default)]
pub struct Answering {
    /// What was delivered.
    pub messages: Vec<Message>,
    /// A verb that the machine refused although it was due.
    pub refused: Option<Error>,
    head: Option<RequestHead>,
}

impl Application<Server> for Answering {
    fn event(&mut self, server: &mut Server, event: ServerEvent, now: Instant) {
        match event {
            ServerEvent::Request { head, body } => {
                let mut message = Message::from_request(&head);
                message.complete = body == BodySize::Empty;
                self.messages.push(message);
                if body == BodySize::Empty {
                    self.answer(server, &head, now);
                } else {
                    if server.awaits_continue() {
                        let sent = server.send_informational(now, StatusCode::CONTINUE, NO_FIELDS);
                        self.note(sent);
                    }
                    self.head = Some(head);
                }
            }
            ServerEvent::Data(data) => {
                if let Some(message) = self.messages.last_mut() {
                    message.data(&data);
                }
            }
            ServerEvent::End(trailers) => {
                if let Some(message) = self.messages.last_mut() {
                    message.end(trailers.as_ref());
                }
                if let Some(head) = self.head.take() {
                    self.answer(server, &head, now);
                }
            }
        }
    }
}

impl Answering {
    fn answer(&mut self, server: &mut Server, head: &RequestHead, now: Instant) {
        let offered = head.upgrade().is_some_and(offers_websocket);
        let sent = if *head.method() == Method::CONNECT {
            server.send_response(now, StatusCode::OK, NO_FIELDS, BodySize::Empty)
        } else if offered {
            match handshake_refusal(head) {
                None => {
                    let status = StatusCode::SWITCHING_PROTOCOLS;
                    let fields = [("upgrade", "websocket")];
                    server.send_response(now, status, fields, BodySize::Empty)
                }
                Some(status) => {
                    let fields = [("sec-websocket-version", "13")];
                    server.send_response(now, status, fields, BodySize::Empty)
                }
            }
        } else {
            send_text(server, now, StatusCode::OK, b"ok")
        };
        self.note(sent);
    }

    fn note(&mut self, sent: Result<(), Error>) {
        if let Err(error) = sent
            && !error.is_fatal()
        {
            self.refused.get_or_insert(error);
        }
    }
}

/// Sends a whole response with a short text.
pub fn send_text(
    server: &mut Server,
    now: Instant,
    status: StatusCode,
    text: &'static [u8],
) -> Result<(), Error> {
    let fields = [("content-type", "text/plain")];
    server.send_response(now, status, fields, BodySize::Exact(text.len() as u64))?;
    match server.send_data(now, Bytes::from_static(text)) {
        Ok(()) => {}
        // Small enough to be left for the next turn: the answer is only ever cut by a fatal error.
        Err(Rejected::Full(_)) => server.abort(now),
        Err(Rejected::Error(error)) => return Err(error),
    }
    server.send_end(now, NO_FIELDS)
}

/// Whether one of the offered protocols is WebSocket.
pub fn offers_websocket(upgrade: &[u8]) -> bool {
    upgrade.split(|b| *b == b',').any(|p| p.trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

/// The status that refuses a handshake, judged as far as HTTP can see it.
/// <https://www.rfc-editor.org/rfc/rfc6455#section-4.2.1>
pub fn handshake_refusal(head: &RequestHead) -> Option<StatusCode> {
    let mut keys = head.fields().get_all("sec-websocket-key");
    let (key, second) = (keys.next(), keys.next());
    // 16 octets in base64.
    let sound = key.is_some_and(|key| {
        let digit = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
        key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(digit)
    });
    if *head.method() != Method::GET || !sound || second.is_some() {
        return Some(StatusCode::BAD_REQUEST);
    }
    let version = head.header("sec-websocket-version");
    (version != Some(b"13")).then_some(StatusCode::UPGRADE_REQUIRED)
}

/// Writes down the responses to the one request that was sent.
#[derive(Debug, Default)]
pub struct Listening {
    /// What was delivered.
    pub messages: Vec<Message>,
    /// Statuses of the interim responses.
    pub interim: Vec<u16>,
}

impl Application<Client> for Listening {
    fn event(&mut self, _client: &mut Client, event: ClientEvent, _now: Instant) {
        match event {
            ClientEvent::Informational(head) => self.interim.push(head.status().as_u16()),
            ClientEvent::Continue => {}
            ClientEvent::Response { head, body } => {
                let mut message = Message::from_response(&head);
                message.complete = body == BodySize::Empty;
                self.messages.push(message);
            }
            ClientEvent::Data(data) => {
                if let Some(message) = self.messages.last_mut() {
                    message.data(&data);
                }
            }
            ClientEvent::End(trailers) => {
                if let Some(message) = self.messages.last_mut() {
                    message.end(trailers.as_ref());
                }
            }
        }
    }
}
