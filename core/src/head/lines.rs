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

    /// Appends whole lines, in parts: names in small letters, `": "`, values that may stand in a head,
    /// CR LF.
    #[inline]
    pub(crate) fn put<const N: usize>(&mut self, parts: [&[u8]; N]) {
        for part in parts {
            self.0.extend_from_slice(part);
        }
        debug_assert!(self.0.ends_with(b"\r\n"), "lines are whole");
    }

    /// The same, unless they are the last ones already.
    #[inline]
    pub(crate) fn put_once<const N: usize>(&mut self, parts: [&[u8]; N]) {
        let end = self.0.len();
        self.put(parts);
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
