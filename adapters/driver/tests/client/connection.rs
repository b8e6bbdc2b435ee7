//! A connection that speaks what its machine speaks, in memory.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use sinew_core::http1::{Tunnel, TunnelConfig, TunnelEvent};
use sinew_core::outbox::Outbox;
use sinew_driver::{ConnectTo, Connection, Runtime as _};

use crate::support::Sim;

#[test]
fn a_shut_that_waits_is_not_taken_for_done_and_reading_goes_on() {
    let sim = Sim::new();
    let now = sim.now();
    let tunnel = Tunnel::new(TunnelConfig::default(), BytesMut::new(), Outbox::new(), now);
    let to = ConnectTo::tcp("192.0.2.1", 1);
    let opening = sim.clone();
    let mut connection = sim.block_on(async move {
        Connection::open(opening, &to, tunnel, Duration::from_secs(1)).await.unwrap()
    });
    let server = sim.accepted();
    server.hold_shut(true);
    connection.machine().shut(now);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hearing = Arc::clone(&heard);
    let over = sim.start(async move {
        loop {
            match poll_fn(|cx| connection.poll_event(cx)).await {
                Ok(event) => hearing.lock().unwrap().push(event),
                Err(_) => return,
            }
        }
    });
    sim.run();
    assert!(!server.is_ended());
    server.send("still heard");
    sim.run();
    assert_eq!(*heard.lock().unwrap(), [TunnelEvent::Data("still heard".into())]);
    server.hold_shut(false);
    sim.run();
    assert!(server.is_ended());
    server.shut();
    sim.run();
    assert_eq!(heard.lock().unwrap().last(), Some(&TunnelEvent::End));
    assert!(over.take().is_some());
}
