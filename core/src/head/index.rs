//! Where the fields stand that every request is asked for.

use super::{Fields, is_name};

/// The value of a field that should come once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Single<'a> {
    Absent,
    Once(&'a [u8]),
    /// On several lines: nobody knows which one is meant.
    Repeated,
}

impl Fields {
    /// The value of this field.
    pub(crate) fn single<'a>(&'a self, name: &'a str) -> Single<'a> {
        let mut lines = self.get_all(name);
        match (lines.next(), lines.next()) {
            (None, _) => Single::Absent,
            (Some(value), None) => Single::Once(value),
            (Some(_), Some(_)) => Single::Repeated,
        }
    }
}

/// The places of a few fields among the others, found in one pass instead of one for each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Index {
    pub(crate) authorization: Place,
    pub(crate) origin: Place,
    pub(crate) request_id: Place,
    pub(crate) traceparent: Place,
    pub(crate) tracestate: Place,
}

/// Where a field stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Place {
    #[default]
    Nowhere,
    /// So many lines are in front of it.
    Behind(u16),
    Several,
}

impl Index {
    pub(crate) fn new(fields: &Fields) -> Self {
        let mut index = Self::default();
        for (at, (name, _)) in (0..).zip(fields.lines()) {
            // Few names get past their length and first letter.
            let place = match (name.len(), name.first().map_or(0, |byte| byte | 0x20)) {
                (6, b'o') if is_name(name, b"origin") => &mut index.origin,
                (10, b't') if is_name(name, b"tracestate") => &mut index.tracestate,
                (11, b't') if is_name(name, b"traceparent") => &mut index.traceparent,
                (12, b'x') if is_name(name, b"x-request-id") => &mut index.request_id,
                (13, b'a') if is_name(name, b"authorization") => &mut index.authorization,
                _ => continue,
            };
            *place = match place {
                Place::Nowhere => Place::Behind(at),
                Place::Behind(_) | Place::Several => Place::Several,
            };
        }
        index
    }
}

impl Place {
    /// The value, of the fields that were indexed.
    pub(crate) fn of(self, fields: &Fields) -> Single<'_> {
        match self {
            Self::Nowhere => Single::Absent,
            Self::Behind(at) => match fields.value_at(usize::from(at)) {
                Some(value) => Single::Once(value),
                None => Single::Absent,
            },
            Self::Several => Single::Repeated,
        }
    }
}
