//! The limiter beside governor, and under a flood of invented clients.

use std::process::{Command, ExitCode};

use crate::Result;
use crate::server::{build_peers, peer};

/// Prints what both say; fails where the flood was felt by those who were known.
pub(crate) fn compare() -> Result<ExitCode> {
    build_peers()?;
    for part in ["known", "flood"] {
        if !Command::new(peer("limiter")).arg(part).status()?.success() {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}
