//! Which trace a request belongs to: <https://www.w3.org/TR/trace-context/>
//!
//! Ids are arguments: whoever has entropy mints them, and a replay gives the same ones again.

use core::fmt;
use core::num::{NonZeroU64, NonZeroU128};

use bytes::Bytes;
use wide::{i16x8, u8x16};

use super::hex;
use crate::block::{BLOCK, Block, Marks};
use crate::head::{Fields, Single};

/// Bytes of `tracestate` that are passed on, at most; what is beyond is dropped entry by entry.
/// <https://www.w3.org/TR/trace-context/#tracestate-limits>
pub const STATE_BYTES: usize = 512;

/// Entries of `tracestate`; a list with more is dropped whole.
pub const STATE_ENTRIES: usize = 32;

/// Entries longer than this are the first to go where a list is too long.
const LONG_ENTRY: usize = 128;

const SAMPLED: u8 = 0x01;
/// <https://www.w3.org/TR/trace-context-2/#random-trace-id-flag>
const RANDOM: u8 = 0x02;

/// A place in a trace: the trace, the span that is the parent of what happens here, whether it is
/// recorded, and what vendors travel along.
#[derive(Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: NonZeroU128,
    span_id: NonZeroU64,
    flags: u8,
    state: Bytes,
}

impl TraceContext {
    /// The start of a trace. `random` ids were drawn evenly, so that others may sample by them.
    pub const fn root(
        trace_id: NonZeroU128,
        span_id: NonZeroU64,
        sampled: bool,
        random: bool,
    ) -> Self {
        let sampled = if sampled { SAMPLED } else { 0 };
        let random = if random { RANDOM } else { 0 };
        Self { trace_id, span_id, flags: sampled | random, state: Bytes::new() }
    }

    /// What a request carries. `None` where it carries no trace or a malformed one: start a new
    /// [`root`](Self::root) then, as the standard asks.
    pub fn from_fields(fields: &Fields) -> Option<Self> {
        let parent = Parent::of(fields.single("traceparent"))?;
        let span_id = NonZeroU64::new(number([parent.span_id; 2]) as u64)?;
        Some(parent.with(span_id, Some(fields)))
    }

    /// The same below another span, where the fields were looked up already. `states`: in which there
    /// is a `tracestate`.
    pub(crate) fn below(
        parent: Single<'_>,
        states: Option<&Fields>,
        span_id: NonZeroU64,
    ) -> Option<Self> {
        Parent::of(parent).map(|parent| parent.with(span_id, states))
    }

    /// The same trace below another span: what an outgoing call carries.
    #[must_use]
    pub fn child(&self, span_id: NonZeroU64) -> Self {
        Self { span_id, ..self.clone() }
    }

    /// The trace. Sixteen bytes, big-endian on the wire.
    pub const fn trace_id(&self) -> NonZeroU128 {
        self.trace_id
    }

    /// The span that is the parent of what happens here.
    pub const fn span_id(&self) -> NonZeroU64 {
        self.span_id
    }

    /// Whether whoever came before records this trace.
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The value of `traceparent`, always in version 00.
    pub fn traceparent(&self) -> [u8; 55] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        hex(&mut text[3..35], &self.trace_id.get().to_be_bytes());
        hex(&mut text[36..52], &self.span_id.get().to_be_bytes());
        hex(&mut text[53..], &[self.flags]);
        text
    }

    /// The value of `tracestate`, where there is something to pass on.
    pub fn tracestate(&self) -> Option<&[u8]> {
        (!self.state.is_empty()).then_some(&self.state)
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(core::str::from_utf8(&self.traceparent()).unwrap_or_default())
    }
}

/// What a `traceparent` says.
struct Parent<'a> {
    trace_id: NonZeroU128,
    /// Digits, not all of them zero.
    span_id: &'a [u8; BLOCK],
    flags: u8,
}

impl<'a> Parent<'a> {
    /// `version "-" trace-id "-" parent-id "-" trace-flags`, and whatever a later version adds.
    /// <https://www.w3.org/TR/trace-context/#traceparent-header-field-values>
    #[inline]
    fn of(field: Single<'a>) -> Option<Self> {
        // https://www.w3.org/TR/trace-context/#a-traceparent-is-received
        let Single::Once(text) = field else { return None };
        let (known, more) = text.split_first_chunk::<55>()?;
        let [v, w, b'-', ids @ .., b'-', f, g] = known else { return None };
        let ([high, low, ..], [b'-', ..]) = (ids.as_chunks::<BLOCK>().0, &ids[32..]) else {
            return None;
        };
        let span_id = ids.last_chunk()?;
        let mut ends = [b'0'; BLOCK];
        ends[..4].copy_from_slice(&[*v, *w, *f, *g]);
        let ids = lower_digits(high) & lower_digits(low) & lower_digits(span_id);
        let sound = lower_digits(&ends) & ids;
        if sound.others() != 0 || *span_id == [b'0'; BLOCK] {
            return None;
        }
        // https://www.w3.org/TR/trace-context/#versioning-of-traceparent
        match [*v, *w] {
            [b'f', b'f'] => return None,
            [b'0', b'0'] if !more.is_empty() => return None,
            _ if more.first().is_some_and(|&byte| byte != b'-') => return None,
            _ => {}
        }
        let trace_id = NonZeroU128::new(number([high, low]))?;
        // The two flags that have a meaning are in the last digit: a letter is nine above its low bits.
        let flags = (g + (g >> 6) * 9) & (SAMPLED | RANDOM);
        Some(Self { trace_id, span_id, flags })
    }

