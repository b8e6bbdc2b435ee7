//! The suite over the adapters of sinew: every case plain and over TLS, whole and cut.

use sinew_core::http1::ClientConfig;
use sinew_tls::ServerTls;

use crate::case::{Case, CorsCase, Outcome, ParseCase, Side, WebSocketCase};
use crate::cors::CorsRequest;
use crate::deviations::Deviations;
use crate::feed::Way;
use crate::judge::{Chosen, judge};
use crate::network::adapter::Adapter;
use crate::network::certificate::Secrets;
use crate::network::client::Called;
use crate::network::conversation::{Patience, Transport, names_no_path};
use crate::network::cors::Guarded;
use crate::network::server::{Served, configurable, has};
use crate::network::websocket::Echoed;
use crate::suite::{CaseResult, Verdict, describe, settle};
use crate::transcript::Transcript;
use crate::websocket::{self, case::Sender};

/// With or without TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Security {
    /// TCP alone
    Plain,
    /// TLS
    Tls,
}

/// The suite for one adapter.
#[derive(Clone, Debug)]
pub struct Ours<'a> {
    /// The adapter.
    pub adapter: Adapter,
    /// What the cases run over.
    pub securities: &'a [Security],
    /// Certificates for TLS.
    pub secrets: &'a Secrets,
    /// How long servers and clients are waited for.
    pub patience: Patience,
    /// Seed of the random cuts.
    pub seed: u64,
    /// Where sinew differs.
    pub deviations: &'a Deviations,
}

impl Ours<'_> {
    /// Runs one case in all its ways.
    pub fn check(&self, case: &Case) -> Verdict {
        let mut verdict = Verdict {
            case: case.clone(),
            result: CaseResult::Passed(Chosen { either: None, status: None }),
            ways: Vec::new(),
            seen: String::new(),
        };
        let question = match playable(case) {
            Ok(question) => question,
            Err(reason) => {
                verdict.result = CaseResult::LeftOut { reason: reason.to_owned() };
                return verdict;
            }
        };
        for security in self.securities {
            let failure = match &question {
                Question::Parse(case) => self.over(case, *security, &mut verdict),
                Question::Cors(case, request) => {
                    self.guarded(case, request, *security, &mut verdict)
                }
                Question::WebSocket(case) => self.echoed(case, *security, &mut verdict),
            };
            if let Err((problems, got)) = failure {
                let over = match security {
                    Security::Plain => "plain",
                    Security::Tls => "over TLS",
                };
                let problems = problems.iter().map(|p| format!("{over}, {p}")).collect();
                verdict.seen.clone_from(&got);
                verdict.result = CaseResult::Failed { problems, got };
                break;
            }
        }
        verdict.result = settle(verdict.result, self.deviations.reason(case.id()));
        verdict
    }

    /// Asks a server with the policy of a CORS case.
    fn guarded(
        &self,
        case: &CorsCase,
        request: &CorsRequest,
        security: Security,
        verdict: &mut Verdict,
    ) -> Result<(), (Vec<String>, String)> {
        let (transport, tls) = self.ends(security);
        for way in [Way::Whole, Way::Cuts(self.seed)] {
            verdict.ways.push(way);
            let (transport, tls, patience) = (transport.clone(), tls.clone(), self.patience);
            let asked = Guarded { case, request, way, transport, tls, patience };
            let answer =
                self.adapter.run(asked).map_err(|e| e.to_string()).and_then(|answer| answer);
            let answer = answer.map_err(|why| (vec![why], String::new()))?;
            verdict.seen = answer.to_string();
            let problems = answer.judge(&case.expect);
            if !problems.is_empty() {
                let problems = problems.iter().map(|p| format!("{}: {p}", way.name())).collect();
                return Err((problems, answer.to_string()));
            }
        }
        Ok(())
    }

    /// Plays a WebSocket case to a server that is set up for it.
    fn echoed(
        &self,
        case: &WebSocketCase,
        security: Security,
        verdict: &mut Verdict,
    ) -> Result<(), (Vec<String>, String)> {
        let (transport, tls) = self.ends(security);
        for way in [Way::Whole, Way::Cuts(self.seed)] {
            verdict.ways.push(way);
            let (transport, tls, patience) = (transport.clone(), tls.clone(), self.patience);
            let echoed = Echoed { case, way, transport, tls, patience };
            let spoken = self.adapter.run(echoed).map_err(|e| e.to_string()).and_then(|run| run);
            let spoken = spoken.map_err(|why| (vec![why], String::new()))?;
            verdict.seen = spoken.to_string();
            let problems = websocket::judge(case, &spoken);
            if !problems.is_empty() {
                let problems = problems.iter().map(|p| format!("{}: {p}", way.name())).collect();
                return Err((problems, spoken.to_string()));
            }
        }
        Ok(())
    }

    /// How a server of ours is reached, and its side of TLS.
    fn ends(&self, security: Security) -> (Transport, Option<ServerTls>) {
        match security {
            Security::Plain => (Transport::Plain, None),
            Security::Tls => (self.secrets.transport.clone(), Some(self.secrets.server.clone())),
        }
    }

    fn over(
        &self,
        case: &ParseCase,
        security: Security,
        verdict: &mut Verdict,
    ) -> Result<(), (Vec<String>, String)> {
        let mut whole = None;
        // What stands behind a response, and comes later than it, may meet the next request on its
        // way: no client can tell the two apart.
        let cut = case.side == Side::Request || case.expect.messages.is_none();
        for way in [Some(Way::Whole), cut.then_some(Way::Cuts(self.seed))].into_iter().flatten() {
            verdict.ways.push(way);
            let run = self.run(case, way, security).map_err(|why| (vec![why], String::new()))?;
            let chosen = judge(case, &run).map_err(|problems| {
                let problems = problems.iter().map(|p| format!("{}: {p}", way.name())).collect();
                (problems, describe(&run))
            })?;
            verdict.result = CaseResult::Passed(chosen);
            verdict.seen = describe(&run);
            whole.get_or_insert(run);
        }
        // Nobody asked for what stands behind the response: it is never matched to another request.
        if case.side == Side::Response && whole.is_some_and(|run| run.reusable) {
            verdict.ways.push(Way::Trailing);
            let run = self.run(case, Way::Trailing, security);
            let run = run.map_err(|why| (vec![why], String::new()))?;
            if let Some(breach) = &run.breach {
                let problem = format!("{}: {breach}", Way::Trailing.name());
                return Err((vec![problem], describe(&run)));
            }
        }
        Ok(())
    }

    fn run(&self, case: &ParseCase, way: Way, security: Security) -> Result<Transcript, String> {
        let patience = self.patience;
        let run = match case.side {
            Side::Request => {
                let (transport, tls) = self.ends(security);
                self.adapter.run(Served { case, way, transport, tls, patience })
            }
            Side::Response => {
                let tls = (self.secrets.client.clone(), self.secrets.suite_server.clone());
                let tls = (security == Security::Tls).then_some(tls);
                self.adapter.run(Called { case, way, tls, patience })
            }
        };
        run.map_err(|e| e.to_string())?
    }
}

