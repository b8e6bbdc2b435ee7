//! What a path was matched as, and the values in it.

use std::borrow::Cow;

use super::path;

/// Parameters of a path that need no memory of their own.
const INLINE: usize = 4;

/// What a path with a route was registered as; fit for metric labels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    text: Box<str>,
    names: Box<[Box<str>]>,
}

/// The parameters of a matched path: where they lie, not what they are.
///
/// Without a lifetime, so that it moves into a handler with the head that it belongs to. Allocates
/// only for a path with escapes or with more than four parameters.
#[derive(Clone, Default, Debug)]
pub struct Params {
    len: u16,
    inline: [(u16, u16); INLINE],
    more: Option<Box<More>>,
}

/// What few requests need.
#[derive(Clone, Default, Debug)]
struct More {
    spill: Vec<(u16, u16)>,
    /// The path in normal form, where it differs from the raw one.
    normal: Option<Box<str>>,
}

impl Template {
    pub(super) fn new(text: &str, names: Box<[Box<str>]>) -> Self {
        Self { text: text.into(), names }
    }

    /// The template as it was added: `/api/{id}`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of its parameters, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }
}

impl Params {
    /// The value of a parameter, decoded. `raw` is the path that was matched.
    pub fn get<'a>(
        &'a self,
        template: &Template,
        raw: &'a str,
        name: &str,
    ) -> Option<Cow<'a, str>> {
        let index = template.names().position(|known| known == name)?;
        self.value(raw, index)
    }

    /// Names and values, decoded, in order. `raw` is the path that was matched.
    pub fn iter<'a>(
        &'a self,
        template: &'a Template,
        raw: &'a str,
    ) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
        let value = move |(index, name)| Some((name, self.value(raw, index)?));
        template.names().enumerate().filter_map(value)
    }

    pub(super) fn push(&mut self, start: usize, len: usize) {
        // A path lies in a head, and a head is shorter than 64 KiB.
        let span = (u16::try_from(start).unwrap_or(0), u16::try_from(len).unwrap_or(0));
        match self.inline.get_mut(usize::from(self.len)) {
            Some(slot) => *slot = span,
            None => self.more.get_or_insert_default().spill.push(span),
        }
        self.len += 1;
    }

    /// Sets the path that the spans refer to, where it is not the raw one.
    pub(super) fn refer_to(&mut self, normal: String) {
        self.more.get_or_insert_default().normal = Some(normal.into());
    }

    fn value<'a>(&'a self, raw: &'a str, index: usize) -> Option<Cow<'a, str>> {
        let more = self.more.as_deref();
        let spill = more.map(|more| &more.spill[..]).unwrap_or_default();
        let mut filled = self.inline.iter().take(usize::from(self.len)).chain(spill);
        let &(start, len) = filled.nth(index)?;
        let path = more.and_then(|more| more.normal.as_deref()).unwrap_or(raw);
        let (start, len) = (usize::from(start), usize::from(len));
        path.get(start..start + len).map(path::decode_rest)
    }
}
