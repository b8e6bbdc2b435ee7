//! Law 1: any method, in any order, any number of times, leaves a machine consistent; and laws 4, 6
//! and 8 on the way. What both roles have in common.

use core::time::Duration;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use sinew_conformance::end::check_over;
use sinew_conformance::feed::drain;
use sinew_core::error::{Error, Kind};
use sinew_core::http1::{BodySize, Limits, Rejected};
use sinew_core::machine::{Status, Wire};
use sinew_core::time::Instant;

/// What the world and an application may do to either machine.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Feed(&'static [u8]),
    Eof,
    Poll,
    Drain(usize),
    Wait(Duration),
    Fire,
    Rest,
    EditInbox,
    /// A request or a response.
    Head {
        pick: usize,
        size: BodySize,
        field: usize,
    },
    /// A response with its body; nothing of a client.
    Whole {
        pick: usize,
        field: usize,
        len: usize,
    },
    Interim(u16),
    Data(usize),
    End(bool),
    Abort,
    Discard,
    Close,
    Timeout(Option<Duration>),
    BodyLimit(u64),
    LiftRate,
    Reconfigure,
}

pub(crate) const FIELDS: [&[(&str, &str)]; 9] = [
    &[],
    &[("x-a", "b")],
    &[("connection", "close")],
    &[("content-length", "5")],
    &[("content-length", "0")],
    &[("transfer-encoding", "chunked")],
    &[("upgrade", "chat"), ("connection", "upgrade")],
    &[("x-a", "b\r\nc: d")],
    &[("expect", "100-continue")],
];

pub(crate) fn op(fragments: &'static [&'static [u8]]) -> impl Strategy<Value = Op> {
    let size = prop_oneof![
        Just(BodySize::Empty),
        Just(BodySize::Unknown),
        (0u64..8).prop_map(BodySize::Exact),
    ];
    let wait = prop_oneof![0u64..50, 900u64..1100, 4000u64..11_000, 29_000u64..80_000];
    let wait = wait.prop_map(Duration::from_millis);
    let moment = prop_oneof![Just(Duration::ZERO), Just(Duration::from_secs(3))];
    let drained = prop_oneof![0usize..20, Just(usize::MAX)];
    prop_oneof![
        8 => select(fragments.to_vec()).prop_map(Op::Feed),
        1 => Just(Op::Eof),
        10 => Just(Op::Poll),
        3 => drained.prop_map(Op::Drain),
        2 => wait.prop_map(Op::Wait),
        1 => Just(Op::Fire),
        1 => Just(Op::Rest),
        1 => prop::bool::weighted(0.1).prop_map(|edit| if edit { Op::EditInbox } else { Op::Rest }),
        6 => (0usize..12, size, 0..FIELDS.len())
            .prop_map(|(pick, size, field)| Op::Head { pick, size, field }),
        2 => (0usize..12, 0..FIELDS.len(), prop_oneof![0usize..6, Just(70_000)])
            .prop_map(|(pick, field, len)| Op::Whole { pick, field, len }),
        2 => select(vec![100u16, 101, 103, 200]).prop_map(Op::Interim),
        4 => prop_oneof![0usize..6, Just(70_000)].prop_map(Op::Data),
        4 => any::<bool>().prop_map(Op::End),
        1 => prop::bool::weighted(0.3).prop_map(|abort| if abort { Op::Abort } else { Op::Poll }),
        1 => Just(Op::Discard),
        1 => prop::bool::weighted(0.3).prop_map(|close| if close { Op::Close } else { Op::Poll }),
        1 => option::of(moment).prop_map(Op::Timeout),
        1 => (0u64..12).prop_map(Op::BodyLimit),
        1 => Just(Op::LiftRate),
        1 => Just(Op::Reconfigure),
    ]
}

/// The error of sending data; a full outbox is none.
pub(crate) fn data(result: Result<(), Rejected>) -> Option<Error> {
    match result.err()? {
        Rejected::Full(_) => None,
        Rejected::Error(error) => Some(error),
    }
}

const TRAILERS: [(&str, &str); 1] = [("x-t", "v")];
const NONE: [(&str, &str); 0] = [];

pub(crate) fn trailers(some: bool) -> &'static [(&'static str, &'static str)] {
    if some { &TRAILERS } else { &NONE }
}

/// What both machines have in common under random methods.
pub(crate) struct Watch {
    pub(crate) now: Instant,
    pub(crate) written: Vec<u8>,
    /// The fatal error, once one was seen.
    pub(crate) fatal: Option<Error>,
    pub(crate) closed: bool,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self { now: Instant::ZERO, written: Vec::new(), fatal: None, closed: false }
    }

    /// Laws 4 and 8 behind every method; `known` is what the machine's own getter says.
    pub(crate) fn check<W: Wire<Error = Error>>(
        &mut self,
        wire: &mut W,
        known: Option<Error>,
    ) -> Result<(), TestCaseError> {
        if let Some(fatal) = self.fatal {
            prop_assert_eq!(known, Some(fatal), "an error that did not stick");
        }
        self.fatal = known;
        let status = wire.status();
        prop_assert!(wire.outbox().is_empty() || status == Status::Open);
        if let Status::Close(_) = status {
            self.closed = true;
            prop_assert!(!wire.wants_read());
            check_over(wire).map_err(|breach| TestCaseError::fail(breach.0))?;
        } else {
            prop_assert!(!self.closed, "a closed connection opened again");
        }
        Ok(())
    }

    /// A verb's error is the sticky one, says that it is over, or changed nothing.
    pub(crate) fn judge_verb(
        error: Option<Error>,
        before: (usize, u64),
        after: (usize, u64),
        known: Option<Error>,
    ) -> Result<(), TestCaseError> {
        match error {
            Some(error) if error.is_fatal() && error.kind != Kind::Closed => {
                prop_assert_eq!(Some(error), known);
            }
            Some(error) if !error.is_fatal() => {
                prop_assert_eq!(before, after, "{} and yet something changed", error);
            }
            _ => {}
        }
        Ok(())
    }

    /// What poll gave is consistent with what was seen before, and with the timers.
    pub(crate) fn judge_poll<W: Wire<Error = Error>, E: core::fmt::Debug>(
        &self,
        wire: &W,
        polled: Result<Option<&E>, Error>,
        known: Option<Error>,
    ) -> Result<(), TestCaseError> {
        match polled {
            Err(error) => prop_assert_eq!(Some(error), known),
            Ok(event) => prop_assert!(self.fatal.is_none(), "{event:?} behind an error"),
        }
        if !matches!(polled, Ok(Some(_)))
            && let Some(deadline) = wire.deadline()
        {
            prop_assert!(deadline.at > self.now, "{deadline:?} left behind at {:?}", self.now);
        }
        Ok(())
    }

    pub(crate) fn drain<W: Wire>(&mut self, wire: &mut W, most: usize) -> usize {
        drain(wire.outbox(), &mut self.written, most)
    }
}

pub(crate) fn limits() -> Limits {
    Limits { body: 100_000, ..Limits::default() }
}
