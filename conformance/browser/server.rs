//! What the pages of `conformance/browser/run` talk to: servers with CORS policies of several kinds,
//! the pages themselves, with sockets for them, and a log of what arrived. Prints their ports, and ends with its input.

use core::time::Duration;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use clap::Parser;
use http::{HeaderName, Method};
use serde_json::{Value, json};
use sinew_conformance::network::adapter::{Adapter, Work, both};
use sinew_conformance::network::certificate::Secrets;
use sinew_core::http1;
use sinew_core::limit::Quota;
use sinew_core::policy::Stage;
use sinew_core::security::{
    Cors, CorsConfig, Credential, Principal, Routes, Rule, Subject, Thumbprint, TokenError,
    TokenValidator, Who,
};
use sinew_core::server::{Arrival, Decision, Layer, RateLimitConfig, Record};
use sinew_driver::server::Conn;
use sinew_driver::websocket::ServerHandshake;
use sinew_driver::websocket::deflate::DeflateConfig;
use sinew_driver::{
    Error, HandlerTimeout, Json, Problem, Request, Response, RestServer, RouteOptions, Runtime,
    SecurityPolicy, ServerBuilder, Spawn, Threads, WebSocket, WebSocketOptions,
};
use sinew_tls::{ServerTls, Tls};
use tokio::sync::oneshot;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
struct Arguments {
    /// The runtime
    #[arg(long, value_enum)]
    runtime: Adapter,
    /// Everything but the log over TLS, with a certificate that nobody knows
    #[arg(long)]
    tls: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let served = Servers::new(arguments.tls).and_then(|servers| arguments.runtime.run(servers)?);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

struct Servers {
    tls: Option<ServerTls>,
}

impl Servers {
    fn new(tls: bool) -> Result<Self, Failure> {
        let secrets = Secrets::generate().map_err(|e| e.to_string())?;
        Ok(Self { tls: tls.then_some(secrets.server) })
    }

    fn builder<R: Runtime>(&self, runtime: &R) -> ServerBuilder<R, Threads> {
        let builder = RestServer::<R>::builder_on(runtime.clone()).listen("127.0.0.1:0");
        match &self.tls {
            Some(tls) => builder.tls(tls.clone()),
            None => builder.allow_plaintext(),
        }
    }
}

impl Work for Servers {
    type Outcome = Result<(), Failure>;

