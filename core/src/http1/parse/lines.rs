//! Lines of a section: where each ends, and what a field line holds.

use bytes::BytesMut;
use memchr::memchr;

use crate::block::BLOCK;
use crate::error::{Kind, Limit, Violation};
use crate::head::{Fields, Span, SpanTable};
use crate::http1::grammar::{
    is_blank, is_field_value, name_prefix, printable_prefix_within, token_prefix, trim,
};

/// Field lines up to the empty line, as spans relative to the start of the inbox.
#[derive(Default)]
pub(super) struct FieldLines {
    /// Where the line being read starts.
    pub(super) line: usize,
    /// No line end before this.
    pub(super) searched: usize,
    spans: SpanTable,
    /// Lines read that have no span: dropped, or folded onto another.
    spanless: usize,
    /// So many spans, and none of them may be folded onto: the last of them decides framing.
    rigid: usize,
}

impl core::fmt::Debug for FieldLines {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "FieldLines(at {}, {} lines)", self.line, self.spans.len())
    }
}

/// What bounds a section of field lines.
pub(super) struct Bounds {
    pub(super) bytes: (usize, Limit),
    pub(super) fields: (usize, Limit),
}

impl FieldLines {
    /// The next line without its CR LF, as a range; `None` where its end is not there yet.
    pub(super) fn next_line(&mut self, visible: &[u8]) -> Result<Option<(usize, usize)>, Kind> {
        let Some(found) = memchr(b'\n', &visible[self.searched..]) else {
            self.searched = visible.len();
            return Ok(None);
        };
        let feed = self.searched + found;
        let start = self.line;
        // https://www.rfc-editor.org/rfc/rfc9112#section-2.2: a bare LF is not taken for an end.
        if feed == start || visible[feed - 1] != b'\r' {
            return Err(Kind::Peer(Violation::LineEnd));
        }
        self.line = feed + 1;
        self.searched = feed + 1;
        Ok(Some((start, feed - 1)))
    }

