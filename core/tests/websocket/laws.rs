//! The laws of `machine.rs`, for every script and every input.

use std::time::Duration;

use bytes::Buf as _;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use sinew_core::error::Error;
use sinew_core::machine::{Seen, Status, Step};
use sinew_core::time::Instant;
use sinew_core::websocket::{CloseCode, Connection, Event, Message, Rejected, Role};
use sinew_core::{Machine, Wire};

use crate::told::{NOW, Setup, client, head, masked, plain, sent_frames, server};

/// What may happen to a connection.
#[derive(Clone, Debug)]
enum Act {
    Feed(Vec<u8>),
    Eof,
    Wait(u64),
    Timeout,
    Poll,
    Send(usize),
    Ping(usize),
    Close(u16),
    Abort,
    Drain(usize),
    Rest,
}

/// Frames as a peer of this role sends them, most of them sound, and whatever else comes to mind.
pub(crate) fn frames(role: Role) -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        4 => "[a-zäß€😀]{0,12}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..20),
        1 => (100usize..300).prop_map(|len| vec![b'x'; len]),
        1 => select(vec![vec![], vec![3], vec![3, 232], vec![3, 238], vec![3, 232, 0xc3]]),
    ];
    let first = prop_oneof![
        8 => select(vec![0x81u8, 0x82, 0x01, 0x02, 0x00, 0x00, 0x80, 0x80, 0x89, 0x8a]),
        1 => Just(0x88),
        1 => Just(0xc1),
        1 => any::<u8>(),
    ];
    let rare = prop_oneof![12 => Just(0u8), 1 => 1u8..5];
    let frame = (first, payload, rare).prop_map(move |(first, payload, rare)| {
        let whole = match role {
            Role::Client => masked(first, &payload),
            Role::Server => plain(first, &payload),
        };
        match rare {
            // Longer than it needs to be.
            1 => [&[first, if role == Role::Client { 254 } else { 126 }, 0][..], &whole[1..]]
                .concat(),
            // More than comes.
            2 => head(first, whole[1] & 0x80, 70_000),
            // Of the other role.
            3 => plain(first, &payload),
            _ => whole,
        }
    });
    vec(frame, 1..8).prop_map(|frames| frames.concat())
}

fn acts(peer: Role) -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (frames(peer), any::<prop::sample::Index>())
            .prop_map(|(frames, at)| Act::Feed(frames[..=at.index(frames.len())].to_vec())),
        1 => Just(Act::Eof),
        3 => select(vec![0, 1, 100, 1000, 5000, 10_000, 31_000]).prop_map(Act::Wait),
        2 => Just(Act::Timeout),
        8 => Just(Act::Poll),
        4 => select(vec![0usize, 1, 125, 126, 1025, 70_000, 300_000]).prop_map(Act::Send),
        1 => select(vec![0usize, 8, 125, 126]).prop_map(Act::Ping),
        1 => select(vec![1000u16, 1001, 1006, 4401]).prop_map(Act::Close),
        1 => Just(Act::Abort),
        5 => select(vec![1usize, 7, 1000, usize::MAX]).prop_map(Act::Drain),
        1 => Just(Act::Rest),
    ];
    vec(act, 1..40)
}

/// A connection under a script, and what must hold at every step of it.
struct Run {
    connection: Connection,
    now: Instant,
    written: Vec<u8>,
    closed: bool,
    error: Option<Error>,
}

impl Run {
    fn new(setup: &Setup) -> Self {
        let connection = setup.open();
        Self { connection, now: NOW, written: Vec::new(), closed: false, error: None }
    }

    fn failed(&mut self, error: Error) {
        if error.is_fatal() && self.connection.error().is_some() {
            assert!(self.error.is_none_or(|before| before == error), "an error is sticky");
            self.error = Some(error);
        }
    }

    /// Polls once; whether there may be more.
    fn poll(&mut self) -> bool {
        match self.connection.poll_event(self.now) {
            Ok(Some(event)) => {
                assert!(!self.closed && self.error.is_none(), "the end comes last");
                self.closed = matches!(event, Event::Closed(_));
                return true;
            }
            Ok(None) => assert_eq!(self.error, None),
            Err(error) => self.failed(error),
        }
        let deadline = self.connection.deadline();
        assert!(deadline.is_none_or(|due| due.at > self.now), "{deadline:?} at {:?}", self.now);
        false
    }

    fn drain(&mut self, most: usize) {
        let outbox = self.connection.outbox();
        let n = most.min(outbox.remaining());
        self.written.extend_from_slice(&outbox.copy_to_bytes(n));
    }

