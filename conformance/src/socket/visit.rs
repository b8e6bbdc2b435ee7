//! A response case: a client of an adapter calls a server that says what the case says.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use http::{HeaderMap, Method, Version};
use sinew_async_std::AsyncStdRuntime;
use sinew_core::error::{Delivery, Error, Kind, Phase};
use sinew_core::machine::CloseReason;
use sinew_driver::{ErrorKind, RestClient, Runtime};
use sinew_smol::SmolRuntime;
use sinew_tls::ClientTls;
use sinew_tls::rustls::{self, ServerConnection, StreamOwned};
use sinew_tokio::TokioRuntime;

use super::home::{Home, NAME, On};
use crate::case::{CaseLimits, Octets, ParseCase};
use crate::judge::{Chosen, judge};
use crate::transcript::{Fate, Lines, Message, Start, Transcript};

/// Nothing takes longer, unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(10);

/// The answer to the call behind the case.
const NEXT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Why a client of the adapters cannot play this case.
pub fn left_out(case: &ParseCase) -> Option<&'static str> {
    (case.limits != CaseLimits::default()).then_some("a limit that a client is not given")
}

/// Plays a case and judges it, as [`talk::check`](super::talk::check) does.
pub fn check(case: &ParseCase, home: &Home) -> Result<Chosen, (Vec<String>, String)> {
    let nothing = |problem: String| (vec![problem], "nothing".to_owned());
    let mut transcript = play(case, home).map_err(nothing)?;
    for message in &mut transcript.messages {
        message.headers.sort_by(|a, b| a.0.cmp(&b.0));
    }
    judge(&blinded(case), &transcript)
        .map_err(|problems| (problems, crate::suite::describe(&transcript)))
}

/// The case without what a client does not tell: what is not said is not checked.
fn blinded(case: &ParseCase) -> ParseCase {
    let mut case = case.clone();
    let expect = &mut case.expect;
    expect.reason = None;
    expect.interim = None;
    expect.closed_clean = None;
    // A map keeps the order of lines of one name, and not of names.
    for fields in expect.headers.iter_mut().chain(&mut expect.trailers) {
        fields.sort_by(|a, b| a.0.0.cmp(&b.0.0));
    }
    if std::mem::take(&mut expect.headers_unchanged) {
        expect.trailers = None;
    }
    case
}

fn play(case: &ParseCase, home: &Home) -> Result<Transcript, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    let tls = home.tls.as_ref().map(|(server, _)| server.config().clone());
    let script = Script { input: case.input.clone(), eof: case.eof, tls };
    let server = thread::spawn(move || script.serve(&listener));
    let client = home.tls.as_ref().map(|(_, client)| client.clone());
    let waits = case.expect.outcome == crate::case::Outcome::NeedMore;
    let called = match home.on {
        On::Tokio => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let tokio = runtime.map_err(|e| e.to_string())?;
            tokio.block_on(call(TokioRuntime::default(), address, client, case, waits))
        }
        On::Smol => smol::block_on(call(SmolRuntime, address, client, case, waits)),
        On::AsyncStd => {
            let call = call(AsyncStdRuntime::default(), address, client, case, waits);
            async_std::task::block_on(call)
        }
    }?;
    // The client is gone now, and with it whatever the server waits for.
    let connections = server.join().map_err(|_| "the scripted server panicked".to_owned())?;
    let connections = connections.map_err(|e| format!("the scripted server: {e}"))?;
    Ok(transcribe(called, connections))
}

/// What a client told.
struct Called {
    message: Option<Message>,
    error: Option<Error>,
    /// The connection left HTTP, with these bytes behind it.
    switched: Option<Vec<u8>>,
    /// It still waits for more.
    waits: bool,
}

