//! The machines alone, in memory, against their budgets.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::Result;
use crate::callgrind::{self, Cost};
use crate::cases::{CASES, Case};

/// Prints the table; fails above a limit. Below one allocation in a hundred requests counts as none,
/// so that a buffer may move now and then.
pub(crate) fn table() -> Result<ExitCode> {
    println!(
        "{:<22}{:>13}{:>8}{:>8}{:>13}{:>8}",
        "per request", "instructions", "budget", "limit", "allocations", "limit"
    );
    let mut within = true;
    for case in &CASES {
        let cost = measure(case)?;
        let instructions = cost.instructions / case.requests;
        let spare = cost.allocations.saturating_sub(case.allocations * case.requests);
        let over = instructions > case.limit || spare * 100 > case.requests;
        within &= !over;
        println!(
            "{:<22}{:>13}{:>8}{:>8}{:>13}{:>8}{}",
            case.name,
            instructions,
            case.budget,
            case.limit,
            hundredths(cost.allocations, case.requests),
            case.allocations,
            if over { "  over the limit" } else { "" },
        );
    }
    Ok(if within { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What so many further requests cost.
fn measure(case: &Case) -> Result<Cost> {
    difference(&[case.name.to_owned()], case.requests)
}

/// What `requests` further requests cost of what `run` with these arguments does.
pub(crate) fn difference(what: &[String], requests: u64) -> Result<Cost> {
    let once = run(what, requests)?;
    let twice = run(what, 2 * requests)?;
    Ok(twice - once)
}

fn run(what: &[String], requests: u64) -> Result<Cost> {
    let name = what.join(" ");
    let out = scratch(&name.replace(' ', "-"));
    let status = callgrind::command(&out)
        .arg(std::env::current_exe()?)
        .arg("run")
        .args(what)
        .arg(requests.to_string())
        .status()
        .map_err(|error| format!("cannot run valgrind: {error}"))?;
    let cost = callgrind::read(&out);
    let _ = std::fs::remove_file(&out);
    if !status.success() {
        return Err(format!("case {name} failed under valgrind").into());
    }
    cost
}

/// A file name of this process for a tool's output.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let file = format!("sinew-benches.{}.{name}", std::process::id());
    Path::join(&std::env::temp_dir(), file)
}

/// A quotient with two digits behind the point, rounded to the nearest.
pub(crate) fn hundredths(sum: u64, count: u64) -> String {
    let hundredths = (sum * 100 + count / 2) / count;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}
