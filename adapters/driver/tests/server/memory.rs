//! The server in memory: who waits for room among the bytes of all.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::Method;
use sinew_core::limit::{Account, LedgerConfig, Stage};
use sinew_core::observe::Event;
use sinew_driver::{Body, BoxError, Notice, Request, Response};

use crate::support::Client;
use crate::support::running::{Running, get, seconds, serve};

const CAP: u64 = 1 << 20;

/// Answers of so many bytes, whole; and of one piece that long, with another one to come.
fn server(whole: u64, pieces: [u64; 2]) -> Running {
    let bytes = |len: u64| Bytes::from(vec![b'x'; usize::try_from(len).unwrap()]);
    serve(move |builder, _| {
        let pieces = pieces.map(|len| {
            move |_: Request| async move {
                let first = stream::iter([Ok::<_, BoxError>(bytes(len))]);
                Response::ok(Body::stream(first.chain(stream::pending())))
            }
        });
        let [large, small] = pieces;
        let stages = [97, 100, 100, 100, 100, 100];
        builder
            .memory(LedgerConfig { cap: CAP, stages, ..LedgerConfig::default() })
            .route(Method::GET, "/whole", move |_: Request| async move { bytes(whole) })
            .route(Method::GET, "/step", async |_: Request| "a step")
            .route(Method::GET, "/large", large)
            .route(Method::GET, "/small", small)
    })
}

/// Room for one step comes free, and the first who waits needs more: the next one has it.
#[test]
fn what_is_too_little_for_one_goes_to_the_next() {
    let step = Account::STEP;
    // The head of an answer has room in the last step, or takes one before the first piece.
    let server = server(CAP - 5 * step - step / 2, [8 * step, 2 * step + step / 2]);
    let clients: Vec<Client> = (0..4).map(|_| server.sim.connect()).collect();
    let used = || server.handle.memory().used;
    let asked =
        [("/whole", CAP - 5 * step), ("/step", step), ("/large", 2 * step), ("/small", 2 * step)];
    for (client, (path, held)) in clients.iter().zip(asked) {
        client.window(0);
        let before = used();
        client.send(get(path));
        server.sim.run();
        assert_eq!(used(), before + held, "{path}");
    }
    clients[1].reset();
    server.sim.run();
    assert_eq!(used(), CAP, "it is taken");
}

/// At the stage that lets nobody in, who takes nothing makes room after a tenth of the time that it has
/// on other days; who holds most of it goes first, and once somebody is let in again, nobody goes.
#[test]
fn who_takes_nothing_makes_room_for_newcomers() {
    let bytes = |len: usize| Bytes::from(vec![b'x'; len]);
    let large = usize::try_from(CAP / 100 * 72).unwrap();
    let server = serve(move |builder, _| {
        builder
            .memory(LedgerConfig { cap: CAP, ..LedgerConfig::default() })
            .route(Method::GET, "/large", move |_: Request| async move { bytes(large) })
            .route(Method::GET, "/small", move |_: Request| async move { bytes(70_000) })
            .route(Method::GET, "/", async |_: Request| "in")
    });
    let [small, most] = ["/small", "/large"].map(|path| {
        let client = server.sim.connect();
        client.window(0);
        client.send(get(path));
        server.sim.run();
        client
    });
    assert_eq!(server.handle.memory().stage, Stage::NoConnections);
    let newcomer = server.sim.connect();
    newcomer.send(get("/"));
    server.sim.advance(Duration::from_millis(2_999));
    assert_eq!(newcomer.received(), "");
    server.sim.advance(Duration::from_millis(1));
    assert!(newcomer.received().starts_with("HTTP/1.1 200"));
    let told = || -> Vec<u64> {
        let notices = server.notices.lock().unwrap();
        let reclaimed = notices.iter().filter_map(|notice| match notice {
            Notice::Decided(Event::Reclaimed { bytes }) => Some(*bytes),
            _ => None,
        });
        reclaimed.collect()
    };
    assert_eq!(told().len(), 1);
    assert!(told()[0] > large as u64 && most.is_closed() && !small.is_closed());
    server.sim.advance(seconds(25));
    assert!(told().len() == 1 && !small.is_closed());
    small.window(usize::MAX);
    server.sim.run();
    assert!(small.received().len() > 70_000);
}
