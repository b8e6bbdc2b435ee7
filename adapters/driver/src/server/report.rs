//! What became of connections while a server left.

use std::fmt;

use sinew_core::server::drain::{Ending, Report};

use crate::io::Peer;

/// What became of the connections of a server that left.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DrainReport {
    /// All of them, by how they ended, and how long it took.
    pub totals: Report,
    /// One by one, in the order in which they ended; those that were stuck are in the totals only, and
    /// so are those beyond the first [`LISTED`](Self::LISTED).
    pub connections: Vec<Departed>,
}

/// A connection that ended while its server left.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Departed {
    /// Who was on its other side.
    pub peer: Peer,
    /// What became of it.
    pub ending: Ending,
}

impl DrainReport {
    /// Connections that are listed one by one.
    pub const LISTED: usize = 10_000;

    /// Connections that ended like this.
    pub fn count(&self, ending: Ending) -> u64 {
        self.totals.count(ending)
    }

    /// Those that lost something because the server left.
    pub fn lost(&self) -> u64 {
        self.totals.lost()
    }
}

impl fmt::Display for DrainReport {
    /// Such as `7 connections in 2.3s: 5 finished, 2 idle`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.totals.fmt(f)
    }
}
