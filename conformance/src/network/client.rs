//! Response cases on the `RestClient` of an adapter, plain and over TLS: a server plays the bytes.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use http::{Method, Version};
use sinew_core::error::Error;
use sinew_core::http1;
use sinew_core::machine::CloseReason;
use sinew_driver::server::Conn;
use sinew_driver::{
    ClientResponse, ErrorKind, RestClient, RestClientConfig, Runtime, Spawn, Task, Threads,
};
use sinew_tls::rustls::ServerConfig;
use sinew_tls::{ClientTls, Tls};
use tokio::sync::oneshot;

use crate::case::{ParseCase, Step};
use crate::end::Breach;
use crate::feed::Way;
use crate::judge::judge;
use crate::network::adapter::{Work, both, until};
use crate::network::certificate::NAME;
use crate::network::conversation::{Patience, waits_for_more};
use crate::network::line::{Heard, Line};
use crate::run::{self, TRAILING_RESPONSE};
use crate::transcript::{Fate, Message, Start, Transcript};

/// The answer to the request behind a case.
const NEXT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext";

/// One run of a response case, on a client and a scripted server of its own.
#[derive(Clone, Debug)]
pub struct Called<'a> {
    /// The case.
    pub case: &'a ParseCase,
    /// How its bytes are cut.
    pub way: Way,
    /// The client's and the server's side of TLS.
    pub tls: Option<(ClientTls, Arc<ServerConfig>)>,
    /// How long is waited.
    pub patience: Patience,
}

/// What the client's side wrote down.
#[derive(Debug, Default)]
struct Log {
    messages: Vec<Message>,
    error: Option<Error>,
    breach: Option<Breach>,
    /// The body of the answer to the request behind the case.
    next: Option<Vec<u8>>,
    /// Whether that request came over the same connection; the server says so.
    same_connection: bool,
    /// Whether the client shut the connection of the case; the server says so.
    closed: bool,
}

type Shared = Arc<Mutex<Log>>;

impl Work for Called<'_> {
    type Outcome = Result<Transcript, String>;

    async fn on<R>(self, runtime: R) -> Self::Outcome
    where
        R: Runtime
            + Spawn<Task>
            + Spawn<Conn<http1::Server, R, Threads>>
            + Spawn<Conn<Tls<http1::Server>, R, Threads>>,
    {
        let log = Shared::default();
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
        let address = listener.local_addr().map_err(|e| e.to_string())?;
        let (client_tls, server_tls) = self.tls.clone().unzip();
        let client = client(runtime, address, client_tls, self.patience)?;
        let script = Script {
            case: self.case.clone(),
            way: self.way,
            tls: server_tls,
            patience: self.patience,
            log: Arc::clone(&log),
        };
        let (tell, told) = oneshot::channel();
        thread::spawn(move || {
            let _ = tell.send(script.play(&listener));
        });
        let call = call(&client, self.case, &log);
        let played = if waits_for_more(self.case) {
            // It would wait for ever: the script says when everything was seen.
            until(call, told).await
        } else {
            both(call, told).await.1
        };
        let played = played.map_err(|e| e.to_string())?;
        let mut transcript = transcript(&lock(&log));
        match played {
            Ok(Some(waiting)) => return Ok(waiting),
            Ok(None) => {}
            Err(e) => transcript.breach = Some(Breach(format!("the script broke: {e}"))),
        }
        Ok(transcript)
    }
}

fn client<R: Runtime + Spawn<Task>>(
    runtime: R,
    address: SocketAddr,
    tls: Option<ClientTls>,
    patience: Patience,
) -> Result<RestClient<R>, String> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut config = RestClientConfig::new(format!("{scheme}://{address}"));
    config.allow_plaintext = tls.is_none();
    config.mtls_config = tls;
    config.server_name = Some(NAME.to_owned());
    config.timeout = patience.answer;
    config.connect_timeout = patience.answer;
    config.between_bytes = Some(patience.answer);
    RestClient::<R>::builder(config.base_url.clone())
        .config(config)
        .build_on(runtime)
        .map_err(|e| e.to_string())
}

/// Makes the call of the case, and behind it another one.
async fn call<R: Runtime>(client: &RestClient<R>, case: &ParseCase, log: &Shared) {
    let method = case.request_method.as_deref().unwrap_or("GET");
    let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::GET);
    let mut call = client.request(method, "/");
    for (name, value) in &case.request_headers {
        call = call.header(&name.0[..], &value.0[..]);
    }
    if case.request_body > 0 {
        call = call.body(vec![b'x'; case.request_body]);
    }
    let heard = match call.no_retry().send().await {
        Ok(response) => listen(response, log).await,
        Err(error) => Err(error),
    };
    if let Err(error) = heard {
        note(&error, log);
    }
    let next = match client.get("/next").no_retry().send().await {
        Ok(response) => response.bytes().await,
        Err(error) => Err(error),
    };
    match next {
        Ok(body) => lock(log).next = Some(body.to_vec()),
        Err(error) => fail(log, format!("the next call: {error}")),
    }
}

