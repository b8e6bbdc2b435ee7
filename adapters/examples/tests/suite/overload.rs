//! More requests than are served at once: who waits, who is turned away, and what that leaves behind.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{join, join3};
use http::{HeaderValue, Method, StatusCode};
use sinew_core::limit::{AdmissionConfig, ConcurrencyConfig, Shed};
use sinew_core::observe::Event;
use sinew_core::policy::{Mode, Priority};
use sinew_core::security::{Identity, PeerName, Who};
use sinew_core::server::{Classes, PriorityRule};
use sinew_driver::{Call, Notice, Request, RouteOptions};
use tokio::sync::Semaphore;

use super::raw::{Raw, blocking};
use super::site::{Builder, CLIENT, PATIENCE, Security, Site, client_for, client_of, client_tls};
use super::{each, pause, run, status_of};
use crate::rt;

const HOUR: Duration = Duration::from_secs(3_600);

/// One place, and nobody is turned away for waiting long.
fn one_place(queue: usize) -> AdmissionConfig {
    let concurrency = ConcurrencyConfig { initial: 1, max: 1, ..ConcurrencyConfig::default() };
    let (target, interval, patience) = (HOUR, HOUR, HOUR);
    let retry_after = Duration::ZERO;
    let shares = AdmissionConfig::default().shares;
    AdmissionConfig { concurrency, shares, queue, target, interval, patience, retry_after }
}

/// A server whose handlers wait for somebody to let them go on.
struct Held {
    site: Site,
    go: Arc<Semaphore>,
    /// Priorities of the requests whose handlers were started, in this order.
    entered: Arc<Mutex<Vec<Priority>>>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Held {
    async fn start(security: Security, config: AdmissionConfig) -> Self {
        let (go, entered) = (Arc::new(Semaphore::new(0)), Arc::new(Mutex::new(Vec::new())));
        let events = Arc::new(Mutex::new(Vec::new()));
        let (inside, told) = (Arc::clone(&go), Arc::clone(&events));
        let noted = Arc::clone(&entered);
        let handler = move |request: Request| {
            let (go, entered) = (Arc::clone(&inside), Arc::clone(&noted));
            async move {
                entered.lock().unwrap().push(request.context().priority);
                go.acquire().await.unwrap().forget();
                "served"
            }
        };
        let of = |priority| RouteOptions::new().priority(priority);
        let builder = rt::RestServer::builder()
            .listen("127.0.0.1:0")
            .route(Method::POST, "/normal", handler.clone())
            .route_with(Method::POST, "/bulk", of(Priority::Bulk), handler.clone())
            .route_with(Method::POST, "/critical", of(Priority::Critical), handler)
            .overload(config)
            .observe(move |_, notice| {
                if let Notice::Decided(event) = notice {
                    told.lock().unwrap().push(*event);
                }
            });
        Self { site: Site::run(security, builder).await, go, entered, events }
    }

    /// A call on a connection of its own.
    fn post(&self, path: &str) -> Call<rt::Runtime> {
        client_of(&self.site).request(Method::POST, path)
    }

    async fn until_entered(&self, handlers: usize) {
        while self.entered.lock().unwrap().len() < handlers {
            pause().await;
        }
    }

    /// Waits until so many events are like this.
    async fn until(&self, count: usize, like: impl Fn(&Event) -> bool) {
        while self.events.lock().unwrap().iter().filter(|event| like(event)).count() < count {
            pause().await;
        }
    }

    async fn until_queued(&self, requests: usize) {
        self.until(requests, |event| matches!(event, Event::Queued { .. })).await;
    }
}

fn shed(wanted: Shed) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::Shed { why, .. } if *why == wanted)
}

