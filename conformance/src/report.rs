//! Verdicts as text.

use core::fmt::{self, Write as _};
use std::collections::{BTreeMap, BTreeSet};

use crate::case::{Case, Choice, Level};
use crate::feed::Way;
use crate::suite::{CaseResult, Verdict, choice_name};

/// All that is said about a run of the suite.
#[derive(Debug)]
pub struct Report<'a> {
    /// The verdicts, in the order of the cases.
    pub verdicts: &'a [Verdict],
    /// Deviations without a case.
    pub stale: Vec<&'a str>,
    /// Whether every case is named.
    pub verbose: bool,
}

impl Report<'_> {
    /// Cases that passed, deviating ones among them.
    pub fn passed(&self) -> usize {
        self.verdicts.len() - self.failures().count() - self.left_out()
    }

    /// Cases that were not run against this target.
    pub fn left_out(&self) -> usize {
        self.verdicts.iter().filter(|v| matches!(v.result, CaseResult::LeftOut { .. })).count()
    }

    /// Cases that failed, and entries among the deviations that have no case.
    pub fn failed(&self) -> usize {
        self.failures().count() + self.stale.len()
    }

    fn failures(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|v| matches!(v.result, CaseResult::Failed { .. }))
    }

    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Per category and level: passed, failed.
        let mut cells: BTreeMap<(usize, Option<Level>), (usize, usize)> = BTreeMap::new();
        let mut categories: Vec<&str> = Vec::new();
        let mut levels: BTreeSet<Option<Level>> = BTreeSet::new();
        for verdict in self.verdicts {
            let name = verdict.case.category();
            let row = categories.iter().position(|c| *c == name).unwrap_or_else(|| {
                categories.push(name);
                categories.len() - 1
            });
            let level = verdict.case.level();
            levels.insert(level);
            let cell = cells.entry((row, level)).or_default();
            match verdict.result {
                CaseResult::LeftOut { .. } => {}
                CaseResult::Failed { .. } => cell.1 += 1,
                CaseResult::Passed(_) | CaseResult::Deviates { .. } => cell.0 += 1,
            }
        }
        let levels: Vec<Option<Level>> = Level::ALL
            .iter()
            .map(|level| Some(*level))
            .chain([None])
            .filter(|level| levels.contains(level))
            .collect();
        write!(f, "{:18}", "passed/failed")?;
        for level in &levels {
            write!(f, "{:>9}", level.map_or("other", Level::name))?;
        }
        writeln!(f, "{:>9}", "all")?;
        let mut columns = vec![(0, 0); levels.len() + 1];
        for (row, name) in categories.iter().enumerate() {
            write!(f, "{name:18}")?;
            let mut all = (0, 0);
            for (column, level) in levels.iter().enumerate() {
                let cell = cells.get(&(row, *level)).copied().unwrap_or_default();
                write!(f, "{:>9}", cell_text(cell))?;
                add(&mut all, cell);
                add(&mut columns[column], cell);
            }
            add(&mut columns[levels.len()], all);
            writeln!(f, "{:>9}", cell_text(all))?;
        }
        write!(f, "{:18}", "all")?;
        for sum in columns {
            write!(f, "{:>9}", cell_text(sum))?;
        }
        writeln!(f)
    }

    fn ways(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |wanted: fn(&Way) -> bool| {
            self.verdicts.iter().flat_map(|v| &v.ways).filter(|way| wanted(way)).count()
        };
        writeln!(
            f,
            "runs: {} whole, {} byte by byte, {} cut at random, {} with trailing bytes",
            count(|way| matches!(way, Way::Whole)),
            count(|way| matches!(way, Way::Bytes)),
            count(|way| matches!(way, Way::Cuts(_))),
            count(|way| matches!(way, Way::Trailing)),
        )
    }

    fn choices(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lists: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut against = Vec::new();
        let (mut best, mut worse) = (0, Vec::new());
        for verdict in self.verdicts {
            let (Case::Parse(case), CaseResult::Passed(chosen)) = (&verdict.case, &verdict.result)
            else {
                continue;
            };
            if let Some(choice) = chosen.either {
                let mut list = choice_name(choice).to_owned();
                if let (Choice::Reject, Some(status)) = (choice, chosen.status) {
                    let _ = write!(list, " {status}");
                }
                lists.entry(list).or_default().push(case.id.clone());
                if case.prefer.is_some_and(|prefer| prefer != choice) {
                    against.push(case.id.as_str());
                }
            }
            match (case.expect.status_best, chosen.status) {
                (Some(wanted), Some(status)) if wanted == status => best += 1,
                (Some(wanted), Some(status)) => {
                    worse.push(format!("{} ({status}, best {wanted})", case.id));
                }
                _ => {}
            }
        }
        if !lists.is_empty() {
            writeln!(f, "\nwhere the RFC permits both:")?;
            for (list, ids) in lists {
                writeln!(f, "  {list} ({}): {}", ids.len(), ids.join(", "))?;
            }
        }
        if !against.is_empty() {
            writeln!(f, "  other than preferred: {}", against.join(", "))?;
        }
        if best + worse.len() > 0 {
            write!(f, "the best status in {best} of {}", best + worse.len())?;
            writeln!(f, "{}{}", if worse.is_empty() { "" } else { "; not: " }, worse.join(", "))?;
        }
        Ok(())
    }

    fn deviations(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for verdict in self.verdicts {
            if let CaseResult::Deviates { reason } = &verdict.result {
                if core::mem::take(&mut first) {
                    writeln!(f, "\ndeviations, counted as passed:")?;
                }
                writeln!(f, "  {}: {reason}", verdict.case.id())?;
            }
        }
        Ok(())
    }

    fn absences(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for verdict in self.verdicts {
            if let CaseResult::LeftOut { reason } = &verdict.result {
                reasons.entry(reason).or_default().push(verdict.case.id());
            }
        }
        if !reasons.is_empty() {
            writeln!(f, "\nleft out:")?;
        }
        for (reason, ids) in reasons {
            writeln!(f, "  {reason} ({}): {}", ids.len(), ids.join(", "))?;
        }
        Ok(())
    }

    fn failures_in_full(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for verdict in self.failures() {
            let CaseResult::Failed { problems, got } = &verdict.result else { continue };
            let (why, rfc) = verdict.case.why();
            writeln!(f, "\nFAILED {} ({rfc}): {why}", verdict.case.id())?;
            match &verdict.case {
                Case::Parse(case) => {
                    let end = if case.eof { " and the end" } else { "" };
                    writeln!(f, "  input     {}{end}", crate::suite::shorten(&case.input.0))?;
                    writeln!(f, "  expected  {:?}", case.expect.outcome)?;
                }
                Case::Encode(case) => writeln!(f, "  expected  {:?}", case.expect.outcome)?,
                Case::Cors(case) => writeln!(f, "  expected  {:?}", case.expect.kind)?,
                // The problems say what was expected.
                Case::WebSocket(_) => {}
            }
            writeln!(f, "  got       {got}")?;
            for problem in problems {
                writeln!(f, "  problem   {problem}")?;
            }
        }
        for id in &self.stale {
            writeln!(f, "\nFAILED {id}: it stands among the deviations and there is no such case")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.verbose {
            for verdict in self.verdicts {
                let word = match verdict.result {
                    CaseResult::Passed(_) => "passed",
                    CaseResult::Deviates { .. } => "deviates",
                    CaseResult::LeftOut { .. } => "left out",
                    CaseResult::Failed { .. } => "FAILED",
                };
                writeln!(
                    f,
                    "{word:9} {} ({} runs): {}",
                    verdict.case.id(),
                    verdict.ways.len(),
                    verdict.seen
                )?;
            }
            writeln!(f)?;
        }
        self.table(f)?;
        self.ways(f)?;
        self.choices(f)?;
        self.deviations(f)?;
        self.absences(f)?;
        self.failures_in_full(f)?;
        writeln!(f)?;
        write!(f, "{} passed, {} failed", self.passed(), self.failed())?;
        match self.left_out() {
            0 => writeln!(f),
            n => writeln!(f, ", {n} left out"),
        }
    }
}

fn add(sum: &mut (usize, usize), cell: (usize, usize)) {
    *sum = (sum.0 + cell.0, sum.1 + cell.1);
}

fn cell_text((passed, failed): (usize, usize)) -> String {
    match (passed, failed) {
        (0, 0) => "-".to_owned(),
        (passed, 0) => passed.to_string(),
        (passed, failed) => format!("{passed}/{failed}"),
    }
}