    async fn on<R>(self, runtime: R) -> Self::Outcome
    where
        R: Runtime
            + Spawn<Conn<http1::Server, R, Threads>>
            + Spawn<Conn<Tls<http1::Server>, R, Threads>>,
    {
        let log = Log::default();
        let new = || self.builder(&runtime);
        let pages = new().fallback(page).websocket_with("/ws", sockets(), echo).bind().await?;
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let port = pages.local_addrs().first().map_or(0, SocketAddr::port);
        let origins =
            [format!("{scheme}://127.0.0.1:{port}"), format!("{scheme}://*.localhost:{port}")];

        let shop = shop(new(), origins.to_vec())?.layer(log.clone()).bind().await?;
        let fresh = fresh(new(), origins.to_vec())?.layer(log.clone()).bind().await?;
        let public = public(new())?.layer(log.clone()).bind().await?;
        let told = RestServer::<R>::builder_on(runtime.clone())
            .listen("127.0.0.1:0")
            .allow_plaintext()
            .route(Method::GET, "/", move |_: Request| {
                let entries = log.take();
                async { Json(entries) }
            })
            .bind()
            .await?;
        let all = [("pages", &pages), ("shop", &shop), ("fresh", &fresh), ("public", &public)];
        let ports: Value = all
            .into_iter()
            .chain([("log", &told)])
            .filter_map(|(name, server)| {
                Some((name.to_owned(), server.local_addrs().first()?.port().into()))
            })
            .collect::<serde_json::Map<_, _>>()
            .into();
        let handles = [&pages, &shop, &fresh, &public, &told].map(RestServer::handle);
        let stop = async {
            let input_ended = watch_input();
            println!("{ports}");
            std::io::stdout().flush()?;
            let _ = input_ended.await;
            for (handle, patience) in handles.into_iter().zip(PATIENCE) {
                handle.stop(patience).await;
            }
            Ok(())
        };
        let of_pages = both(pages.serve(), told.serve());
        let of_others = both(both(shop.serve(), fresh.serve()), public.serve());
        both(both(of_pages, of_others), stop).await.1
    }
}

/// How long servers wait for what runs when they stop: pages have sockets, which are told.
const PATIENCE: [Duration; 5] =
    [Duration::from_secs(4), Duration::ZERO, Duration::ZERO, Duration::ZERO, Duration::ZERO];

/// For pages of this server, and packed for those who can do that.
fn sockets() -> WebSocketOptions {
    let deflate = Some(DeflateConfig { threshold: 0, ..DeflateConfig::default() });
    WebSocketOptions::new().handshake(ServerHandshake { deflate, ..ServerHandshake::default() })
}

/// Every message, sent back.
async fn echo(_: Request, mut socket: WebSocket) -> Result<(), Error> {
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

/// Ready when whoever started this process is gone.
fn watch_input() -> oneshot::Receiver<()> {
    let (tell, told) = oneshot::channel();
    thread::spawn(move || {
        let mut rest = Vec::new();
        let _ = std::io::stdin().read_to_end(&mut rest);
        let _ = tell.send(());
    });
    told
}

async fn page(_: Request) -> Response {
    Response::ok("<!doctype html><title>page</title>").header("content-type", "text/html")
}

/// Credentials, tokens, and every kind of refusal.
fn shop<R: Runtime>(
    builder: ServerBuilder<R, Threads>,
    origins: Vec<String>,
) -> Result<ServerBuilder<R, Threads>, Failure> {
    let cors = Cors::new(CorsConfig {
        origins,
        methods: vec![Method::PUT],
        headers: vec![HeaderName::from_static("authorization"), X_CUSTOM],
        expose: vec![HeaderName::from_static("x-total"), HeaderName::from_static("retry-after")],
        credentials: true,
        max_age: Some(Duration::from_secs(600)),
        private_network: false,
    })?;
    let limits = RateLimitConfig { client: None, ..RateLimitConfig::default() };
    let public = || RouteOptions::new().allow(Who::Anyone);
    let once = Quota::new(1, Duration::from_secs(3600), 1)?;
    let quick = HandlerTimeout::After(Duration::from_millis(1));
    let security = SecurityPolicy::from(Tokens)
        .rule(Rule {
            roles: vec!["admin".into()],
            ..Rule::allow("admins", Who::Authenticated, Routes::Of(vec!["/admin".into()]))
        })
        .rule(Rule::allow("known", Who::Authenticated, Routes::Of(vec!["/me".into()])));
    Ok(builder
        .cors(cors)
        .security(security)
        .rate_limit(limits)
        .route_any("/open", public(), open)
        .route_with(Method::POST, "/login", public(), async |_: Request| {
            Response::ok("").header("set-cookie", "session=1; Path=/; HttpOnly")
        })
        .route(Method::GET, "/me", async |_: Request| Json("me"))
        .route(Method::GET, "/admin", async |_: Request| Json("admin"))
        .route_with(Method::POST, "/small", public().body_limit(4), small)
        .route_with(Method::GET, "/once", public().quota(once), open)
        .route_with(Method::GET, "/slow", public().handler_timeout(quick), async |_: Request| {
            core::future::pending::<()>().await;
        })
        .route_with(Method::GET, "/broken", public(), broken))
}

/// No credentials, no memory of preflights, open to public pages.
fn fresh<R: Runtime>(
    builder: ServerBuilder<R, Threads>,
    origins: Vec<String>,
) -> Result<ServerBuilder<R, Threads>, Failure> {
    let cors = CorsConfig {
        origins,
        methods: vec![Method::PUT],
        headers: vec![HeaderName::from_static("content-type")],
        max_age: Some(Duration::ZERO),
        private_network: true,
        ..CorsConfig::default()
    };
    Ok(builder.cors(Cors::new(cors)?).route_any("/open", RouteOptions::new(), open))
}

/// For every page there is.
fn public<R: Runtime>(
    builder: ServerBuilder<R, Threads>,
) -> Result<ServerBuilder<R, Threads>, Failure> {
    let star = || HeaderName::from_static("*");
    let cors = CorsConfig {
        origins: vec!["*".into()],
        methods: vec![Method::from_bytes(b"*")?],
        headers: vec![star()],
        expose: vec![star()],
        ..CorsConfig::default()
    };
    Ok(builder.cors(Cors::new(cors)?).route_any("/open", RouteOptions::new(), open))
}

const X_CUSTOM: HeaderName = HeaderName::from_static("x-custom");

/// Tells the cookies that came along.
async fn open(request: Request) -> Response {
    let cookie = request.head().header("cookie").unwrap_or_default();
    Response::ok(json!({ "cookie": String::from_utf8_lossy(cookie) }).to_string())
        .header("content-type", "application/json")
        .header("x-total", "7")
        .header("x-secret", "8")
}

async fn small(request: Request) -> Result<String, Problem> {
    request.text().await
}

#[expect(clippy::panic, reason = "pages are shown what becomes of it")]
async fn broken(_: Request) -> Response {
    panic!("on purpose")
}

/// Knows the token `ann`, who has no role.
struct Tokens;

impl TokenValidator for Tokens {
    fn validate(
        &self,
        credential: Credential<'_>,
        _: Option<&Thumbprint>,
        _: Duration,
    ) -> Result<Arc<Principal>, TokenError> {
        match credential {
            Credential::Bearer(token) if token.expose() == b"ann" => Ok(Arc::new(Principal {
                subject: Subject::Token { issuer: "us".into(), subject: "ann".into() },
                roles: Box::new([]),
                scopes: Box::new([]),
                expires: None,
            })),
            _ => Err(TokenError::Unknown),
        }
    }
}

/// Everything that arrived, whatever became of it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Value>>>);

impl Log {
    fn take(&self) -> Vec<Value> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Layer for Log {
    fn stage(&self) -> Stage {
        Stage::Identify
    }

    fn on_head(&self, arrival: &Arrival<'_>, _: &mut Record) -> Decision {
        let head = arrival.head;
        let field =
            |name: &str| head.header(name).map(|value| String::from_utf8_lossy(value).into_owned());
        let entry = json!({
            "method": head.method().as_str(),
            "origin": field("origin"),
            "credentials": head.header("cookie").is_some() || head.header("authorization").is_some(),
            "private": field("access-control-request-private-network"),
        });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        Decision::Continue
    }
}
