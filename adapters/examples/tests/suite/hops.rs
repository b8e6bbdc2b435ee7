//! A call through several servers: what the last one sees of the time that the first caller has, and
//! what clients make of servers that are not whom they look for.

use std::time::Duration;

use http::Method;
use sinew_core::error::{Delivery, Phase};
use sinew_core::security::{EgressPolicy, EgressRefusal};
use sinew_driver::{ErrorKind, Problem, Request, Runtime as _};

use super::run;
use super::site::{PATIENCE, Security, Site, client_of, client_tls};
use crate::rt;

/// What is left of the caller's time, in milliseconds, as the server sees it.
fn left(request: &Request) -> Option<u64> {
    let deadline = request.context().deadline?;
    let left = deadline.saturating_since(rt::Runtime::default().now());
    u64::try_from(left.as_millis()).ok()
}

/// A server that takes its time, and asks the next one in the name of its caller.
async fn hop(next: Option<rt::RestClient>) -> Site {
    async fn answer(next: Option<rt::RestClient>, request: Request) -> Result<String, Problem> {
        let own = left(&request).map_or_else(|| "none".to_owned(), |left| left.to_string());
        let Some(next) = next else { return Ok(own) };
        // It is never woken too early, so that at least this much is gone at the next hop.
        let runtime = rt::Runtime::default();
        runtime.sleep_until(runtime.now() + Duration::from_millis(20)).await;
        let further = next.get("/hop").context(&request.context()).send().await?.text().await?;
        Ok(format!("{own} {further}"))
    }
    let builder = rt::RestServer::builder().listen("127.0.0.1:0");
    let builder = builder.route(Method::GET, "/hop", move |request| answer(next.clone(), request));
    Site::run(Security::Mutual, builder).await
}

#[test]
fn the_last_of_three_hops_sees_what_is_left() {
    run(async {
        let third = hop(None).await;
        let second = hop(Some(client_of(&third))).await;
        let first = hop(Some(client_of(&second))).await;
        let client = client_of(&first);
        // The connections are there, so that the time goes where it is meant to go.
        let warm = client.get("/hop").timeout(PATIENCE).send().await.unwrap().text().await.unwrap();
        check(&warm, PATIENCE);
        // A machine that has other things to do may take all of it: then nobody saw more than there
        // was, and the call says that its time is over.
        let all = Duration::from_millis(300);
        loop {
            match client.get("/hop").timeout(all).send().await {
                Ok(answer) if answer.status() == 200 => {
                    if check(&answer.text().await.unwrap(), all) > 0 {
                        break;
                    }
                }
                // A hop found that nothing is left.
                Ok(answer) => assert_eq!(answer.status(), 504),
                Err(error) => assert!(error.is_timeout(), "{error:?}"),
            }
        }
    });
}

/// Each hop took at least 20 ms of what the one before had. What the last one had.
fn check(text: &str, all: Duration) -> u64 {
    let of_hops: Vec<u64> = text.split(' ').map(|left| left.parse().unwrap()).collect();
    let [first, second, third] = of_hops[..] else { panic!("{text}") };
    let within = u128::from(first) <= all.as_millis();
    assert!(within && second + 20 <= first && third + 20 <= second, "{text}");
    third
}

#[test]
fn a_server_that_is_somebody_else_is_not_asked() {
    run(async {
        let site = hop(None).await;
        let client = |server: &str| {
            let servers = vec![server.parse().unwrap()];
            let builder = rt::RestClient::builder(site.url()).tls(client_tls());
            let builder = builder.security(EgressPolicy { servers, ..EgressPolicy::default() });
            builder.connect_timeout(PATIENCE).build().unwrap()
        };
        assert!(client("localhost").get("/hop").send().await.is_ok());
        for other in ["billing.test", "spiffe://acme.test/*"] {
            let error = client(other).get("/hop").send().await.unwrap_err();
            assert_eq!(error.kind(), &ErrorKind::Forbidden(EgressRefusal::Server));
            assert_eq!((error.phase(), error.delivery()), (Phase::Tls, Delivery::NotSent));
        }
    });
}