    /// Reads lines until the empty one; whether it was there. The next line would start behind it.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as for the poll of a head")]
    pub(super) fn poll(
        &mut self,
        inbox: &mut BytesMut,
        bounds: &Bounds,
        mut note: impl FnMut(&Line<'_>, Span) -> Result<Taken, Violation>,
        folds: bool,
    ) -> Result<bool, Kind> {
        // Spans are 16 bits wide, whatever the limit says.
        let most = bounds.bytes.0.min(usize::from(u16::MAX));
        let visible = inbox.len().min(most);
        loop {
            // A usual line that is whole takes one pass; anything else is looked at more closely,
            // but only once its end is there.
            let bytes = &inbox[..visible];
            if self.searched == self.line && self.take_usual(bytes, bounds, &mut note)? {
                return Ok(true);
            }
            let Some((start, end)) = self.next_line(bytes)? else {
                return if visible == most { Err(Kind::Limit(bounds.bytes.1)) } else { Ok(false) };
            };
            if start == end {
                return Ok(true);
            }
            if matches!(bytes[start], b' ' | b'\t') {
                if !folds || self.spans.len() <= self.rigid {
                    return Err(Kind::Peer(Violation::Fold));
                }
                self.has_room(bounds)?;
                self.spanless += 1;
                self.unfold(inbox, start, end)?;
                continue;
            }
            let line = Line::parse(&bytes[start..end])?;
            self.take(start, &line, bounds, &mut note)?;
        }
    }

    /// Takes the lines that are whole and of the usual kind; whether the empty one came behind them.
    #[inline(never)]
    fn take_usual(
        &mut self,
        bytes: &[u8],
        bounds: &Bounds,
        note: &mut impl FnMut(&Line<'_>, Span) -> Result<Taken, Violation>,
    ) -> Result<bool, Kind> {
        let mut rest = bytes.get(self.line..).unwrap_or_default();
        loop {
            while let Some((line, behind)) = Line::usual(rest) {
                self.take(bytes.len() - rest.len(), &line, bounds, note)?;
                rest = behind;
            }
            // Such a line is rare, the end of the section is not.
            if rest.starts_with(b"\r\n") {
                break;
            }
            let Some((line, behind)) = Line::usual_of_any_name(rest) else { break };
            self.take(bytes.len() - rest.len(), &line, bounds, note)?;
            rest = behind;
        }
        let end = rest.strip_prefix(b"\r\n");
        self.line = bytes.len() - end.unwrap_or(rest).len();
        self.searched = self.line;
        Ok(end.is_some())
    }

    /// Whether one line more is within the bounds.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "once a line")]
    fn has_room(&self, bounds: &Bounds) -> Result<(), Kind> {
        if self.spans.len() + self.spanless == bounds.fields.0 {
            return Err(Kind::Limit(bounds.fields.1));
        }
        Ok(())
    }

    /// Takes one line, which starts at `start`.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a fifth of a head's cost: see `sinew-benches`")]
    fn take(
        &mut self,
        start: usize,
        line: &Line<'_>,
        bounds: &Bounds,
        note: &mut impl FnMut(&Line<'_>, Span) -> Result<Taken, Violation>,
    ) -> Result<(), Kind> {
        self.has_room(bounds)?;
        let span = line.span(start);
        match note(line, span).map_err(Kind::Peer)? {
            Taken::Dropped => {
                self.spanless += 1;
                return Ok(());
            }
            Taken::Framing => self.rigid = self.spans.len() + 1,
            Taken::Plain => {}
        }
        self.spans.push(span);
        Ok(())
    }

    /// Takes what was read, up to where the next line would start.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the fields are written to where the head goes")]
    pub(super) fn finish(&mut self, inbox: &mut BytesMut) -> Fields {
        let block = inbox.split_to(self.line).freeze();
        Fields::new(block, &mut self.spans)
    }

    /// Every value of a field that was read, in order.
    pub(super) fn values<'a>(
        &'a self,
        inbox: &'a [u8],
        name: &'a str,
    ) -> impl Iterator<Item = &'a [u8]> {
        self.spans.values(inbox, name)
    }

    /// A client replaces a fold by spaces: <https://www.rfc-editor.org/rfc/rfc9112#section-5.2>
    fn unfold(&mut self, inbox: &mut BytesMut, start: usize, end: usize) -> Result<(), Kind> {
        inbox[start - 2] = b' ';
        inbox[start - 1] = b' ';
        let Some(span) = self.spans.last_mut() else {
            return Err(Kind::Peer(Violation::Fold));
        };
        let from = usize::from(span.value);
        let value = trim(&inbox[from..end]);
        if !is_field_value(value) {
            return Err(Kind::Peer(Violation::FieldValue));
        }
        let lead = inbox[from..end].iter().take_while(|byte| is_blank(byte)).count();
        let lead = if value.is_empty() { 0 } else { lead };
        span.value = narrow(from + lead)?;
        span.value_len = narrow(value.len())?;
        Ok(())
    }
}

/// What became of a field line.
pub(super) enum Taken {
    Plain,
    Framing,
    Dropped,
}

/// Limits keep every offset below 64 KiB; an offset that is not is a head that is too large.
pub(super) fn narrow(offset: usize) -> Result<u16, Kind> {
    u16::try_from(offset).map_err(|_| Kind::Limit(Limit::HeadBytes))
}

/// A field line: `name ":" OWS value OWS`.
/// <https://www.rfc-editor.org/rfc/rfc9112#section-5>
pub(super) struct Line<'a> {
    pub(super) name: &'a [u8],
    /// The last letter but one of the name, or anything where there is none.
    pub(super) letter: u8,
    /// The white space before the value, colon included.
    lead: usize,
    pub(super) value: &'a [u8],
}

impl<'a> Line<'a> {
    /// The first line of `bytes` and what follows its end, if it is whole, sound and of the usual
    /// kind: one space and no more around a value of printable ASCII.
    /// What it takes, [`parse`](Self::parse) takes for the same.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a fifth of a head's cost: see `sinew-benches`")]
    fn usual(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let start = bytes.first_chunk::<{ BLOCK + 2 }>()?;
        let name = name_prefix(start);
        if !(2..BLOCK).contains(&name) || start[name..name + 2] != *b": " {
            return None;
        }
        Self::usual_value(bytes, name, start[name - 2])
    }

    /// The same with a name that is long, or has other bytes than letters and dashes.
    #[inline(never)]
    fn usual_of_any_name(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let name = token_prefix(bytes);
        let sound = name > 0 && bytes.get(name..)?.starts_with(b": ");
        let letter = letter(bytes.get(..name)?);
        if sound { Self::usual_value(bytes, name, letter) } else { None }
    }

