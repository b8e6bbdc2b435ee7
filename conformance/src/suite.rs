//! Runs cases every way and gathers the verdicts.

use core::num::NonZeroUsize;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::case::{Case, Choice, Outcome, ParseCase, Side};
use crate::cors;
use crate::deviations::Deviations;
use crate::encode;
use crate::feed::Way;
use crate::judge::{Chosen, judge};
use crate::reader;
use crate::run::{self, TRAILING_REQUEST, TRAILING_RESPONSE};
use crate::transcript::{Fate, Message, Start, Transcript};
use crate::websocket;

/// Random cuts are drawn so many times for each case.
pub(crate) const CUTS: u64 = 4;

/// The verdict on one case.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The case.
    pub case: Case,
    /// Passed, failed or deviating.
    pub result: CaseResult,
    /// The ways in which it ran.
    pub ways: Vec<Way>,
    /// What was seen, in one line.
    pub seen: String,
}

/// How a case went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CaseResult {
    /// As expected.
    Passed(Chosen),
    /// Not as expected, for the reason that the file of deviations gives.
    Deviates {
        /// The reason.
        reason: String,
    },
    /// Not run against this target.
    LeftOut {
        /// The reason.
        reason: String,
    },
    /// Not as expected.
    Failed {
        /// Everything that differs, one line each.
        problems: Vec<String>,
        /// What was seen.
        got: String,
    },
}

/// Runs one case in all its ways.
pub fn check(case: &Case, seed: u64, deviations: &Deviations) -> Verdict {
    let (result, ways, seen) = match case {
        Case::Parse(parse) => check_parse(parse, seed),
        Case::Encode(encode) => {
            let (result, seen) = encode::check(encode);
            (result, vec![Way::Whole], seen)
        }
        Case::Cors(case) => (cors::check(case), vec![Way::Whole], String::new()),
        Case::WebSocket(case) => websocket::run::check(case, seed),
    };
    let result = settle(result, deviations.reason(case.id()));
    Verdict { case: case.clone(), result, ways, seen }
}

/// What becomes of a result where sinew differs for a reason.
pub fn settle(result: CaseResult, reason: Option<&str>) -> CaseResult {
    match (result, reason) {
        (CaseResult::Failed { .. }, Some(reason)) => {
            CaseResult::Deviates { reason: reason.to_owned() }
        }
        (CaseResult::Passed(_), Some(_)) => CaseResult::Failed {
            problems: vec![
                "no longer deviates: its entry among the deviations is stale".to_owned(),
            ],
            got: "what the case expects".to_owned(),
        },
        (result, _) => result,
    }
}

/// Runs cases that mostly wait, so many at a time; the verdicts stand in the order of the cases.
pub fn side_by_side(
    cases: &[Case],
    jobs: NonZeroUsize,
    check: impl Fn(&Case) -> Verdict + Sync,
) -> Vec<Verdict> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(i) else { return done };
            done.push((i, check(case)));
        }
    };
    let mut verdicts: Vec<(usize, Verdict)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.get()).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| match worker.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    });
    verdicts.sort_by_key(|(i, _)| *i);
    verdicts.into_iter().map(|(_, verdict)| verdict).collect()
}

fn check_parse(case: &ParseCase, seed: u64) -> (CaseResult, Vec<Way>, String) {
    let mut ways = vec![Way::Whole];
    let failed = |problems, got: &str, ways| {
        (CaseResult::Failed { problems, got: got.to_owned() }, ways, got.to_owned())
    };
    let whole = match run::run(case, Way::Whole) {
        Ok(transcript) => transcript,
        Err(why) => return failed(vec![why], "nothing", ways),
    };
    let chosen = match judge(case, &whole) {
        Ok(chosen) => chosen,
        Err(problems) => return failed(problems, &describe(&whole), ways),
    };
    let cuts = (0..CUTS).map(|i| Way::Cuts(seed.wrapping_mul(CUTS).wrapping_add(i)));
    for way in core::iter::once(Way::Bytes).chain(cuts) {
        ways.push(way);
        let cut = match run::run(case, way) {
            Ok(transcript) => transcript,
            Err(why) => return failed(vec![why], "nothing", ways),
        };
        let problems = match judge(case, &cut) {
            // Law 3: every cut gives the same.
            Ok(_) if cut != whole => {
                vec![format!("differs from the whole input: {}", describe(&whole))]
            }
            Ok(_) => continue,
            Err(problems) => problems,
        };
        let problems = problems.iter().map(|p| format!("{}: {p}", way.name())).collect();
        return failed(problems, &describe(&cut), ways);
    }
    if ends_on_a_boundary(case, &whole) {
        ways.push(Way::Trailing);
        let problem = match run::run(case, Way::Trailing) {
            Ok(run) => trailing_problem(case.side, &whole, &run).map(|p| (p, describe(&run))),
            Err(why) => Some((why, "nothing".to_owned())),
        };
        if let Some((problem, got)) = problem {
            let problem = format!("{}: {problem}", Way::Trailing.name());
            return failed(vec![problem], &got, ways);
        }
    }
    (CaseResult::Passed(chosen), ways, describe(&whole))
}

