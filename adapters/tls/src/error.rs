//! The error of a wire with TLS in it.

use core::fmt;

use sinew_core::error::{Delivery, Fault, Phase};

use crate::Failure;

/// Why a connection cannot go on: because of TLS, or because of what runs over it.
///
/// A bare machine's error converts into it, so that code bound by `W::Error: Into<Error>` drives
/// plain and TLS wires alike.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// TLS failed.
    Tls(Failure),
    /// The inner machine failed.
    Wire(sinew_core::Error),
}

impl Error {
    /// The failure of the TLS layer, if it is one.
    pub const fn tls(&self) -> Option<&Failure> {
        match self {
            Self::Tls(failure) => Some(failure),
            Self::Wire(_) => None,
        }
    }

    /// The error of the inner machine, if it is one.
    pub const fn wire(&self) -> Option<&sinew_core::Error> {
        match self {
            Self::Tls(_) => None,
            Self::Wire(error) => Some(error),
        }
    }

    /// Who has to change something.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Tls(failure) => failure.fault(),
            Self::Wire(error) => error.fault(),
        }
    }

    /// Where in the life of the connection.
    pub const fn phase(&self) -> Phase {
        match self {
            Self::Tls(failure) => failure.phase(),
            Self::Wire(error) => error.phase,
        }
    }

    /// How far the request got.
    pub const fn delivery(&self) -> Delivery {
        match self {
            Self::Tls(failure) => failure.delivery(),
            Self::Wire(error) => error.delivery,
        }
    }
}

impl From<sinew_core::Error> for Error {
    fn from(error: sinew_core::Error) -> Self {
        Self::Wire(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Tls(failure)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(failure) => failure.fmt(f),
            Self::Wire(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Tls(failure) => Some(failure),
            Self::Wire(error) => Some(error),
        }
    }
}
