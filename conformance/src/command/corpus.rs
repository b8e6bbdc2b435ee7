//! `sinew corpus`: what the cases are made of as seeds for the fuzz targets.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use sinew_conformance::load::Cases;
use sinew_conformance::seed::seeds;

use super::Problem;

/// Arguments of `sinew corpus`.
#[derive(clap::Args)]
pub(crate) struct Corpus {
    /// The directory of the corpora; each fuzz target has one of its name in it
    #[arg(long, value_name = "DIR", default_value = "fuzz/corpus")]
    out: PathBuf,
}

impl Corpus {
    pub(crate) fn run(&self) -> Result<ExitCode, Problem> {
        let at =
            |path: &PathBuf, e: std::io::Error| Problem::new(format!("{}: {e}", path.display()));
        let mut written = 0;
        for case in Cases::built_in().map_err(Problem::new)? {
            for (target, seed) in seeds(&case) {
                let dir = self.out.join(target);
                fs::create_dir_all(&dir).map_err(|e| at(&dir, e))?;
                let file = dir.join(case.id().replace('/', "-"));
                fs::write(&file, seed).map_err(|e| at(&file, e))?;
                written += 1;
            }
        }
        println!("{written} seeds in {}", self.out.display());
        Ok(ExitCode::SUCCESS)
    }
}
