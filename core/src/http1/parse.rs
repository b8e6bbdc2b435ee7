//! Indexes heads and trailer sections line by line.
//!
//! A line is looked at once, when its end is there; parsing resumes where it stopped. So a head
//! that comes byte by byte costs the same as one that comes whole, and what is refused does not
//! depend on how the bytes were cut.

use bytes::BytesMut;
use http::{Method, StatusCode, Version};
use memchr::memchr;

use super::framing::{FramingFields, Side};
use super::grammar::{TOKEN, is_field_value, token_prefix, trim, value_end};
use super::limits::Limits;
use crate::error::{Kind, Limit, Violation};
use crate::head::{Fields, RequestHead, ResponseHead, Span, SpanTable, Target};

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

    /// Reads lines until the empty one; then its end.
    fn poll(
        &mut self,
        inbox: &mut BytesMut,
        bounds: &Bounds,
        mut note: impl FnMut(&[u8], &[u8], (u16, u16)) -> Result<Taken, Violation>,
        folds: bool,
    ) -> Result<Option<usize>, Kind> {
        let visible = inbox.len().min(bounds.bytes.0);
        loop {
            // A sound line that is whole takes one pass; anything else is looked at more closely,
            // but only once its end is there.
            let start = self.line;
            let bytes = &inbox[..visible];
            let whole = if self.searched == start { whole_line(bytes, start) } else { None };
            let line = if let Some(line) = whole {
                self.line = line.next;
                self.searched = line.next;
                line
            } else {
                let Some((start, end)) = self.next_line(bytes)? else {
                    return if visible == bounds.bytes.0 {
                        Err(Kind::Limit(bounds.bytes.1))
                    } else {
                        Ok(None)
                    };
                };
                if start == end {
                    return Ok(Some(self.line));
                }
                if matches!(bytes[start], b' ' | b'\t') {
                    if !(folds && self.foldable) {
                        return Err(Kind::Peer(Violation::Fold));
                    }
                    self.unfold(inbox, start, end)?;
                    continue;
                }
                // The close look says what is wrong; a line may also just not have been whole.
                refusal(&bytes[start..end])?;
                whole_line(bytes, start).ok_or(Kind::Peer(Violation::FieldValue))?
            };
            if self.seen == bounds.fields.0 {
                return Err(Kind::Limit(bounds.fields.1));
            }
            self.seen += 1;
            let (name, value) = (&bytes[start..line.colon], &bytes[line.from..line.to]);
            let span = line.span(start)?;
            let taken = note(name, value, (span.value, span.value_len)).map_err(Kind::Peer)?;
            self.foldable = matches!(taken, Taken::Plain);
            if !matches!(taken, Taken::Dropped) {
                self.spans.push(span);
            }
        }
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
        let lead = inbox[from..end].iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
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

/// A field line with its CR LF, as offsets: `name ":" OWS value OWS`.
/// <https://www.rfc-editor.org/rfc/rfc9112#section-5>
#[derive(Clone, Copy)]
struct Line {
    colon: usize,
    from: usize,
    to: usize,
    next: usize,
}

impl Line {
    fn span(self, start: usize) -> Result<Span, Kind> {
        Ok(Span {
            name: narrow(start)?,
            name_len: narrow(self.colon - start)?,
            value: narrow(self.from)?,
            value_len: narrow(self.to - self.from)?,
        })
    }
}

/// The line at `start`; `None` unless it is whole and sound.
#[inline]
fn whole_line(bytes: &[u8], start: usize) -> Option<Line> {
    let name = token_prefix(&bytes[start..]);
    let colon = start + name;
    if name == 0 || *bytes.get(colon)? != b':' {
        return None;
    }
    let mut from = colon + 1;
    while matches!(bytes.get(from)?, b' ' | b'\t') {
        from += 1;
    }
    let end = value_end(bytes, from);
    if bytes.get(end..end + 2)? != b"\r\n" {
        return None;
    }
    let mut to = end;
    while to > from && matches!(bytes[to - 1], b' ' | b'\t') {
        to -= 1;
    }
    Some(Line { colon, from, to, next: end + 2 })
}

/// What is wrong with a line, if anything is.
fn refusal(line: &[u8]) -> Result<(), Kind> {
    let colon = line.iter().position(|&b| !TOKEN[usize::from(b)]).unwrap_or(line.len());
    if colon == 0 || line.get(colon) != Some(&b':') {
        return Err(Kind::Peer(Violation::FieldName));
    }
    if !is_field_value(&line[colon + 1..]) {
        return Err(Kind::Peer(Violation::FieldValue));
    }
    Ok(())
}

/// The first line of a head.
pub(crate) trait FirstLine: Sized {
    const SIDE: Side;

    /// What can be said of a line whose end is not there yet. It must not refuse what
    /// [`parse`](Self::parse) would not refuse for the same reason.
    fn check_partial(line: &[u8], limits: &Limits) -> Result<(), Kind>;

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

/// A head whose end was found.
pub(crate) struct Parsed<L> {
    pub(crate) first: L,
    pub(crate) fields: Fields,
    pub(crate) framing: FramingFields,
}

impl<L: FirstLine> HeadParser<L> {
    /// The head, once it is whole; its bytes are taken from the inbox then.
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
        let note = |name: &[u8], value: &[u8], at| {
            let decides = framing.note(L::SIDE, name, value, at)?;
            Ok(if decides { Taken::Framing } else { Taken::Plain })
        };
        let folds = L::SIDE == Side::Response;
        let Some(end) = self.lines.poll(inbox, &bounds, note, folds)? else {
            return Ok(None);
        };
        let Some(first) = self.first.take() else { return Ok(None) };
        let block = inbox.split_to(end).freeze();
        let spans = core::mem::take(&mut self.lines).spans;
        let framing = core::mem::take(&mut self.framing);
        self.skipped_empty_line = false;
        Ok(Some(Parsed { first, fields: Fields::new(block, spans), framing }))
    }

    fn poll_first(&mut self, inbox: &mut BytesMut, limits: &Limits) -> Result<bool, Kind> {
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
    method: Method,
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
        let target =
            Target::split(&method, &rest[..target_len]).ok_or(Kind::Peer(Violation::Target))?;
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
    pub(crate) fn into_head(self) -> RequestHead {
        let Self { first, fields, framing } = self;
        RequestHead {
            upgrade: framing.upgrade(first.version),
            expects_continue: framing.expects_continue && first.version == Version::HTTP_11,
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
    pub(crate) fn into_head(self) -> ResponseHead {
        let Self { first, fields, .. } = self;
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
        let note = |name: &[u8], _: &[u8], _| {
            let dropped = super::framing::is_forbidden_in_trailers(name);
            Ok(if dropped { Taken::Dropped } else { Taken::Framing })
        };
        let searched = self.lines.searched.saturating_sub(1);
        let polled = self.lines.poll(inbox, &bounds, note, false);
        if matches!(polled, Ok(None) | Err(Kind::Limit(Limit::TrailerBytes))) {
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
        let Some(end) = polled else { return Ok(None) };
        let spans = core::mem::take(&mut self.lines).spans;
        let block = inbox.split_to(end).freeze();
        Ok(Some(Fields::new(block, spans)))
    }
}
