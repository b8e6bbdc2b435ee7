//! What all policies share.

/// What becomes of the verdicts of a policy: one switch, the same for all of them.
///
/// A policy does not look at it; whoever asks the policy does.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    /// Ask, report, obey.
    #[default]
    Enforce,
    /// Ask and report, but go on as if the policy had agreed: for trying a policy on live traffic.
    Shadow,
    /// Do not ask.
    Off,
}

impl Mode {
    /// Whether the policy is asked, and its verdict reported.
    pub const fn asks(self) -> bool {
        matches!(self, Self::Enforce | Self::Shadow)
    }

    /// Whether its verdict is obeyed.
    pub const fn obeys(self) -> bool {
        matches!(self, Self::Enforce)
    }
}

/// How much a request matters when not all can be served; the greater, the longer it is kept.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Priority {
    /// Whenever there is room: batch jobs.
    Bulk,
    /// Prefetches, background refreshes.
    Low,
    /// What says nothing.
    #[default]
    Normal,
    /// Someone waits.
    High,
    /// What keeps everything else alive; shed last.
    Critical,
}

impl Priority {
    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}
