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
        Single::of(self.get_all(name))
    }
}

impl<'a> Single<'a> {
    /// What these values of one field are.
    pub(crate) fn of(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut values = values.into_iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Absent,
            (Some(value), None) => Self::Once(value),
            (Some(_), Some(_)) => Self::Repeated,
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

/// Where the value of a field stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Place {
    #[default]
    Nowhere,
    At {
        start: u16,
        len: u16,
    },
    Several,
}

impl Index {
    pub(crate) fn new(fields: &Fields) -> Self {
        let mut index = Self::default();
        let (usual, others) = fields.spans();
        for spans in [usual, others] {
            for span in spans {
                let name = || fields.slice(span.name, span.name_len);
                let place = match span.name_len {
                    6 if is_name(name(), b"origin") => &mut index.origin,
                    10 if is_name(name(), b"tracestate") => &mut index.tracestate,
                    11 if is_name(name(), b"traceparent") => &mut index.traceparent,
                    12 if is_name(name(), b"x-request-id") => &mut index.request_id,
                    13 if is_name(name(), b"authorization") => &mut index.authorization,
                    _ => continue,
                };
                *place = match place {
                    Place::Nowhere => Place::At { start: span.value, len: span.value_len },
                    Place::At { .. } | Place::Several => Place::Several,
                };
            }
        }
        index
    }
}

impl Place {
    /// The value, of the fields that were indexed.
    #[inline]
    pub(crate) fn of(self, fields: &Fields) -> Single<'_> {
        match self {
            Self::Nowhere => Single::Absent,
            Self::At { start, len } => Single::Once(fields.slice(start, len)),
            Self::Several => Single::Repeated,
        }
    }
}