    #[inline]
    fn with(self, span_id: NonZeroU64, states: Option<&Fields>) -> TraceContext {
        let Self { trace_id, flags, .. } = self;
        let state = states.and_then(collect_state).unwrap_or_default();
        TraceContext { trace_id, span_id, flags, state }
    }
}

/// Hexadecimal digits in lower case.
#[inline(always)]
#[expect(clippy::inline_always, reason = "a vector is not passed from function to function")]
fn lower_digits(block: &[u8; BLOCK]) -> Marks {
    let block = Block::new(block);
    block.digits() | block.within(b'a'..=b'f')
}

/// What 32 digits stand for.
#[inline]
fn number([high, low]: [&[u8; BLOCK]; 2]) -> u128 {
    u128::from_be_bytes(u8x16::narrow_i16x8(pairs(high), pairs(low)).to_array())
}

/// What each two of sixteen digits stand for.
#[inline(always)]
#[expect(clippy::inline_always, reason = "a vector is not passed from function to function")]
fn pairs(digits: &[u8; BLOCK]) -> i16x8 {
    // Two a lane, the first of them in its low byte. Letters, which have a bit that digits have not,
    // are nine above what their low bits say.
    let mut text = [0; 8];
    for (lane, two) in text.iter_mut().zip(digits.as_chunks().0) {
        *lane = i16::from_le_bytes(*two);
    }
    let text = i16x8::new(text);
    let letters = (text >> 6) & i16x8::splat(0x0101);
    let values = (text & i16x8::splat(0x0f0f)) + letters * i16x8::splat(9);
    (values << 4 | values >> 8) & i16x8::splat(0xff)
}

/// The entries of all `tracestate` lines as one list; `None` where one of them is malformed.
/// <https://www.w3.org/TR/trace-context/#tracestate-header-field-values>
fn collect_state(fields: &Fields) -> Option<Bytes> {
    let mut entries: Vec<&[u8]> = Vec::new();
    for line in fields.get_all("tracestate") {
        for entry in line.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if entry.is_empty() {
                continue;
            }
            let (key, _) = split_entry(entry)?;
            let known =
                |other: &&[u8]| other.strip_prefix(key).is_some_and(|o| o.starts_with(b"="));
            if entries.iter().any(known) || entries.len() == STATE_ENTRIES {
                return None;
            }
            entries.push(entry);
        }
    }
    let len = |entries: &[&[u8]]| entries.iter().map(|entry| entry.len() + 1).sum::<usize>();
    if len(&entries) > STATE_BYTES + 1 {
        entries.retain(|entry| entry.len() <= LONG_ENTRY);
    }
    // The newest stand in front.
    while len(&entries) > STATE_BYTES + 1 {
        entries.pop();
    }
    Some(Bytes::from(entries.join(&b","[..])))
}

/// `key "=" value`, both checked.
fn split_entry(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = entry.iter().position(|&byte| byte == b'=')?;
    let (key, value) = (&entry[..at], &entry[at + 1..]);
    let is_key = match key.iter().position(|&byte| byte == b'@') {
        None => is_identifier(key, 256, u8::is_ascii_lowercase),
        Some(at) => {
            let (tenant, system) = (&key[..at], &key[at + 1..]);
            is_identifier(tenant, 241, |b| b.is_ascii_lowercase() || b.is_ascii_digit())
                && is_identifier(system, 14, u8::is_ascii_lowercase)
        }
    };
    // Blanks around an entry are gone already.
    let plain = |byte: &u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b',' | b'=');
    let is_value = (1..=256).contains(&value.len()) && value.iter().all(plain);
    (is_key && is_value).then_some((key, value))
}

fn is_identifier(text: &[u8], most: usize, may_start: impl Fn(&u8) -> bool) -> bool {
    let inside =
        |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(byte);
    text.len() <= most && text.first().is_some_and(may_start) && text.iter().all(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_as_one_by_one() {
        for at in 0..2 * BLOCK {
            for byte in 0..=u8::MAX {
                let mut digits = *b"09afc3e70123456ffedcba9876543210";
                digits[at] = byte;
                let lower = digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                let text = core::str::from_utf8(&digits).ok().filter(|_| lower);
                let wanted = text.map(|text| u128::from_str_radix(text, 16).unwrap());
                let ([high, low], []) = digits.as_chunks() else { unreachable!() };
                let sound = lower_digits(high) & lower_digits(low);
                let found = (sound.others() == 0).then(|| number([high, low]));
                assert_eq!(found, wanted, "{byte:#x} at {at}");
            }
        }
    }
}
