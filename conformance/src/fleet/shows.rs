//! The scenarios that are shown: what is promised about the client, beside what others do.

use core::time::Duration;

use sinew_core::client::dispatcher::Policy;
use sinew_core::policy::Mode;
use sinew_core::resilience::HedgeConfig;

use super::Load;
use super::backend::{Fault, Latency};
use super::scenario::{Outage, Scenario};

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(1);

/// What a client does when calls fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rules {
    /// Nothing.
    NoRetry,
    /// What most do: three attempts each, after a wait.
    ThreeAttempts,
    /// Three attempts, and a budget for all of them.
    Budget,
    /// A budget and breakers.
    Breaker,
    /// A budget, and no more at once than the destination bears: the defaults without breakers.
    Admission,
    /// All of this: the defaults.
    Default,
}

impl Rules {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::NoRetry,
        Self::ThreeAttempts,
        Self::Budget,
        Self::Breaker,
        Self::Admission,
        Self::Default,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoRetry => "no retry",
            Self::ThreeAttempts => "three attempts",
            Self::Budget => "budget",
            Self::Breaker => "budget, breaker",
            Self::Admission => "budget, admission",
            Self::Default => "default",
        }
    }

    /// It, as a policy.
    pub fn policy(self) -> Policy {
        let mut policy = Policy { attempt_timeout: Some(ATTEMPT), ..Policy::default() };
        if self == Self::NoRetry {
            policy.retry.attempts = 1;
        }
        if matches!(self, Self::NoRetry | Self::ThreeAttempts) {
            policy.budget.mode = Mode::Off;
        }
        if !matches!(self, Self::Breaker | Self::Default) {
            policy.breaker.mode = Mode::Off;
        }
        if !matches!(self, Self::Admission | Self::Default) {
            policy.admission.mode = Mode::Off;
        }
        policy
    }
}

/// What is shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Show {
    /// All backends refuse connections for half a minute.
    Refuse,
    /// All backends take requests, and do not answer for half a minute.
    Stall,
    /// The same from clients that are quiet, or busy.
    Rates,
    /// All backends do nothing for three seconds, and then all that they were asked for.
    Dip,
    /// All backends are gone for two minutes, and come back.
    Recovery,
    /// Two of five backends are gone, and the others cannot bear all calls.
    Partial,
    /// Some answers take long.
    Hedging,
}

/// A scenario with a name.
#[derive(Clone, Debug)]
pub struct Run {
    /// What is special about it.
    pub name: String,
    /// It.
    pub scenario: Scenario,
}

impl Show {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Refuse,
        Self::Stall,
        Self::Rates,
        Self::Dip,
        Self::Recovery,
        Self::Partial,
        Self::Hedging,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Stall => "stall",
            Self::Rates => "rates",
            Self::Dip => "dip",
            Self::Recovery => "recovery",
            Self::Partial => "partial",
            Self::Hedging => "hedging",
        }
    }

    /// What happens in it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Refuse => "5 of 5 backends refuse connections for 30 s",
            Self::Stall => "5 of 5 backends take requests and answer none for 30 s",
            Self::Rates => "1, 10 and 100 calls a second a client; 5 of 5 backends refuse for 30 s",
            Self::Dip => "5 of 5 backends do nothing for 3 s, then all that they were asked for",
            Self::Recovery => "5 of 5 backends refuse connections for 120 s",
            Self::Partial => "2 of 5 backends are dead for 30 s, the others at 111 %",
            Self::Hedging => "20 of 1,000 answers take 400 ms, nothing fails",
        }
    }

    /// What is run for it, with so many clients.
    pub fn runs(self, clients: u32) -> Vec<Run> {
        match self {
            Self::Refuse => each_rule(clients, &outage(Fault::Refuse, 5, 30)),
            Self::Stall => each_rule(clients, &outage(Fault::Stall, 5, 30)),
            Self::Dip => each_rule(clients, &outage(Fault::Pause, 5, 3)),
            Self::Recovery => each_rule(clients, &outage(Fault::Refuse, 5, 120)),
            Self::Partial => {
                let mut runs = Vec::new();
                for (fault, name) in [(Fault::Refuse, "refuse"), (Fault::Stall, "stall")] {
                    for mut run in each_rule(clients, &outage(fault, 2, 30)) {
                        run.name = format!("{name}: {}", run.name);
                        runs.push(run);
                    }
                }
                runs
            }
            Self::Rates => {
                let mut runs = Vec::new();
                for per_second in [1, 10, 100] {
                    for rules in Rules::ALL {
                        let outage = outage(Fault::Refuse, 5, 30);
                        let scenario = fleet(rules, clients, per_second, outage);
                        let name = format!("{per_second}/s: {}", rules.name());
                        runs.push(Run { name, scenario });
                    }
                }
                runs
            }
            Self::Hedging => [Mode::Off, Mode::Enforce].map(|mode| hedging(mode, clients)).into(),
        }
    }
}

fn each_rule(clients: u32, outage: &Outage) -> Vec<Run> {
    let run = |rules: Rules| Run {
        name: rules.name().to_owned(),
        scenario: fleet(rules, clients, 10, *outage),
    };
    Rules::ALL.map(run).into()
}

/// A fleet that has half as much capacity again as it needs.
pub fn fleet(rules: Rules, clients: u32, per_second: u32, outage: Outage) -> Scenario {
    Scenario {
        clients,
        load: Load { per_second, safe_percent: 80, deadline: Duration::from_secs(3) },
        policy: rules.policy(),
        backends: 5,
        capacity_percent: 150,
        queue: Duration::from_secs(2),
        latency: Latency::between(Duration::from_millis(5), Duration::from_millis(15)),
        outage,
        after: Duration::from_secs(60),
        seed: 1,
    }
}

/// So many of the five backends fail, for so long.
pub const fn outage(fault: Fault, backends: u32, seconds: u64) -> Outage {
    Outage { fault, backends, lasts: Duration::from_secs(seconds) }
}

fn hedging(mode: Mode, clients: u32) -> Run {
    let quiet = fleet(Rules::Default, clients, 10, outage(Fault::Stall, 0, 0));
    let latency = Latency { slow_permille: 20, slow: Duration::from_millis(400), ..quiet.latency };
    let hedge = HedgeConfig { mode, ..HedgeConfig::default() };
    let name = match mode {
        Mode::Enforce => "hedged at the 95th percentile",
        Mode::Shadow | Mode::Off => "not hedged",
    };
    let policy = Policy { hedge, ..quiet.policy };
    Run { name: name.to_owned(), scenario: Scenario { policy, latency, ..quiet } }
}
