//! What became of a change of all that a server goes by.

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReloadOutcome {
    /// The new is in force, for every head that comes from now on.
    InForce {
        /// Counts what was in force, from 1.
        epoch: u64,
    },
    /// It made no sense; what was in force is.
    Refused,
}

impl ReloadOutcome {
    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InForce { .. } => "in_force",
            Self::Refused => "refused",
        }
    }
}
