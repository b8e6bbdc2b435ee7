//! JSON objects, written member by member.

use core::fmt::Write as _;

/// A JSON object as it is written: <https://www.rfc-editor.org/rfc/rfc8259#section-4>
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(String::with_capacity(bytes))
    }

    /// A member whose value is JSON already.
    pub(crate) fn raw(&mut self, name: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.string(name);
        self.0.push(':');
        self.0.push_str(value);
    }

    /// A member whose value is text.
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        self.raw(name, "");
        self.string(value);
    }

    /// <https://www.rfc-editor.org/rfc/rfc8259#section-7>
    fn string(&mut self, text: &str) {
        self.0.push('"');
        for character in text.chars() {
            match character {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                control if u32::from(control) < 0x20 => {
                    let _ = write!(self.0, "\\u{:04x}", u32::from(control));
                }
                other => self.0.push(other),
            }
        }
        self.0.push('"');
    }

    pub(crate) fn end(mut self) -> String {
        if self.0.is_empty() {
            self.0.push('{');
        }
        self.0.push('}');
        self.0
    }
}
