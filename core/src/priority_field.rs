//! How much a request matters, as a field says it: <https://www.rfc-editor.org/rfc/rfc9218>

use crate::class::Class;
use crate::policy::Priority;

const KEY: Class = Class::alphanumeric_and(b"_-.*");
const TOKEN: Class = Class::alphanumeric_and(b"!#$%&'*+-.^_`|~:/");
const BASE64: Class = Class::alphanumeric_and(b"+/=");

impl Priority {
    /// The name of the field.
    pub const FIELD: &str = "priority";

    /// What the lines of a `Priority` field say, by their urgency:
    ///
    /// | urgency | priority |
    /// |---|---|
    /// | 0 | critical |
    /// | 1, 2 | high |
    /// | 3 | normal |
    /// | 4, 5 | low |
    /// | 6, 7 | bulk |
    ///
    /// `None`: nothing about urgency, or nothing that can be read. The standard takes 3 there; a server
    /// has better guesses.
    /// <https://www.rfc-editor.org/rfc/rfc9218#section-4.1>
    pub fn of_field<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut said = None;
        for line in lines {
            // A field that cannot be read whole is ignored.
            // https://www.rfc-editor.org/rfc/rfc8941#section-4.2
            said = urgency(line).ok()?.or(said);
        }
        Some(match said? {
            0 => Self::Critical,
            1 | 2 => Self::High,
            3 => Self::Normal,
            4 | 5 => Self::Low,
            _ => Self::Bulk,
        })
    }

    /// The same, to be sent: what [`of_field`](Self::of_field) reads as this very priority.
    pub const fn field_value(self) -> &'static str {
        match self {
            Self::Critical => "u=0",
            Self::High => "u=1",
            Self::Normal => "u=3",
            Self::Low => "u=5",
            Self::Bulk => "u=7",
        }
    }
}

/// It is not in the grammar.
#[derive(Debug)]
struct Malformed;

/// The urgency in a dictionary: <https://www.rfc-editor.org/rfc/rfc8941#section-4.2.2>
fn urgency(line: &[u8]) -> Result<Option<u8>, Malformed> {
    let mut rest = Rest(line.trim_ascii());
    let mut said = None;
    while !rest.0.is_empty() {
        let key = rest.key()?;
        let value = if rest.skip(b'=') { rest.member()? } else { Value::Other };
        rest.parameters()?;
        if key == b"u" {
            // What is out of range, or of another type, counts as not said.
            said = match value {
                Value::Digit(urgency @ 0..=7) => Some(urgency),
                _ => None,
            };
        }
        rest.white();
        if rest.0.is_empty() {
            break;
        }
        if !rest.skip(b',') {
            return Err(Malformed);
        }
        rest.white();
        if rest.0.is_empty() {
            return Err(Malformed);
        }
    }
    Ok(said)
}

/// As much of a value as matters.
enum Value {
    /// An integer of one digit.
    Digit(u8),
    Other,
}

