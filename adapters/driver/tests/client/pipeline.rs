//! Calls that share a connection: who gets which answer, who gets none, and what a call that leaves
//! does to the others.

use std::future::pending;
use std::time::Duration;

use futures_util::future::{AbortHandle, abortable};
use sinew_core::error::{Delivery, Phase};
use sinew_core::resilience::RetryPolicy;
use sinew_driver::client::ClientBuilder;
use sinew_driver::{Error, ErrorKind, RestClientConfig};

use crate::support::calling::{Answer, Calling, calling, failed};
use crate::support::{Client, Outcome, Sim, Site};

/// One connection at most, and eight calls on it.
fn one_lane() -> Calling {
    calling(|builder| builder.pipelining(8).max_connections(1).retry(RetryPolicy::default()))
}

/// The time in which whoever is asked again is asked again.
const BACKOFF: Duration = Duration::from_secs(1);

fn get(world: &Calling, path: &str) -> Outcome<Answer> {
    world.start(world.client.get(path))
}

fn abortable_get(world: &Calling, path: &str) -> (Outcome<Answer>, AbortHandle) {
    let (call, handle) = abortable(world.client.get(path).send());
    let outcome = world.sim.start(async move {
        match call.await {
            Ok(answer) => answer,
            Err(_aborted) => pending().await,
        }
    });
    world.sim.run();
    (outcome, handle)
}