/// Whether more bytes behind the input start something new, or meet a connection that is over.
fn ends_on_a_boundary(case: &ParseCase, whole: &Transcript) -> bool {
    if case.eof || case.expect.outcome == Outcome::NeedMore {
        return false;
    }
    let over = whole.closes() || whole.fate == Fate::Upgraded;
    over || whole.reusable && whole.messages.last().is_some_and(|message| message.complete)
}

/// What is wrong with the run that had bytes behind the input, beside the run that had none.
fn trailing_problem(side: Side, whole: &Transcript, run: &Transcript) -> Option<String> {
    if let Some(breach) = &run.breach {
        return Some(format!("a law is broken: {breach}"));
    }
    let mut run = run.clone();
    match (whole.fate, side) {
        // The next request is served like the first.
        (Fate::Open, Side::Request) => {
            let next = run.messages.pop();
            let answered = run.written.pop().map(|answer| answer.status()) == Some(200);
            let target = next.as_ref().map(|message| &message.start);
            let served = matches!(
                target,
                Some(Start::Request { target, .. }) if target == "/trailing"
            );
            if !served || !answered || !next.is_some_and(|message| message.complete) {
                return Some("the request behind it was not served".to_owned());
            }
        }
        // Nobody asked for another response: it is never matched to a later request.
        (Fate::Open, Side::Response) => {
            if run.reusable && run.fate == Fate::Open {
                return Some("a response that nobody asked for leaves it reusable".to_owned());
            }
            run.error = whole.error;
            run.fate = whole.fate;
            run.reusable = whole.reusable;
        }
        (Fate::Upgraded, side) => {
            let tail = match side {
                Side::Request => TRAILING_REQUEST,
                Side::Response => TRAILING_RESPONSE,
            };
            match run.rest.strip_suffix(tail) {
                Some(rest) => run.rest = rest.to_vec(),
                None => return Some("bytes of the next protocol were lost".to_owned()),
            }
        }
        (Fate::HalfClosed | Fate::Closed(_), _) => {}
    }
    (run != *whole).then(|| format!("differs from the input alone: {}", describe(whole)))
}

/// A run in one line.
pub fn describe(run: &Transcript) -> String {
    let messages: Vec<String> = run.messages.iter().map(describe_message).collect();
    let answers: Vec<String> =
        run.written.iter().map(|answer| reader::Message::status(answer).to_string()).collect();
    let mut text = format!("{} fate {:?}", messages.join(" "), run.fate);
    let more = [
        (!answers.is_empty()).then(|| format!("answers {}", answers.join(" "))),
        (run.sent_100 > 0).then(|| format!("{} x 100", run.sent_100)),
        (!run.interim.is_empty()).then(|| format!("interim {:?}", run.interim)),
        run.error.map(|error| format!("error {:?} in {:?}", error.kind, error.phase)),
        (!run.rest.is_empty()).then(|| format!("rest {}", shorten(&run.rest))),
        run.reusable.then(|| "reusable".to_owned()),
        run.breach.as_ref().map(|breach| format!("breach {breach}")),
    ];
    for part in more.into_iter().flatten() {
        text.push_str(", ");
        text.push_str(&part);
    }
    text.trim_start().to_owned()
}

/// A message in a few words.
pub fn describe_message(message: &Message) -> String {
    let start = match &message.start {
        Start::Request { method, target, .. } => format!("{method} {target}"),
        Start::Response { status, .. } => status.to_string(),
    };
    let body = shorten(&message.body);
    let end = if message.complete { "" } else { ", unfinished" };
    format!("[{start}, {} fields, body {body}{end}]", message.headers.len())
}

/// Bytes for human eyes.
pub fn shorten(bytes: &[u8]) -> String {
    const MOST: usize = 48;
    if bytes.len() <= MOST {
        return format!("\"{}\"", bytes.escape_ascii());
    }
    format!("\"{}\"... ({} bytes)", bytes[..MOST].escape_ascii(), bytes.len())
}

/// The word for a choice.
pub const fn choice_name(choice: Choice) -> &'static str {
    match choice {
        Choice::Accept => "accepted",
        Choice::Reject => "refused",
    }
}
