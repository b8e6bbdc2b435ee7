//! CORS cases on the `RestServer` of an adapter, plain and over TLS.

use core::sync::atomic::{AtomicBool, Ordering};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use http::StatusCode;
use sinew_core::http1;
use sinew_driver::server::Conn;
use sinew_driver::{
    IntoResponse as _, Request, Response, RestServer, RouteOptions, Runtime, SecurityPolicy, Spawn,
    Task, Threads,
};
use sinew_tls::{ServerTls, Tls};
use tokio::sync::oneshot;

use crate::cors::{self, Answer, CorsCase, CorsRequest};
use crate::feed::Way;
use crate::network::adapter::{Work, both};
use crate::network::conversation::{Patience, Transport};
use crate::network::line::Heard;
use crate::reader;

/// One run of a CORS case on a server of its own.
#[derive(Clone, Debug)]
pub struct Guarded<'a> {
    /// The case.
    pub case: &'a CorsCase,
    /// Its request.
    pub request: &'a CorsRequest,
    /// How the bytes of the request are cut.
    pub way: Way,
    /// How the server is reached.
    pub transport: Transport,
    /// The server's side of that.
    pub tls: Option<ServerTls>,
    /// How long it is waited for.
    pub patience: Patience,
}

impl Work for Guarded<'_> {
    type Outcome = Result<Answer, String>;

    /// Asks once. `Err`: there was no server, or no answer.
    async fn on<R>(self, runtime: R) -> Self::Outcome
    where
        R: Runtime
            + Spawn<Task>
            + Spawn<Conn<http1::Server, R, Threads>>
            + Spawn<Conn<Tls<http1::Server>, R, Threads>>,
    {
        let ran = Arc::new(AtomicBool::new(false));
        let handler = {
            let (ran, fields) = (Arc::clone(&ran), self.case.expect.route_headers.clone());
            move |_: Request| {
                ran.store(true, Ordering::Relaxed);
                let response = answer(&fields);
                async { response }
            }
        };
        let builder = RestServer::<R>::builder_on(runtime)
            .listen("127.0.0.1:0")
            .cors(cors::policy(&self.case.config)?)
            .route_any("/", RouteOptions::new(), handler.clone())
            .route_any("/{*path}", RouteOptions::new(), handler);
        let builder = match self.tls {
            Some(tls) => builder.tls(tls),
            None => builder.allow_plaintext(),
        };
        let builder = if self.case.expect.auth_required_route {
            builder.security(SecurityPolicy::new())
        } else {
            builder
        };
        let server = builder.bind().await.map_err(|e| e.to_string())?;
        let address = *server.local_addrs().first().ok_or("no address")?;
        let handle = server.handle();

        let (tell, told) = oneshot::channel();
        let method = self.request.method.clone();
        let bytes = self.request.to_bytes("connection: close\r\n");
        let Self { way, transport, patience, .. } = self;
        thread::spawn(move || {
            let _ = tell.send(ask(&bytes, way, address, &transport, patience));
        });
        let asked = async {
            let asked = told.await;
            handle.stop(patience.answer).await;
            asked
        };
        let ((), asked) = both(server.serve(), asked).await;
        let heard = asked.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        let messages = reader::responses(&heard, &[method], false).map_err(|e| e.to_string())?;
        let [message] = &messages[..] else { return Err(format!("{} answers", messages.len())) };
        Ok(Answer {
            status: message.status(),
            fields: message.fields.clone(),
            handler_ran: ran.load(Ordering::Relaxed),
        })
    }
}

/// Sends a request in pieces cut this way, and reads up to the end of the connection.
fn ask(
    bytes: &[u8],
    way: Way,
    address: SocketAddr,
    transport: &Transport,
    patience: Patience,
) -> io::Result<Vec<u8>> {
    let mut line = transport.connect(address, patience)?;
    let mut rest = bytes;
    for piece in way.pieces(rest.len()) {
        let (first, more) = rest.split_at(piece);
        line.say(first, patience.answer);
        rest = more;
    }
    let until = Instant::now() + patience.answer;
    let mut heard = Vec::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match line.hear(&mut heard, left) {
            Heard::Bytes(_) => {}
            Heard::End => return Ok(heard),
            Heard::Broken(why) => return Err(io::Error::other(why)),
            Heard::Nothing if left.is_zero() => return Err(io::ErrorKind::TimedOut.into()),
            Heard::Nothing => {}
        }
    }
}

/// What the handler answers.
fn answer(fields: &[(String, String)]) -> Response {
    let response = StatusCode::OK.into_response();
    fields
        .iter()
        .fold(response, |response, (name, value)| response.header(name.as_str(), value.as_str()))
}
