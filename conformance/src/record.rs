//! Verdicts for machines: one line of JSON a case, from which tables over many servers are made.

use serde::Serialize;

use crate::case::Level;
use crate::suite::{CaseResult, Verdict};

#[derive(Serialize)]
struct Record<'a> {
    id: &'a str,
    level: Option<&'static str>,
    verdict: &'static str,
    /// What was seen; of a case that was left out, why.
    seen: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    problems: &'a [String],
}

/// The verdicts, one line each.
pub fn lines(verdicts: &[Verdict]) -> String {
    let mut text = String::new();
    for verdict in verdicts {
        let (word, seen, problems): (_, &str, &[String]) = match &verdict.result {
            CaseResult::Passed(chosen) if chosen.either.is_some() => {
                ("either-way", &verdict.seen, &[])
            }
            CaseResult::Passed(_) => ("pass", &verdict.seen, &[]),
            CaseResult::Deviates { .. } => ("deviates", &verdict.seen, &[]),
            CaseResult::LeftOut { reason } => ("skip", reason, &[]),
            CaseResult::Failed { problems, .. } => ("fail", &verdict.seen, problems),
        };
        let record = Record {
            id: verdict.case.id(),
            level: verdict.case.level().map(Level::name),
            verdict: word,
            seen,
            problems,
        };
        // Strings and nothing else: there is nothing that JSON cannot say.
        text.push_str(&serde_json::to_string(&record).unwrap_or_default());
        text.push('\n');
    }
    text
}
