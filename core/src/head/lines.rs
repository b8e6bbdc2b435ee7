//! Field lines that are ready to go out.

use core::fmt;

/// Whole field lines, as they stand in a head: written by the library, out of what is sound, so that
/// nobody has to look at them again. Used again after [`clear`](Self::clear), it allocates nothing.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Lines(Vec<u8>);

impl Lines {
    /// None. Allocates nothing.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Drops all of them, and keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lines, each with the CR LF at its end.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.split(|byte| *byte == b'\n').filter_map(|line| {
            let line = line.strip_suffix(b"\r")?;
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = core::str::from_utf8(line.get(..colon)?).ok()?;
            Some((name, line.get(colon + 2..)?))
        })
    }

    /// Appends a line. `start`: its name in small letters, `": "`, and maybe the start of its value; or
    /// lines in front of it, too. `rest`: the rest of its value. Both are such as may stand in a head.
    #[expect(clippy::inline_always, reason = "most starts are known, and copied without a call")]
    #[inline(always)]
    pub(crate) fn put(&mut self, start: &[u8], rest: &[u8]) {
        self.0.extend_from_slice(start);
        self.0.extend_from_slice(rest);
        self.0.extend_from_slice(b"\r\n");
    }

    /// The same, unless it is the last one already.
    #[inline]
    pub(crate) fn put_once(&mut self, start: &'static [u8], rest: &[u8]) {
        let end = self.0.len();
        self.put(start, rest);
        let (before, new) = self.0.split_at(end);
        if before.ends_with(new) {
            self.0.truncate(end);
        }
    }
}

impl fmt::Debug for Lines {
    /// Names only, as for other fields.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}
