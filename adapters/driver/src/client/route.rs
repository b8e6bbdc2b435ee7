//! Names of routes.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

/// Names made while the program runs that are kept.
const MADE: usize = 1_024;

static NAMES: RwLock<Names> = RwLock::new(Names(BTreeSet::new()));

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
        let known = NAMES.read().unwrap_or_else(PoisonError::into_inner).get(name);
        let keep = || NAMES.write().unwrap_or_else(PoisonError::into_inner).keep(name);
        Self(known.or_else(keep))
    }

    pub(super) const fn name(self) -> Option<&'static str> {
        self.0
    }
}

/// Names that were made.
struct Names(BTreeSet<&'static str>);

impl Names {
    fn get(&self, name: &str) -> Option<&'static str> {
        self.0.get(name).copied()
    }

    /// The name, from now on; `None` where there are too many.
    fn keep(&mut self, name: &str) -> Option<&'static str> {
        let known = self.get(name);
        known.or_else(|| {
            (self.0.len() < MADE).then(|| {
                let name: &'static str = Box::leak(name.into());
                self.0.insert(name);
                name
            })
        })
    }
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
    fn names_that_are_made_are_the_same() {
        let made = RouteName::new(&format!("GET /{}", "made"));
        assert_eq!(made, RouteName::from("GET /made"));
        assert_eq!(RouteName::new("GET /made"), made, "known before");
    }

    #[test]
    fn names_that_are_made_are_bounded() {
        let mut names = Names(BTreeSet::new());
        for at in 0..2 * MADE {
            let name = format!("GET /{at}");
            assert_eq!(names.keep(&name), (at < MADE).then_some(name.as_str()));
        }
        assert_eq!(names.keep("GET /0"), Some("GET /0"), "known before");
        assert_eq!(names.get("GET /one/too/many"), None);
    }
}
