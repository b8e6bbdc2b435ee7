//! Indexes heads and trailer sections line by line.
//!
//! A line is looked at once, when its end is there; parsing resumes where it stopped. So a head
//! that comes byte by byte costs the same as one that comes whole, and what is refused does not
//! depend on how the bytes were cut.

use bytes::BytesMut;
use http::{Method, StatusCode, Version};
use memchr::memchr;

use super::framing::{FramingFields, Side};
use super::grammar::{
    TOKEN, is_blank, is_field_value, plain_prefix, token_prefix, trim, value_end,
};
use super::limits::Limits;
use crate::error::{Kind, Limit, Violation};
use crate::head::{Fields, RequestHead, ResponseHead, Scanned, Span, SpanTable, Target};

/// Field lines up to the empty line, as spans relative to the start of the inbox.
#[derive(Default)]
pub(crate) struct FieldLines {
    /// Where the line being read starts.
    line: usize,
    /// No line end before this.
    searched: usize,
    spans: SpanTable,
    /// Lines read, those dropped included.
    seen: usize,
    /// The last line may be folded on: it is not one that decides framing.
    foldable: bool,
}

impl core::fmt::Debug for FieldLines {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "FieldLines(at {}, {} lines)", self.line, self.spans.len())
    }
}

/// What bounds a section of field lines.
struct Bounds {
    bytes: (usize, Limit),
    fields: (usize, Limit),
}

impl FieldLines {
    /// The next line without its CR LF, as a range; `None` where its end is not there yet.
    fn next_line(&mut self, visible: &[u8]) -> Result<Option<(usize, usize)>, Kind> {
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
    fn poll(
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
            if self.searched == self.line {
                self.take_usual(&inbox[..visible], bounds, &mut note)?;
            }
            let bytes = &inbox[..visible];
            if self.searched == self.line && bytes[self.line..].starts_with(b"\r\n") {
                self.line += 2;
                return Ok(true);
            }
            let Some((start, end)) = self.next_line(bytes)? else {
                return if visible == most { Err(Kind::Limit(bounds.bytes.1)) } else { Ok(false) };
            };
            if start == end {
                return Ok(true);
            }
            if matches!(bytes[start], b' ' | b'\t') {
                if !(folds && self.foldable) {
                    return Err(Kind::Peer(Violation::Fold));
                }
                self.count(bounds)?;
                self.unfold(inbox, start, end)?;
                continue;
            }
            let line = Line::parse(&bytes[start..end])?;
            self.take(start, &line, bounds, &mut note)?;
        }
    }

