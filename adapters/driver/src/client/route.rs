//! Names of routes.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

/// Names made while the program runs that are kept.
const MADE: usize = 1_024;

static NAMES: RwLock<BTreeSet<&'static str>> = RwLock::new(BTreeSet::new());

/// What calls have in common that succeed or fail together, such as `GET /orders/{id}`: a template, never
/// a path.
///
/// What stands in the program is one as it is; what is read while it runs, from a configuration or a
/// description of a service, is [made](Self::new) one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RouteName(Option<&'static str>);

impl RouteName {
    /// The route of this name. The process keeps the first 1,024 names that are made here, for as long as
    /// it lives; what comes on top of them is of no route.
    pub fn new(name: &str) -> Self {
        let known = NAMES.read().unwrap_or_else(PoisonError::into_inner).get(name).copied();
        Self(known.or_else(|| keep(name)))
    }

    pub(super) const fn name(self) -> Option<&'static str> {
        self.0
    }
}

fn keep(name: &str) -> Option<&'static str> {
    let mut names = NAMES.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return Some(known);
    }
    (names.len() < MADE).then(|| {
        let name: &'static str = Box::leak(name.into());
        names.insert(name);
        name
    })
}

impl From<&'static str> for RouteName {
    fn from(name: &'static str) -> Self {
        Self(Some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_made_are_the_same_and_bounded() {
        let made = RouteName::new(&format!("GET /{}", "made"));
        assert_eq!(made, RouteName::from("GET /made"));
        for at in 0..2 * MADE {
            let _ = RouteName::new(&format!("GET /{at}"));
        }
        assert_eq!(RouteName::new("GET /one/too/many").name(), None);
        assert_eq!(RouteName::new("GET /made"), made, "known before");
        assert_eq!(RouteName::from("GET /one/too/many").name(), Some("GET /one/too/many"));
    }
}
