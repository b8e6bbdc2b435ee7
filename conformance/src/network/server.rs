//! Request cases on the `RestServer` of an adapter, plain and over TLS.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use http::StatusCode;
use sinew_core::error::Error;
use sinew_core::http1::{self, Limits};
use sinew_core::machine::CloseReason;
use sinew_core::observe::Event;
use sinew_driver::server::Conn;
use sinew_driver::{
    IntoResponse as _, Notice, Request, Response, RestServer, RestServerConfig, Runtime, Spawn,
    Task, Threads,
};
use sinew_tls::{ServerTls, Tls};
use tokio::sync::oneshot;

use crate::application::refused_handshake;
use crate::case::{Behaviour, CaseLimits, ParseCase};
use crate::end::Breach;
use crate::feed::Way;
use crate::judge::judge;
use crate::network::adapter::{Work, both};
use crate::network::conversation::{
    Conversation, Next, Patience, Seen, Transport, is_next, waits_for_more,
};
use crate::run;
use crate::transcript::{Fate, Message, Transcript};

/// One run of a request case on a server of its own.
#[derive(Clone, Debug)]
pub struct Served<'a> {
    /// The case.
    pub case: &'a ParseCase,
    /// How its bytes are cut.
    pub way: Way,
    /// How the server is reached.
    pub transport: Transport,
    /// The server's side of that.
    pub tls: Option<ServerTls>,
    /// How long it is waited for.
    pub patience: Patience,
}

/// What the server's side of a connection wrote down.
#[derive(Debug, Default)]
struct Log {
    messages: Vec<Message>,
    error: Option<Error>,
    closed: Option<CloseReason>,
    breach: Option<Breach>,
}

type Shared = Arc<Mutex<Log>>;

impl Work for Served<'_> {
    type Outcome = Result<Transcript, String>;

    async fn on<R>(self, runtime: R) -> Self::Outcome
    where
        R: Runtime
            + Spawn<Task>
            + Spawn<Conn<http1::Server, R, Threads>>
            + Spawn<Conn<Tls<http1::Server>, R, Threads>>,
    {
        let log = Shared::default();
        let (told, handler) = (Arc::clone(&log), Arc::clone(&log));
        let behaviour = self.case.handler;
        let builder = RestServer::<R>::builder_on(runtime)
            .config(config(self.case.limits)?)
            .listen("127.0.0.1:0")
            .fallback(move |request| answer(request, behaviour, Arc::clone(&handler)))
            .observe(move |_, notice| note(&told, notice));
        let builder = match self.tls {
            Some(tls) => builder.tls(tls),
            None => builder.allow_plaintext(),
        };
        let server = builder.bind().await.map_err(|e| e.to_string())?;
        let address = *server.local_addrs().first().ok_or("no address")?;
        let handle = server.handle();

        let (tell, told) = oneshot::channel();
        let (case, shared) = (self.case.clone(), Arc::clone(&log));
        let Self { way, transport, patience, .. } = self;
        thread::spawn(move || {
            let _ = tell.send(play(&case, way, address, &transport, patience, &shared));
        });
        let played = async {
            let played = told.await;
            handle.stop(patience.answer).await;
            played
        };
        let ((), played) = both(server.serve(), played).await;
        match played.map_err(|e| e.to_string())?? {
            (_, Some(waiting)) => Ok(waiting),
            (seen, None) => Ok(transcript(&seen, &lock(&log))),
        }
    }
}

