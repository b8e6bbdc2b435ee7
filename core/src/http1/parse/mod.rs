//! Indexes heads and trailer sections line by line.
//!
//! A line is looked at once, when its end is there; parsing resumes where it stopped. So a head
//! that comes byte by byte costs the same as one that comes whole, and what is refused does not
//! depend on how the bytes were cut.

mod first;
mod lines;

use bytes::BytesMut;
use memchr::memchr;

use self::first::FirstLine;
pub(crate) use self::first::{RequestFirst, ResponseFirst};
use self::lines::{Bounds, FieldLines, Line, Taken};
use super::framing::{FramingFields, Side};
use super::limits::Limits;
use crate::error::{Kind, Limit, Violation};
use crate::head::{Fields, RequestHead, ResponseHead, Span};

/// A head that is being indexed.
#[derive(Debug)]
pub(crate) struct HeadParser<L> {
    first: Option<L>,
    lines: FieldLines,
    framing: FramingFields,
}

/// What is kept between two polls: of a head of which a part was looked at, and of what stood before
/// it. Most heads come whole and need no memory here.
#[derive(Debug)]
pub(crate) struct PartialHead<L> {
    parser: Option<Box<HeadParser<L>>>,
    skipped_empty_line: bool,
}

impl<L> Default for PartialHead<L> {
    fn default() -> Self {
        Self { parser: None, skipped_empty_line: false }
    }
}

impl<L> PartialHead<L> {
    /// Whether a part of a head was looked at.
    #[inline]
    pub(crate) fn is_some(&self) -> bool {
        self.parser.is_some()
    }

    /// The parser of a head of which a part was looked at.
    pub(crate) fn take(&mut self) -> Option<Box<HeadParser<L>>> {
        self.parser.take()
    }

    /// Keeps a parser that looked at a part of a head.
    pub(crate) fn keep(&mut self, parser: Box<HeadParser<L>>) {
        self.parser = Some(parser);
    }
}

impl<L> Default for HeadParser<L> {
    #[inline]
    fn default() -> Self {
        Self { first: None, lines: FieldLines::default(), framing: FramingFields::default() }
    }
}

impl<L: FirstLine> HeadParser<L> {
    /// Whether all of the head is there, and still to be [taken](Self::take_head). Where it is not, the
    /// parser is to be [kept](PartialHead::keep).
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "few heads come in parts, and have a poll of their own"
    )]
    pub(crate) fn poll(
        &mut self,
        partial: &mut PartialHead<L>,
        inbox: &mut BytesMut,
        limits: &Limits,
    ) -> Result<bool, Kind> {
        if self.first.is_none()
            && !self.poll_first(&mut partial.skipped_empty_line, inbox, limits)?
        {
            return Ok(false);
        }
        let bounds = Bounds {
            bytes: (limits.head, Limit::HeadBytes),
            fields: (limits.fields, Limit::Fields),
        };
        let framing = &mut self.framing;
        let note = |line: &Line<'_>, span: Span| {
            if !FramingFields::may_decide(line.letter, line.name.len()) {
                return Ok(Taken::Plain);
            }
            let at = (span.value, span.value_len);
            let decides = framing.note(L::SIDE, line.name, line.value, at)?;
            Ok(if decides { Taken::Framing } else { Taken::Plain })
        };
        let folds = L::SIDE == Side::Response;
        if !self.lines.poll(inbox, &bounds, note, folds)? {
            return Ok(false);
        }
        partial.skipped_empty_line = false;
        Ok(true)
    }

    /// The first line of the head, until it is taken.
    pub(crate) fn first(&self) -> Option<&L> {
        self.first.as_ref()
    }

    /// Takes the first line of a whole head, before [the head](Self::take_head).
    pub(crate) fn take_first(&mut self) -> Option<L> {
        self.first.take()
    }

    /// What the fields of a whole head say about framing.
    pub(crate) fn framing(&self) -> &FramingFields {
        &self.framing
    }

    /// Every value of a field of a whole head, until they are taken.
    pub(crate) fn values<'a>(
        &'a self,
        inbox: &'a [u8],
        name: &'a str,
    ) -> impl Iterator<Item = &'a [u8]> {
        self.lines.values(inbox, name)
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as for `poll`")]
    fn poll_first(
        &mut self,
        skipped_empty_line: &mut bool,
        inbox: &mut BytesMut,
        limits: &Limits,
    ) -> Result<bool, Kind> {
        let visible = inbox.len().min(limits.head);
        if self.lines.searched == 0
            && let Some((first, end)) = L::usual(&inbox[..visible], limits)
        {
            self.lines.line = end;
            self.lines.searched = end;
            self.first = Some(first);
            return Ok(true);
        }
        self.poll_any_first(skipped_empty_line, inbox, limits)
    }

    #[cold]
    fn poll_any_first(
        &mut self,
        skipped_empty_line: &mut bool,
        inbox: &mut BytesMut,
        limits: &Limits,
    ) -> Result<bool, Kind> {
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
            if start == end && L::SIDE == Side::Request && !*skipped_empty_line {
                // https://www.rfc-editor.org/rfc/rfc9112#section-2.2: one empty line is ignored.
                *skipped_empty_line = true;
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

impl HeadParser<RequestFirst> {
    /// Takes a whole head from the inbox, of which this is the first line.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the head is written to where it goes")]
    pub(crate) fn take_head(&mut self, first: RequestFirst, inbox: &mut BytesMut) -> RequestHead {
        RequestHead {
            upgrade: self.framing.upgrade(first.version),
            expects_continue: self.framing.expects_continue(first.version),
            host: self.framing.host,
            method: first.method,
            version: first.version,
            target_at: first.target_at,
            target: first.target,
            fields: self.lines.finish(inbox),
        }
    }
}

impl HeadParser<ResponseFirst> {
    /// Takes a whole head from the inbox, of which this is the first line.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the head is written to where it goes")]
    pub(crate) fn take_head(&mut self, first: ResponseFirst, inbox: &mut BytesMut) -> ResponseHead {
        let ResponseFirst { status, version, reason } = first;
        ResponseHead { status, version, reason, fields: self.lines.finish(inbox) }
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
