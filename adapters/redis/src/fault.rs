//! Why there is no connection to the store.

use std::fmt;

use sinew_driver::Error;

use crate::refusal::Refusal;

/// Why a connection to the store ended, or never was.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fault {
    /// It cannot be reached, TLS failed, or the socket did.
    Connection(Error),
    /// It did not answer in time, to credentials or to an ask.
    Silent,
    /// It closed the connection.
    Closed,
    /// It does not let us in, or has not the database that was asked for.
    Refused(Refusal),
    /// It takes no writes: another server is the master now, maybe under the same name.
    ReadOnly,
    /// It answered with something that is no answer to what was asked.
    Malformed,
}

/// What is told of a store, by [`RedisStore::observe`](crate::RedisStore::observe).
#[derive(Debug)]
#[non_exhaustive]
pub enum Notice {
    /// It is connected, and has let us in.
    Connected,
    /// It is not; connected again after a wait.
    Lost(Fault),
    /// It refused an ask, over a connection that stays.
    Refused(Refusal),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(why) => write!(f, "no connection to the store: {why}"),
            Self::Silent => f.write_str("the store does not answer"),
            Self::Closed => f.write_str("the store closed the connection"),
            Self::Refused(why) => why.fmt(f),
            Self::ReadOnly => f.write_str("the store is a replica, and takes no writes"),
            Self::Malformed => f.write_str("the store does not speak RESP2 as it should"),
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connection(why) => Some(why),
            Self::Refused(why) => Some(why),
            Self::Silent | Self::Closed | Self::ReadOnly | Self::Malformed => None,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("the store is connected"),
            Self::Lost(why) => why.fmt(f),
            Self::Refused(why) => why.fmt(f),
        }
    }
}
