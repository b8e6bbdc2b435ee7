//! Whether a server is well, by name: `/livez`, `/readyz`, `/startupz`, and `/health` for all of it.
//!
//! Probes come when a server is least able to do extra work, so none of them runs anything: [`Health`]
//! says when which check is to be run, is told the results, and answers from the last one. A result that
//! did not come in time is a failure, and one that is too old is none.
//!
//! | path | fails | so that |
//! |---|---|---|
//! | `/livez` | when a check for `Live` fails | it is started anew |
//! | `/readyz` | before it has started, while it leaves, without a valid certificate, when it is full, and when a check for `Ready` fails | nobody is sent here |
//! | `/startupz` | until every check for `Startup` was good once | nobody asks for the others |
//! | `/health` | when one of these does | a person knows |
//!
//! The status is 200 or 503; the body says `healthy`, `degraded` (200: something is warned about) or
//! `unhealthy`. `?verbose` names every check, what it says, and how old that is, and nothing else: no text
//! of the application gets out. The paths are those of Kubernetes:
//! <https://kubernetes.io/docs/reference/using-api/health-checks/>

mod answer;
mod config;

use core::time::Duration;

use crate::Machine;
use crate::jitter::Jitter;
use crate::server::drain::Phase;
use crate::time::{Deadline, Instant, Timer};

pub use answer::{Detail, MEDIA_TYPE, Probe, ProbeAnswer};
pub use config::{BadHealth, Check, HealthConfig, MAX_CHECKS, MAX_NAME};

/// A check, by its place in [`HealthConfig::checks`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CheckId(u8);

impl CheckId {
    /// Its place.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One run of a check; stale once it took too long.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Run {
    check: CheckId,
    number: u64,
}

impl Run {
    /// Of which check.
    pub const fn check(self) -> CheckId {
        self.check
    }
}

/// What a run found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Finding {
    /// All is well.
    Pass,
    /// It works, and somebody should look at it.
    Warn,
    /// It does not work.
    Fail,
}

impl<T, E> From<Result<T, E>> for Finding {
    /// What was wrong is not told to those who probe.
    fn from(result: Result<T, E>) -> Self {
        if result.is_ok() { Self::Pass } else { Self::Fail }
    }
}

/// What is known of a check.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CheckState {
    /// No run has ended yet.
    Pending,
    /// The last run found all well.
    Passed,
    /// The last run found something to look at.
    Warned,
    /// The last run found that it does not work.
    Failed,
    /// The last run took too long.
    TimedOut,
    /// The last result is too old.
    Stale,
}

impl CheckState {
    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Passed => "passed",
            Self::Warned => "warned",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Stale => "stale",
        }
    }

    /// What it means for an answer. Who was not asked yet is not dead, and not ready either.
    fn finding(self, probe: Probe) -> Finding {
        match self {
            Self::Passed => Finding::Pass,
            Self::Pending if probe == Probe::Live => Finding::Pass,
            Self::Warned => Finding::Warn,
            Self::Pending | Self::Failed | Self::TimedOut | Self::Stale => Finding::Fail,
        }
    }
}

/// How much more a server can take.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Saturation {
    /// Enough.
    #[default]
    Free,
    /// Some wait, or the least important are turned away: a warning.
    Busy,
    /// Nothing: it is not ready.
    Full,
}

/// What the embedder has to do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HealthEvent {
    /// Run this check, and tell [`Health::handle_finding`].
    Run(Run),
    /// This run took too long; what it finds is of no interest any more.
    Cancel(Run),
    /// What is known of a check changed; to be written into the log as
    /// [`observe::Event::Health`](crate::observe::Event::Health).
    Changed(CheckId, CheckState),
}

/// The health of a server: see the [module](self).
///
/// ```
/// use sinew_core::Machine;
/// use sinew_core::server::health::{
///     Check, Detail, Finding, Health, HealthConfig, HealthEvent, Probe,
/// };
/// use sinew_core::time::Instant;
///
/// let checks = vec![Check::new("database", Probe::Ready)];
/// let mut health = Health::new(HealthConfig { checks, ..HealthConfig::default() }, 7)?;
/// let now = Instant::ZERO;
/// let Ok(Some(HealthEvent::Run(run))) = health.poll_event(now) else { panic!() };
/// assert_eq!(health.answer(now, Probe::Ready, Detail::Brief).status, 503);
/// health.handle_finding(now, run, Finding::Pass);
/// assert_eq!(health.answer(now, Probe::Ready, Detail::Brief).body, r#"{"status":"healthy"}"#);
/// # Ok::<(), sinew_core::server::health::BadHealth>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Health {
    config: HealthConfig,
    jitter: Jitter,
    checks: Vec<Known>,
    /// Every check for `Startup` was good once.
    started: bool,
    phase: Phase,
    certificate: Option<Instant>,
    saturation: Saturation,
}

