//! TLS for sinew: rustls as a wire stacked on a wire, with mutual TLS and typed peer identity.

/// Why TLS failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {}

impl Failure {
    /// Whose fault it is.
    pub fn fault(&self) -> sinew_core::error::Fault {
        match *self {}
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}
