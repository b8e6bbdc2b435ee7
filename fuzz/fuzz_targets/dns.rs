//! What a name server says to a lookup: an answer or a reason, after few questions; the same however a
//! connection cuts it; never more than was said, and no timer that is left behind.
#![no_main]

use std::net::SocketAddr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use sinew_core::Machine as _;
use sinew_core::time::Instant;
use sinew_discovery::dns::{
    Answer, Kind, Lookup, LookupError, LookupEvent, ResolverConfig, Transport, Try,
};
use sinew_fuzz::Choice;

/// More than two servers, asked twice, with strays, aliases and a change of transport each, make of it.
const QUESTIONS: usize = 64;

/// Bytes of a header, and of the question for `a.mesh.test`.
const HEADER: usize = 12;
const QUESTION: usize = 17;

fuzz_target!(|bytes: &[u8]| {
    let choice = Choice::of(bytes);
    let whole = run(choice, bytes, bytes.len().max(1));
    assert_eq!(run(choice, bytes, 1), whole, "{choice:?}");
    if let Ok(answer) = whole {
        // An owner, a type, a class, a time and a length are eleven bytes.
        let found = answer.addresses.len() + answer.services.len();
        assert!(found <= bytes.len() / 11 && answer.ttl.is_some() == (found > 0), "{choice:?}");
    }
});

/// A lookup whose every question is answered so, over connections in pieces of this size.
fn run(choice: Choice, bytes: &[u8], size: usize) -> Result<Answer, LookupError> {
    let config = ResolverConfig {
        servers: [1, 2].map(|last| SocketAddr::from(([10, 0, 0, last], 53))).into(),
        ..ResolverConfig::default()
    };
    let name = "a.mesh.test".parse().expect("a name");
    // What a capture was asked for.
    let kind = match bytes.get(HEADER + QUESTION - 3) {
        Some(28) => Kind::Aaaa,
        Some(33) => Kind::Srv,
        _ => Kind::A,
    };
    let mut now = Instant::ZERO;
    let mut lookup = Lookup::new(&config, name, kind, [7; 32], now);
    for _ in 0..QUESTIONS {
        let asked = match lookup.poll_event(now)? {
            Some(LookupEvent::Answer(answer)) => return Ok(answer),
            Some(LookupEvent::Ask(asked)) => Some(asked),
            None => None,
        };
        if let Some(asked) = asked {
            answer(&mut lookup, &mut now, &asked, choice, bytes, size);
        } else if let Some(next) = lookup.deadline() {
            assert!(next.at > now, "a timer is left behind");
            now = next.at;
        }
    }
    panic!("it never ends");
}

fn answer(
    lookup: &mut Lookup,
    now: &mut Instant,
    asked: &Try,
    choice: Choice,
    bytes: &[u8],
    size: usize,
) {
    match asked.transport {
        Transport::Udp => {
            let message = fitted(&asked.bytes, choice, bytes);
            lookup.handle_datagram(*now, asked.number, &message);
        }
        Transport::Tcp => {
            let mut message = fitted(&asked.bytes[2..], choice, bytes);
            message.truncate(u16::MAX.into());
            let stream = [&(message.len() as u16).to_be_bytes(), message.as_slice()].concat();
            for piece in stream.chunks(size) {
                lookup.handle_stream(*now, asked.number, piece);
            }
            *now = *now + Duration::from_millis(1);
            lookup.handle_failure(*now, asked.number);
        }
    }
}

/// An id, and letters that are drawn, no input guesses: it gets those of the question, unless it is to be of
/// somebody who guesses. A capture of an answer to a name as long as ours is an input.
fn fitted(query: &[u8], choice: Choice, bytes: &[u8]) -> Vec<u8> {
    let mut message = bytes.to_vec();
    if choice.seed() & 15 == 0 {
        return message;
    }
    for at in (0..2).chain(HEADER..HEADER + QUESTION) {
        if let (Some(byte), Some(asked)) = (message.get_mut(at), query.get(at)) {
            *byte = if choice.seed() & 16 == 0 { *asked } else { asked.to_ascii_lowercase() };
        }
    }
    message
}
