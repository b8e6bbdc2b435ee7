//! Probes: what they are told, and that nothing stands in their way.

use std::future::{Ready, pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join;
use http::Method;
use sinew_core::limit::{AdmissionConfig, ConcurrencyConfig, Quota};
use sinew_core::observe::Event;
use sinew_core::server::RateLimitConfig;
use sinew_core::server::health::{Check, CheckState, Finding, Probe};
use sinew_driver::{Admin, HealthChecks, Notice, Request, SecurityPolicy};
use sinew_examples::certs::Validity;
use tokio::sync::Semaphore;

use super::raw::raw;
use super::site::{Builder, Security, Site, client_of, client_to, pki, server_tls};
use super::{each, pause, run};
use crate::rt;

fn builder(checks: HealthChecks) -> Builder {
    rt::RestServer::builder()
        .listen("127.0.0.1:0")
        .route(Method::GET, "/", async |_: Request| "hello")
        .admin(Admin::new().listen("127.0.0.1:0"))
        .health(checks)
}

/// Status and body.
async fn ask(client: &rt::RestClient, path: &str) -> (u16, String) {
    let answer = client.get(path).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn operator(site: &Site) -> rt::RestClient {
    client_to(&Security::Plain.url(site.operators[0]))
}

#[test]
fn probes_are_answered_from_the_last_result() {
    each(async |security| {
        let (started, well) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicBool::new(true)));
        let (warm, flag) = (Arc::clone(&started), Arc::clone(&well));
        let often =
            |name, probe| Check { interval: Duration::from_millis(2), ..Check::new(name, probe) };
        let checks = HealthChecks::new()
            .check(Check::new("cache", Probe::Startup), move || {
                let warm = Arc::clone(&warm);
                async move { warm.acquire().await.map(drop) }
            })
            .check(often("database", Probe::Ready), move || {
                let found = if flag.load(Ordering::SeqCst) { Ok(()) } else { Err("refused") };
                async move { found }
            });
        let site = Site::run(security, builder(checks)).await;
        let client = client_of(&site);
        assert_eq!(ask(&client, "/livez").await, (200, r#"{"status":"healthy"}"#.into()));
        for path in ["/startupz", "/readyz", "/health"] {
            assert_eq!(ask(&client, path).await.0, 503, "{path}");
        }
        started.add_permits(1);
        for path in ["/startupz", "/readyz", "/health"] {
            while ask(&client, path).await != (200, r#"{"status":"healthy"}"#.into()) {
                pause().await;
            }
        }
        well.store(false, Ordering::SeqCst);
        while ask(&client, "/readyz").await != (503, r#"{"status":"unhealthy"}"#.into()) {
            pause().await;
        }
        assert_eq!(ask(&client, "/livez").await.0, 200);
        assert_eq!(ask(&client, "/startupz").await.0, 200);
        well.store(true, Ordering::SeqCst);
        while ask(&client, "/readyz").await.0 != 200 {
            pause().await;
        }
    });
}

#[test]
fn only_operators_are_told_of_single_checks() {
    each(async |security| {
        let fails = || ready(Finding::Fail);
        let checks = || HealthChecks::new().check(Check::new("disk", Probe::Ready), fails);
        let site = Site::run(security, builder(checks())).await;
        while !ask(&operator(&site), "/readyz?verbose").await.1.contains(r#""reason":"failed""#) {
            pause().await;
        }
        let (status, text) = ask(&operator(&site), "/readyz?verbose").await;
        assert_eq!(status, 503);
        for part in [
            r#"{"name":"drain","status":"pass"}"#,
            r#"{"name":"saturation","status":"pass"}"#,
            r#"{"name":"disk","status":"fail","reason":"failed","age_ms":"#,
        ] {
            assert!(text.contains(part), "{text}");
        }
        let brief = (503, r#"{"status":"unhealthy"}"#.to_owned());
        assert_eq!(ask(&client_of(&site), "/readyz?verbose").await, brief);
        let open = Site::run(security, builder(checks().verbose())).await;
        assert!(ask(&client_of(&open), "/readyz?verbose").await.1.contains(r#""name":"disk""#));
    });
}

#[test]
fn a_check_that_panics_or_never_ends_has_failed() {
    each(async |security| {
        let panics = || -> Ready<Finding> { panic!("a check that panics, on purpose") };
        let hasty = Check { timeout: Duration::from_millis(5), ..Check::new("slow", Probe::Live) };
        let checks = HealthChecks::new()
            .check(Check::new("broken", Probe::Ready), panics)
            .check(hasty, pending::<Finding>);
        let (tell, told) = std::sync::mpsc::channel();
        let builder = builder(checks).observe(move |_, notice| {
            if let Notice::Decided(Event::Health { check, state }) = notice {
                let _ = tell.send((check.index(), *state));
            }
        });
        let site = Site::run(security, builder).await;
        let mut states = Vec::new();
        while states.len() < 2 {
            states.extend(told.try_iter());
            pause().await;
        }
        states.sort_unstable();
        assert_eq!(states, [(0, CheckState::Failed), (1, CheckState::TimedOut)]);
        let (status, text) = ask(&operator(&site), "/health?verbose").await;
        assert_eq!(status, 503);
        assert!(text.contains(r#""name":"slow","status":"fail","reason":"timed_out""#), "{text}");
        assert_eq!(ask(&client_of(&site), "/livez").await.0, 503);
    });
}

/// A server with one place, taken; nobody may wait, nobody is allowed in, and all quotas are spent.
#[test]
fn nothing_stands_in_the_way_of_a_probe() {
    each(async |security| {
        let (go, entered) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (released, inside) = (Arc::clone(&go), Arc::clone(&entered));
        let handler = move |_: Request| {
            let (released, inside) = (Arc::clone(&released), Arc::clone(&inside));
            async move {
                inside.add_permits(1);
                released.acquire().await.unwrap().forget();
                "through"
            }
        };
        let one = ConcurrencyConfig { initial: 1, max: 1, ..ConcurrencyConfig::default() };
        let once = Quota::new(1, Duration::from_secs(3_600), 1).unwrap();
        let builder = builder(HealthChecks::new())
            .route_with(
                Method::GET,
                "/gate",
                sinew_driver::RouteOptions::new().allow(sinew_core::security::Who::Anyone),
                handler,
            )
            .security(SecurityPolicy::new())
            .rate_limit(RateLimitConfig { client: Some(once), ..RateLimitConfig::default() })
            .overload(AdmissionConfig { concurrency: one, queue: 0, ..AdmissionConfig::default() });
        let site = Site::run(security, builder).await;
        let (client, prober) = (client_of(&site), client_of(&site));
        let probes = async {
            entered.acquire().await.unwrap().forget();
            for _ in 0..5 {
                assert_eq!(ask(&prober, "/livez").await.0, 200);
                assert_eq!(ask(&prober, "/readyz").await.0, 503, "there is no place left");
            }
            let (_, text) = ask(&operator(&site), "/readyz?verbose").await;
            assert!(
                text.contains(r#""name":"saturation","status":"fail","reason":"full""#),
                "{text}"
            );
            go.add_permits(1);
        };
        let (answer, ()) = join(ask(&client, "/gate"), probes).await;
        assert_eq!(answer, (200, "through".into()));
        assert_eq!(ask(&prober, "/readyz").await.0, 200);
        assert_eq!(ask(&prober, "/gate").await.0, 429, "quotas hold for all else");
    });
}

#[test]
fn who_probes_without_end_is_turned_away() {
    each(async |security| {
        let site = Site::run(security, builder(HealthChecks::new())).await;
        raw(&site, |mut socket| {
            loop {
                socket.send("GET /livez HTTP/1.1\r\nhost: a\r\n\r\n".repeat(10));
                let answers: Vec<_> = (0..10).map(|_| socket.answer().unwrap()).collect();
                let limited = answers.iter().find(|answer| answer.status() == 429);
                if let Some(limited) = limited {
                    assert!(limited.field("retry-after").is_some());
                    break;
                }
            }
            // It is no end of the connection, and no business of other requests.
            socket.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            assert_eq!(socket.answer().unwrap().status(), 200);
        })
        .await;
    });
}

#[test]
fn a_server_whose_certificate_has_ended_is_not_ready() {
    run(async {
        for (validity, status, found) in [
            (Validity::Week, 200, r#"{"name":"certificate","status":"pass"}"#),
            (
                Validity::Expired,
                503,
                r#"{"name":"certificate","status":"fail","reason":"expired"}"#,
            ),
        ] {
            let identity = pki().authority.server_valid(&["127.0.0.1"], validity).unwrap();
            let builder = builder(HealthChecks::new()).tls(server_tls(&identity));
            let site = Site::bound(Security::Mutual, builder).await;
            let (ready, text) = ask(&operator(&site), "/readyz?verbose").await;
            assert!(ready == status && text.contains(found), "{ready} {text}");
            assert_eq!(ask(&operator(&site), "/livez").await.0, 200);
        }
    });
}

#[test]
fn a_server_that_leaves_is_not_ready() {
    each(async |security| {
        let (go, entered) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (released, inside) = (Arc::clone(&go), Arc::clone(&entered));
        let builder =
            builder(HealthChecks::new()).route(Method::GET, "/gate", move |_: Request| {
                let (released, inside) = (Arc::clone(&released), Arc::clone(&inside));
                async move {
                    inside.add_permits(1);
                    released.acquire().await.unwrap().forget();
                    "through"
                }
            });
        let site = Site::run(security, builder).await;
        let (client, operator) = (client_of(&site), operator(&site));
        assert_eq!(ask(&operator, "/readyz").await.0, 200);
        let leave = async {
            entered.acquire().await.unwrap().forget();
            let probes = async {
                site.handle.stopping().await;
                while ask(&operator, "/readyz").await.0 != 503 {
                    pause().await;
                }
                let (_, text) = ask(&operator, "/readyz?verbose").await;
                assert!(text.contains(r#""name":"drain","status":"fail""#), "{text}");
                assert_eq!(ask(&operator, "/livez").await.0, 200);
                go.add_permits(1);
            };
            join(site.stop(), probes).await
        };
        let (answer, _) = join(ask(&client, "/gate"), leave).await;
        assert_eq!(answer, (200, "through".into()));
    });
}