    /// A verb that was refused as misuse has changed nothing.
    fn verb(&mut self, act: impl FnOnce(&mut Connection, Instant) -> Result<(), Error>) {
        // What is due would change something by itself.
        self.connection.handle_timeout(self.now);
        let before = (self.connection.outbox().len(), self.connection.status());
        let done = act(&mut self.connection, self.now);
        if let Err(error) = done {
            let after = (self.connection.outbox().len(), self.connection.status());
            assert_eq!(before, after, "{error}");
            self.failed(error);
        }
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Feed(bytes) => {
                if self.connection.wants_read() {
                    self.connection.inbox().extend_from_slice(bytes);
                }
            }
            Act::Eof => self.connection.handle_eof(self.now),
            Act::Wait(millis) => self.now = self.now + Duration::from_millis(*millis),
            Act::Timeout => self.connection.handle_timeout(self.now),
            Act::Poll => {
                self.poll();
            }
            Act::Send(len) => self.verb(|connection, now| {
                match connection.send_message(now, Message::binary(vec![1; *len])) {
                    Ok(()) | Err(Rejected::Full(_)) => Ok(()),
                    Err(Rejected::Error(error)) => Err(error),
                }
            }),
            Act::Ping(len) => {
                self.verb(|connection, now| connection.send_ping(now, &vec![2; *len]));
            }
            Act::Close(code) => {
                self.verb(|connection, now| connection.close(now, CloseCode::new(*code), "why"));
            }
            Act::Abort => self.connection.abort(self.now),
            Act::Drain(most) => self.drain(*most),
            Act::Rest => self.connection.rest(),
        }
    }

    /// Does what `step` says until nothing is left; the peer neither reads slowly nor answers.
    fn finish(&mut self) {
        let _ = self.connection.close(self.now, CloseCode::NORMAL, "");
        let mut seen = Seen { read_blocked: true, ..Seen::default() };
        for _ in 0..100_000 {
            match self.connection.step(seen) {
                Step::Poll => {
                    seen.drained = !self.poll();
                }
                Step::Write => {
                    self.drain(100_000);
                    seen.drained = false;
                }
                Step::HalfClose => seen.write_shut = true,
                Step::Wait(Some(deadline)) => {
                    assert!(deadline.at > self.now);
                    self.now = deadline.at;
                    self.connection.handle_timeout(self.now);
                    seen.drained = false;
                }
                Step::Close(_) => return,
                step @ (Step::Wait(None) | Step::Read) => panic!("{step:?}"),
            }
        }
        panic!("it never ends");
    }
}

/// Runs a script, then ends the connection, and looks at all that was written.
fn check(setup: &Setup, acts: &[Act]) {
    let mut run = Run::new(setup);
    for act in acts {
        run.act(act);
    }
    let aborted = acts.iter().any(|act| matches!(act, Act::Abort));
    run.finish();
    assert!(run.closed != run.error.is_some(), "it ends once, in one way: {:?}", run.error);
    let connection = &mut run.connection;
    assert_eq!((connection.inbox().len(), connection.outbox().len()), (0, 0));
    assert_eq!(connection.deadline(), None);
    assert!(matches!(connection.status(), Status::Close(_)) && !connection.wants_read());
    // Nobody took what was written, or it was dropped: half a frame may be out.
    let waited: u64 =
        acts.iter().map(|act| if let Act::Wait(millis) = act { *millis } else { 0 }).sum();
    if aborted || waited >= 30_000 {
        return;
    }
    let frames = sent_frames(&run.written);
    let close = frames.iter().position(|(opcode, _)| *opcode == 8);
    if let Some(at) = close {
        assert_eq!(at, frames.len() - 1, "nothing comes behind a close frame");
        let code = frames[at].1.first_chunk().map(|code| u16::from_be_bytes(*code));
        assert!(code.is_none_or(|code| CloseCode::new(code).is_sendable()), "{code:?}");
    }
    if let Some(error) = run.error {
        assert!(close.is_some(), "a code is always sent: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_script_leaves_a_server_consistent(acts in acts(Role::Client)) {
        check(&server(), &acts);
    }

    #[test]
    fn any_script_leaves_a_client_consistent(acts in acts(Role::Server)) {
        check(&client(), &acts);
    }

    #[test]
    fn what_is_told_does_not_depend_on_the_cuts(
        input in frames(Role::Client),
        cuts in vec(any::<prop::sample::Index>(), 0..6),
        eof: bool,
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(input.len())).collect();
        cuts.push(0);
        cuts.push(input.len());
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &input[pair[0]..pair[1]]);
        let setup = server();
        prop_assert_eq!(setup.run(pieces, eof), setup.run([&input[..]], eof));
        prop_assert_eq!(setup.run(input.chunks(1), eof), setup.run([&input[..]], eof));
    }
}

#[cfg(feature = "deflate")]
mod compressed {
    use sinew_core::websocket::deflate::{DeflateConfig, Takeover, Window};

    use super::*;
    use crate::deflate::agree;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

        /// Sound messages that are damaged somewhere, in frames of several lengths.
        #[test]
        fn what_is_told_does_not_depend_on_the_cuts(
            texts in vec("[abcäß€😀]{0,60}", 1..5),
            damage in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
            limit in select(vec![20usize, 100, 1 << 20]),
            frame in select(vec![3usize, 17, 1 << 16]),
            takeover in select(vec![Takeover::Keep, Takeover::Forget]),
            size in 1usize..40,
            eof: bool,
        ) {
            let window = Window { bits: 10, takeover };
            let config =
                DeflateConfig { outgoing: window, incoming: window, threshold: 4, level: 6 };
            let (mut from, mut to) = agree(config.clone(), config);
            from.config.frame = frame;
            to.config.limits.message = limit;
            to.config.limits.frame = limit;
            let mut connection = from.open();
            for text in texts {
                connection.send_message(NOW, Message::text(text)).unwrap();
            }
            let mut input = crate::told::drain(&mut connection);
            if let Some((at, byte)) = damage {
                let at = at.index(input.len());
                input[at] ^= byte;
            }
            let whole = to.run([&input[..]], eof);
            prop_assert_eq!(&to.run(input.chunks(size), eof), &whole);
            prop_assert_eq!(&to.run(input.chunks(1), eof), &whole);
        }

        /// Bytes that are hardly ever deflate.
        #[test]
        fn whatever_comes_is_told_in_the_same_way(bytes in vec(any::<u8>(), 0..80), size in 1usize..20) {
            let config = DeflateConfig::default();
            let (_, to) = agree(config.clone(), config);
            for first in [0xc1, 0xc2] {
                let input = [masked(first, &bytes), masked(first, &bytes)].concat();
                let whole = to.run([&input[..]], true);
                prop_assert_eq!(to.run(input.chunks(size), true), whole);
            }
        }
    }
}
