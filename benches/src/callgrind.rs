//! Runs a command under callgrind and reads what it cost.

use std::collections::HashMap;
use std::ops::Sub;
use std::path::Path;
use std::process::Command;

use crate::Result;

/// What a run cost, or the difference of two runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Instructions executed in user space.
    pub(crate) instructions: u64,
    /// Calls of malloc, calloc, realloc and the aligned ones.
    pub(crate) allocations: u64,
}

impl Sub for Cost {
    type Output = Self;

    fn sub(self, less: Self) -> Self {
        Self {
            instructions: self.instructions.saturating_sub(less.instructions),
            allocations: self.allocations.saturating_sub(less.allocations),
        }
    }
}

const ALLOCATORS: [&str; 5] = ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"];

/// The command that runs another one under callgrind and leaves what it saw in `out`.
pub(crate) fn command(out: &Path) -> Command {
    let mut command = Command::new("valgrind");
    let mut file = std::ffi::OsString::from("--callgrind-out-file=");
    file.push(out);
    command.args(["--quiet", "--tool=callgrind"]).arg(file);
    command
}

/// Reads what callgrind left.
pub(crate) fn read(out: &Path) -> Result<Cost> {
    parse(&std::fs::read_to_string(out)?).ok_or_else(|| "callgrind left no total".into())
}

/// The format names a function once, as `(7) malloc`, and by its number from then on. A call is a
/// line `calls=COUNT TARGET` under the `cfn=` of the callee.
fn parse(text: &str) -> Option<Cost> {
    let mut names = HashMap::new();
    let mut callee = "";
    let mut cost = Cost { instructions: 0, allocations: 0 };
    let mut total = None;
    for line in text.lines() {
        if let Some(function) = line.strip_prefix("fn=").or_else(|| line.strip_prefix("cfn=")) {
            let (number, name) = function.split_once(' ').unwrap_or((function, ""));
            if !name.is_empty() {
                names.insert(number, name);
            }
            if line.starts_with("cfn=") {
                callee = names.get(number).copied().unwrap_or_default();
            }
        } else if let Some(calls) = line.strip_prefix("calls=") {
            if ALLOCATORS.contains(&callee) {
                cost.allocations += calls.split(' ').next()?.parse::<u64>().ok()?;
            }
        } else if let Some(sum) =
            line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: "))
        {
            total = sum.split(' ').next()?.parse::<u64>().ok();
        }
    }
    cost.instructions = total?;
    Some(cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_totals_and_calls_by_number() {
        let text = "fn=(1) main\n16 400\ncfn=(2) malloc\ncalls=3 0 \n16 90\ncfn=(3) free\n\
                    calls=3 0\n16 30\nfn=(4) other\n1 1\ncfn=(2)\ncalls=2 0\n1 60\n\n\
                    summary: 581\ntotals: 581\n";
        assert_eq!(parse(text), Some(Cost { instructions: 581, allocations: 5 }));
        assert_eq!(parse("fn=(1) main\n"), None, "cut short");
    }
}
