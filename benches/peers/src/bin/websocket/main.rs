//! An echo over WebSocket in memory: ours beside fastwebsockets, tokio-websockets and tungstenite.
//!
//!     websocket run LIBRARY CASE MESSAGES   what callgrind runs
//!     websocket compare                     writes for 16 messages in one read, and a ratio of times

mod echo;
mod memory;

use std::error::Error;
use std::time::{Duration, Instant};

use echo::{LIBRARIES, Library};
use memory::{CASES, Case, Memory};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Rounds of the comparison of times; the libraries take turns.
const ROUNDS: usize = 15;

/// Messages of a round.
const MESSAGES: usize = 2_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["run", library, case, messages] => {
            let (library, case) = (Library::named(library)?, Case::named(case)?);
            run(library, case, messages.parse()?)?;
            Ok(())
        }
        ["compare"] => compare(),
        _ => Err("usage: websocket run LIBRARY CASE MESSAGES | compare".into()),
    }
}

/// Sends so many messages through an echo, and makes sure that they came back.
fn run(library: &Library, case: &Case, messages: usize) -> Result<Memory> {
    let memory = (library.echo)(Memory::new(case, messages))?;
    if memory.written != memory.due() {
        let (written, due) = (memory.written, memory.due());
        return Err(format!("{}: {written} bytes came back, not {due}", library.name).into());
    }
    Ok(memory)
}

fn compare() -> Result<()> {
    let together = Case::named("text-128-x16")?;
    for library in &LIBRARIES {
        let writes = run(library, together, 16)?.writes;
        println!("{:<18}{writes:>3} writes for 16 messages in one read", library.name);
    }
    for case in &CASES {
        let mut best = [Duration::MAX; LIBRARIES.len()];
        for _ in 0..ROUNDS {
            for (library, best) in LIBRARIES.iter().zip(&mut best) {
                let began = Instant::now();
                run(library, case, MESSAGES)?;
                *best = began.elapsed().min(*best);
            }
        }
        for (library, took) in LIBRARIES.iter().zip(best) {
            let ratio = took.as_secs_f64() / best[0].as_secs_f64();
            let each = took.as_nanos() / MESSAGES as u128;
            println!(
                "{:<18}{:<14}{each:>8} ns a message{ratio:>8.2} x ours",
                library.name, case.name
            );
        }
    }
    Ok(())
}
