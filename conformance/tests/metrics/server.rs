//! The server under test: tokens, quotas, layers that panic or are only tried.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use http::{Method, StatusCode};
use sinew_core::limit::Quota;
use sinew_core::policy::{Mode, Stage};
use sinew_core::reason::Reason;
use sinew_core::security::{
    Cors, CorsConfig, Credential, Principal, Routes, Rule, Subject, Thumbprint, TokenError,
    TokenValidator, Who,
};
use sinew_core::server::{Arrival, Decision, Layer, RateLimitConfig, Record};
use sinew_driver::{
    Body, HandlerTimeout, Problem, Request, Response, RouteOptions, Runtime, SecurityPolicy,
    ServerBuilder, Threads,
};

/// A way to every kind of answer.
pub(crate) fn routes<R: Runtime>(builder: ServerBuilder<R, Threads>) -> ServerBuilder<R, Threads> {
    let cors = CorsConfig { origins: vec!["https://a.test".into()], ..CorsConfig::default() };
    let admins = Rule {
        roles: vec!["admin".into()],
        ..Rule::allow("admins", Who::Authenticated, Routes::Of(vec!["/admin".into()]))
    };
    let known = Rule::allow("known", Who::Authenticated, Routes::Of(vec!["/me".into()]));
    let public = || RouteOptions::new().allow(Who::Anyone);
    let few = Quota::new(2, Duration::from_secs(3600), 2).unwrap();
    let quick = HandlerTimeout::After(Duration::from_millis(1));
    builder
        .cors(Cors::new(cors).unwrap())
        .security(SecurityPolicy::from(Tokens).rule(admins).rule(known))
        .rate_limit(RateLimitConfig { client: None, ..RateLimitConfig::default() })
        .layer(Broken)
        .layer_in(Mode::Shadow, Tried)
        .route_with(Method::GET, "/open", public(), async |_: Request| "open")
        .route_with(Method::GET, "/stream", public(), async |_: Request| {
            let pieces = [Ok::<_, std::io::Error>("ab".into()), Ok("cde".into())];
            Response::ok(Body::stream(Pieces(pieces.into_iter())))
        })
        .route(Method::GET, "/me", async |_: Request| "me")
        .route(Method::GET, "/admin", async |_: Request| "admin")
        .route_with(Method::GET, "/few", public().quota(few), async |_: Request| "few")
        .route_with(Method::GET, "/conflict", public(), async |_: Request| {
            Problem::new(StatusCode::CONFLICT)
        })
        .route_with(Method::POST, "/body", public().body_limit(8), body)
        .route_with(Method::GET, "/slow", public().handler_timeout(quick), async |_: Request| {
            std::future::pending::<()>().await;
        })
        .route_with(Method::GET, "/panic", public(), async |_: Request| -> () { fall() })
}

/// Panics, and does not clutter the output of the test.
fn fall() -> ! {
    std::panic::resume_unwind(Box::new("on purpose"))
}

async fn body(request: Request) -> Result<String, Problem> {
    request.text().await
}

/// A body in pieces.
struct Pieces<I>(I);

impl<I: Iterator + Unpin> Stream for Pieces<I> {
    type Item = I::Item;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next())
    }
}

/// Knows `ann`, and cannot tell about `down`.
struct Tokens;

impl TokenValidator for Tokens {
    fn validate(
        &self,
        credential: Credential<'_>,
        _: Option<&Thumbprint>,
        _: Duration,
    ) -> Result<Arc<Principal>, TokenError> {
        let Credential::Bearer(token) = credential else { return Err(TokenError::Unknown) };
        match token.expose() {
            b"ann" => Ok(Arc::new(Principal {
                subject: Subject::Token { issuer: "us".into(), subject: "ann".into() },
                roles: Box::new([]),
                scopes: Box::new([]),
                expires: None,
            })),
            b"down" => Err(TokenError::Unavailable),
            _ => Err(TokenError::Expired),
        }
    }
}

/// A layer that panics when asked to.
struct Broken;

impl Layer for Broken {
    fn stage(&self) -> Stage {
        Stage::Application
    }

    fn on_head(&self, arrival: &Arrival<'_>, _: &mut Record) -> Decision {
        if arrival.head.header("x-panic").is_some() {
            fall();
        }
        Decision::Continue
    }
}

/// A layer that would refuse, and is only tried.
struct Tried;

impl Layer for Tried {
    fn stage(&self) -> Stage {
        Stage::Application
    }

    fn on_head(&self, arrival: &Arrival<'_>, _: &mut Record) -> Decision {
        match arrival.head.method() {
            &Method::POST => Decision::Refuse(Reason::Unavailable),
            _ => Decision::Continue,
        }
    }
}
