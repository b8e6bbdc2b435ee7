//! Secrets, which stand in files and environment variables of their own, and not in the configuration.

use std::path::Path;
use std::{env, fs};

/// What the file says. `Err`: why nothing.
pub(super) fn of_file(base: &Path, path: &Path) -> Result<String, String> {
    let path = base.join(path);
    let text = fs::read_to_string(&path)
        .map_err(|error| format!("cannot read {}: {}", path.display(), error.kind()))?;
    Ok(trimmed(&text))
}

/// What the environment variable says. `Err`: why nothing.
pub(super) fn of_env(name: &str) -> Result<String, String> {
    let text = env::var(name).map_err(|_| format!("{name} is not set to text"))?;
    Ok(trimmed(&text))
}

/// Whoever writes a file ends it with the end of a line.
fn trimmed(text: &str) -> String {
    text.trim_end_matches(['\r', '\n']).to_owned()
}
