//! `sinew audit`: what was done to an audit log.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sinew_auth::{ChainHead, ChainVerdict, Crypto, verify_chain};

use super::Problem;

/// Arguments of `sinew audit`.
#[derive(clap::Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(clap::Subcommand)]
enum AuditCommand {
    /// Say whether a line was changed, taken out, put in or moved; exit code 1 when one was
    Verify(Verify),
}

/// Arguments of `sinew audit verify`.
#[derive(clap::Args)]
struct Verify {
    /// The files of one log, the oldest first
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where the chain stood before the first line; else that line is believed
    #[arg(long, value_name = "HASH")]
    after: Option<ChainHead>,
    /// Where the chain stands behind the last line, written down elsewhere: without it nobody knows
    /// whether lines are missing at the end
    #[arg(long, value_name = "HASH")]
    head: Option<ChainHead>,
}

impl Audit {
    pub(crate) fn run(&self) -> Result<ExitCode, Problem> {
        let AuditCommand::Verify(verify) = &self.command;
        verify.run()
    }
}

impl Verify {
    fn run(&self) -> Result<ExitCode, Problem> {
        let crypto = Crypto::built_in().map_err(Problem::new)?;
        let mut head = self.after;
        let mut total = 0;
        for path in &self.files {
            let failed = |error| Problem::new(format!("{}: {error}", path.display()));
            let mut file = BufReader::new(File::open(path).map_err(failed)?);
            let after = match head {
                Some(head) => head,
                None => {
                    let after = begins(&mut file).map_err(failed)?;
                    if after != ChainHead::GENESIS {
                        println!(
                            "{}: goes on after {after}; what was before is not known",
                            path.display()
                        );
                    }
                    after
                }
            };
            match verify_chain(&crypto, file, after).map_err(failed)? {
                ChainVerdict::Intact { lines, head: last } => {
                    head = Some(last);
                    total += lines;
                }
                ChainVerdict::Broken { line, why } => {
                    println!("{}:{line}: {why}", path.display());
                    name(path, line).map_err(failed)?;
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
        let head = head.unwrap_or(ChainHead::GENESIS);
        if self.head.is_some_and(|wanted| wanted != head) {
            println!("lines are missing at the end: the chain stands at {head}");
            return Ok(ExitCode::FAILURE);
        }
        println!("{total} lines are as they were written; the chain stands at {head}");
        Ok(ExitCode::SUCCESS)
    }
}

/// Where the chain stood before the first line, as that line says.
fn begins(file: &mut BufReader<File>) -> std::io::Result<ChainHead> {
    let mut line = String::new();
    // A file that is no text is found out later.
    let _ = file.read_line(&mut line);
    file.rewind()?;
    Ok(ChainHead::before(line.trim_end_matches('\n').as_bytes()).unwrap_or(ChainHead::GENESIS))
}

/// Shows the line, and the one before it.
fn name(path: &Path, line: u64) -> std::io::Result<()> {
    let first = line.saturating_sub(2);
    let lines = BufReader::new(File::open(path)?).split(b'\n');
    for (n, text) in (1..).zip(lines).skip(usize::try_from(first).unwrap_or(usize::MAX)).take(2) {
        let text = text?;
        let text = String::from_utf8_lossy(text.get(..text.len().min(SHOWN)).unwrap_or(&text));
        if n <= line {
            println!("  {n}: {}", text.escape_debug());
        }
    }
    Ok(())
}

/// Bytes of a line that are shown.
const SHOWN: usize = 200;
