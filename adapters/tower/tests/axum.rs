//! An axum `Router` on smol, behind mutual TLS, limits and timers of sinew.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Path, Request};
use axum::routing::{get, post};
use futures_util::future::join;
use futures_util::stream;
use http::{Method, StatusCode};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sinew_core::limit::Quota;
use sinew_core::security::{Routes, Rule, Who};
use sinew_core::server::RateLimitConfig;
use sinew_smol::{
    Call, Handler, HandlerTimeout, RestClient, RestServer, RouteOptions, SecurityPolicy,
    ServerBuilder, SmolRuntime, Threads,
};
use sinew_tls::{ClientTls, Options, PeerIdentity, ServerTls};
use tower_service::Service;

type Identity = Extension<Arc<PeerIdentity>>;

/// More than a connection takes on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(20);

fn app() -> Router {
    Router::new()
        .route("/items/{id}", get(async |Path(id): Path<u32>| format!("item {id}")))
        .route("/echo", post(async |request: Request| Body::new(request.into_body())))
        .route(
            "/stream",
            get(async || {
                let pieces = ["one ", "two ", "three"].map(Ok::<_, Infallible>);
                Body::from_stream(stream::iter(pieces))
            }),
        )
        .route("/who", get(async |Extension(peer): Identity| peer.name().to_owned()))
}

/// Certificates of one authority, for both ends.
fn tls() -> (ServerTls, ClientTls) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = authority.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(authority, key);
    let leaf = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    };
    let (chain, key) = leaf("server.test");
    let server = ServerTls::builder().certificate_pem(&chain, &key).unwrap();
    let (chain, key) = leaf("client.test");
    let patient = Options { handshake_timeout: PATIENCE, ..Options::CLIENT };
    let client = ClientTls::builder().options(patient).ca_pem(&ca).unwrap();
    let client = client.identity_pem(&chain, &key).unwrap();
    (server.client_ca_pem(&ca).unwrap().build().unwrap(), client.build().unwrap())
}

/// Serves over mutual TLS, gives the test a client, and stops.
fn with_client<T: Future<Output = ()>>(
    handler: impl Handler<Threads>,
    test: impl FnOnce(RestClient) -> T,
) {
    with_policies(|server| server.fallback(handler), test);
}

/// The same, with whatever stands in front of the handler.
fn with_policies<T: Future<Output = ()>>(
    policies: impl FnOnce(ServerBuilder<SmolRuntime, Threads>) -> ServerBuilder<SmolRuntime, Threads>,
    test: impl FnOnce(RestClient) -> T,
) {
    let (server_tls, client_tls) = tls();
    smol::block_on(async {
        let server = RestServer::builder()
            .listen("127.0.0.1:0")
            .tls(server_tls)
            .max_request_size(1024)
            .route(Method::GET, "/own", async |_: sinew_smol::Request| "own");
        let server = policies(server).bind().await.unwrap();
        let address = server.local_addrs()[0];
        let handle = server.handle();
        let client = RestClient::builder(format!("https://{address}"))
            .tls(client_tls)
            .server_name("server.test")
            .connect_timeout(PATIENCE)
            .build()
            .unwrap();
        let test = async {
            test(client).await;
            handle.stop(Duration::ZERO).await;
        };
        join(server.serve(), test).await;
    });
}

#[test]
fn a_router_is_served() {
    with_client(sinew_tower::handler(app()), |client| async move {
        let text = async |call: Call<SmolRuntime>| call.send().await.unwrap().text().await.unwrap();
        assert_eq!(text(client.get("/items/7")).await, "item 7");
        assert_eq!(text(client.post("/echo").body("back and forth")).await, "back and forth");
        assert_eq!(text(client.get("/stream")).await, "one two three");
        // A route of the server's own comes first.
        assert_eq!(text(client.get("/own")).await, "own");
        for (call, status) in [
            (client.get("/items/seven"), StatusCode::BAD_REQUEST),
            (client.get("/nowhere"), StatusCode::NOT_FOUND),
            (client.get("/echo"), StatusCode::METHOD_NOT_ALLOWED),
        ] {
            assert_eq!(call.send().await.unwrap().status(), status);
        }
    });
}

#[test]
fn the_server_s_limits_hold_and_the_client_s_identity_arrives() {
    with_client(sinew_tower::handler(app()), |client| async move {
        let who = client.get("/who").send().await.unwrap();
        assert_eq!(who.text().await.unwrap(), "client.test");
        let large = client.post("/echo").body(vec![b'x'; 1025]).send().await.unwrap();
        assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    });
}

/// A router by template, so that rules and quotas know it: whoever shows a certificate may use it,
/// three times an hour and for a millisecond at a time.
#[test]
fn rules_quotas_and_timers_stand_in_front_of_a_router() {
    let app = Router::new()
        .route("/app/who", get(async |Extension(peer): Identity| peer.name().to_owned()))
        .route("/app/slow", get(async || std::future::pending::<()>().await));
    let policies = |server: ServerBuilder<SmolRuntime, Threads>| {
        let rule = Rule {
            methods: vec![Method::GET],
            ..Rule::allow("services", Who::Authenticated, Routes::Of(vec!["/app/*".into()]))
        };
        let quota = Quota::new(3, Duration::from_secs(3600), 3).unwrap();
        let limits = RateLimitConfig { client: Some(quota), ..RateLimitConfig::default() };
        let options =
            RouteOptions::new().handler_timeout(HandlerTimeout::After(Duration::from_millis(1)));
        server.security(SecurityPolicy::new().rule(rule)).rate_limit(limits).route_any(
            "/app/{*path}",
            options,
            sinew_tower::handler(app),
        )
    };
    with_policies(policies, |client| async move {
        let answer = async |call: Call<SmolRuntime>| {
            let response = call.no_retry().send().await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        };
        assert_eq!(answer(client.get("/app/who")).await, (200, "client.test".to_owned()));
        for (call, status, reason) in [
            (client.post("/app/who"), 403, "forbidden"),
            (client.get("/own"), 403, "forbidden"),
            (client.get("/app/slow"), 503, "handler_timeout"),
            (client.get("/app/nothing"), 404, ""),
            (client.get("/app/who"), 429, "rate_limited"),
        ] {
            let (found, text) = answer(call).await;
            assert_eq!(found, status, "{text}");
            let says = format!("\"reason\":\"{reason}\"");
            assert!(reason.is_empty() || text.contains(&says), "{text}");
        }
    });
}

/// Ready at the second look; then it fails.
#[derive(Clone)]
struct Failing {
    looks: usize,
}

impl Service<http::Request<sinew_smol::Body>> for Failing {
    type Response = http::Response<sinew_smol::Body>;
    type Error = std::io::Error;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.looks += 1;
        if self.looks < 2 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<sinew_smol::Body>) -> Self::Future {
        assert_eq!(self.looks, 2, "called before it was ready");
        ready(Err(std::io::Error::other("the database password is hunter2")))
    }
}

#[test]
fn an_error_of_the_service_is_a_500_that_says_nothing() {
    with_client(sinew_tower::handler(Failing { looks: 0 }), |client| async move {
        let response = client.get("/").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let text = response.text().await.unwrap();
        assert!(!text.contains("hunter2") && text.contains("\"status\":500"), "{text}");
    });
}
