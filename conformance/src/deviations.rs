//! Cases on which sinew differs, each with its reason.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::load::LoadError;

/// The deviations that come with this crate.
const BUILT_IN: &str = include_str!("../deviations.toml");
const NAME: &str = "deviations.toml";

/// Cases on which sinew differs, by id.
#[derive(Clone, Debug, Default)]
pub struct Deviations {
    entries: BTreeMap<String, Entry>,
}

/// Where a deviation is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// On the machines, and so wherever they are used.
    #[default]
    Machines,
    /// Where an adapter does more than its machines: routes, bodies, calls.
    Adapters,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    deviation: Vec<Entry>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    #[serde(default)]
    of: Place,
    reason: String,
}

impl Deviations {
    /// The deviations that come with this crate.
    pub fn built_in() -> Result<Self, LoadError> {
        Self::parse(BUILT_IN)
    }

    /// Reads `[[deviation]]` tables of `id` and `reason`.
    pub fn parse(text: &str) -> Result<Self, LoadError> {
        let wrong = |line, what| LoadError { file: NAME.to_owned(), line, what };
        let file: File = toml::from_str(text).map_err(|e| {
            let before = e.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(0, |before| before.matches('\n').count() + 1);
            wrong(line, e.message().to_owned())
        })?;
        let mut entries = BTreeMap::new();
        for entry in file.deviation {
            let id = entry.id.clone();
            if !entry.reason.contains("RFC") {
                return Err(wrong(0, format!("{id:?}: the reason does not name the RFC's text")));
            }
            if entries.insert(id.clone(), entry).is_some() {
                return Err(wrong(0, format!("{id:?} stands twice")));
            }
        }
        Ok(Self { entries })
    }

    /// The deviations that can be seen there: those of the machines, and on adapters their own.
    #[must_use]
    pub fn seen_on(mut self, place: Place) -> Self {
        self.entries.retain(|_, entry| entry.of == Place::Machines || entry.of == place);
        self
    }

    /// The reason why sinew differs on this case, if it does.
    pub fn reason(&self, id: &str) -> Option<&str> {
        self.entries.get(id).map(|entry| entry.reason.as_str())
    }

    /// The entries that belong to none of these cases.
    pub fn without_case<'a>(&'a self, ids: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
        let ids: BTreeSet<&str> = ids.into_iter().collect();
        self.entries.keys().map(String::as_str).filter(|id| !ids.contains(id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_needs_a_reason() {
        let entry = "[[deviation]]\nid = \"a/b\"\nreason = \"because\"\n";
        assert!(Deviations::parse(entry).unwrap_err().what.contains("does not name the RFC"));
        let entry = "[[deviation]]\nid = \"a/b\"\nwhy = \"RFC 9110\"\n";
        assert_eq!(Deviations::parse(entry).unwrap_err().line, 3);
    }

    #[test]
    fn entries_without_a_case_show() {
        let text = "[[deviation]]\nid = \"a/b\"\nreason = \"RFC 9110 5.5\"\n";
        let deviations = Deviations::parse(text).unwrap();
        assert_eq!(deviations.without_case(["a/c"]), ["a/b"]);
        assert_eq!(deviations.reason("a/b"), Some("RFC 9110 5.5"));
    }
}
