//! What all policies share.

use crate::reason::Reason;

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
    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
            Self::Off => "off",
        }
    }

    /// Whether the policy is asked, and its verdict reported.
    pub const fn asks(self) -> bool {
        matches!(self, Self::Enforce | Self::Shadow)
    }

    /// Whether its verdict is obeyed.
    pub const fn obeys(self) -> bool {
        matches!(self, Self::Enforce)
    }
}

/// Where a layer of the [server's stack](crate::server::Stack) stands. Requests pass the stages in this order, answers in the opposite one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stage {
    /// Gives the request its names: nothing is refused before it has one.
    Identify,
    /// What is answered before anyone has to prove anything: preflights carry no credentials.
    Preflight,
    /// Does anybody still wait? Work that is late is refused before anything is done for it.
    Deadline,
    /// Cheap limits by address, so that floods of bad tokens cost no signatures.
    Shield,
    /// Who asks?
    Authenticate,
    /// May they?
    Authorise,
    /// How much of it?
    Limit,
    /// Is it what the route takes?
    Validate,
    /// Whatever the application adds; all that is known of the request is known here.
    Application,
    /// Can it be taken up now? No layer stands there: whoever drives the stack asks
    /// [`Admission`](crate::limit::Admission) last.
    Admit,
}

impl Stage {
    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identify => "identify",
            Self::Preflight => "preflight",
            Self::Deadline => "deadline",
            Self::Shield => "shield",
            Self::Authenticate => "authenticate",
            Self::Authorise => "authorise",
            Self::Limit => "limit",
            Self::Validate => "validate",
            Self::Application => "application",
            Self::Admit => "admit",
        }
    }
}

/// A refusal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Refused {
    /// By a layer of this stage.
    pub stage: Stage,
    /// Why.
    pub reason: Reason,
    /// Whether it was enforced, or only noted.
    pub mode: Mode,
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
    /// Every priority, the least first.
    pub const ALL: [Self; 5] = [Self::Bulk, Self::Low, Self::Normal, Self::High, Self::Critical];

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
