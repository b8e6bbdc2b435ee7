//! What is wrong with a file, and where.

use std::fmt;

/// One thing that is wrong with a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Problem {
    /// The setting, as `rate_limit.client.burst` or `access.rule.0.routes`; elements of lists count
    /// from 0. Empty where the file as a whole is meant.
    pub setting: String,
    /// Its place; `None` where the file cannot be read.
    pub place: Option<Place>,
    /// What is wrong, in plain words. No value that may be a secret is in it.
    pub why: String,
    /// Of a name or a word that nobody knows: those that are known in its place.
    pub known: Vec<String>,
}

/// A place in a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The first line is 1.
    pub line: usize,
    /// In characters; the first one is 1.
    pub column: usize,
}

/// All that is wrong with a configuration, in the order of the file; at least one thing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problems {
    /// The file's name, as it was given.
    pub(crate) file: String,
    pub(crate) list: Vec<Problem>,
}

impl Problems {
    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Problem { setting, place, why, .. }) in self.list.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&self.file)?;
            if let Some(Place { line, column }) = place {
                write!(f, ":{line}:{column}")?;
            }
            if !setting.is_empty() {
                write!(f, ": {setting}")?;
            }
            write!(f, ": {why}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