    /// The same behind a name of that length.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a fifth of a head's cost: see `sinew-benches`")]
    fn usual_value(bytes: &'a [u8], name: usize, letter: u8) -> Option<(Self, &'a [u8])> {
        let (name, rest) = bytes.split_at_checked(name)?;
        let (_, rest) = rest.split_at_checked(2)?;
        let (value, rest) = rest.split_at_checked(printable_prefix_within(rest, bytes))?;
        let behind = rest.strip_prefix(b"\r\n")?;
        let is_mark = |byte: &u8| *byte > b' ';
        let trimmed = value.first().is_some_and(is_mark) && value.last().is_some_and(is_mark);
        trimmed.then_some((Self { name, letter, lead: 2, value }, behind))
    }

    /// Parses a whole line without its end, or says what is wrong with it.
    fn parse(line: &'a [u8]) -> Result<Self, Kind> {
        let colon = token_prefix(line);
        let (name, rest) = line.split_at(colon);
        let (b':', rest) = rest.split_first().unwrap_or((&0, &[])) else {
            return Err(Kind::Peer(Violation::FieldName));
        };
        if name.is_empty() {
            return Err(Kind::Peer(Violation::FieldName));
        }
        if !is_field_value(rest) {
            return Err(Kind::Peer(Violation::FieldValue));
        }
        let lead = 1 + rest.iter().take_while(|byte| is_blank(byte)).count();
        Ok(Self { name, letter: letter(name), lead, value: trim(rest) })
    }

    /// Nothing is read beyond what 16 bits can tell.
    #[inline]
    fn span(&self, start: usize) -> Span {
        Span {
            name: start as u16,
            name_len: self.name.len() as u16,
            value: (start + self.name.len() + self.lead) as u16,
            value_len: self.value.len() as u16,
        }
    }
}

/// The last letter of a name but one.
fn letter(name: &[u8]) -> u8 {
    if let [.., letter, _] = name { *letter } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(line: &Line<'_>) -> (Vec<u8>, u8, usize, Vec<u8>) {
        (line.name.to_vec(), line.letter, line.lead, line.value.to_vec())
    }

    #[test]
    fn a_usual_line_is_taken_for_the_same_as_any_line() {
        // Names and values that end around the edges of blocks are among them.
        let edges = [15, 16, 17, 31, 32, 33, 63, 64, 65].map(|len| {
            let (name, value) = ("n".repeat(len.min(33)), "v".repeat(len));
            format!("{name}: {value}\r\nnext: {value}\r\n").into_bytes()
        });
        let lines: [&[u8]; 6] = [
            b"X-Request-Id: 7b1f9f0e-5f8a-4a55-9a30-2c1d6e1f7a10\r\n",
            b"Content-Type: text/plain; charset=\"utf-8\"\r\nnext",
            b"Host: inventory.mesh.local:8080\r\n\r\n",
            b"a: b\r\n0123456789abcdef",
            b"Accept:  \t two  \r\n",
            b"E:\r\n",
        ];
        let mut usual = 0;
        for line in lines.into_iter().chain(edges.iter().map(|line| &line[..])) {
            for at in 0..line.len() {
                for byte in 0..=255 {
                    let mut line = line.to_vec();
                    line[at] = byte;
                    let Some((taken, behind)) = Line::usual(&line) else { continue };
                    let end = line.len() - behind.len() - 2;
                    assert_eq!(&line[end..end + 2], b"\r\n");
                    let any = Line::parse(&line[..end]).expect("what is usual is sound");
                    assert_eq!(parts(&taken), parts(&any), "{:?}", line.escape_ascii());
                    usual += 1;
                }
            }
            let (all, _) = line.split_at(memchr(b'\n', line).unwrap() - 1);
            assert!(Line::parse(all).is_ok());
        }
        assert!(usual > 10_000, "{usual}");
    }

    #[test]
    fn a_line_that_is_not_sound_is_refused_for_what_is_wrong() {
        for (line, violation) in [
            (&b"no colon"[..], Violation::FieldName),
            (b"", Violation::FieldName),
            (b": empty", Violation::FieldName),
            (b"sp ace: x", Violation::FieldName),
            (b"name : x", Violation::FieldName),
            (b"name: \0", Violation::FieldValue),
            (b"name: a\rb", Violation::FieldValue),
            (b"name: \x7f", Violation::FieldValue),
        ] {
            assert_eq!(Line::parse(line).err(), Some(Kind::Peer(violation)));
        }
    }
}
