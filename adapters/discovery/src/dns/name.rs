//! Names in the DNS.

use std::fmt;
use std::str::FromStr;

/// Bytes of a name as text, at most: 255 on the wire.
/// <https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4>
const MAX_NAME: usize = 253;

/// Bytes of a label, at most.
const MAX_LABEL: usize = 63;

/// The name of a host or of a service, from the root on, in lower case and without its last dot.
///
/// Letters, digits, `-` and `_`; international names in their form that begins with `xn--`.
///
/// ```
/// use sinew_discovery::dns::Name;
///
/// let name: Name = "Billing.Mesh.test.".parse()?;
/// assert_eq!(name.as_str(), "billing.mesh.test");
/// # Ok::<(), sinew_discovery::dns::BadName>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Name(String);

/// Why something is no name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadName {
    /// It is empty, or one of its labels is.
    EmptyLabel,
    /// It has more than 253 bytes, or a label of more than 63.
    TooLong,
    /// It has something else than letters, digits, `-` and `_`.
    Character,
    /// It is an address, which needs no resolver.
    Address,
}

impl Name {
    /// The name, as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This name below another one.
    pub fn below(&self, other: &Self) -> Result<Self, BadName> {
        format!("{}.{}", self.0, other.0).parse()
    }

    /// Labels above the root, less one.
    pub fn dots(&self) -> usize {
        self.0.bytes().filter(|byte| *byte == b'.').count()
    }

    /// The root, which stands for "none" where a target is named.
    pub(super) const fn root() -> Self {
        Self(String::new())
    }

    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// A name as it came.
    pub(super) fn of_wire(wire: &hickory_proto::rr::Name) -> Result<Self, BadName> {
        let mut name = Self::root();
        wire.iter().try_for_each(|label| name.push(label))?;
        Ok(name)
    }

    fn push(&mut self, label: &[u8]) -> Result<(), BadName> {
        check(label)?;
        if !self.is_root() {
            self.0.push('.');
        }
        self.0.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        if self.0.len() > MAX_NAME { Err(BadName::TooLong) } else { Ok(()) }
    }

    pub(super) fn labels(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split('.').map(str::as_bytes).filter(|label| !label.is_empty())
    }
}

fn check(label: &[u8]) -> Result<(), BadName> {
    let named = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    match label.len() {
        0 => Err(BadName::EmptyLabel),
        1..=MAX_LABEL if label.iter().all(named) => Ok(()),
        1..=MAX_LABEL => Err(BadName::Character),
        _ => Err(BadName::TooLong),
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.len() > MAX_NAME {
            return Err(BadName::TooLong);
        }
        let mut name = Self::root();
        text.split('.').try_for_each(|label| name.push(label.as_bytes()))?;
        // No top-level domain is a number, so nothing but an address ends in one.
        // https://www.rfc-editor.org/rfc/rfc3696#section-2
        let last = name.labels().last().unwrap_or_default();
        if last.iter().all(u8::is_ascii_digit) { Err(BadName::Address) } else { Ok(name) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptyLabel => "a name with an empty label",
            Self::TooLong => "a name of more than 253 bytes, or a label of more than 63",
            Self::Character => "a name with something else than letters, digits, - and _",
            Self::Address => "an address where a name is needed",
        })
    }
}

impl std::error::Error for BadName {}
