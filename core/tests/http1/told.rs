//! Feeds a machine in many cuts, and notes what it tells.

use std::sync::Arc;

use bytes::Buf;
use http::{Method, StatusCode};
use sinew_core::error::{Error, Kind};
use sinew_core::head::{Fields, RequestHead, ResponseHead};
use sinew_core::http1::{
    BodySize, Client, ClientConfig, ClientEvent, NO_FIELDS, RequestLine, Server, ServerConfig,
    ServerEvent,
};
use sinew_core::machine::{Machine, Status, Wire};
use sinew_core::time::Instant;

pub(crate) const NOW: Instant = Instant::from_nanos(1);

/// What a machine tells about its input, however that was cut.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Told {
    pub(crate) messages: Vec<Message>,
    pub(crate) error: Option<Error>,
    /// Input that nobody asked for.
    pub(crate) left: Vec<u8>,
    /// What the machine wrote, answers to the messages included.
    pub(crate) written: String,
    pub(crate) status: Status,
}

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    /// Method, target and version, or version, status and reason.
    pub(crate) line: String,
    pub(crate) fields: Vec<String>,
    pub(crate) size: BodySize,
    pub(crate) body: Vec<u8>,
    /// The trailers, once the body is complete.
    pub(crate) end: Option<Vec<String>>,
}

impl Told {
    /// The only message, which is complete, and behind which nothing is wrong.
    pub(crate) fn only(&self) -> &Message {
        assert_eq!((self.error, self.messages.len()), (None, 1), "{self:?}");
        let only = &self.messages[0];
        assert!(only.size == BodySize::Empty || only.end.is_some(), "{self:?}");
        only
    }

    pub(crate) fn lines(&self) -> Vec<&str> {
        self.messages.iter().map(|message| &message.line[..]).collect()
    }

    pub(crate) fn kind(&self) -> Option<Kind> {
        self.error.map(|error| error.kind)
    }

    fn data(&mut self, data: &[u8]) {
        self.messages.last_mut().unwrap().body.extend_from_slice(data);
    }

    fn end(&mut self, trailers: Option<&Fields>) {
        self.messages.last_mut().unwrap().end = Some(trailers.map(lines_of).unwrap_or_default());
    }
}

impl Message {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub(crate) fn lines_of(fields: &Fields) -> Vec<String> {
    fields.iter().map(|(name, value)| format!("{name}: {}", text(value))).collect()
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// What a server tells that answers every request with 204.
pub(crate) fn serve(input: impl AsRef<[u8]>) -> Told {
    serve_with(&ServerConfig::default(), input)
}

pub(crate) fn serve_with(config: &ServerConfig, input: impl AsRef<[u8]>) -> Told {
    let config = Arc::new(config.clone());
    in_all_cuts(input.as_ref(), |pieces| Serving::new(&config).run(pieces))
}

/// What a client tells of the answer to a request with this method; `end`: the connection ends
/// behind it.
pub(crate) fn fetch(method: &Method, input: impl AsRef<[u8]>, end: End) -> Told {
    fetch_with(&ClientConfig::default(), method, input, end)
}

pub(crate) fn fetch_with(
    config: &ClientConfig,
    method: &Method,
    input: impl AsRef<[u8]>,
    end: End,
) -> Told {
    let config = Arc::new(config.clone());
    in_all_cuts(input.as_ref(), |pieces| Fetching::new(&config, method).run(pieces, end))
}

/// Whether the sender shuts its writing side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Open,
    Eof,
}

/// Why a server refuses this, with nothing told before.
pub(crate) fn refused(input: impl AsRef<[u8]>) -> Kind {
    let told = serve(input);
    assert!(told.messages.iter().all(|message| message.end.is_none()), "{told:?}");
    told.kind().unwrap_or_else(|| panic!("not refused: {told:?}"))
}

/// The head of the first request.
pub(crate) fn head(input: impl AsRef<[u8]>) -> RequestHead {
    let mut server = Server::new(Arc::default(), NOW);
    server.inbox().extend_from_slice(input.as_ref());
    match server.poll_event(NOW) {
        Ok(Some(ServerEvent::Request { head, .. })) => head,
        other => panic!("{:?}: {other:?}", text(input.as_ref())),
    }
}

pub(crate) fn line<'a>(method: &'a Method, target: &'a str) -> RequestLine<'a> {
    RequestLine { method, target: target.as_bytes(), authority: b"a" }
}

/// Takes what is queued.
pub(crate) fn drain(wire: &mut impl Wire) -> String {
    let outbox = wire.outbox();
    text(&outbox.copy_to_bytes(outbox.remaining()))
}

/// Runs whole, byte by byte, and in two pieces: all must tell the same.
fn in_all_cuts(input: &[u8], run: impl Fn(&[&[u8]]) -> Told) -> Told {
    let whole = run(&[input]);
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(run(&bytes), whole, "{:?} byte by byte", text(input));
    // Of a long input, the middle is not cut.
    let cuts = (0..input.len()).filter(|&at| at < 300 || input.len() - at < 300);
    for at in cuts {
        let (start, rest) = input.split_at(at);
        assert_eq!(run(&[start, rest]), whole, "{:?} cut at {at}", text(input));
    }
    whole
}

struct Serving {
    server: Server,
    told: Told,
}

impl Serving {
    fn new(config: &Arc<ServerConfig>) -> Self {
        Self { server: Server::new(Arc::clone(config), NOW), told: nothing() }
    }