/// What is left of a line.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn skip(&mut self, byte: u8) -> bool {
        match self.0.split_first() {
            Some((first, rest)) if *first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn white(&mut self) {
        while self.skip(b' ') || self.skip(b'\t') {}
    }

    fn spaces(&mut self) {
        while self.skip(b' ') {}
    }

    /// The bytes up to the first one that does not pass.
    fn take(&mut self, passes: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|byte| !passes(*byte)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn key(&mut self) -> Result<&'a [u8], Malformed> {
        let starts = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'*';
        if !self.0.first().is_some_and(starts) {
            return Err(Malformed);
        }
        Ok(self.take(|byte| KEY.has_all_of(&[byte]) && !byte.is_ascii_uppercase()))
    }

    fn parameters(&mut self) -> Result<(), Malformed> {
        while self.skip(b';') {
            self.spaces();
            self.key()?;
            if self.skip(b'=') {
                self.item()?;
            }
        }
        Ok(())
    }

    /// An item, or a list of items.
    fn member(&mut self) -> Result<Value, Malformed> {
        if !self.skip(b'(') {
            return self.item();
        }
        loop {
            self.spaces();
            if self.skip(b')') {
                return Ok(Value::Other);
            }
            self.item()?;
            self.parameters()?;
            if !matches!(self.0.first(), Some(b' ' | b')')) {
                return Err(Malformed);
            }
        }
    }

    fn item(&mut self) -> Result<Value, Malformed> {
        match *self.0.first().ok_or(Malformed)? {
            b'-' | b'0'..=b'9' => return self.number(),
            b'"' => self.string()?,
            b':' => {
                self.skip(b':');
                self.take(|byte| BASE64.has_all_of(&[byte]));
                if !self.skip(b':') {
                    return Err(Malformed);
                }
            }
            b'?' => {
                self.skip(b'?');
                if !self.skip(b'0') && !self.skip(b'1') {
                    return Err(Malformed);
                }
            }
            b'*' | b'a'..=b'z' | b'A'..=b'Z' => {
                self.take(|byte| TOKEN.has_all_of(&[byte]));
            }
            _ => return Err(Malformed),
        }
        Ok(Value::Other)
    }

    /// <https://www.rfc-editor.org/rfc/rfc8941#section-4.2.4>
    fn number(&mut self) -> Result<Value, Malformed> {
        let negative = self.skip(b'-');
        let whole = self.take(|byte| byte.is_ascii_digit());
        if self.skip(b'.') {
            let part = self.take(|byte| byte.is_ascii_digit());
            let fits = (1..=12).contains(&whole.len()) && (1..=3).contains(&part.len());
            return if fits { Ok(Value::Other) } else { Err(Malformed) };
        }
        match whole {
            [digit] if !negative => Ok(Value::Digit(digit - b'0')),
            [] => Err(Malformed),
            _ if whole.len() > 15 => Err(Malformed),
            _ => Ok(Value::Other),
        }
    }

    /// <https://www.rfc-editor.org/rfc/rfc8941#section-4.2.5>
    fn string(&mut self) -> Result<(), Malformed> {
        self.skip(b'"');
        loop {
            self.take(|byte| matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\');
            if self.skip(b'"') {
                return Ok(());
            }
            if !(self.skip(b'\\') && (self.skip(b'"') || self.skip(b'\\'))) {
                return Err(Malformed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Option<Priority> {
        Priority::of_field(lines.iter().map(|line| line.as_bytes()))
    }

    #[test]
    fn urgencies_are_priorities() {
        use Priority::{Bulk, Critical, High, Low, Normal};
        let all = [Critical, High, High, Normal, Low, Low, Bulk, Bulk];
        for (urgency, priority) in all.into_iter().enumerate() {
            assert_eq!(of(&[&format!("u={urgency}")]), Some(priority));
        }
        for priority in Priority::ALL {
            assert_eq!(of(&[priority.field_value()]), Some(priority));
        }
    }

    #[test]
    fn the_last_urgency_counts_wherever_it_stands() {
        for lines in [
            &["u=1"][..],
            &["i, u=1"],
            &["u=1, i"],
            &[" u=5 ,\tu=1;x=\"a,\\\"u=3\";y=?0 "],
            &["a=\"u=4, \\\\\", b=:aGk=:, c=(1 2.5;p tok);q, u=1, d=-3, e=?1, *f=a/b"],
            &["u=5", "i", "", "u=1"],
        ] {
            assert_eq!(of(lines), Some(Priority::High), "{lines:?}");
        }
    }

    #[test]
    fn what_says_nothing_is_nothing() {
        for line in ["", "i", "u", "u=8", "u=-1", "u=1.0", "u=12", "u=a", "u=\"1\"", "u=(1)"] {
            assert_eq!(of(&[line]), None, "{line:?}");
        }
        assert_eq!(of(&["u=1, u=9"]), None, "the last one counts");
    }

    #[test]
    fn what_cannot_be_read_is_ignored_as_a_whole() {
        for bad in [
            "u=1,",
            "u=1 i",
            "u = 1",
            "U=1",
            "u=1,,i",
            ",u=1",
            "u=1;",
            "u=1, a=",
            "u=1, a=\"b",
            "u=1, a=(1",
            "u=1, a=(1,2)",
            "u=1, a=:a",
            "u=1, a=?2",
            "u=1, a=1.",
            "u=1, a=1.2345",
            "u=1, a=1234567890123456",
            "u=1, a=\"\\b\"",
            "u=1, a=é",
            "1",
            "u=1;=2",
            "u=1, a=-",
        ] {
            assert_eq!(of(&[bad]), None, "{bad:?}");
            assert_eq!(of(&["u=0", bad]), None, "{bad:?}");
        }
    }
}
