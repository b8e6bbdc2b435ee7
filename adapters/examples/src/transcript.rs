//! A readable account of what was done and what came of it, on standard output.

use std::error::Error;
use std::fmt::Display;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

/// What a step ends with. An error is a deviation: it ends the run.
pub type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Numbers the steps.
#[derive(Debug, Default)]
pub struct Transcript {
    steps: u32,
}

impl Transcript {
    /// A new step begins.
    pub fn step(&mut self, title: &str) {
        self.steps += 1;
        println!("\n{:>2}. {title}", self.steps);
    }

    /// Something that was seen.
    pub fn saw(&self, what: impl Display) {
        println!("    {what}");
    }

    /// How many steps were begun.
    pub fn steps(&self) -> u32 {
        self.steps
    }
}

/// Goes on if it holds, deviates if not.
pub fn ensure(holds: bool, expected: impl Display) -> Outcome {
    if holds { Ok(()) } else { Err(format!("expected {expected}").into()) }
}

/// Shows how far a transfer has come: a mark every sixteenth. Clones show the same transfer.
#[derive(Clone, Debug)]
pub struct Progress {
    total: u64,
    done: Arc<Mutex<u64>>,
}

impl Progress {
    const MARKS: u64 = 16;

    /// A transfer of `total` bytes begins.
    pub fn of(total: u64, what: &str) -> Self {
        print!("    {what:<5} [");
        Self { total: total.max(1), done: Arc::default() }
    }

    /// That many more bytes went over.
    pub fn add(&self, bytes: u64) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let marks = |done: u64| done * Self::MARKS / self.total;
        let before = *done;
        *done += bytes;
        for _ in marks(before)..marks(*done) {
            print!("#");
        }
        // Without a terminal nobody minds.
        let _ = std::io::stdout().flush();
        if before < self.total && *done >= self.total {
            println!("] {} MiB", self.total >> 20);
        }
    }
}