    fn run(mut self, pieces: &[&[u8]]) -> Told {
        for piece in pieces {
            self.server.inbox().extend_from_slice(piece);
            while self.poll() {}
            self.told.written += &drain(&mut self.server);
        }
        // An error is told again, and what it leaves of the input is thrown away.
        self.poll();
        self.told.left = self.server.inbox().to_vec();
        self.told.status = self.server.status();
        self.told
    }

    fn poll(&mut self) -> bool {
        match self.server.poll_event(NOW) {
            Err(error) => {
                assert_eq!(*self.told.error.get_or_insert(error), error);
                return false;
            }
            Ok(None) => return false,
            Ok(Some(ServerEvent::Request { head, body })) => {
                self.told.messages.push(Message {
                    line: format!("{} {} {:?}", head.method(), head.target(), head.version()),
                    fields: lines_of(head.fields()),
                    size: body,
                    body: Vec::new(),
                    end: None,
                });
                if body == BodySize::Empty {
                    self.answer();
                }
            }
            Ok(Some(ServerEvent::Data(data))) => self.told.data(&data),
            Ok(Some(ServerEvent::End(trailers))) => {
                self.told.end(trailers.as_ref());
                self.answer();
            }
        }
        true
    }

    fn answer(&mut self) {
        let status = StatusCode::NO_CONTENT;
        self.server.send_response(NOW, status, NO_FIELDS, BodySize::Empty).unwrap();
    }
}

struct Fetching {
    client: Client,
    told: Told,
}

impl Fetching {
    fn new(config: &Arc<ClientConfig>, method: &Method) -> Self {
        let mut client = Client::new(Arc::clone(config));
        let target = if *method == Method::CONNECT { "a:1" } else { "/" };
        client.send_request(NOW, line(method, target), NO_FIELDS, BodySize::Empty).unwrap();
        drain(&mut client);
        Self { client, told: nothing() }
    }

    fn run(mut self, pieces: &[&[u8]], end: End) -> Told {
        for piece in pieces {
            self.client.inbox().extend_from_slice(piece);
            while self.poll() {}
        }
        if end == End::Eof {
            self.client.handle_eof(NOW);
            while self.poll() {}
        }
        // An error is told again, and what it leaves of the input is thrown away.
        self.poll();
        self.told.written = drain(&mut self.client);
        self.told.left = self.client.inbox().to_vec();
        self.told.status = self.client.status();
        self.told
    }

    fn poll(&mut self) -> bool {
        match self.client.poll_event(NOW) {
            Err(error) => {
                assert_eq!(*self.told.error.get_or_insert(error), error);
                return false;
            }
            Ok(None) => return false,
            Ok(Some(ClientEvent::Informational(head))) => self.head(&head, BodySize::Empty),
            Ok(Some(ClientEvent::Response { head, body })) => self.head(&head, body),
            Ok(Some(ClientEvent::Data(data))) => self.told.data(&data),
            Ok(Some(ClientEvent::End(trailers))) => self.told.end(trailers.as_ref()),
            Ok(Some(ClientEvent::Continue)) => {}
        }
        true
    }

    fn head(&mut self, head: &ResponseHead, size: BodySize) {
        let (version, status) = (head.version(), head.status().as_u16());
        self.told.messages.push(Message {
            line: format!("{version:?} {status} {}", text(head.reason())),
            fields: lines_of(head.fields()),
            size,
            body: Vec::new(),
            end: None,
        });
    }
}

fn nothing() -> Told {
    Told {
        messages: Vec::new(),
        error: None,
        left: Vec::new(),
        written: String::new(),
        status: Status::Open,
    }
}
