//! What an application puts around the calls of a client.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode};
use sinew_core::error::{Delivery, Phase};
use sinew_core::policy::Mode;
use sinew_core::resilience::{HedgeConfig, RetryPolicy};
use sinew_driver::{
    Answering, AttemptEnd, AttemptOutcome, ClientResponse, Error, ErrorKind, Middleware, Next,
    Request, Response,
};

use super::run;
use super::site::{PATIENCE, Security, Site};
use crate::rt;

type Told = Arc<Mutex<Vec<String>>>;

/// Writes down what it sees, under its name.
struct Diary(&'static str, Told);

impl Diary {
    fn note(&self, line: String) {
        self.1.lock().unwrap().push(format!("{} {line}", self.0));
    }
}

impl Middleware for Diary {
    fn handle<'a>(&'a self, mut next: Next<'a>) -> Answering<'a> {
        Box::pin(async move {
            self.note(format!("{} {}", next.method(), next.target()));
            let seen = next.headers().get("x-way").cloned();
            let way = seen.map_or_else(String::new, |way| way.to_str().unwrap().to_owned());
            let way = HeaderValue::try_from(format!("{way}{}", self.0)).unwrap();
            next.headers_mut().insert("x-way", way);
            let answer = next.run().await;
            match &answer {
                Ok(answer) => self.note(format!("{}/{}", answer.status(), answer.attempts())),
                Err(error) => self.note(error.to_string()),
            }
            answer
        })
    }

    fn on_attempt(&self, attempt: &AttemptEnd<'_>) {
        assert!(attempt.headers.contains_key("x-way"));
        let AttemptEnd { method, target, attempt, outcome, .. } = attempt;
        let outcome = match outcome {
            AttemptOutcome::Answered(status) => status.as_str().to_owned(),
            AttemptOutcome::Failed(error) => error.to_string(),
            other => format!("{other:?}"),
        };
        self.note(format!("{method} {target} #{attempt}: {outcome}"));
    }
}

/// Answers and refuses by itself.
struct Door;

impl Middleware for Door {
    fn handle<'a>(&'a self, next: Next<'a>) -> Answering<'a> {
        Box::pin(async move {
            match next.target() {
                "/cached" => {
                    let answer = http::Response::builder().status(203).header("x-from", "cache");
                    ClientResponse::try_from(answer.body("from the cache").unwrap())
                }
                "/forbidden" => {
                    let why = ErrorKind::Config("not this one".into());
                    Err(Error::new(why, Phase::Idle, Delivery::NotSent))
                }
                _ => next.run().await,
            }
        })
    }
}

/// Fails twice, then says what it was asked.
async fn site() -> Site {
    let asked = Arc::new(Mutex::new(0));
    let answer = move |request: Request| {
        let mut asked = asked.lock().unwrap();
        *asked += 1;
        let way = request.header_str("x-way").unwrap_or_default().to_owned();
        std::future::ready(match *asked {
            1 | 2 => Response::new(StatusCode::SERVICE_UNAVAILABLE),
            _ => Response::ok(way),
        })
    };
    let builder = rt::RestServer::builder().route(Method::GET, "/way", answer);
    Site::run(Security::Plain, builder.listen("127.0.0.1:0")).await
}

fn builder_of(site: &Site) -> rt::ClientBuilder {
    rt::RestClient::builder(site.url()).allow_plaintext().connect_timeout(PATIENCE)
}

#[test]
fn layers_see_calls_and_attempts_in_their_order() {
    run(async {
        let (site, told) = (site().await, Told::default());
        let builder = builder_of(&site).middleware(Diary("outer", Arc::clone(&told)));
        let client = builder.middleware(Diary("inner", Arc::clone(&told))).build().unwrap();
        let answer = client.get("/way?a=1").send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "outerinner");
        let lines = std::mem::take(&mut *told.lock().unwrap());
        let mut expected = vec!["outer GET /way?a=1".to_owned(), "inner GET /way?a=1".to_owned()];
        for (attempt, status) in [(1, 503), (2, 503), (3, 200)] {
            for layer in ["outer", "inner"] {
                expected.push(format!("{layer} GET /way?a=1 #{attempt}: {status}"));
            }
        }
        expected.extend(["inner 200 OK/3".to_owned(), "outer 200 OK/3".to_owned()]);
        assert_eq!(lines, expected);
    });
}

