//! The instances of a destination as a source lists them, and what is done when it cannot.

use core::convert::Infallible;
use core::fmt;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use super::endpoint::{Endpoint, Member};
use crate::Machine;
use crate::time::{Deadline, Instant, Timer};

/// How a list is kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EndpointSetConfig {
    /// Members of a list, at most; at least 1. Default 4,096.
    pub max_members: usize,
    /// A list without members is taken for a failure of its source. Default: it is.
    pub refuse_empty: bool,
    /// The last good list is kept for so long after its source failed. Default 1 h; [`Duration::MAX`] is
    /// for ever.
    pub keep: Duration,
}

impl Default for EndpointSetConfig {
    fn default() -> Self {
        Self { max_members: 4_096, refuse_empty: true, keep: Duration::from_secs(3_600) }
    }
}

/// Why a list is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadList {
    /// It has more members than the set may have.
    TooMany,
    /// It names this one twice.
    Twice(Endpoint),
    /// It has no members.
    Empty,
}

/// What a list changes.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
#[must_use]
pub struct Diff {
    /// Those that were not there before.
    pub added: Vec<Endpoint>,
    /// Those that are there no more.
    pub removed: Vec<Endpoint>,
    /// Those of which something else is said now.
    pub changed: Vec<Endpoint>,
}

impl Diff {
    /// It is the list that was there before.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// What becomes of a source.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SourceEvent {
    /// It fails; the last good list is kept, if there is one.
    Down,
    /// It is back, after so long.
    Up {
        /// Since the first failure.
        after: Duration,
    },
    /// It was down for too long: there are no endpoints any more.
    Expired,
}

/// The members of a destination, and how old that knowledge is.
///
/// ```
/// use sinew_core::mesh::{Endpoint, EndpointSet, EndpointSetConfig, Member};
/// use sinew_core::time::Instant;
///
/// let mut set = EndpointSet::new(EndpointSetConfig::default());
/// let now = Instant::ZERO;
/// let diff = set.handle_list(now, vec![Member::new(Endpoint(1), "10.0.0.1:80")])?;
/// assert_eq!(diff.added, [Endpoint(1)]);
/// set.handle_failure(now);
/// assert_eq!(set.members().count(), 1, "the last good list is kept");
/// # Ok::<(), sinew_core::mesh::BadList>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointSet<M> {
    config: EndpointSetConfig,
    members: BTreeMap<Endpoint, Member<M>>,
    version: u64,
    /// When the last good list came.
    listed_at: Option<Instant>,
    /// Since when nothing good comes.
    down_since: Option<Instant>,
    /// The last good list is too old.
    expired: bool,
    events: VecDeque<SourceEvent>,
}

impl<M: PartialEq> EndpointSet<M> {
    /// A set without members. At least one may be in it, whatever the configuration says.
    pub fn new(config: EndpointSetConfig) -> Self {
        Self {
            config,
            members: BTreeMap::new(),
            version: 0,
            listed_at: None,
            down_since: None,
            expired: false,
            events: VecDeque::new(),
        }
    }

    /// All members, as the source lists them now, and what that changes.
    ///
    /// # Errors
    ///
    /// See [`BadList`]. Such a list changes nothing, and counts as a [failure](Self::handle_failure).
    pub fn handle_list(
        &mut self,
        now: Instant,
        list: impl IntoIterator<Item = Member<M>>,
    ) -> Result<Diff, BadList> {
        self.handle_timeout(now);
        let mut members = BTreeMap::new();
        for member in list {
            let endpoint = member.endpoint;
            if members.insert(endpoint, member).is_some() {
                return Err(self.refuse(now, BadList::Twice(endpoint)));
            }
            if members.len() > self.config.max_members.max(1) {
                return Err(self.refuse(now, BadList::TooMany));
            }
        }
        if members.is_empty() && self.config.refuse_empty {
            return Err(self.refuse(now, BadList::Empty));
        }
        let mut diff = Diff::default();
        for (endpoint, member) in &members {
            match self.members.get(endpoint) {
                None => diff.added.push(*endpoint),
                Some(known) if known != member => diff.changed.push(*endpoint),
                Some(_) => {}
            }
        }
        let gone = |endpoint: &&Endpoint| !members.contains_key(endpoint);
        diff.removed.extend(self.members.keys().filter(gone));
        if !diff.is_empty() {
            self.version += 1;
        }
        self.members = members;
        self.listed_at = Some(now);
        self.expired = false;
        if let Some(since) = self.down_since.take() {
            self.tell(SourceEvent::Up { after: now - since });
        }
        Ok(diff)
    }

    /// The source cannot be asked, or says what makes no sense.
    pub fn handle_failure(&mut self, now: Instant) {
        self.handle_timeout(now);
        if self.down_since.is_none() {
            self.down_since = Some(now);
            self.tell(SourceEvent::Down);
        }
        self.handle_timeout(now);
    }

    /// The members, by number.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Member<M>> {
        self.members.values()
    }

    /// One of them.
    pub fn get(&self, endpoint: Endpoint) -> Option<&Member<M>> {
        self.members.get(&endpoint)
    }

    /// Rises with every list that changes something, and when the last good one is given up.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// How long ago the last good list came. `None`: none did.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        self.listed_at.map(|at| now - at)
    }

    /// Whether the last thing that the source did was to fail.
    pub const fn is_down(&self) -> bool {
        self.down_since.is_some()
    }

    fn refuse(&mut self, now: Instant, why: BadList) -> BadList {
        self.handle_failure(now);
        why
    }

    /// An outage has two events at most, and what nobody asks for is one state.
    fn tell(&mut self, event: SourceEvent) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn expires_at(&self) -> Option<Instant> {
        self.listed_at?;
        let since = self.down_since.filter(|_| !self.expired)?;
        Some(since + self.config.keep).filter(|at| *at < Instant::MAX)
    }
}

/// Events that nobody asked for, at most; the oldest are forgotten.
const MAX_EVENTS: usize = 16;

impl<M: PartialEq> Machine for EndpointSet<M> {
    type Event = SourceEvent;
    type Error = Infallible;

    fn poll_event(&mut self, now: Instant) -> Result<Option<SourceEvent>, Infallible> {
        self.handle_timeout(now);
        Ok(self.events.pop_front())
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.expires_at().is_some_and(|at| at <= now) {
            self.expired = true;
            if !self.members.is_empty() {
                self.members.clear();
                self.version += 1;
            }
            self.tell(SourceEvent::Expired);
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        Some(Deadline { at: self.expires_at()?, why: Timer::EndpointsKept })
    }
}

impl fmt::Display for BadList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => f.write_str("more endpoints than the set may have"),
            Self::Twice(Endpoint(number)) => write!(f, "endpoint {number} is listed twice"),
            Self::Empty => f.write_str("a list without endpoints"),
        }
    }
}

impl core::error::Error for BadList {}
