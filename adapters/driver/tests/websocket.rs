//! WebSocket in memory: what leaves when, and what a slow, a silent or an unwelcome client costs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod support;

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use sinew_core::policy::Stage;
use sinew_core::security::{Principal, Subject};
use sinew_core::server::DrainConfig;
use sinew_core::server::drain::Ending;
use sinew_core::server::{Arrival, Decision, Layer, Record};
use sinew_driver::websocket::{HeartbeatConfig, Limits, Overflow, SocketSender, WebSocketConfig};
use sinew_driver::{
    DrainReport, Error, Message, Request, Runtime as _, Sockets, WebSocket, WebSocketOptions,
};
use support::Client;
use support::running::{Running, seconds, serve};

const OPEN: &str = "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A frame of a client, with a mask that changes nothing.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

fn close(code: u16) -> Vec<u8> {
    [&[0x88, 2][..], &code.to_be_bytes()].concat()
}

async fn echo(_: Request, mut socket: WebSocket) -> Result<(), Error> {
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

fn quiet() -> WebSocketOptions {
    WebSocketOptions::new()
        .config(WebSocketConfig { heartbeat: None, ..WebSocketConfig::default() })
}

/// A server of echoes, with a client that is through the handshake.
fn opened(options: WebSocketOptions) -> Running {
    let running = serve(|server, _| server.websocket_with("/ws", options, echo));
    switched(&running, &running.client);
    running
}

fn switched(running: &Running, client: &Client) {
    client.send(OPEN);
    running.sim.run();
    let answer = client.received();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
}

#[test]
fn the_answers_of_one_wake_up_leave_in_one_write() {
    let running = opened(quiet());
    let (sim, client) = (&running.sim, &running.client);
    let before = client.writes();
    let messages: Vec<u8> = (0..16).flat_map(|n| masked(0x81, &[b'a' + n; 20])).collect();
    client.send([&messages[..], &masked(0x89, b"ping")].concat());
    sim.run();
    assert_eq!(client.writes() - before, 1);
    let expected: Vec<u8> =
        (0..16).flat_map(|n| [&[0x81, 20][..], &[b'a' + n; 20]].concat()).collect();
    assert_eq!(client.received_bytes(), [&expected[..], b"\x8a\x04ping"].concat());
}

#[test]
fn a_silent_client_is_asked_and_given_up() {
    let beat = HeartbeatConfig { interval: seconds(30), timeout: seconds(10) };
    let config = WebSocketConfig { heartbeat: Some(beat), ..WebSocketConfig::default() };
    let running = opened(WebSocketOptions::new().config(config));
    running.sim.advance(seconds(31));
    let ping = running.client.received_bytes();
    assert_eq!(ping[..2], [0x89, 8]);
    running.client.send(masked(0x8a, &ping[2..]));
    running.sim.run();
    // The next one comes up to 20 % early.
    running.sim.advance(seconds(42));
    let told = running.client.received_bytes();
    assert_eq!((&told[..2], &told[10..]), (&[0x89, 8][..], &close(1011)[..]));
    running.sim.advance(seconds(2));
    assert!(running.client.is_closed());
    assert_eq!(running.handle.connections(), 0);
}

#[test]
fn pings_are_answered_while_the_handler_is_busy_and_the_end_is_seen() {
    let running = serve(|server, sim| {
        server.websocket_with("/ws", quiet(), move |_: Request, socket: WebSocket| {
            let sim = sim.clone();
            async move {
                // It never receives.
                while socket.closed().is_none() {
                    sim.sleep_until(sim.now() + seconds(60)).await;
                }
            }
        })
    });
    switched(&running, &running.client);
    running.client.send(masked(0x89, b"there?"));
    running.sim.run();
    assert_eq!(running.client.received_bytes(), b"\x8a\x06there?");
    running.client.send(masked(0x88, &1000_u16.to_be_bytes()));
    running.sim.run();
    assert_eq!(running.client.received_bytes(), close(1000));
    running.client.shut();
    running.sim.advance(seconds(61));
    assert!(running.client.is_closed());
}

/// Taken, dropped, and whether it ended.
type Flooded = (u32, u64, bool);

/// Sends numbered messages of 1000 bytes to a client that takes nothing; how many were taken, and
/// how many of those dropped.
fn flood(overflow: Overflow) -> (Running, Arc<Mutex<Flooded>>) {
    let told = Arc::new(Mutex::new((0, 0, false)));
    let sink = Arc::clone(&told);
    let limits = Limits { queued: 64 * 1024, ..Limits::default() };
    let config =
        WebSocketConfig { limits, overflow, heartbeat: None, ..WebSocketConfig::default() };
    let options = WebSocketOptions::new().config(config);
    let running = serve(|server, sim| {
        server.websocket_with("/ws", options, move |_: Request, socket: WebSocket| {
            let (sink, sim) = (Arc::clone(&sink), sim.clone());
            async move {
                let sender = socket.sender();
                // The client has stopped to read by then.
                sim.sleep_until(sim.now() + seconds(1)).await;
                for n in 0_u32..10_000 {
                    let mut bytes = n.to_be_bytes().to_vec();
                    bytes.resize(1000, 0);
                    let sent = sender.send(Message::binary(bytes)).await;
                    let mut told = sink.lock().unwrap();
                    *told = (told.0 + u32::from(sent.is_ok()), sender.dropped(), sent.is_err());
                    if sent.is_err() {
                        break;
                    }
                }
                drop(sender);
                let (_keep, mut receiver) = socket.split();
                let _ = receiver.ended().await;
            }
        })
    });
    switched(&running, &running.client);
    running.client.window(0);
    running.sim.advance(seconds(1));
    (running, told)
}

/// The numbers of the messages that came, and the code of the close frame behind them.
fn arrived(mut bytes: &[u8]) -> (Vec<u32>, Option<u16>) {
    let mut numbers = Vec::new();
    while let [first, length, rest @ ..] = bytes {
        let (length, rest) = match length {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            length => (usize::from(*length), rest),
        };
        if *first == 0x88 {
            return (numbers, Some(u16::from_be_bytes([rest[0], rest[1]])));
        }
        numbers.push(u32::from_be_bytes(rest[..4].try_into().unwrap()));
        bytes = &rest[length..];
    }
    (numbers, None)
}

#[test]
fn who_sends_to_a_slow_client_waits() {
    let (running, told) = flood(Overflow::Wait);
    let taken = told.lock().unwrap().0;
    assert!((60..=70).contains(&taken), "{taken} messages for 64 KiB");
    running.client.window(usize::MAX);
    running.sim.advance(seconds(1));
    running.client.shut();
    running.sim.run();
    assert_eq!(*told.lock().unwrap(), (10_000, 0, false));
    let (numbers, _) = arrived(&running.client.received_bytes());
    assert_eq!(numbers, (0..10_000).collect::<Vec<_>>());
}

#[test]
fn the_oldest_are_dropped_for_a_slow_client() {
    let (running, told) = flood(Overflow::DropOldest);
    let (taken, dropped, failed) = *told.lock().unwrap();
    assert_eq!((taken, failed), (10_000, false));
    // Twice 64 KiB are held: what was framed already, and what waits.
    assert!(dropped >= 10_000 - 140, "{dropped}");
    running.client.window(usize::MAX);
    running.sim.advance(seconds(1));
    let (numbers, _) = arrived(&running.client.received_bytes());
    assert_eq!(numbers.len() as u64, 10_000 - dropped);
    assert_eq!(numbers.last(), Some(&9_999));
}

#[test]
fn a_slow_client_is_closed() {
    let (running, told) = flood(Overflow::Close);
    let (taken, _, failed) = *told.lock().unwrap();
    assert!((60..=70).contains(&taken) && failed, "{taken}");
    running.client.window(usize::MAX);
    running.sim.advance(seconds(1));
    let (numbers, code) = arrived(&running.client.received_bytes());
    assert_eq!((numbers.len(), code), (taken as usize, Some(1013)));
}

/// Lets everybody in as the same one, with a token that expires.
struct Known {
    expires: Option<Duration>,
}

impl Layer for Known {
    fn stage(&self) -> Stage {
        Stage::Application
    }

    fn on_head(&self, _: &Arrival<'_>, record: &mut Record) -> Decision {
        record.security.principal = Some(Arc::new(Principal {
            subject: Subject::Token { issuer: "issuer".into(), subject: "someone".into() },
            roles: Box::default(),
            scopes: Box::default(),
            expires: self.expires,
        }));
        Decision::Continue
    }
}

#[test]
fn a_socket_ends_with_its_token() {
    let running = serve(|server, sim| {
        let expires = Some(sim.epoch().unix(sim.now()) + seconds(100));
        server.layer(Known { expires }).websocket_with("/ws", quiet(), echo)
    });
    switched(&running, &running.client);
    running.sim.advance(seconds(99));
    assert_eq!(running.client.received_bytes(), b"");
    running.sim.advance(seconds(2));
    let expected = [&[0x88, 15][..], &4401_u16.to_be_bytes(), b"token expired"].concat();
    assert_eq!(running.client.received_bytes(), expected);
    running.client.send(masked(0x88, &4401_u16.to_be_bytes()));
    running.client.shut();
    running.sim.run();
    assert_eq!(running.handle.connections(), 0);
}

#[test]
fn nobody_has_more_sockets_than_allowed() {
    let sockets = Sockets::new(2);
    let options = quiet().sockets(&sockets);
    let running = serve(|server, _| {
        server.layer(Known { expires: None }).websocket_with("/ws", options, echo)
    });
    let others = [running.sim.connect(), running.sim.connect()];
    switched(&running, &running.client);
    switched(&running, &others[0]);
    others[1].send(OPEN);
    running.sim.run();
    let refused = others[1].received();
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(refused.contains(r#""reason":"too_many_sockets""#), "{refused}");
    assert_eq!(sockets.len(), 2);

    let told = sockets.broadcast(Message::text("all"));
    assert_eq!((told.sent, told.skipped), (2, 0));
    running.sim.run();
    for client in [&running.client, &others[0]] {
        assert_eq!(client.received_bytes(), b"\x81\x03all");
    }
    running.client.send(masked(0x88, &1000_u16.to_be_bytes()));
    running.client.shut();
    running.sim.run();
    assert_eq!(sockets.len(), 1);
    switched(&running, &others[1]);
    assert_eq!(sockets.senders().len(), 2);
}

#[test]
fn where_none_is_allowed_nothing_is_kept_of_those_who_asked() {
    let sockets = Sockets::new(0);
    let options = quiet().sockets(&sockets);
    let running = serve(|server, _| {
        server.layer(Known { expires: None }).websocket_with("/ws", options, echo)
    });
    let refused = running.ask(OPEN);
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(format!("{sockets:?}").contains("counts: {}"), "{sockets:?}");
}

#[test]
fn who_waits_for_the_end_lets_others_have_their_turn() {
    let turns = Arc::new(Mutex::new(0));
    let count = Arc::clone(&turns);
    let running = serve(|server, _| {
        server.websocket_with("/ws", quiet(), move |_: Request, socket: WebSocket| {
            let turns = Arc::clone(&count);
            async move {
                let (_keep, mut receiver) = socket.split();
                let mut ended = pin!(receiver.ended());
                let counted = poll_fn(|cx| {
                    *turns.lock().unwrap() += 1;
                    ended.as_mut().poll(cx)
                });
                counted.await.unwrap();
            }
        })
    });
    let flood = masked(0x81, b"x").repeat(10_000);
    running.client.send([OPEN.as_bytes(), &flood, &masked(0x88, &1000_u16.to_be_bytes())].concat());
    running.sim.run();
    let received = running.client.received_bytes();
    assert!(received.ends_with(&close(1000)), "{received:?}");
    let turns = *turns.lock().unwrap();
    assert!(turns >= 50, "10,000 messages in {turns} turns");
}

/// Drains a server of so many sockets, of which each answers the close frame; when each was told.
fn drained(count: usize) -> (Vec<u64>, DrainReport) {
    let running = serve(|mut server, _| {
        let notify = seconds(10);
        server.config_mut().drain = DrainConfig { notify, ..DrainConfig::default() };
        server.websocket_with("/ws", quiet(), echo)
    });
    switched(&running, &running.client);
    let mut clients: Vec<Client> = (1..count).map(|_| running.sim.connect()).collect();
    for client in &clients {
        switched(&running, client);
    }
    clients.push(running.client);
    let handle = running.handle.clone();
    let outcome = running.sim.start(async move { handle.drain().await });
    running.sim.run();
    let mut told = Vec::new();
    for second in 0..30 {
        clients.retain(|client| {
            let bytes = client.received_bytes();
            if bytes.is_empty() {
                return true;
            }
            assert_eq!(bytes, close(1001));
            told.push(second);
            client.send(masked(0x88, &1001_u16.to_be_bytes()));
            client.shut();
            false
        });
        running.sim.advance(seconds(1));
    }
    (told, outcome.take().expect("the server has stopped"))
}

#[test]
fn a_server_that_leaves_says_so_to_one_after_the_other() {
    let (told, report) = drained(60);
    assert_eq!(told.len(), 60);
    assert!(told.iter().all(|second| *second <= 11), "within 10 s: {told:?}");
    let early = told.iter().filter(|second| **second <= 5).count();
    assert!((15..=45).contains(&early), "{early} of 60 in the first half");
    assert_eq!((report.count(Ending::Told), report.lost()), (60, 0));
}

#[test]
fn one_that_opens_while_the_server_leaves_is_told() {
    let running = serve(|mut server, _| {
        let notify = seconds(2);
        server.config_mut().drain = DrainConfig { notify, ..DrainConfig::default() };
        server.websocket_with("/ws", quiet(), echo)
    });
    let (first, rest) = OPEN.split_at(20);
    running.client.send(first);
    running.sim.run();
    let handle = running.handle.clone();
    let outcome = running.sim.start(async move { handle.drain().await });
    running.sim.run();
    running.sim.advance(seconds(3));
    running.client.send(rest);
    running.sim.run();
    let answer = running.client.received_bytes();
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", answer.escape_ascii());
    assert!(answer.ends_with(&close(1001)), "{}", answer.escape_ascii());
    running.client.send(masked(0x88, &1001_u16.to_be_bytes()));
    running.client.shut();
    running.sim.advance(seconds(1));
    assert_eq!(outcome.take().expect("it has stopped").lost(), 0);
}

#[test]
fn one_that_does_not_answer_the_close_is_cut() {
    let running = opened(quiet());
    let outcome = running.stop(seconds(2));
    running.sim.advance(seconds(1));
    assert_eq!(running.client.received_bytes(), close(1001));
    assert!(!running.client.is_closed());
    running.sim.advance(seconds(1));
    assert!(running.client.is_closed());
    assert_eq!(outcome.take().expect("it has stopped").count(Ending::CutUpgraded), 1);
}

#[test]
fn one_that_broke_the_protocol_has_its_time_to_read_while_the_server_stops() {
    let running = opened(quiet());
    // A frame without a mask.
    running.client.send(b"\x81\x01x");
    running.sim.run();
    assert_eq!(running.client.received_bytes(), close(1002));
    let outcome = running.stop(seconds(5));
    running.sim.advance(seconds(2));
    assert!(running.client.is_closed());
    let report = outcome.take().expect("it has stopped");
    assert_eq!(report.lost(), 0);
}

#[test]
fn answers_stand_in_the_order_of_what_they_answer() {
    let running = opened(quiet());
    let (sim, client) = (&running.sim, &running.client);
    let input = [masked(0x01, b"a"), masked(0x89, b"1"), masked(0x80, b"b")].concat();
    client.send(input);
    sim.run();
    assert_eq!(client.received_bytes(), b"\x8a\x011\x81\x02ab");
    client.send(masked(0x89, b"2"));
    sim.run();
    assert_eq!(client.received_bytes(), b"\x8a\x012");
    client.send(
        [masked(0x81, b"a"), masked(0x89, b"1"), masked(0x81, b"b"), masked(0x89, b"2")].concat(),
    );
    sim.run();
    assert_eq!(client.received_bytes(), b"\x81\x01a\x8a\x011\x81\x01b\x8a\x012");
}

/// Wakes a task where it stands, as some runtimes do: it uses the socket before whoever wakes goes on.
struct AtOnce {
    task: Waker,
    sender: SocketSender,
    /// Whether the socket could be used, each time.
    used: Arc<Mutex<Vec<bool>>>,
}

impl Wake for AtOnce {
    fn wake(self: Arc<Self>) {
        let sender = self.sender.clone();
        let (done, used) = mpsc::channel();
        thread::spawn(move || done.send(sender.dropped()));
        // So long only where it would wait for ever.
        let used = used.recv_timeout(seconds(10)).is_ok();
        self.used.lock().unwrap().push(used);
        self.task.wake_by_ref();
    }
}

#[test]
fn whoever_has_more_to_do_than_one_turn_takes_is_woken_when_the_socket_is_free() {
    let used = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&used);
    let running = serve(|server, _| {
        server.websocket_with("/ws", quiet(), move |_: Request, socket: WebSocket| {
            let used = Arc::clone(&noted);
            async move {
                let (sender, mut receiver) = socket.split();
                let mut ended = pin!(receiver.ended());
                let mut waker = None;
                poll_fn(|cx| {
                    let waker: &Waker = waker.get_or_insert_with(|| {
                        let (task, sender) = (cx.waker().clone(), sender.clone());
                        Arc::new(AtOnce { task, sender, used: Arc::clone(&used) }).into()
                    });
                    ended.as_mut().poll(&mut Context::from_waker(waker)).map(drop)
                })
                .await;
            }
        })
    });
    switched(&running, &running.client);
    running.client.cut(1);
    let reads = running.client.reads();
    running.client.send(masked(0x81, b"thrown away").repeat(20));
    running.sim.run();
    assert!(running.client.reads() - reads > 300);
    running.client.send(masked(0x88, b""));
    running.client.shut();
    running.sim.run();
    assert!(running.client.is_closed());
    let used = used.lock().unwrap();
    assert!(used.len() > 3 && used.iter().all(|used| *used), "{used:?}");
}
