//! The applications that the cases run under: they take what comes and write it down.

use bytes::Bytes;
use http::{Method, StatusCode};
use sinew_core::error::Error;
use sinew_core::head::RequestHead;
use sinew_core::http1::{BodySize, Client, ClientEvent, NO_FIELDS, Rejected, Server, ServerEvent};
use sinew_core::machine::Wire as _;
use sinew_core::time::Instant;

use crate::case::{Behaviour, LARGE};
use crate::end::{Activity, Application};
use crate::transcript::Message;

/// Answers every request with 200 as its [`Behaviour`] says, mostly with a tiny body once the request
/// body was pulled to its end.
///
/// Sends 100 to those who wait for it, switches to WebSocket when asked properly, opens a tunnel
/// for CONNECT, and ignores every other offer to switch.
#[derive(Debug, Default)]
pub struct Answering {
    /// What was delivered.
    pub messages: Vec<Message>,
    /// A verb that the machine refused although it was due.
    pub refused: Option<Error>,
    behaviour: Behaviour,
    head: Option<RequestHead>,
    /// Bytes of a large answer that are still to be sent.
    left: usize,
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
                } else if self.behaviour == Behaviour::Early {
                    server.discard_body(now);
                    if let Some(message) = self.messages.last_mut() {
                        message.complete = true;
                    }
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

    fn act(&mut self, server: &mut Server, now: Instant) -> Activity {
        if self.left == 0 || !server.response_open() {
            return Activity::Idle;
        }
        if !server.can_send() {
            return Activity::Waits;
        }
        let piece = self.left.min(PIECE.len());
        self.left -= piece;
        let sent = match server.send_data(now, Bytes::from_static(&PIECE[..piece])) {
            Err(Rejected::Error(error)) => Err(error),
            Err(Rejected::Full(_)) | Ok(()) if self.left > 0 => Ok(()),
            Err(Rejected::Full(_)) | Ok(()) => server.send_end(now, NO_FIELDS),
        };
        self.note(sent);
        Activity::Acted
    }
}

/// A piece of a large body.
static PIECE: [u8; 16_384] = [b'x'; 16_384];

impl Answering {
    /// Answers like this.
    pub fn new(behaviour: Behaviour) -> Self {
        Self { behaviour, ..Self::default() }
    }

    fn answer(&mut self, server: &mut Server, head: &RequestHead, now: Instant) {
        let sent = if *head.method() == Method::CONNECT {
            server.send_response(now, StatusCode::OK, NO_FIELDS, BodySize::Empty)
        } else if let Some(status) = refused_handshake(head) {
            let fields = [("sec-websocket-version", "13")];
            server.send_response(now, status, fields, BodySize::Empty)
        } else if head.upgrade().is_some_and(offers_websocket) {
            let fields = [("upgrade", "websocket")];
            server.send_response(now, StatusCode::SWITCHING_PROTOCOLS, fields, BodySize::Empty)
        } else {
            match self.behaviour {
                Behaviour::Silent => Ok(()),
                Behaviour::Large => {
                    self.left = LARGE;
                    let size = BodySize::Exact(LARGE as u64);
                    server.send_response(now, StatusCode::OK, NO_FIELDS, size)
                }
                Behaviour::Whole | Behaviour::Early => {
                    send_text(server, now, StatusCode::OK, b"ok")
                }
            }
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

fn offers_websocket(upgrade: &[u8]) -> bool {
    upgrade.split(|b| *b == b',').any(|p| p.trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

/// The status that refuses a WebSocket handshake, judged as far as HTTP can see it; `None`: it is a
/// sound one, or none at all.
/// <https://www.rfc-editor.org/rfc/rfc6455#section-4.2.1>
pub fn refused_handshake(head: &RequestHead) -> Option<StatusCode> {
    if !head.upgrade().is_some_and(offers_websocket) {
        return None;
    }
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

/// Sends the body of the one request, and writes down the responses to it.
#[derive(Debug, Default)]
pub struct Listening {
    /// What was delivered.
    pub messages: Vec<Message>,
    /// Statuses of the interim responses.
    pub interim: Vec<u16>,
    /// Bytes of the request's body that are still to be sent.
    left: usize,
}

impl Listening {
    /// The request has a body of so many bytes.
    pub fn new(body: usize) -> Self {
        Self { left: body, ..Self::default() }
    }
}

impl Application<Client> for Listening {
    fn act(&mut self, client: &mut Client, now: Instant) -> Activity {
        if self.left == 0 || !client.request_open() {
            return Activity::Idle;
        }
        if !client.can_send() {
            // What `Expect` holds back is released by an event, not by a drained outbox.
            return if client.outbox().is_full() { Activity::Waits } else { Activity::Idle };
        }
        let piece = self.left.min(PIECE.len());
        self.left -= piece;
        let _ = client.send_data(now, Bytes::from_static(&PIECE[..piece]));
        if self.left == 0 {
            let _ = client.send_end(now, NO_FIELDS);
        }
        Activity::Acted
    }

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