#[test]
fn a_layer_answers_and_refuses_by_itself() {
    run(async {
        let (site, told) = (site().await, Told::default());
        let builder = builder_of(&site).middleware(Diary("outer", Arc::clone(&told)));
        let client = builder.middleware(Door).build().unwrap();
        let answer = client.get("/cached").send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.attempts()), (203, 0));
        assert_eq!(answer.header("x-from").unwrap(), "cache");
        assert_eq!(answer.headers().len(), 1);
        assert_eq!(answer.text().await.unwrap(), "from the cache");
        let error = client.get("/forbidden").send().await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Config("not this one".into()));
        assert_eq!(client.connections(), 0, "nobody was asked");
        let lines = std::mem::take(&mut *told.lock().unwrap());
        assert_eq!(
            lines[1..],
            [
                "outer 203 Non Authoritative Information/0",
                "outer GET /forbidden",
                "outer not this one"
            ]
        );
    });
}

#[test]
fn fields_of_a_layer_count_like_those_of_a_call() {
    struct Puts(&'static str, &'static str);
    impl Middleware for Puts {
        fn handle<'a>(&'a self, mut next: Next<'a>) -> Answering<'a> {
            next.headers_mut().insert(self.0, HeaderValue::from_static(self.1));
            next.run()
        }
    }
    run(async {
        // No token goes in the clear, whoever puts it there.
        let site = site().await;
        let client = builder_of(&site).middleware(Puts("authorization", "Bearer t")).build();
        let error = client.unwrap().get("/way").send().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Config(_)), "{error:?}");
        // The machine writes this one.
        let client = builder_of(&site).middleware(Puts("content-length", "7")).build();
        let error = client.unwrap().get("/way").send().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Config(_)), "{error:?}");
        // What may be repeated with this field is repeated.
        let once = rt::RestServer::builder().route(Method::POST, "/", async |request: Request| {
            match request.header_str("sinew-attempt") {
                None => Response::new(StatusCode::BAD_GATEWAY),
                Some(_) => Response::ok(""),
            }
        });
        let site = Site::run(Security::Plain, once.listen("127.0.0.1:0")).await;
        let client = builder_of(&site).middleware(Puts("idempotency-key", "\"k\"")).build();
        let answer = client.unwrap().post("/").send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.attempts()), (200, 2));
    });
}

#[test]
fn a_layer_that_waits_for_ever_ends_with_the_time_of_the_call() {
    struct Waits;
    impl Middleware for Waits {
        fn handle<'a>(&'a self, _: Next<'a>) -> Answering<'a> {
            Box::pin(std::future::pending())
        }
    }
    run(async {
        let site = site().await;
        let client = builder_of(&site).middleware(Waits).build().unwrap();
        let call = client.get("/way").timeout(Duration::from_millis(50));
        let error = call.send().await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Deadline);
        assert_eq!(error.to_string(), "deadline exceeded in a layer of the client");
        assert_eq!((error.phase(), error.delivery()), (Phase::Idle, Delivery::NotSent));
    });
}

#[test]
fn attempts_that_fail_and_attempts_that_are_overtaken() {
    run(async {
        let told = Told::default();
        // The first attempt is never answered; the one that is made beside it is.
        let answer = async |request: Request| {
            if request.header_str("sinew-attempt").is_none() {
                request.gone().await;
            }
            StatusCode::NO_CONTENT
        };
        let builder = rt::RestServer::builder().route(Method::GET, "/", answer);
        let site = Site::run(Security::Plain, builder.listen("127.0.0.1:0")).await;
        let hedge = HedgeConfig { minimum_samples: 1, percent: 50, ..HedgeConfig::default() };
        let hedge = HedgeConfig { mode: Mode::Enforce, ..hedge };
        let builder = builder_of(&site).hedge(hedge).middleware(Diary("", Arc::clone(&told)));
        let client = builder.build().unwrap();
        // Their share of hedges is for the call behind them.
        for _ in 0..4 {
            let known = client.get("/known").hedge(false);
            assert_eq!(known.send().await.unwrap().status(), 404);
        }
        told.lock().unwrap().clear();
        assert_eq!(client.get("/").send().await.unwrap().status(), 204);
        let lines = std::mem::take(&mut *told.lock().unwrap());
        let of_both = [" GET / #2: 204", " GET / #1: Overtaken"];
        assert_eq!(lines, [" GET /", of_both[0], of_both[1], " 204 No Content/2"]);

        let once = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || drop(listener.accept()));
        let builder = rt::RestClient::builder(url).allow_plaintext().connect_timeout(PATIENCE);
        let builder = builder.retry(once).middleware(Diary("", Arc::clone(&told)));
        let error = builder.build().unwrap().get("/").send().await.unwrap_err();
        let lines = std::mem::take(&mut *told.lock().unwrap());
        assert_eq!(
            lines,
            [" GET /".to_owned(), format!(" GET / #1: {error}"), format!(" {error}")]
        );
    });
}