    /// Takes the lines that are whole and of the usual kind.
    #[inline(never)]
    fn take_usual(
        &mut self,
        bytes: &[u8],
        bounds: &Bounds,
        note: &mut impl FnMut(&Line<'_>, Span) -> Result<Taken, Violation>,
    ) -> Result<(), Kind> {
        let mut rest = bytes.get(self.line..).unwrap_or_default();
        while let Some((line, behind)) = Line::usual(rest) {
            self.take(bytes.len() - rest.len(), &line, bounds, note)?;
            rest = behind;
        }
        self.line = bytes.len() - rest.len();
        self.searched = self.line;
        Ok(())
    }

    /// One line more.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "once a line")]
    fn count(&mut self, bounds: &Bounds) -> Result<(), Kind> {
        if self.seen == bounds.fields.0 {
            return Err(Kind::Limit(bounds.fields.1));
        }
        self.seen += 1;
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
        self.count(bounds)?;
        let span = line.span(start);
        let taken = note(line, span).map_err(Kind::Peer)?;
        self.foldable = matches!(taken, Taken::Plain);
        if !matches!(taken, Taken::Dropped) {
            self.spans.push(span);
        }
        Ok(())
    }

    /// Takes what was read, up to where the next line would start; the next section starts afresh.
    fn finish(&mut self, inbox: &mut BytesMut) -> Fields {
        let block = inbox.split_to(self.line).freeze();
        (self.line, self.searched, self.seen, self.foldable) = (0, 0, 0, false);
        Fields::new(block, self.spans.take())
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
enum Taken {
    Plain,
    Framing,
    Dropped,
}

/// Limits keep every offset below 64 KiB; an offset that is not is a head that is too large.
fn narrow(offset: usize) -> Result<u16, Kind> {
    u16::try_from(offset).map_err(|_| Kind::Limit(Limit::HeadBytes))
}

/// A field line: `name ":" OWS value OWS`.
/// <https://www.rfc-editor.org/rfc/rfc9112#section-5>
struct Line<'a> {
    name: &'a [u8],
    /// The white space before the value, colon included.
    lead: usize,
    value: &'a [u8],
}

impl<'a> Line<'a> {
    /// The first line of `bytes` and what follows its end, if it is whole, sound and of the usual
    /// kind: one space and no more around a value without tabs.
    /// What it takes, [`parse`](Self::parse) takes for the same.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a fifth of a head's cost: see `sinew-benches`")]
    fn usual(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (name, rest) = bytes.split_at_checked(token_prefix(bytes))?;
        let (b": ", rest) = rest.split_first_chunk()? else { return None };
        let (value, rest) = rest.split_at_checked(plain_prefix(rest))?;
        let (b"\r\n", behind) = rest.split_first_chunk()? else { return None };
        let is_mark = |byte: &u8| *byte > b' ';
        let trimmed = value.first().is_some_and(is_mark) && value.last().is_some_and(is_mark);
        (trimmed && !name.is_empty()).then_some((Self { name, lead: 2, value }, behind))
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
        Ok(Self { name, lead, value: trim(rest) })
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

/// The first line of a head.
pub(crate) trait FirstLine: Sized {
    const SIDE: Side;

    /// What can be said of a line whose end is not there yet. It must not refuse what
    /// [`parse`](Self::parse) would not refuse for the same reason.
    fn check_partial(line: &[u8], limits: &Limits) -> Result<(), Kind>;

    /// The line at the start of `bytes` and its length, if it is whole, sound and of the usual kind.
    fn usual(bytes: &[u8], limits: &Limits) -> Option<(Self, usize)>;

    /// Parses the whole line, which starts at offset 0.
    fn parse(line: &[u8], limits: &Limits) -> Result<Self, Kind>;
}

/// Indexes one head after another.
#[derive(Debug)]
pub(crate) struct HeadParser<L> {
    first: Option<L>,
    lines: FieldLines,
    framing: FramingFields,
    skipped_empty_line: bool,
}

impl<L> Default for HeadParser<L> {
    fn default() -> Self {
        Self {
            first: None,
            lines: FieldLines::default(),
            framing: FramingFields::default(),
            skipped_empty_line: false,
        }
    }
}

/// What a whole head says; its field lines are still to be [taken](HeadParser::take_fields).
pub(crate) struct Parsed<L> {
    pub(crate) first: L,
    pub(crate) framing: FramingFields,
}

impl<L: FirstLine> HeadParser<L> {
    /// The head, once it is whole.
    pub(crate) fn poll(
        &mut self,
        inbox: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Option<Parsed<L>>, Kind> {
        if self.first.is_none() && !self.poll_first(inbox, limits)? {
            return Ok(None);
        }
        let bounds = Bounds {
            bytes: (limits.head, Limit::HeadBytes),
            fields: (limits.fields, Limit::Fields),
        };
        let framing = &mut self.framing;
        let note = |line: &Line<'_>, span: Span| {
            if !FramingFields::may_decide(line.name) {
                return Ok(Taken::Plain);
            }
            let at = (span.value, span.value_len);
            let decides = framing.note(L::SIDE, line.name, line.value, at)?;
            Ok(if decides { Taken::Framing } else { Taken::Plain })
        };
        let folds = L::SIDE == Side::Response;
        if !self.lines.poll(inbox, &bounds, note, folds)? {
            return Ok(None);
        }
        self.skipped_empty_line = false;
        let framing = core::mem::take(&mut self.framing);
        Ok(self.first.take().map(|first| Parsed { first, framing }))
    }

    /// Takes a whole head from the inbox.
    pub(crate) fn take_fields(&mut self, inbox: &mut BytesMut) -> Fields {
        self.lines.finish(inbox)
    }

    fn poll_first(&mut self, inbox: &mut BytesMut, limits: &Limits) -> Result<bool, Kind> {
        let visible = inbox.len().min(limits.head);
        if self.lines.searched == 0
            && let Some((first, end)) = L::usual(&inbox[..visible], limits)
        {
            self.first = Some(first);
            self.lines.line = end;
            self.lines.searched = end;
            return Ok(true);
        }
        loop {
            let visible = inbox.len().min(limits.head);
            let found = self.lines.next_line(&inbox[..visible]);
            if found.is_err() {
                // What could be said of the line before its end came is said first, as it would be
                // had the end come later.
                let feed = memchr(b'\n', &inbox[..visible]).unwrap_or(visible);
                L::check_partial(&inbox[..feed], limits)?;
            }
            let Some((start, end)) = found? else {
                let line = &inbox[..visible];
                L::check_partial(line.strip_suffix(b"\r").unwrap_or(line), limits)?;
                return if visible == limits.head {
                    Err(Kind::Limit(Limit::HeadBytes))
                } else {
                    Ok(false)
                };
            };
            if start == end && L::SIDE == Side::Request && !self.skipped_empty_line {
                // https://www.rfc-editor.org/rfc/rfc9112#section-2.2: one empty line is ignored.
                self.skipped_empty_line = true;
                bytes::Buf::advance(inbox, self.lines.line);
                self.lines.line = 0;
                self.lines.searched = 0;
                continue;
            }
            self.first = Some(L::parse(&inbox[start..end], limits)?);
            return Ok(true);
        }
    }
}

/// `method SP request-target SP HTTP-version`
#[derive(Debug)]
pub(crate) struct RequestFirst {
    pub(crate) method: Method,
    target_at: (u16, u16),
    target: Target,
    pub(crate) version: Version,
}

/// The method's end, where everything before it is a token.
fn method_end(line: &[u8]) -> Result<Option<usize>, Kind> {
    match line.iter().position(|&b| !TOKEN[usize::from(b)]) {
        None => Ok(None),
        Some(at) if line[at] == b' ' => Ok(Some(at)),
        Some(_) => Err(Kind::Peer(Violation::Method)),
    }
}

impl FirstLine for RequestFirst {
    const SIDE: Side = Side::Request;

    fn check_partial(line: &[u8], limits: &Limits) -> Result<(), Kind> {
        let Some(method) = method_end(line)? else { return Ok(()) };
        let rest = &line[method + 1..];
        let target = memchr(b' ', rest).unwrap_or(rest.len());
        if target > limits.target {
            return Err(Kind::Limit(Limit::Target));
        }
        Ok(())
    }

    fn usual(bytes: &[u8], limits: &Limits) -> Option<(Self, usize)> {
        const VERSION: &[u8; 11] = b" HTTP/1.1\r\n";
        let (method, rest) = bytes.split_at_checked(token_prefix(bytes))?;
        let (b' ', rest) = rest.split_first()? else { return None };
        let scanned = Scanned::prefix(rest);
        let len = scanned.target.len();
        let behind = rest.get(len..)?.strip_prefix(VERSION)?;
        if len == 0 || len > limits.target {
            return None;
        }
        let target_at = (narrow(method.len() + 1).ok()?, narrow(len).ok()?);
        let method = Method::from_bytes(method).ok()?;
        let target = Target::split(&method, &scanned)?;
        let first = Self { method, target_at, target, version: Version::HTTP_11 };
        Some((first, bytes.len() - behind.len()))
    }

    fn parse(line: &[u8], limits: &Limits) -> Result<Self, Kind> {
        let malformed = Kind::Peer(Violation::RequestLine);
        let method_len = method_end(line)?.ok_or(malformed)?;
        let rest = &line[method_len + 1..];
        let target_len = memchr(b' ', rest).unwrap_or(rest.len());
        if target_len > limits.target {
            return Err(Kind::Limit(Limit::Target));
        }
        let version = rest.get(target_len + 1..).ok_or(malformed)?;
        if method_len == 0 || target_len == 0 {
            return Err(malformed);
        }
        // The version comes first: with an unknown one the rest of the line means nothing to us.
        let version = http_version(version, Violation::RequestLine)?;
        let method = Method::from_bytes(&line[..method_len]).map_err(|_| malformed)?;
        let target = Scanned::whole(&rest[..target_len])
            .and_then(|scanned| Target::split(&method, &scanned))
            .ok_or(Kind::Peer(Violation::Target))?;
        let target_at = (narrow(method_len + 1)?, narrow(target_len)?);
        Ok(Self { method, target_at, target, version })
    }
}

/// `HTTP/` DIGIT `.` DIGIT: <https://www.rfc-editor.org/rfc/rfc9112#section-2.3>
fn http_version(bytes: &[u8], malformed: Violation) -> Result<Version, Kind> {
    match bytes {
        b"HTTP/1.1" => Ok(Version::HTTP_11),
        b"HTTP/1.0" => Ok(Version::HTTP_10),
        // https://www.rfc-editor.org/rfc/rfc9110#section-2.5: a higher minor is read as ours.
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Ok(Version::HTTP_11),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            Err(Kind::Peer(Violation::VersionUnsupported))
        }
        _ => Err(Kind::Peer(malformed)),
    }
}

impl Parsed<RequestFirst> {
    pub(crate) fn into_head(self, fields: Fields) -> RequestHead {
        let Self { first, framing } = self;
        RequestHead {
            upgrade: framing.upgrade(first.version),
            expects_continue: framing.expects_continue(first.version),
            host: framing.host,
            method: first.method,
            version: first.version,
            target_at: first.target_at,
            target: first.target,
            fields,
        }
    }
}

/// `HTTP-version SP status-code SP [ reason-phrase ]`
#[derive(Debug)]
pub(crate) struct ResponseFirst {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    reason: (u16, u16),
}

impl FirstLine for ResponseFirst {
    const SIDE: Side = Side::Response;

    fn check_partial(line: &[u8], _: &Limits) -> Result<(), Kind> {
        let known = line.len().min(5);
        if line[..known] == b"HTTP/"[..known] {
            Ok(())
        } else {
            Err(Kind::Peer(Violation::StatusLine))
        }
    }

    fn usual(bytes: &[u8], _: &Limits) -> Option<(Self, usize)> {
        const OK: &[u8; 17] = b"HTTP/1.1 200 OK\r\n";
        // The most usual of all.
        if bytes.starts_with(OK) {
            let first = Self { status: StatusCode::OK, version: Version::HTTP_11, reason: (13, 2) };
            return Some((first, OK.len()));
        }
        let (code, rest) = bytes.strip_prefix(b"HTTP/1.1 ")?.split_first_chunk::<3>()?;
        let rest = rest.strip_prefix(b" ")?;
        let (reason, rest) = rest.split_at_checked(value_end(rest))?;
        let behind = rest.strip_prefix(b"\r\n")?;
        let end = bytes.len() - behind.len();
        let status = StatusCode::from_bytes(code).ok()?;
        let len = narrow(reason.len()).ok()?;
        let reason = (narrow(end - 2).ok()? - len, len);
        Some((Self { status, version: Version::HTTP_11, reason }, end))
    }

    fn parse(line: &[u8], limits: &Limits) -> Result<Self, Kind> {
        let malformed = Kind::Peer(Violation::StatusLine);
        Self::check_partial(line, limits)?;
        let (version, rest) = line.split_at_checked(8).ok_or(malformed)?;
        let version = http_version(version, Violation::StatusLine)?;
        // https://www.rfc-editor.org/rfc/rfc9112#section-4: the space behind the code is due even
        // without a reason, but servers that leave both out are taken.
        let (code, reason) = match rest {
            [b' ', a, b, c] => ([*a, *b, *c], &rest[4..]),
            [b' ', a, b, c, b' ', reason @ ..] => ([*a, *b, *c], reason),
            _ => return Err(malformed),
        };
        let status = StatusCode::from_bytes(&code).map_err(|_| malformed)?;
        if !is_field_value(reason) {
            return Err(malformed);
        }
        let reason = (narrow(line.len() - reason.len())?, narrow(reason.len())?);
        Ok(Self { status, version, reason })
    }
}

impl Parsed<ResponseFirst> {
    pub(crate) fn into_head(self, fields: Fields) -> ResponseHead {
        let Self { first, .. } = self;
        ResponseHead { status: first.status, version: first.version, reason: first.reason, fields }
    }
}

/// A trailer section: <https://www.rfc-editor.org/rfc/rfc9112#section-7.1.2>
#[derive(Debug, Default)]
pub(crate) struct TrailerParser {
    lines: FieldLines,
}

impl TrailerParser {
    /// The trailers, maybe none, once the section is whole; those that must not stand there are left
    /// out.
    pub(crate) fn poll(
        &mut self,
        inbox: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Option<Fields>, Kind> {
        let bounds = Bounds {
            bytes: (limits.trailer_bytes, Limit::TrailerBytes),
            fields: (limits.trailers, Limit::Trailers),
        };
        let note = |line: &Line<'_>, _| {
            let dropped = super::framing::is_forbidden_in_trailers(line.name);
            Ok(if dropped { Taken::Dropped } else { Taken::Framing })
        };
        let searched = self.lines.searched.saturating_sub(1);
        let polled = self.lines.poll(inbox, &bounds, note, false);
        if matches!(polled, Ok(false) | Err(Kind::Limit(Limit::TrailerBytes))) {
            // A lone CR is refused at once: a sender that ends its body with one waits for us.
            let visible = inbox.len().min(limits.trailer_bytes);
            let line = &inbox[searched.max(self.lines.line).min(visible)..visible];
            if line.split_last().is_some_and(|(_, line)| memchr(b'\r', line).is_some()) {
                return Err(Kind::Peer(Violation::Trailer));
            }
        }
        let polled = polled.map_err(|kind| match kind {
            Kind::Peer(_) => Kind::Peer(Violation::Trailer),
            other => other,
        })?;
        Ok(polled.then(|| self.lines.finish(inbox)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(line: &Line<'_>) -> (Vec<u8>, usize, Vec<u8>) {
        (line.name.to_vec(), line.lead, line.value.to_vec())
    }

    #[test]
    fn a_usual_line_is_taken_for_the_same_as_any_line() {
        let lines: [&[u8]; 6] = [
            b"X-Request-Id: 7b1f9f0e-5f8a-4a55-9a30-2c1d6e1f7a10\r\n",
            b"Content-Type: text/plain; charset=\"utf-8\"\r\nnext",
            b"Host: inventory.mesh.local:8080\r\n\r\n",
            b"a: b\r\n0123456789abcdef",
            b"Accept:  \t two  \r\n",
            b"E:\r\n",
        ];
        let mut usual = 0;
        for line in lines {
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