#[test]
fn what_is_turned_away_was_not_begun_and_says_so() {
    each(async |security| {
        let held = Held::start(security, one_place(0)).await;
        let refused = async {
            held.until_entered(1).await;
            let answer = held.post("/normal").send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(answer.header("retry-after").unwrap(), "0");
            let document = answer.text().await.unwrap();
            assert!(document.contains(r#""reason":"overloaded""#), "{document}");
            held.go.add_permits(1);
        };
        let (first, ()) = join(status_of(held.post("/normal")), refused).await;
        assert_eq!(first, 200);
        assert_eq!(held.entered.lock().unwrap().len(), 1);
    });
}

/// It is a POST, and its client has no reason to think that it may be repeated but the answer.
#[test]
fn who_was_turned_away_is_sent_once_more() {
    each(async |security| {
        let held = Held::start(security, one_place(0)).await;
        let builder = rt::RestClient::builder(held.site.url()).connect_timeout(PATIENCE);
        let builder = match security {
            Security::Plain => builder.allow_plaintext(),
            Security::Mutual => builder.tls(client_tls()),
        };
        let client = builder.build().unwrap();
        let retried = async {
            held.until_entered(1).await;
            status_of(client.request(Method::POST, "/normal")).await
        };
        let release = async {
            held.until(1, shed(Shed::Full)).await;
            held.go.add_permits(2);
        };
        let (first, second, ()) = join3(status_of(held.post("/normal")), retried, release).await;
        assert_eq!((first, second), (200, 200));
        assert_eq!(held.entered.lock().unwrap().len(), 2);
    });
}

#[test]
fn who_matters_more_is_served_first() {
    each(async |security| {
        let held = Held::start(security, one_place(10)).await;
        let bulk = async {
            held.until_entered(1).await;
            status_of(held.post("/bulk")).await
        };
        let critical = async {
            held.until_queued(1).await;
            status_of(held.post("/critical")).await
        };
        let release = async {
            held.until_queued(2).await;
            held.go.add_permits(3);
        };
        let waiting = join3(bulk, critical, release);
        let (first, (bulk, critical, ())) = join(status_of(held.post("/normal")), waiting).await;
        assert_eq!((first, bulk, critical), (200, 200, 200));
        let entered = held.entered.lock().unwrap().clone();
        assert_eq!(entered, [Priority::Normal, Priority::Critical, Priority::Bulk]);
    });
}

#[test]
fn a_full_queue_turns_the_least_important_away() {
    each(async |security| {
        let held = Held::start(security, one_place(1)).await;
        let bulk = async {
            held.until_entered(1).await;
            status_of(held.post("/bulk")).await
        };
        let critical = async {
            held.until_queued(1).await;
            status_of(held.post("/critical")).await
        };
        let release = async {
            held.until(1, shed(Shed::Full)).await;
            held.go.add_permits(2);
        };
        let waiting = join3(bulk, critical, release);
        let (first, (bulk, critical, ())) = join(status_of(held.post("/normal")), waiting).await;
        assert_eq!((first, bulk, critical), (200, 503, 200));
    });
}

#[test]
fn a_client_that_leaves_frees_its_place_in_the_queue() {
    each(async |security| {
        let held = Held::start(security, one_place(1)).await;
        let address = held.site.address();
        let others = async {
            held.until_entered(1).await;
            let leaver = blocking(move || {
                let mut socket = Raw::connect(address, security);
                socket.send("POST /normal HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
                socket
            });
            let leaver = leaver.await;
            held.until_queued(1).await;
            drop(leaver);
            held.until(1, shed(Shed::Gone)).await;
            let release = async {
                held.until_queued(2).await;
                held.go.add_permits(2);
            };
            join(status_of(held.post("/normal")), release).await.0
        };
        let (first, second) = join(status_of(held.post("/normal")), others).await;
        assert_eq!((first, second), (200, 200));
        assert_eq!(held.entered.lock().unwrap().len(), 2);
    });
}

#[test]
fn nobody_waits_for_longer_than_patience() {
    each(async |security| {
        let short = Duration::from_millis(20);
        let hasty =
            AdmissionConfig { target: short, interval: short, patience: short, ..one_place(9) };
        let held = Held::start(security, hasty).await;
        let late = async {
            held.until_entered(1).await;
            let answer = status_of(held.post("/critical")).await;
            held.until(1, shed(Shed::Late)).await;
            held.go.add_permits(1);
            answer
        };
        let (first, late) = join(status_of(held.post("/normal")), late).await;
        assert_eq!((first, late), (200, 503));
        assert_eq!(held.entered.lock().unwrap().len(), 1);
    });
}

/// The place of a handler whose client went away is free again, and so is that of one that ran.
#[test]
fn a_place_is_given_back_however_its_request_ends() {
    each(async |security| {
        let held = Held::start(security, one_place(0)).await;
        let address = held.site.address();
        let reset = blocking(move || {
            let mut socket = Raw::connect(address, security);
            // A body that never comes whole: its end half-way leaves no doubt.
            socket.send("POST /normal HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf");
            socket
        });
        let socket = reset.await;
        held.until_entered(1).await;
        drop(socket);
        held.go.add_permits(8);
        while status_of(held.post("/normal")).await != 200 {
            pause().await;
        }
    });
}

#[test]
fn in_shadow_nobody_waits() {
    each(async |security| {
        let mut config = one_place(0);
        config.concurrency.mode = Mode::Shadow;
        let held = Held::start(security, config).await;
        let second = async {
            held.until_entered(1).await;
            let release = async {
                held.until_entered(2).await;
                held.go.add_permits(2);
            };
            join(status_of(held.post("/normal")), release).await.0
        };
        let (first, second) = join(status_of(held.post("/normal")), second).await;
        assert_eq!((first, second), (200, 200));
        held.until(1, |event| {
            matches!(event, Event::Shed { why: Shed::Full, mode: Mode::Shadow, .. })
        })
        .await;
    });
}

/// Says how much the request matters, and what its `Priority` field says.
fn telling(classes: Classes) -> Builder {
    let of = |priority| RouteOptions::new().priority(priority);
    let tell = async |request: Request| {
        let said = request.header_str("priority").unwrap_or("nothing");
        format!("{} {said}", request.context().priority.name())
    };
    rt::RestServer::builder()
        .listen("127.0.0.1:0")
        .route(Method::GET, "/normal", tell)
        .route_with(Method::GET, "/high", of(Priority::High), tell)
        .classes(classes)
}

#[test]
fn only_who_is_trusted_says_how_much_a_request_matters() {
    each(async |security| {
        let site = Site::run(security, telling(Classes::default())).await;
        let client = client_of(&site);
        let ask = async |path, said: Option<&'static str>| {
            let mut call = client.get(path);
            if let Some(said) = said {
                call = call.header("priority", HeaderValue::from_static(said));
            }
            let text = call.send().await.unwrap().text().await.unwrap();
            text.split(' ').next().map(ToOwned::to_owned).unwrap()
        };
        let trusted = |said: &str, route: &str| match security {
            Security::Plain => route.to_owned(),
            Security::Mutual => said.to_owned(),
        };
        assert_eq!(ask("/normal", Some("u=0")).await, trusted("critical", "normal"));
        assert_eq!(ask("/high", Some("u=5, i")).await, trusted("low", "high"));
        assert_eq!(ask("/high", Some("i")).await, "high");
        assert_eq!(ask("/high", Some("u=")).await, "high");
        assert_eq!(ask("/high", None).await, "high");
    });
}

#[test]
fn nobody_says_more_than_operators_do() {
    run(async {
        let who = Who::Named(vec![Identity::Peer(PeerName::Spiffe(CLIENT.into()))]);
        let rules = vec![PriorityRule { who, roles: Vec::new(), priority: Priority::Low }];
        let site =
            Site::run(Security::Mutual, telling(Classes { rules, ..Classes::default() })).await;
        let client = client_for(Security::Mutual, &site.url());
        for (said, wanted) in [("u=0", "low"), ("u=7", "bulk"), ("i", "low")] {
            let call = client.get("/high").header("priority", HeaderValue::from_static(said));
            let text = call.send().await.unwrap().text().await.unwrap();
            assert_eq!(text, format!("{wanted} {said}"));
        }
    });
}

#[test]
fn calls_of_a_handler_matter_as_much_as_its_request() {
    each(async |security| {
        let next = Site::run(security, telling(Classes::default())).await;
        let client = client_of(&next);
        let pass = move |request: Request| {
            let call = client.get("/normal").context(&request.context());
            async move {
                let answer = call.send().await?;
                Ok::<_, sinew_driver::Problem>(answer.text().await?)
            }
        };
        let of = |priority| RouteOptions::new().priority(priority);
        let first = rt::RestServer::builder()
            .listen("127.0.0.1:0")
            .route_with(Method::GET, "/bulk", of(Priority::Bulk), pass.clone())
            .route(Method::GET, "/normal", pass)
            .classes(Classes::default());
        let site = Site::run(security, first).await;
        let client = client_of(&site);
        let ask = async |path| client.get(path).send().await.unwrap().text().await.unwrap();
        let wanted = match security {
            Security::Plain => "normal u=7",
            Security::Mutual => "bulk u=7",
        };
        assert_eq!(ask("/bulk").await, wanted);
        assert_eq!(ask("/normal").await, "normal nothing");
    });
}
