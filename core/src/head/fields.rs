//! Field lines as spans of a block.

use core::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::same_name;

/// Where one field line stands; 16 bits suffice because a head stays below 64 KiB.
#[derive(Clone, Copy, Default)]
pub(crate) struct Span {
    pub(crate) name: u16,
    pub(crate) name_len: u16,
    pub(crate) value: u16,
    pub(crate) value_len: u16,
}

/// Spans of the usual head; the rest spill into a vector.
const INLINE: usize = 12;

/// A growing table of field lines.
#[derive(Clone, Default)]
pub(crate) struct SpanTable {
    len: u16,
    inline: [Span; INLINE],
    spill: Vec<Span>,
}

impl SpanTable {
    pub(crate) fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Moves all that another table holds here, where nothing is.
    #[inline]
    fn take(&mut self, other: &mut Self) {
        self.inline = other.inline;
        self.len = core::mem::take(&mut other.len);
        core::mem::swap(&mut self.spill, &mut other.spill);
    }

    #[inline]
    pub(crate) fn push(&mut self, span: Span) {
        match self.inline.get_mut(usize::from(self.len)) {
            Some(slot) => *slot = span,
            None => self.spill.push(span),
        }
        self.len += 1;
    }

    pub(crate) fn last_mut(&mut self) -> Option<&mut Span> {
        let last = usize::from(self.len).checked_sub(1)?;
        match self.inline.get_mut(last) {
            Some(slot) => Some(slot),
            None => self.spill.last_mut(),
        }
    }

    fn parts(&self) -> (&[Span], &[Span]) {
        (&self.inline[..usize::from(self.len).min(INLINE)], &self.spill)
    }

    fn iter(&self) -> impl Iterator<Item = &Span> + Clone {
        let (inline, spill) = self.parts();
        inline.iter().chain(spill)
    }

    /// Every value of a field, in order, of the lines in `block`.
    pub(crate) fn values<'a>(
        &'a self,
        block: &'a [u8],
        name: &'a str,
    ) -> impl Iterator<Item = &'a [u8]> + 'a {
        let named = move |span: &&Span| span.is_named(block, name.as_bytes());
        self.iter().filter(named).map(move |span| slice(block, span.value, span.value_len))
    }
}

impl Span {
    fn is_named(&self, block: &[u8], wanted: &[u8]) -> bool {
        usize::from(self.name_len) == wanted.len()
            && same_name(slice(block, self.name, self.name_len), wanted)
    }
}

/// A span always lies in its block: both were made by the same parse.
#[inline]
pub(crate) fn slice(block: &[u8], start: u16, len: u16) -> &[u8] {
    let start = usize::from(start);
    block.get(start..start + usize::from(len)).unwrap_or_default()
}

/// The field lines of a head or of a trailer section, in the order in which they came.
///
/// Names compare case-insensitively; values are bytes, without the white space around them.
#[derive(Clone)]
pub struct Fields {
    block: Bytes,
    spans: SpanTable,
}

impl Fields {
    /// The lines of a table, which holds none then.
    #[inline]
    pub(crate) fn new(block: Bytes, lines: &mut SpanTable) -> Self {
        let mut fields = Self { block, spans: SpanTable::default() };
        fields.spans.take(lines);
        fields
    }

    /// The lines of a map. `None` where they take more than 64 KiB.
    pub(crate) fn of(map: &HeaderMap) -> Option<Self> {
        let mut block = Vec::new();
        let mut spans = SpanTable::default();
        let mut put = |bytes: &[u8]| {
            let start = u16::try_from(block.len()).ok()?;
            block.extend_from_slice(bytes);
            Some((start, u16::try_from(bytes.len()).ok()?))
        };
        for (name, value) in map {
            let (name, name_len) = put(name.as_str().as_bytes())?;
            let (value, value_len) = put(value.as_bytes())?;
            spans.push(Span { name, name_len, value, value_len });
        }
        Some(Self::new(block.into(), &mut spans))
    }

    pub(crate) fn block(&self) -> &Bytes {
        &self.block
    }

    #[inline]
    pub(crate) fn slice(&self, start: u16, len: u16) -> &[u8] {
        slice(&self.block, start, len)
    }

    pub(crate) fn text(&self, start: u16, len: u16) -> &str {
        // The parser lets only ASCII through where text is asked for.
        core::str::from_utf8(self.slice(start, len)).unwrap_or_default()
    }

    /// Field lines.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is no field line.
    pub fn is_empty(&self) -> bool {
        self.spans.len() == 0
    }

    /// The first value of this field.
    #[inline]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let wanted = name.as_bytes();
        let (inline, spill) = self.spans.parts();
        let named = |span: &&Span| span.is_named(&self.block, wanted);
        let found = inline.iter().find(named).or_else(|| spill.iter().find(named))?;
        Some(self.slice(found.value, found.value_len))
    }

    /// Every value of this field, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.spans.values(&self.block, name)
    }

    /// Every field line as name (in the sender's spelling) and value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> + Clone {
        self.spans.iter().map(|span| {
            (self.text(span.name, span.name_len), self.slice(span.value, span.value_len))
        })
    }

    /// Where the lines stand: those of the usual head, and what is beyond.
    pub(super) fn spans(&self) -> (&[Span], &[Span]) {
        self.spans.parts()
    }

    /// Builds a [`HeaderMap`]; the values share the block.
    pub fn to_header_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.len());
        for span in self.spans.iter() {
            let name = HeaderName::from_bytes(self.slice(span.name, span.name_len));
            let start = usize::from(span.value);
            let value = self.block.slice(start..start + usize::from(span.value_len));
            // The parser's grammar is no wider than that of these types.
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_maybe_shared(value)) {
                map.append(name, value);
            }
        }
        map
    }

    /// Takes every line of this field out, where it no longer says what is.
    pub fn remove(&mut self, name: &str) {
        let mut spans = SpanTable::default();
        spans.take(&mut self.spans);
        for span in spans.iter() {
            if !span.is_named(&self.block, name.as_bytes()) {
                self.spans.push(*span);
            }
        }
    }

    /// Copies the block out, so that the read buffer behind it is released.
    pub fn detach(&mut self) {
        self.block = Bytes::copy_from_slice(&self.block);
    }
}

impl fmt::Debug for Fields {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}
