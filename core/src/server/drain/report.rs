//! What became of the connections.

use core::fmt;
use core::time::Duration;

/// What became of a connection while the server left.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Ending {
    /// Its last request was answered.
    Finished,
    /// A stream or an upgraded connection that was told, and ended in order.
    Told,
    /// It was idle, and was closed.
    Idle,
    /// It was idle, or upgraded and not told yet, and its peer closed it.
    Left,
    /// Its peer went away in the middle of a request, and its handler was finished all the same.
    Orphaned,
    /// It broke in the middle of something, and not by our doing.
    Broken,
    /// Reset at the deadline in the middle of a request.
    CutRequest,
    /// Reset at the deadline: a stream.
    CutStream,
    /// Reset at the deadline: an upgraded connection.
    CutUpgraded,
    /// Reset at the deadline, and not gone when all was over.
    Stuck,
}

impl Ending {
    /// Every ending.
    pub const ALL: [Self; 10] = [
        Self::Finished,
        Self::Told,
        Self::Idle,
        Self::Left,
        Self::Orphaned,
        Self::Broken,
        Self::CutRequest,
        Self::CutStream,
        Self::CutUpgraded,
        Self::Stuck,
    ];

    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Told => "told",
            Self::Idle => "idle",
            Self::Left => "left",
            Self::Orphaned => "orphaned",
            Self::Broken => "broken",
            Self::CutRequest => "cut_request",
            Self::CutStream => "cut_stream",
            Self::CutUpgraded => "cut_upgraded",
            Self::Stuck => "stuck",
        }
    }

    /// Whether something that was begun was not finished because the server left.
    pub const fn is_loss(self) -> bool {
        matches!(self, Self::CutRequest | Self::CutStream | Self::CutUpgraded | Self::Stuck)
    }
}

/// What became of all connections since the server was told to leave.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Report {
    counts: [u64; Ending::ALL.len()],
    /// From the first step to the end.
    pub took: Duration,
}

impl Report {
    /// Connections that ended like this.
    pub fn count(&self, ending: Ending) -> u64 {
        self.counts.get(ending as usize).copied().unwrap_or_default()
    }

    /// All connections.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Those that lost something because the server left.
    pub fn lost(&self) -> u64 {
        Ending::ALL.into_iter().filter(|ending| ending.is_loss()).map(|e| self.count(e)).sum()
    }

    pub(super) fn add(&mut self, ending: Ending) {
        if let Some(count) = self.counts.get_mut(ending as usize) {
            *count += 1;
        }
    }
}

impl fmt::Display for Report {
    /// Such as `7 connections in 2.3s: 5 finished, 2 idle`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} connections in {:?}", self.total(), self.took)?;
        let mut mark = ": ";
        for ending in Ending::ALL.into_iter().filter(|ending| self.count(*ending) > 0) {
            write!(f, "{mark}{} {}", self.count(ending), ending.name())?;
            mark = ", ";
        }
        Ok(())
    }
}