async fn call<R: Runtime>(
    runtime: R,
    address: SocketAddr,
    tls: Option<ClientTls>,
    case: &ParseCase,
    waits: bool,
) -> Result<Called, String> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let builder = RestClient::<R>::builder(format!("{scheme}://{address}")).timeout(PATIENCE);
    let builder = match tls {
        Some(tls) => builder.tls(tls).server_name(NAME),
        None => builder.allow_plaintext(),
    };
    let client = builder.build_on(runtime.clone()).map_err(|e| e.to_string())?;
    let method = case.request_method.as_deref().unwrap_or("GET");
    let method = Method::from_bytes(method.as_bytes()).map_err(|e| e.to_string())?;
    let path = if method == Method::CONNECT { "a.test:443" } else { "/" };
    let mut request = client.request(method, path);
    for (name, value) in &case.request_headers {
        // The client writes `connection` by itself.
        if !name.0.eq_ignore_ascii_case(b"connection") {
            request = request.header(&name.0[..], &value.0[..]);
        }
    }
    if waits {
        // A case that waits for more would wait for the whole patience.
        let soon = Duration::from_millis(200);
        request = request.timeout(soon).between_bytes(Some(soon));
    }
    let mut called = Called { message: None, error: None, switched: None, waits: false };
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => {
            called.fail(&error, waits);
            return Ok(called);
        }
    };
    let mut message = Message {
        start: Start::Response { status: response.status().as_u16(), reason: Vec::new() },
        version: if response.version() == Version::HTTP_10 { "1.0" } else { "1.1" },
        headers: lines(response.headers()),
        body: Vec::new(),
        trailers: None,
        complete: false,
    };
    let connect = case.request_method.as_deref() == Some("CONNECT");
    if response.status() == 101 || connect && response.status().is_success() {
        message.complete = true;
        called.message = Some(message);
        let connection = response.upgrade().map_err(|e| e.to_string())?;
        let mut rest = Vec::new();
        let wanted = case.expect.rest.as_ref().map_or(0, |rest| rest.0.len());
        while rest.len() < wanted
            && let Ok(Some(bytes)) = connection.read().await
        {
            rest.extend_from_slice(&bytes);
        }
        called.switched = Some(rest);
        return Ok(called);
    }
    let mut body = response.into_body();
    loop {
        match body.frame().await {
            None => break message.complete = true,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => message.body.extend_from_slice(&data),
                Err(frame) => message.trailers = frame.into_trailers().ok().as_ref().map(lines),
            },
            Some(Err(error)) => break called.fail(&error, waits),
        }
    }
    called.message = Some(message);
    if called.error.is_none() && !called.waits {
        // Which connection the next call takes is seen by the server.
        let next = client.get("/next").send().await;
        let next = next.map_err(|e| format!("the next call failed: {e}"))?;
        if next.status() != 200 {
            return Err(format!("the next call was answered with {}", next.status()));
        }
    }
    Ok(called)
}

impl Called {
    fn fail(&mut self, error: &sinew_driver::Error, waits: bool) {
        match error.kind() {
            _ if waits && error.is_timeout() => self.waits = true,
            ErrorKind::Protocol(error) => self.error = Some(*error),
            // TLS tells a cut from an end by itself.
            _ => {
                let (phase, delivery) = (Phase::ResponseHead, Delivery::MaybeProcessed);
                self.error = Some(Error { kind: Kind::Truncated, phase, delivery });
            }
        }
    }
}

fn lines(fields: &HeaderMap) -> Lines {
    fields
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect()
}

fn transcribe(called: Called, connections: usize) -> Transcript {
    let Called { message, error, switched, waits } = called;
    let reusable = connections == 1 && error.is_none() && switched.is_none() && !waits;
    let fate = match &switched {
        Some(_) => Fate::Upgraded,
        None if reusable || waits => Fate::Open,
        None => Fate::Closed(CloseReason::Done),
    };
    Transcript {
        messages: message.into_iter().collect(),
        interim: Vec::new(),
        error,
        written: Vec::new(),
        sent_100: 0,
        fate,
        reusable,
        rest: switched.unwrap_or_default(),
        breach: None,
    }
}

/// A server that answers the first request with the bytes of a case, and every other with
/// [`NEXT`].
struct Script {
    input: Octets,
    eof: bool,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Script {
    /// Serves until the client is gone; how many connections it made.
    fn serve(&self, listener: &TcpListener) -> io::Result<usize> {
        let (socket, _) = listener.accept()?;
        let mut connection = self.greet(socket)?;
        if !connection.request()? {
            return Ok(1);
        }
        connection.write(&self.input.0);
        if self.eof {
            connection.shut();
        }
        if connection.request()? {
            connection.write(NEXT);
            return Ok(1);
        }
        // The client left this connection: it comes back with another one, or not at all.
        listener.set_nonblocking(true)?;
        let started = std::time::Instant::now();
        while started.elapsed() < Duration::from_millis(300) {
            match listener.accept() {
                Ok((socket, _)) => {
                    socket.set_nonblocking(false)?;
                    let mut connection = self.greet(socket)?;
                    if connection.request()? {
                        connection.write(NEXT);
                    }
                    return Ok(2);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(2));
                }
                Err(e) => return Err(e),
            }
        }
        Ok(1)
    }

    fn greet(&self, socket: TcpStream) -> io::Result<Connection> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(match &self.tls {
            None => Connection::Plain(socket),
            Some(config) => {
                let session = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
                Connection::Tls(Box::new(StreamOwned::new(session, socket)))
            }
        })
    }
}

enum Connection {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Connection {
    /// Reads a head; `false` when the client left.
    fn request(&mut self) -> io::Result<bool> {
        let mut head = Vec::new();
        let mut byte = [0; 1];
        while !head.ends_with(b"\r\n\r\n") {
            let read = match self {
                Self::Plain(socket) => socket.read(&mut byte),
                Self::Tls(stream) => stream.read(&mut byte),
            };
            match read {
                Ok(1) => head.push(byte[0]),
                Err(e)
                    if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
                {
                    return Err(e);
                }
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// A client that left does not take it; that shows when it is read from.
    fn write(&mut self, bytes: &[u8]) {
        let _ = match self {
            Self::Plain(socket) => socket.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        };
    }

    fn shut(&mut self) {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => {
                stream.conn.send_close_notify();
                let _ = stream.flush();
                &mut stream.sock
            }
        };
        let _ = socket.shutdown(Shutdown::Write);
    }
}
