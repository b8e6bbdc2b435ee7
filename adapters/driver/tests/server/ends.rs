//! The server in memory: what layers are told of the end of an exchange.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::Method;
use sinew_core::policy::Stage;
use sinew_core::server::{Arrival, Decision, End, Exchanges, Interest, Layer, Record};
use sinew_driver::{Body, BoxError, Response, Runtime as _};

use crate::support::running::{seconds, serve};

/// How long each exchange took.
#[derive(Clone, Default)]
struct Watch(Arc<Mutex<Vec<Duration>>>);

impl Layer for Watch {
    fn stage(&self) -> Stage {
        Stage::Application
    }

    fn interest(&self) -> Interest {
        Interest { ends: Exchanges::Every, ..Interest::HEAD }
    }

    fn on_head(&self, _: &Arrival<'_>, _: &mut Record) -> Decision {
        Decision::Continue
    }

    fn on_end(&self, record: &Record, end: &End) {
        self.0.lock().unwrap().push(end.now.saturating_since(record.arrived));
    }
}

/// The head of the answer is not the end of it.
#[test]
fn an_exchange_ends_with_the_body_of_its_answer() {
    let watch = Watch::default();
    let server = serve(|builder, sim| {
        builder.layer(watch.clone()).route(Method::GET, "/", move |_| {
            let sim = sim.clone();
            async move {
                let last = async move {
                    sim.sleep_until(sim.now() + seconds(3)).await;
                    Ok::<_, BoxError>(Bytes::from_static(b"late"))
                };
                Response::ok(Body::stream(stream::once(last)))
            }
        })
    });
    server.client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    server.sim.run();
    assert!(watch.0.lock().unwrap().is_empty());
    server.sim.advance(seconds(3));
    assert_eq!(*watch.0.lock().unwrap(), [seconds(3)]);
}
