//! The client in memory: event streams.

use sinew_core::error::{Kind, Limit};
use sinew_driver::{ErrorKind, Events};

use crate::support::calling::{Calling, OK, calling, millis};
use crate::support::{Client, Outcome};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\r\n";

type Next = Outcome<(Events, Option<Result<String, ErrorKind>>)>;

/// The next event, when it comes.
fn next(world: &Calling, mut events: Events) -> Next {
    let next = world.sim.start(async move {
        let event = events.next().await;
        let event = event.map(|event| match event {
            Ok(event) => Ok(format!("{} {} {}", event.id, event.event, event.data)),
            Err(error) => Err(error.kind().clone()),
        });
        (events, event)
    });
    world.sim.run();
    next
}

fn open(world: &Calling) -> (Client, Events) {
    let outcome = world.get();
    let server = world.sim.accepted();
    let answer = world.answer(&server, &outcome, HEAD);
    (server, answer.events().unwrap())
}

#[test]
fn events_come_as_they_are_sent_until_the_server_ends_them() {
    let world = calling(|client| client);
    let (server, events) = open(&world);
    let first = next(&world, events);
    server.send("id: 7\ndata: one\n");
    world.sim.advance(millis(60_000));
    assert!(first.take().is_none(), "the event is not whole yet");
    server.send("\nevent: two\ndata: 2\n\n: alive\n");
    world.sim.run();
    let (events, event) = first.take().unwrap();
    assert_eq!(event, Some(Ok("7 message one".into())));
    let (events, event) = next(&world, events).take().unwrap();
    assert_eq!(event, Some(Ok("7 two 2".into())));
    server.send("id: 8\nretry: 1500\ndata: lost");
    server.shut();
    let (events, event) = next(&world, events).take().unwrap();
    assert_eq!(event, None);
    assert_eq!((events.last_event_id(), events.retry()), ("7", Some(millis(1_500))));
    assert_eq!(next(&world, events).take().unwrap().1, None);
}

#[test]
fn what_is_no_event_stream_is_told_apart() {
    let world = calling(|client| client);
    let (server, answer) = world.first(OK);
    assert!(matches!(answer.events().unwrap_err().kind(), ErrorKind::Decode));
    let answer = world.next(&server, &HEAD.replace("200 OK", "404 Not Found"));
    assert!(matches!(answer.events().unwrap_err().kind(), ErrorKind::Status(_)));
}

#[test]
fn a_line_without_an_end_is_an_error_and_the_end() {
    let world = calling(|client| client);
    let (server, events) = open(&world);
    let first = next(&world, events);
    for _ in 0..9 {
        server.send("x".repeat(8 * 1024));
        world.sim.run();
    }
    let (events, event) = first.take().unwrap();
    let Some(Err(ErrorKind::Protocol(error))) = event else { panic!("{event:?}") };
    assert_eq!(error.kind, Kind::Limit(Limit::EventLine));
    assert_eq!(next(&world, events).take().unwrap().1, None);
    world.sim.run();
    assert_eq!(world.counts(), (0, 0), "nobody reads on");
}