/// What is known of one check.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Known {
    /// The number of the last run.
    run: u64,
    running: Option<Instant>,
    /// A run that was given up, and is to be told of.
    given_up: Option<u64>,
    next: Instant,
    last: Option<Last>,
    /// What was told last.
    told: CheckState,
    passed: bool,
}

/// What the last run said.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Last {
    state: CheckState,
    at: Instant,
    took: Duration,
}

impl Health {
    /// Nothing is known yet, and all checks are due.
    ///
    /// # Errors
    ///
    /// See [`BadHealth`].
    pub fn new(config: HealthConfig, seed: u64) -> Result<Self, BadHealth> {
        config.check()?;
        let unknown = Known {
            run: 0,
            running: None,
            given_up: None,
            next: Instant::ZERO,
            last: None,
            told: CheckState::Pending,
            passed: false,
        };
        let checks = vec![unknown; config.checks.len()];
        let mut health = Self {
            config,
            jitter: Jitter::new(seed),
            checks,
            started: false,
            phase: Phase::Serving,
            certificate: None,
            saturation: Saturation::Free,
        };
        health.note_startup();
        Ok(health)
    }

    /// The server is in this phase.
    pub fn handle_phase(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// The certificate that it shows ends then; `None` for a server without one.
    pub fn handle_certificate(&mut self, ends: Option<Instant>) {
        self.certificate = ends;
    }

    /// How much more it can take.
    pub fn handle_saturation(&mut self, saturation: Saturation) {
        self.saturation = saturation;
    }

    /// A run ended. Does nothing for one that is stale.
    pub fn handle_finding(&mut self, now: Instant, run: Run, finding: Finding) {
        self.handle_timeout(now);
        let Some(known) = self.checks.get_mut(run.check.index()) else { return };
        let Some(since) = known.running.filter(|_| known.run == run.number) else { return };
        let state = match finding {
            Finding::Pass => CheckState::Passed,
            Finding::Warn => CheckState::Warned,
            Finding::Fail => CheckState::Failed,
        };
        known.running = None;
        known.last = Some(Last { state, at: now, took: now - since });
        known.passed |= finding != Finding::Fail;
        self.note_startup();
    }

    /// What is known of a check.
    pub fn state(&self, now: Instant, check: CheckId) -> CheckState {
        let places = self.config.checks.get(check.index()).zip(self.checks.get(check.index()));
        places.map_or(CheckState::Pending, |(check, known)| known.state(now, check))
    }

    /// The checks and what is known of them.
    fn known(&self) -> impl Iterator<Item = (&Check, &Known)> {
        self.config.checks.iter().zip(&self.checks)
    }

    fn note_startup(&mut self) {
        let passed = self
            .known()
            .filter(|(check, _)| check.probe == Probe::Startup)
            .all(|(_, known)| known.passed);
        self.started |= passed;
    }
}

impl Known {
    fn state(&self, now: Instant, check: &Check) -> CheckState {
        match self.last {
            None => CheckState::Pending,
            Some(last) if now - last.at > check.max_age => CheckState::Stale,
            Some(last) => last.state,
        }
    }

    /// When something is to be done about it.
    fn due(&self, check: &Check) -> Instant {
        let stale = match self.last {
            Some(last) if self.told != CheckState::Stale => {
                last.at + check.max_age + Duration::from_nanos(1)
            }
            _ => Instant::MAX,
        };
        let run = self.running.map_or(self.next, |since| since + check.timeout);
        run.min(stale)
    }
}

impl Machine for Health {
    type Event = HealthEvent;
    type Error = core::convert::Infallible;

    fn poll_event(&mut self, now: Instant) -> Result<Option<HealthEvent>, Self::Error> {
        self.handle_timeout(now);
        for (index, (check, known)) in self.config.checks.iter().zip(&mut self.checks).enumerate() {
            let id = CheckId(u8::try_from(index).unwrap_or(u8::MAX));
            if let Some(number) = known.given_up.take() {
                return Ok(Some(HealthEvent::Cancel(Run { check: id, number })));
            }
            let state = known.state(now, check);
            if state != known.told {
                known.told = state;
                return Ok(Some(HealthEvent::Changed(id, state)));
            }
            if known.running.is_none() && known.next <= now {
                known.run += 1;
                known.running = Some(now);
                let tenth = check.interval / 10;
                let wait = self.jitter.between(
                    check.interval.saturating_sub(tenth),
                    check.interval.saturating_add(tenth),
                );
                known.next = now + wait;
                return Ok(Some(HealthEvent::Run(Run { check: id, number: known.run })));
            }
        }
        Ok(None)
    }

    fn handle_timeout(&mut self, now: Instant) {
        for (check, known) in self.config.checks.iter().zip(&mut self.checks) {
            let Some(since) = known.running else { continue };
            let at = since + check.timeout;
            if at <= now {
                known.running = None;
                known.given_up = Some(known.run);
                known.last = Some(Last { state: CheckState::TimedOut, at, took: check.timeout });
            }
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        let at = self.known().map(|(check, known)| known.due(check)).min()?;
        Some(Deadline { at, why: Timer::HealthCheck })
    }
}
