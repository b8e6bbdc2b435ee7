//! What a probe is answered.

use http::StatusCode;

use super::{CheckState, Finding, Health, Known, Saturation};
use crate::json::Object;
use crate::time::Instant;

/// The media type of an answer.
pub const MEDIA_TYPE: &str = "application/json";

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Probe {
    /// `/livez`: does it have to be started anew?
    Live,
    /// `/readyz`: can it be sent requests?
    Ready,
    /// `/startupz`: has it started?
    Startup,
    /// `/health`: all of it.
    Health,
}

impl Probe {
    /// Every probe.
    pub const ALL: [Self; 4] = [Self::Live, Self::Ready, Self::Startup, Self::Health];

    /// Its path.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Live => "/livez",
            Self::Ready => "/readyz",
            Self::Startup => "/startupz",
            Self::Health => "/health",
        }
    }

    /// What is asked by this path.
    pub fn of_path(path: &(impl AsRef<[u8]> + ?Sized)) -> Option<Self> {
        let path = path.as_ref();
        Self::ALL.into_iter().find(|probe| probe.path().as_bytes() == path)
    }
}

/// How much is told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Detail {
    /// `healthy`, `degraded` or `unhealthy`.
    #[default]
    Brief,
    /// Every check by name.
    Verbose,
}

impl Detail {
    /// `verbose` among the parameters of a query, with a value or without.
    pub fn of_query(query: Option<&str>) -> Self {
        let mut parameters = query.unwrap_or_default().split('&');
        let is_verbose =
            |part: &str| part.split_once('=').map_or(part, |(name, _)| name) == "verbose";
        if parameters.any(is_verbose) { Self::Verbose } else { Self::Brief }
    }
}

/// The answer to a probe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProbeAnswer {
    /// 200 or 503.
    pub status: StatusCode,
    /// JSON.
    pub body: String,
}

impl Health {
    /// The answer to a probe, from what is known. Runs nothing, and takes time and memory by the number
    /// of checks alone.
    pub fn answer(&self, now: Instant, probe: Probe, detail: Detail) -> ProbeAnswer {
        let mut worst = Finding::Pass;
        let mut lines = Vec::new();
        let verbose = detail == Detail::Verbose;
        let mut line = |name: &str, finding: Finding, reason, known: Option<&Known>| {
            worst = worst.max(finding);
            if verbose {
                lines.push(member(now, name, finding, reason, known));
            }
        };
        let all = probe == Probe::Health;
        if all || probe == Probe::Ready {
            let (finding, reason) = self.drain();
            line("drain", finding, reason, None);
            if let Some((finding, reason)) = self.certificate(now) {
                line("certificate", finding, reason, None);
            }
            let (finding, reason) = self.saturation();
            line("saturation", finding, reason, None);
        }
        for (check, known) in self.known() {
            let state = known.state(now, check);
            let finding = match check.probe {
                // What was good once does not undo the start.
                Probe::Startup if self.started => Finding::Pass,
                Probe::Startup if known.passed => Finding::Pass,
                of => state.finding(of),
            };
            // It is not ready before it has started.
            let counts = all
                || check.probe == probe
                || (probe == Probe::Ready && check.probe == Probe::Startup);
            if counts {
                let reason = (state != CheckState::Passed).then_some(state.name());
                line(&check.name, finding, reason, Some(known));
            }
        }
        let mut json = Object::with_capacity(32);
        json.text(
            "status",
            match worst {
                Finding::Pass => "healthy",
                Finding::Warn => "degraded",
                Finding::Fail => "unhealthy",
            },
        );
        if verbose {
            json.raw("checks", &format!("[{}]", lines.join(",")));
        }
        let status = match worst {
            Finding::Pass | Finding::Warn => StatusCode::OK,
            Finding::Fail => StatusCode::SERVICE_UNAVAILABLE,
        };
        ProbeAnswer { status, body: json.end() }
    }

    fn drain(&self) -> (Finding, Option<&'static str>) {
        let leaves = self.phase >= self.config.not_ready_from;
        let reason = (self.phase > super::Phase::Serving).then_some(self.phase.name());
        (if leaves { Finding::Fail } else { Finding::Pass }, reason)
    }

    fn certificate(&self, now: Instant) -> Option<(Finding, Option<&'static str>)> {
        let ends = self.certificate?;
        Some(if ends <= now {
            (Finding::Fail, Some("expired"))
        } else if ends - now < self.config.certificate_warning {
            (Finding::Warn, Some("expires_soon"))
        } else {
            (Finding::Pass, None)
        })
    }

    fn saturation(&self) -> (Finding, Option<&'static str>) {
        match self.saturation {
            Saturation::Free => (Finding::Pass, None),
            Saturation::Busy => (Finding::Warn, Some("busy")),
            Saturation::Full => (Finding::Fail, Some("full")),
        }
    }
}

/// One check; the words are those of
/// <https://datatracker.ietf.org/doc/html/draft-inadarei-api-health-check-06#section-3.1>
fn member(
    now: Instant,
    name: &str,
    finding: Finding,
    reason: Option<&str>,
    known: Option<&Known>,
) -> String {
    let mut json = Object::with_capacity(96);
    json.text("name", name);
    json.text(
        "status",
        match finding {
            Finding::Pass => "pass",
            Finding::Warn => "warn",
            Finding::Fail => "fail",
        },
    );
    if let Some(reason) = reason {
        json.text("reason", reason);
    }
    if let Some(last) = known.and_then(|known| known.last) {
        json.raw("age_ms", &(now - last.at).as_millis().to_string());
        json.raw("took_ms", &last.took.as_millis().to_string());
    }
    json.end()
}