/// The paths of the requests that came.
fn asked(server: &Client) -> Vec<String> {
    let received = server.received();
    let heads = received.split_terminator("\r\n\r\n");
    heads.map(|head| head.split(' ').nth(1).unwrap().to_owned()).collect()
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn answer(world: &Calling, server: &Client, answers: &[String]) {
    server.send(answers.concat());
    world.sim.run();
}

fn text(world: &Calling, outcome: &Outcome<Answer>) -> Result<String, Error> {
    let response = outcome.take().expect("no answer")?;
    world.sim.block_on(response.text())
}

/// A lane whose window is open by `places`, with one call on it: `/0`, not answered.
fn open(places: usize) -> (Calling, Client, Outcome<Answer>) {
    open_of(one_lane(), places)
}

fn open_of(world: Calling, places: usize) -> (Calling, Client, Outcome<Answer>) {
    let first = get(&world, "/first");
    let server = world.sim.accepted();
    asked(&server);
    answer(&world, &server, &[ok("")]);
    text(&world, &first).unwrap();
    loop {
        let calls: Vec<_> = (0..8).map(|_| get(&world, "/again")).collect();
        let mut most = 0;
        loop {
            let came = asked(&server).len();
            most = most.max(came);
            if came == 0 {
                break;
            }
            answer(&world, &server, &vec![ok(""); came]);
        }
        for call in calls {
            text(&world, &call).unwrap();
        }
        if most >= places {
            break;
        }
    }
    let call = get(&world, "/0");
    assert_eq!(asked(&server), ["/0"]);
    (world, server, call)
}

#[test]
fn by_default_nobody_shares() {
    let world = calling(|builder| builder);
    let _calls = [get(&world, "/a"), get(&world, "/b")];
    assert_eq!(world.sim.dials().len(), 2);
}

#[test]
fn a_connection_is_shared_once_it_has_answered() {
    let world = one_lane();
    let calls: Vec<_> = (0..3).map(|n| get(&world, &format!("/{n}"))).collect();
    let server = world.sim.accepted();
    assert_eq!(asked(&server), ["/0"], "nobody follows before the first answer");
    answer(&world, &server, &[ok("a")]);
    assert_eq!(asked(&server), ["/1", "/2"]);
    answer(&world, &server, &[ok("b"), ok("c")]);
    for (call, body) in calls.iter().zip(["a", "b", "c"]) {
        assert_eq!(text(&world, call).unwrap(), body);
    }
    assert_eq!((world.counts(), world.sim.dials().len()), ((1, 1), 1));
}

#[test]
fn without_room_on_a_lane_another_connection_is_opened() {
    let world = calling(|builder| builder.pipelining(8).max_connections(2));
    let calls = [get(&world, "/a"), get(&world, "/b")];
    let servers = [world.sim.accepted(), world.sim.accepted()];
    for server in &servers {
        answer(&world, server, &[ok("x")]);
    }
    for call in &calls {
        assert_eq!(text(&world, call).unwrap(), "x");
    }
    assert_eq!(world.counts(), (2, 2));
}

#[test]
fn what_is_sent_together_is_written_together() {
    let (world, server, _first) = open(4);
    let before = server.writes();
    let calls: Vec<_> = (0..3).map(|_| world.sim.start(world.client.get("/x").send())).collect();
    world.sim.run();
    assert_eq!(asked(&server).len(), calls.len());
    assert!(server.writes() - before <= calls.len());
}

#[test]
fn an_answer_that_is_not_read_yet_does_not_hold_up_those_behind_it() {
    let (world, server, first) = open(2);
    let second = get(&world, "/1");
    answer(&world, &server, &[ok("one"), ok("two")]);
    let unread = first.take().unwrap().unwrap();
    assert_eq!(text(&world, &second).unwrap(), "two");
    assert_eq!(world.bytes(unread).unwrap(), b"one");
    assert_eq!(world.counts(), (1, 1));
}

#[test]
fn an_answer_that_is_not_read_is_not_kept_without_bound() {
    let (world, server, first) = open(2);
    let second = get(&world, "/1");
    let big = "x".repeat(1 << 20);
    answer(&world, &server, &[ok(&big), ok("two")]);
    let unread = first.take().unwrap().unwrap();
    assert!(second.take().is_none());
    assert!(server.unread() > 700_000, "{} bytes are still on the way", server.unread());
    assert_eq!(world.bytes(unread).unwrap().len(), 1 << 20);
    assert_eq!(text(&world, &second).unwrap(), "two");
}

#[test]
fn hints_between_answers_are_nobodys_answer() {
    let (world, server, first) = open(2);
    let second = get(&world, "/1");
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".to_owned();
    answer(&world, &server, &[hint.clone(), ok("one"), hint.clone(), hint, ok("two")]);
    assert_eq!(text(&world, &first).unwrap(), "one");
    assert_eq!(text(&world, &second).unwrap(), "two");
}

#[test]
fn a_call_that_leaves_takes_nobody_with_it() {
    for leaves in [0, 1, 2] {
        let (world, server, first) = open(4);
        drop(first);
        let calls: Vec<_> = (1..4).map(|n| abortable_get(&world, &format!("/{n}"))).collect();
        assert_eq!(asked(&server).len(), 3);
        calls[leaves].1.abort();
        world.sim.run();
        let answers: Vec<_> = (0..4).map(|n| ok(&n.to_string())).collect();
        answer(&world, &server, &answers);
        for (n, (call, _)) in calls.iter().enumerate().filter(|(n, _)| *n != leaves) {
            assert_eq!(text(&world, call).unwrap(), (n + 1).to_string());
        }
        assert!(!server.is_closed());
        assert_eq!((world.counts(), world.sim.dials().len()), ((1, 1), 1));
    }
}

#[test]
fn a_call_that_leaves_in_the_middle_of_its_answer_takes_nobody_with_it() {
    let (world, server, first) = open(2);
    let second = get(&world, "/1");
    let (one, rest) = ("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc", "def");
    answer(&world, &server, &[one.to_owned()]);
    drop(first.take().unwrap().unwrap());
    answer(&world, &server, &[rest.to_owned(), ok("two")]);
    assert_eq!(text(&world, &second).unwrap(), "two");
    assert_eq!(world.counts(), (1, 1));
}

#[test]
fn when_all_have_left_the_connection_is_closed() {
    let (world, server, _) = open(3);
    let calls: Vec<_> = (1..3).map(|n| abortable_get(&world, &format!("/{n}"))).collect();
    drop(calls.iter().map(|(_, handle)| handle.abort()).collect::<Vec<_>>());
    world.sim.run();
    // The first call still waits: it is given up by its time.
    assert!(!server.is_closed());
    world.sim.advance(Duration::from_secs(30));
    assert!(server.is_closed());
    assert_eq!(world.counts(), (0, 0));
}

#[test]
fn answers_dropped_unread_keep_the_connection_if_they_are_here() {
    let (world, server, first) = open(2);
    let second = get(&world, "/1");
    answer(&world, &server, &[ok("one"), ok("two")]);
    drop((first.take().unwrap().unwrap(), second.take().unwrap().unwrap()));
    assert_eq!(world.counts(), (1, 1));
}

#[test]
fn an_answer_that_nobody_wants_is_not_read_for_ever() {
    let (world, server, first) = open(2);
    let second = get(&world, "/1");
    answer(&world, &server, &["HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n".to_owned()]);
    drop(first.take().unwrap().unwrap());
    answer(&world, &server, &["x".repeat(70_000)]);
    assert!(server.is_closed());
    world.sim.advance(BACKOFF);
    let again = world.sim.accepted();
    assert_eq!(asked(&again), ["/1"], "who waited behind it is asked again");
    answer(&world, &again, &[ok("two")]);
    assert_eq!(text(&world, &second).unwrap(), "two");
    assert_eq!(world.counts(), (1, 1));
}

/// How a call comes to its end.
type End = fn(&Client);

#[test]
fn what_a_closing_server_left_unanswered_is_asked_again() {
    let closing = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n/0";
    let ends: [(&str, End); 3] = [(closing, |_| {}), ("", Client::shut), ("", Client::reset)];
    for (last, end) in ends {
        let (world, server, first) = open(3);
        let calls = [first, get(&world, "/1"), get(&world, "/2")];
        server.send(last);
        end(&server);
        world.sim.run();
        assert!(server.is_closed());
        world.sim.advance(BACKOFF);
        let server = world.sim.accepted();
        let mut next = asked(&server);
        assert_eq!(next.len(), 1, "nothing is pipelined before an answer");
        while !next.is_empty() {
            answer(&world, &server, &next.iter().map(|path| ok(path)).collect::<Vec<_>>());
            next = asked(&server);
        }
        for (call, path) in calls.iter().zip(["/0", "/1", "/2"]) {
            assert_eq!(text(&world, call).unwrap(), path);
        }
    }
}

#[test]
fn who_is_late_says_how_far_it_got_and_takes_nobody_with_it() {
    let (world, server, first) = open(3);
    let soon = world.start(world.client.get("/1").timeout(Duration::from_secs(1)));
    let last = get(&world, "/2");
    world.sim.advance(Duration::from_secs(2));
    let error = failed(&soon);
    assert_eq!(*error.kind(), ErrorKind::Deadline);
    assert_eq!((error.phase(), error.delivery()), (Phase::ResponseHead, Delivery::MaybeProcessed));
    answer(&world, &server, &[ok("0"), ok("1"), ok("2")]);
    assert_eq!(text(&world, &first).unwrap(), "0");
    assert_eq!(text(&world, &last).unwrap(), "2");
    assert_eq!(world.counts(), (1, 1));
}

#[test]
fn what_never_left_is_not_sent() {
    let (world, server, _first) = open(2);
    server.window(0);
    let late = world.start(world.client.get("/1").timeout(Duration::from_secs(1)));
    world.sim.advance(Duration::from_secs(2));
    assert_eq!(failed(&late).delivery(), Delivery::NotSent);
}

#[test]
fn calls_that_share_nothing_get_their_turn() {
    let (world, server, first) = open(4);
    let post = world.start(world.client.post("/post").body("x"));
    assert!(server.received().is_empty(), "a body goes alone");
    let second = get(&world, "/1");
    assert!(server.received().is_empty(), "nobody overtakes it");
    answer(&world, &server, &[ok("0")]);
    assert!(server.received().starts_with("POST /post"));
    answer(&world, &server, &[ok("posted")]);
    assert_eq!(text(&world, &post).unwrap(), "posted");
    assert_eq!(asked(&server), ["/1"]);
    answer(&world, &server, &[ok("1")]);
    for (call, body) in [(first, "0"), (second, "1")] {
        assert_eq!(text(&world, &call).unwrap(), body);
    }
    assert_eq!(world.counts(), (1, 1));
}

/// Two calls were handed the connection, and neither looked yet when the server closed it.
#[test]
fn a_connection_that_is_dead_when_several_get_on_is_tried_once_by_each() {
    for end in [Client::shut, Client::reset] {
        let (world, server, first) = open(4);
        let post = world.start(world.client.post("/post").body("x"));
        let calls = [get(&world, "/1"), get(&world, "/2")];
        answer(&world, &server, &[ok("0")]);
        assert!(server.received().starts_with("POST /post"));
        server.send(ok(""));
        let posted = loop {
            assert!(world.sim.run_once(), "it is not answered");
            if let Some(posted) = post.take() {
                break posted;
            }
        };
        posted.unwrap();
        end(&server);
        world.sim.run();
        assert!(server.is_closed() && asked(&server).is_empty());
        // Nothing was sent: it is no attempt, and nobody waits before the next.
        let again = world.sim.accepted();
        for (call, path) in calls.iter().zip(["/1", "/2"]) {
            assert_eq!(asked(&again), [path]);
            answer(&world, &again, &[ok(path)]);
            assert_eq!(text(&world, call).unwrap(), path);
        }
        assert_eq!(text(&world, &first).unwrap(), "0");
        assert_eq!((world.counts(), world.sim.dials().len()), ((1, 1), 2));
    }
}

#[test]
fn room_is_taken_in_the_order_in_which_calls_came() {
    let (world, server, _first) = open(2);
    let calls: Vec<_> = (1..9).map(|n| get(&world, &format!("/{n}"))).collect();
    let mut came = asked(&server);
    assert!(came.len() < calls.len());
    while came.len() < calls.len() {
        answer(&world, &server, &[ok("")]);
        let next = asked(&server);
        assert!(!next.is_empty(), "room was left untaken behind {came:?}");
        came.extend(next);
    }
    assert_eq!(came, (1..9).map(|n| format!("/{n}")).collect::<Vec<_>>());
}

#[test]
fn nobody_overtakes_those_who_wait() {
    let (world, server, _first) = open(2);
    let mut calls = vec![get(&world, "/sent")];
    while !asked(&server).is_empty() {
        calls.push(get(&world, "/waits"));
    }
    // It comes when there is room, and who waits for that was told, but has not looked yet.
    server.send(ok(""));
    let _late = world.sim.start(world.client.get("/late").send());
    world.sim.run();
    assert_eq!(asked(&server)[0], "/waits");
}

#[test]
fn what_one_call_reads_for_another_wakes_it() {
    let (world, server, first) = open(4);
    let second = get(&world, "/1");
    asked(&server);
    server.slip(ok("0"));
    let third = get(&world, "/2");
    assert_eq!(text(&world, &first).unwrap(), "0");
    server.slip("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\n1");
    let fourth = get(&world, "/3");
    assert_eq!(text(&world, &second).unwrap(), "1");
    assert!(server.is_closed());
    world.sim.advance(BACKOFF);
    let again = world.sim.accepted();
    for _ in 0..2 {
        let next = asked(&again);
        assert_eq!(next.len(), 1);
        answer(&world, &again, &[ok(&next[0])]);
    }
    assert_eq!(text(&world, &third).unwrap(), "/2");
    assert_eq!(text(&world, &fourth).unwrap(), "/3");
}

#[test]
fn a_full_mailbox_that_is_thrown_away_lets_the_others_go_on() {
    let (world, server, first) = open(2);
    let second = get(&world, "/1");
    answer(&world, &server, &[ok(&"x".repeat(100_000)), ok("two")]);
    let unread = first.take().unwrap().unwrap();
    assert!(second.take().is_none());
    drop(unread);
    world.sim.run();
    assert_eq!(text(&world, &second).unwrap(), "two");
    assert_eq!(world.counts(), (1, 1));
}

#[test]
fn an_answer_that_is_kept_unread_does_not_keep_a_connection_that_nobody_waits_for() {
    let (world, server, first) = open(2);
    let (second, handle) = abortable_get(&world, "/1");
    answer(&world, &server, &[ok("one")]);
    handle.abort();
    world.sim.run();
    assert!(server.is_closed());
    assert_eq!(world.counts(), (0, 0));
    assert_eq!(text(&world, &first).unwrap(), "one");
    drop(second);
}

#[test]
fn a_call_that_leaves_http_shares_nothing() {
    let world = one_lane();
    let call = world.start(world.client.get("/").upgrade("chat"));
    let server = world.sim.accepted();
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";
    answer(&world, &server, &[switch.to_owned()]);
    assert!(call.take().unwrap().unwrap().upgrade().is_ok());
}

#[test]
fn when_asking_again_fails_the_first_attempt_is_not_forgotten() {
    let (world, server, _first) = open(2);
    let second = get(&world, "/1");
    assert_eq!(asked(&server), ["/1"]);
    world.sim.site("192.0.2.1:80", Site::Refusing);
    answer(&world, &server, &["HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".into()]);
    world.sim.advance(BACKOFF);
    let error = failed(&second);
    assert!(matches!(error.kind(), ErrorKind::Connect(_)));
    assert_eq!(error.delivery(), Delivery::MaybeProcessed);
}

#[test]
fn what_had_not_left_when_the_server_closed_is_said_not_to_be_sent() {
    let (world, server, _first) = open(3);
    server.window(0);
    let calls = [get(&world, "/1"), get(&world, "/2")];
    world.sim.site("192.0.2.1:80", Site::Refusing);
    answer(&world, &server, &["HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".into()]);
    world.sim.advance(BACKOFF);
    for call in &calls {
        assert_eq!(failed(call).delivery(), Delivery::NotSent);
    }
}

#[test]
fn what_was_not_sent_goes_wherever_there_is_room() {
    let (world, server, first) = open(3);
    server.window(0);
    let calls = [get(&world, "/1"), get(&world, "/2")];
    answer(&world, &server, &["HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".into()]);
    first.take().unwrap().unwrap();
    let again = world.sim.accepted();
    for _ in 0..2 {
        let next = asked(&again);
        answer(&world, &again, &[ok(&next[0])]);
    }
    for (call, path) in calls.iter().zip(["/1", "/2"]) {
        assert_eq!(text(&world, call).unwrap(), path);
    }
    assert_eq!(world.sim.dials().len(), 2);
}

#[test]
fn each_answer_has_its_own_time_between_two_pieces() {
    let (world, server, first) = open(3);
    let patient = world.start(world.client.get("/1").between_bytes(None));
    let hasty = world.start(world.client.get("/2").between_bytes(Some(Duration::from_secs(1))));
    let begun = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n";
    answer(&world, &server, &[ok("0"), begun.to_owned()]);
    world.sim.advance(Duration::from_secs(20));
    answer(&world, &server, &["ab".to_owned(), begun.to_owned()]);
    assert_eq!(text(&world, &first).unwrap(), "0");
    assert_eq!(text(&world, &patient).unwrap(), "ab");
    world.sim.advance(Duration::from_secs(2));
    let late = text(&world, &hasty).unwrap_err();
    assert!(late.is_timeout() && matches!(late.kind(), ErrorKind::Protocol(_)), "{late:?}");
}

#[test]
fn more_answers_than_questions_end_the_connection() {
    let (world, server, first) = open(2);
    let second = get(&world, "/1");
    answer(&world, &server, &[ok("0"), ok("1"), ok("2")]);
    assert_eq!(text(&world, &first).unwrap(), "0");
    assert_eq!(text(&world, &second).unwrap(), "1");
    assert!(server.is_closed());
    assert_eq!(world.counts(), (0, 0));
}

#[test]
fn who_broke_the_protocol_is_told_to_whose_answer_it_was_and_the_rest_is_asked_again() {
    let world = calling(|builder| {
        // The first call may be tried once only: else its answer would be asked for again, too.
        builder.pipelining(8).max_connections(1)
    });
    let (world, server, first) = open_of(world, 2);
    let call = world.client.get("/1").retry(RetryPolicy::default());
    let second = world.start(call);
    answer(&world, &server, &["HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n".to_owned()]);
    assert!(matches!(failed(&first).kind(), ErrorKind::Protocol(_)));
    world.sim.advance(BACKOFF);
    let again = world.sim.accepted();
    assert_eq!(asked(&again), ["/1"]);
    answer(&world, &again, &[ok("1")]);
    assert_eq!(text(&world, &second).unwrap(), "1");
}

#[test]
fn a_connection_in_constant_use_grows_old() {
    let mut config = RestClientConfig::new("http://192.0.2.1:80");
    config.max_age = Duration::from_secs(10);
    let world = calling(|builder| {
        builder.config(config).allow_plaintext().pipelining(8).max_connections(1)
    });
    let (world, server, first) = open_of(world, 2);
    world.sim.advance(Duration::from_secs(11));
    let second = get(&world, "/1");
    answer(&world, &server, &[ok("0")]);
    let third = get(&world, "/2");
    assert_eq!(asked(&server), ["/1"], "nobody gets on any more");
    answer(&world, &server, &[ok("1")]);
    assert!(server.is_closed());
    let next = world.sim.accepted();
    assert_eq!(asked(&next), ["/2"]);
    answer(&world, &next, &[ok("2")]);
    for (call, body) in [(first, "0"), (second, "1"), (third, "2")] {
        assert_eq!(text(&world, &call).unwrap(), body);
    }
}

/// A generator of numbers that repeats.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Calls come, leave, are answered and lose their connections at random: nobody gets an answer that
/// is not its own, nobody waits for ever, and nothing is left.
#[test]
fn whatever_happens_each_call_ends_once_and_nothing_is_left() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let connections = 1 + dice.roll(3) as usize;
        let build = |builder: ClientBuilder<Sim>| {
            builder.pipelining(8).max_connections(connections).timeout(Duration::from_secs(5))
        };
        let world = calling(build);
        let mut servers: Vec<(Client, Vec<String>)> = Vec::new();
        let mut calls = Vec::new();
        for n in 0..60 {
            match dice.roll(10) {
                0..4 => {
                    let path = format!("/{n}");
                    let (call, handle) = abortable_get(&world, &path);
                    calls.push((path, call, handle));
                }
                4 if !calls.is_empty() => {
                    let at = dice.roll(calls.len() as u64) as usize;
                    let (_, _, handle) = calls.swap_remove(at);
                    handle.abort();
                }
                5 => world.sim.advance(Duration::from_millis(dice.roll(1500))),
                _ => {}
            }
            world.sim.run();
            while let Some(server) = world.sim.try_accepted() {
                servers.push((server, Vec::new()));
            }
            for (server, due) in &mut servers {
                if server.is_closed() {
                    continue;
                }
                due.extend(asked(server));
                let some = dice.roll(due.len() as u64 + 1) as usize;
                for path in due.drain(..some) {
                    let text = ok(&path);
                    let cut = dice.roll(text.len() as u64) as usize;
                    server.send(&text[..cut]);
                    world.sim.run();
                    server.send(&text[cut..]);
                }
                match dice.roll(40) {
                    0 => server.shut(),
                    1 => server.reset(),
                    _ => {}
                }
            }
            world.sim.run();
        }
        world.sim.advance(Duration::from_secs(60));
        for (path, call, _) in calls {
            let ended = call.take().unwrap_or_else(|| panic!("seed {seed}: {path} waits for ever"));
            if let Ok(response) = ended
                && let Ok(body) = world.sim.block_on(response.text())
            {
                assert_eq!(body, path, "seed {seed}");
            }
        }
        world.sim.run();
        let (open, idle) = world.counts();
        assert_eq!(open, idle, "seed {seed}: a connection is held by nobody");
    }
}