async fn listen(response: ClientResponse, log: &Shared) -> Result<(), sinew_driver::Error> {
    lock(log).messages.push(Message {
        start: Start::Response { status: response.status().as_u16(), reason: Vec::new() },
        version: if response.version() == Version::HTTP_10 { "1.0" } else { "1.1" },
        headers: run::header_lines(response.headers()),
        body: Vec::new(),
        trailers: None,
        complete: false,
    });
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame?.into_data();
        let mut log = lock(log);
        let Some(message) = log.messages.last_mut() else { break };
        match frame {
            Ok(data) => message.data(&data),
            Err(frame) => message.trailers = frame.trailers_ref().map(run::header_lines),
        }
    }
    if let Some(message) = lock(log).messages.last_mut() {
        message.complete = true;
    }
    Ok(())
}

fn note(error: &sinew_driver::Error, log: &Shared) {
    match error.kind() {
        ErrorKind::Protocol(error) => lock(log).error = Some(*error),
        _ => fail(log, error.to_string()),
    }
}

fn fail(log: &Shared, why: String) {
    lock(log).breach.get_or_insert(Breach(why));
}

fn transcript(log: &Log) -> Transcript {
    let strayed = log.next.as_ref().filter(|body| body[..] != *b"next");
    let strayed = strayed.map(|_| Breach("the next call got another answer".to_owned()));
    Transcript {
        messages: log.messages.clone(),
        interim: Vec::new(),
        error: log.error,
        written: Vec::new(),
        sent_100: 0,
        fate: if log.closed { Fate::Closed(CloseReason::Done) } else { Fate::Open },
        reusable: log.same_connection,
        rest: Vec::new(),
        breach: log.breach.clone().or(strayed),
    }
}

/// The server that plays a case.
struct Script {
    case: ParseCase,
    way: Way,
    tls: Option<Arc<ServerConfig>>,
    patience: Patience,
    log: Shared,
}

impl Script {
    /// Plays it; of a case that ends in the middle of a message, what is to be seen while the client
    /// waits.
    fn play(&self, listener: &TcpListener) -> io::Result<Option<Transcript>> {
        let mut line = self.accept(listener)?;
        self.hear(&mut line, b"\r\n\r\n")?;
        let mut bytes = self.case.input.0.clone();
        if self.way == Way::Trailing {
            bytes.extend_from_slice(TRAILING_RESPONSE);
        }
        let mut rest = &bytes[..];
        for piece in self.way.pieces(rest.len()) {
            let (first, more) = rest.split_at(piece);
            line.say(first, self.patience.answer);
            rest = more;
        }
        if self.case.eof {
            line.shut();
        }
        if waits_for_more(&self.case) {
            return Ok(Some(self.watch()));
        }
        let stalls = self.case.steps.contains(&Step::Stall);
        if !stalls && self.hear(&mut line, b"GET /next ")? {
            lock(&self.log).same_connection = true;
        } else {
            let next = self.accept(listener)?;
            lock(&self.log).closed = true;
            line = next;
            self.hear(&mut line, b"GET /next ")?;
        }
        line.say(NEXT, self.patience.answer);
        Ok(None)
    }

    /// Waits until everything that is due was seen.
    fn watch(&self) -> Transcript {
        let until = Instant::now() + self.patience.answer;
        loop {
            let transcript = transcript(&lock(&self.log));
            if judge(&self.case, &transcript).is_ok() || Instant::now() >= until {
                return transcript;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The client may never come, so this does not block.
    fn accept(&self, listener: &TcpListener) -> io::Result<Line> {
        listener.set_nonblocking(true)?;
        let until = Instant::now() + self.patience.answer;
        loop {
            match listener.accept() {
                Ok((socket, _)) => {
                    socket.set_nonblocking(false)?;
                    return match &self.tls {
                        None => Line::plain(socket),
                        Some(config) => Line::server(socket, config, self.patience.answer),
                    };
                }
                Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(e),
                Err(e) if Instant::now() >= until => return Err(e),
                Err(_) => thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Reads up to these words of a request; `false`: the client shut the connection.
    fn hear(&self, line: &mut Line, words: &[u8]) -> io::Result<bool> {
        let until = Instant::now() + self.patience.answer;
        let mut heard = Vec::new();
        while !heard.windows(words.len()).any(|window| window == words) {
            let left = until.saturating_duration_since(Instant::now());
            heard.drain(..heard.len().saturating_sub(words.len()));
            match line.hear(&mut heard, left) {
                Heard::Bytes(_) => {}
                Heard::End | Heard::Broken(_) => return Ok(false),
                Heard::Nothing if left.is_zero() => return Err(io::ErrorKind::TimedOut.into()),
                Heard::Nothing => {}
            }
        }
        Ok(true)
    }
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
