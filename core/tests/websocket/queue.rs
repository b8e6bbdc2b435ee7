//! A peer that takes less than is sent: what waits stays bounded, whatever becomes of it.

use bytes::Bytes;
use sinew_core::Wire;
use sinew_core::websocket::{
    CloseCode, Config, Connection, Limits, Message, Overflow, Rejected, SendQueue,
};

use crate::told::{NOW, Setup, drain, sent_frames, server};

const LIMIT: usize = 4096;

fn slow(overflow: Overflow) -> Connection {
    let limits = Limits { queued: LIMIT, ..Limits::default() };
    let config = Config { limits, overflow, heartbeat: None, ..Config::default() };
    Setup { config, ..server() }.open()
}

fn number(n: u32) -> Message {
    let mut bytes = n.to_be_bytes().to_vec();
    bytes.resize(100, 0);
    Message::binary(bytes)
}

#[test]
fn whoever_waits_gets_the_message_back() {
    let (mut connection, mut queue) = (slow(Overflow::Wait), SendQueue::default());
    let mut sent = 0;
    let back = loop {
        match queue.send(&mut connection, NOW, number(sent)) {
            Ok(()) => sent += 1,
            Err(back) => break back,
        }
    };
    assert_eq!(back, Rejected::Full(number(sent)));
    assert!(!queue.has_room(&connection));
    assert!(connection.outbox().len() <= LIMIT + 104, "one message of overshoot");
    drain(&mut connection);
    assert!(queue.has_room(&connection));
    assert_eq!(queue.send(&mut connection, NOW, number(sent)), Ok(()));
    assert_eq!(queue.dropped(), 0);
}

#[test]
fn the_oldest_are_dropped_and_the_newest_arrive_in_order() {
    let (mut connection, mut queue) = (slow(Overflow::DropOldest), SendQueue::default());
    for n in 0..100_000 {
        assert_eq!(queue.send(&mut connection, NOW, number(n)), Ok(()));
        assert!(queue.bytes() <= LIMIT, "{} bytes", queue.bytes());
        assert!(connection.outbox().len() <= LIMIT + 104);
    }
    let mut written = Vec::new();
    while !connection.outbox().is_empty() {
        written.extend_from_slice(&drain(&mut connection));
        queue.pump(&mut connection, NOW);
    }
    let numbers = sent_frames(&written)
        .into_iter()
        .map(|(_, payload)| u32::from_be_bytes(payload[..4].try_into().unwrap()));
    let numbers: Vec<u32> = numbers.collect();
    assert!(numbers.is_sorted());
    assert_eq!(numbers.last(), Some(&99_999));
    assert_eq!(numbers.len() as u64 + queue.dropped(), 100_000);
}

#[test]
fn one_that_is_larger_than_the_queue_waits_alone_and_empty_ones_have_a_bound() {
    let (mut connection, mut queue) = (slow(Overflow::DropOldest), SendQueue::default());
    while connection.can_send() {
        queue.send(&mut connection, NOW, number(0)).unwrap();
    }
    queue.send(&mut connection, NOW, number(1)).unwrap();
    queue.send(&mut connection, NOW, Message::binary(Bytes::from(vec![0; 2 * LIMIT]))).unwrap();
    assert_eq!(queue.dropped(), 1);
    for _ in 0..1000 {
        queue.send(&mut connection, NOW, Message::text("")).unwrap();
    }
    assert!(queue.bytes() <= LIMIT);
    connection.close(NOW, CloseCode::NORMAL, "").unwrap();
    queue.pump(&mut connection, NOW);
    assert_eq!(queue.bytes(), 0, "nothing follows a close frame");
}

#[test]
fn what_waits_goes_along_with_a_close() {
    let (mut connection, mut queue) = (slow(Overflow::DropOldest), SendQueue::default());
    for n in 0..1000 {
        queue.send(&mut connection, NOW, number(n)).unwrap();
    }
    let refused = queue.close(&mut connection, NOW, CloseCode::ABNORMAL, "");
    assert!(refused.is_err() && queue.bytes() > 0, "a code that is never sent changes nothing");
    let dropped = queue.dropped();
    queue.close(&mut connection, NOW, CloseCode::NORMAL, "").unwrap();
    assert_eq!((queue.bytes(), queue.dropped()), (0, dropped));
    assert!(connection.outbox().len() <= 2 * (LIMIT + 104), "no more than was held before");
    let mut frames = sent_frames(&drain(&mut connection));
    assert_eq!(frames.pop().unwrap().0, 8);
    assert_eq!(frames.pop().unwrap().1[..4], 999_u32.to_be_bytes());
    assert_eq!(frames.len() as u64 + 1 + dropped, 1000);
}

#[test]
fn a_peer_that_is_too_slow_is_told_so() {
    let (mut connection, mut queue) = (slow(Overflow::Close), SendQueue::default());
    let refused = (0..1000).find_map(|n| queue.send(&mut connection, NOW, number(n)).err());
    assert!(matches!(refused, Some(Rejected::Error(_))));
    assert!(!connection.is_open());
    let written = drain(&mut connection);
    let (opcode, payload) = sent_frames(&written).pop().unwrap();
    assert_eq!((opcode, &payload[..2]), (8, &1013_u16.to_be_bytes()[..]));
}
