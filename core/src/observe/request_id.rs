//! The name of one request in logs, errors and answers: `X-Request-Id`.

use core::fmt;

use bytes::Bytes;

use super::hex;
use crate::class::Class;
use crate::head::{Fields, Place, Single};

/// The field that carries it.
pub const FIELD: &str = "x-request-id";

/// Bytes of an id that a client chose, at most; a longer one is replaced.
pub const BYTES: usize = 128;

/// An id that is safe to print anywhere: letters, digits and `-._~:/+=@`.
#[derive(Clone)]
pub struct RequestId(Text);

/// Neither takes memory of its own: the long one lies in the head that it came in.
#[derive(Clone)]
enum Text {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Bytes),
}

/// Bytes of an id that are copied: a UUID has 36 of them, and one of ours 32.
const SHORT: usize = 38;

impl RequestId {
    /// The id that a request brings, if it is one and safe.
    pub fn from_fields(fields: &Fields) -> Option<Self> {
        let id = safe(fields.single(FIELD))?;
        Some(Self::of(id, fields))
    }

    /// The same, where the field was looked up already, or else [one of our own](Self::mint).
    #[inline]
    pub(crate) fn given_or_minted(fields: &Fields, id: Place, number: u128) -> Self {
        match safe(id.of(fields)) {
            Some(id) => Self::of(id, fields),
            None => Self::mint(number),
        }
    }

    /// A text of these fields, which is safe.
    #[inline]
    fn of(text: &[u8], fields: &Fields) -> Self {
        let mut bytes = [0; SHORT];
        let Some(place) = bytes.get_mut(..text.len()) else {
            return Self::long(fields.block().slice_ref(text));
        };
        place.copy_from_slice(text);
        Self(Text::Short { len: text.len() as u8, bytes })
    }

    /// Apart, as is [`mint`](Self::mint), so that the usual id is written once.
    #[inline(never)]
    fn long(text: Bytes) -> Self {
        Self(Text::Long(text))
    }

    /// An id of our own: 32 digits of a number that nobody else has.
    #[inline(never)]
    pub fn mint(number: u128) -> Self {
        let mut bytes = [0; SHORT];
        hex(&mut bytes[..32], &number.to_be_bytes());
        Self(Text::Short { len: 32, bytes })
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // Only ASCII is let in.
        core::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The same as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Text::Long(text) => text,
        }
    }
}

/// The value, if it may be an id.
#[inline]
fn safe(id: Single<'_>) -> Option<&[u8]> {
    let Single::Once(id) = id else { return None };
    ((1..=BYTES).contains(&id.len()) && SAFE.has_all_of(id)).then_some(id)
}

/// What is safe to print anywhere.
const SAFE: Class = Class::alphanumeric_and(b"-._~:/+=@");

impl PartialEq for RequestId {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for RequestId {}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
