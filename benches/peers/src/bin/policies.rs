//! sinew on tokio with every policy: token, access rule, CORS, quotas, and an observer that counts.

use std::io::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use sinew_bench_peers::{HELLO, announce, runtime};
use sinew_core::limit::Quota;
use sinew_core::security::{
    Cors, CorsConfig, Credential, Principal, Routes, Rule, Subject, Thumbprint, TokenError,
    TokenValidator, Who,
};
use sinew_core::server::RateLimitConfig;
use sinew_tokio::{Request, Response, RestServer, SecurityPolicy};

/// Finds every token good: what a signature costs is the business of whoever checks it.
struct Anyone(Arc<Principal>);

impl TokenValidator for Anyone {
    fn validate(
        &self,
        _: Credential<'_>,
        _: Option<&Thumbprint>,
        _: Duration,
    ) -> std::result::Result<Arc<Principal>, TokenError> {
        Ok(Arc::clone(&self.0))
    }
}

async fn answer(_: Request) -> Response {
    Response::ok(HELLO).header(CONTENT_TYPE, HeaderValue::from_static("text/plain"))
}

fn main() -> Result<()> {
    let anyone = Anyone(Arc::new(Principal {
        subject: Subject::Token { issuer: "https://issuer.test".into(), subject: "ann".into() },
        roles: Box::new([]),
        scopes: Box::new(["read".into()]),
        expires: None,
    }));
    let read = Rule {
        scopes: vec!["read".into()],
        ..Rule::allow("read", Who::Authenticated, Routes::Every)
    };
    let cors = CorsConfig { origins: vec!["https://app.test".into()], ..CorsConfig::default() };
    let quota = Quota::new(1_000_000, Duration::from_secs(1), 1_000_000).map_err(Error::other)?;
    let limits = RateLimitConfig { client: Some(quota), ..RateLimitConfig::default() };
    let seen = AtomicU64::new(0);
    runtime()?.block_on(async {
        let server = RestServer::builder()
            .listen("127.0.0.1:0")
            .allow_plaintext()
            .security(SecurityPolicy::new().tokens(anyone).rule(read))
            .cors(Cors::new(cors).map_err(Error::other)?)
            .rate_limit(limits)
            .observe(move |_, _| {
                seen.fetch_add(1, Ordering::Relaxed);
            })
            .route(Method::GET, "/plain", answer)
            .bind()
            .await
            .map_err(Error::other)?;
        for address in server.local_addrs() {
            announce(*address)?;
        }
        server.serve().await;
        Ok(())
    })
}