/// Plays the case; of one that ends in the middle of a message, what is to be seen while it waits.
fn play(
    case: &ParseCase,
    way: Way,
    address: SocketAddr,
    transport: &Transport,
    patience: Patience,
    log: &Shared,
) -> Result<(Seen, Option<Transcript>), String> {
    let held = Conversation::hold(case, way, address, transport, patience);
    let held = held.map_err(|e| format!("no conversation with {address}: {e}"))?;
    if !waits_for_more(case) {
        return Ok((held.seen, None));
    }
    // What was sent may still be on its way to the handler.
    let until = Instant::now() + patience.answer;
    loop {
        let transcript = transcript(&held.seen, &lock(log));
        if judge(case, &transcript).is_ok() || Instant::now() >= until {
            return Ok((held.seen, Some(transcript)));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Answers with 200 and a tiny body once it has read the request's, or at once if it is to be early;
/// refuses what asks for a handshake and is none.
async fn answer(request: Request, behaviour: Behaviour, log: Shared) -> Response {
    let index = {
        let mut log = lock(&log);
        log.messages.push(Message::from_request(request.head()));
        log.messages.len() - 1
    };
    let refusal = refused_handshake(request.head());
    let mut body = request.into_body();
    while behaviour != Behaviour::Early
        && let Some(frame) = body.frame().await
    {
        let mut log = lock(&log);
        let Some(message) = log.messages.get_mut(index) else { break };
        // The connection fails with it: nothing that is answered here will be sent.
        let Ok(frame) = frame else { return StatusCode::OK.into_response() };
        match frame.into_data() {
            Ok(data) => message.data(&data),
            Err(frame) => message.trailers = frame.trailers_ref().map(run::header_lines),
        }
    }
    if let Some(message) = lock(&log).messages.get_mut(index) {
        message.complete = true;
    }
    match refusal {
        Some(status) => Response::new(status).header("sec-websocket-version", "13"),
        None => Response::ok("ok"),
    }
}

fn note(log: &Shared, notice: &Notice) {
    let mut log = lock(log);
    match notice {
        Notice::Decided(Event::Failed(error)) => log.error = log.error.or(Some(*error)),
        Notice::Decided(Event::Closed(reason)) => log.closed = Some(*reason),
        Notice::Decided(_) | Notice::SocketFailed(_) => {}
        other => {
            log.breach.get_or_insert_with(|| Breach(format!("{other:?}")));
        }
    }
}

fn transcript(seen: &Seen, log: &Log) -> Transcript {
    let mut messages = log.messages.clone();
    let next_delivered = messages.last().is_some_and(is_next);
    let kept = matches!(seen.next, Next::Answered(_));
    if kept && next_delivered {
        messages.pop();
    }
    let breaches = [
        seen.malformed.clone(),
        seen.broken.clone(),
        (seen.surplus > 0).then(|| format!("{} answers too many", seen.surplus)),
        (seen.next == Next::Silent).then(|| "the next request is not answered".to_owned()),
        (kept && !next_delivered).then(|| "the next request did not arrive as sent".to_owned()),
        (seen.next != Next::Answered(200) && kept).then(|| "the next is refused".to_owned()),
    ];
    let breach = breaches.into_iter().flatten().next().map(Breach);
    let fate = if seen.closed && !kept {
        Fate::Closed(log.closed.unwrap_or(CloseReason::Done))
    } else {
        Fate::Open
    };
    Transcript {
        messages,
        interim: Vec::new(),
        error: log.error,
        written: seen.answers.clone(),
        sent_100: seen.interim.iter().filter(|status| **status == 100).count(),
        fate,
        reusable: kept,
        rest: Vec::new(),
        breach: breach.or_else(|| log.breach.clone()),
    }
}

/// Whether a `RestServer` can be given these limits, or has them anyway.
pub fn configurable(limits: CaseLimits) -> bool {
    let fixed =
        CaseLimits { max_head: None, max_uri: None, max_headers: None, max_body: None, ..limits };
    has(&Limits::default(), fixed)
}

/// Whether these limits are those of a case anyway.
pub fn has(limits: &Limits, case: CaseLimits) -> bool {
    run::limits(limits, case).is_ok_and(|wanted| wanted == *limits)
}

fn config(case: CaseLimits) -> Result<RestServerConfig, String> {
    let mut config = RestServerConfig::default();
    let Limits { head, target, fields, body, .. } = run::limits(&Limits::default(), case)?;
    config.max_head_size = head;
    config.max_target_size = target;
    config.max_head_fields = fields;
    config.max_request_size = body;
    Ok(config)
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