/// A case as these servers and clients are asked it.
enum Question<'a> {
    Parse(Box<ParseCase>),
    Cors(&'a CorsCase, &'a CorsRequest),
    WebSocket(&'a WebSocketCase),
}

/// The cases that these servers and clients can be asked for. `Err`: what they lack.
fn playable(case: &Case) -> Result<Question<'_>, &'static str> {
    let case = match case {
        Case::Parse(case) => case,
        Case::Encode(_) => return Err("asks the machine itself"),
        Case::Cors(case) => {
            let request = case.request.as_ref();
            return request
                .map(|request| Question::Cors(case, request))
                .ok_or("is about a policy that no server is built with");
        }
        Case::WebSocket(case) => {
            let served = case.from == Sender::Client;
            return served
                .then_some(Question::WebSocket(case))
                .ok_or("is for a client that is not asked over sockets");
        }
    };
    let expect = &case.expect;
    let switches = expect.tunnel == Some(true)
        || expect.rest.is_some()
        || matches!(expect.upgrade, Some(Some(_)))
        || case.request_method.as_deref() == Some("CONNECT")
        || expect.outcome == Outcome::Accept && expect.method.as_deref() == Some("CONNECT");
    if case.is_timed() {
        Err("needs virtual time")
    } else if switches {
        Err("switches protocols")
    } else if expect.target.as_ref().is_some_and(|t| t.0 == b"*") || names_no_path(expect) {
        Err("is answered by the router, in front of every application")
    } else if case.side == Side::Response && !has(&ClientConfig::default().limits, case.limits) {
        Err("needs limits that no RestClient has")
    } else if !configurable(case.limits) {
        Err("needs limits that no RestServer has")
    } else {
        Ok(Question::Parse(Box::new(visible(case))))
    }
}

/// The case without what a `RestClient` does not show: reason phrases and interim responses.
fn visible(case: &ParseCase) -> ParseCase {
    let mut case = case.clone();
    if case.side == Side::Response {
        case.expect.reason = None;
        case.expect.interim = None;
    }
    case
}
