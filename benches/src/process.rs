//! Whole servers over loopback: ours on tokio, and its peers, in one run.

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::Result;
use crate::callgrind;
use crate::count::{hundredths, scratch};
use crate::load::{self, Shape};
use crate::pki::Pki;
use crate::server::{Server, build_peers, peer};

/// `policies` is sinew with every policy; the floor is a loop on tokio that answers with canned bytes.
const SERVERS: [&str; 4] = ["sinew", "policies", "hyper", "floor"];

/// Those that speak TLS.
const SECURE: [&str; 2] = ["sinew", "hyper"];

const GAP: Duration = Duration::from_millis(1);

const SERIAL: Shape = Shape { depth: 1, gap: GAP };
const PIPELINED: Shape = Shape { depth: 16, gap: GAP };

/// Prints user-space instructions per request of each server. Reports only: what the runtime and the
/// kernel make of a wake-up moves by more than a gate would allow.
pub(crate) fn instructions() -> Result<ExitCode> {
    build_peers()?;
    println!("{:<14}{:>8}{:>14}", "per request", "serial", "pipelined 16");
    for server in SERVERS {
        let serial = instructions_of(server, SERIAL, 1_600)?;
        let pipelined = instructions_of(server, PIPELINED, 8_000)?;
        println!("{server:<14}{serial:>8}{pipelined:>14}");
    }
    Ok(ExitCode::SUCCESS)
}

fn instructions_of(server: &str, shape: Shape, requests: u64) -> Result<u64> {
    let run = |requests| {
        let out = scratch(server);
        serve(callgrind::command(&out).arg(peer(server)), None, shape, requests)?;
        let cost = callgrind::read(&out);
        let _ = std::fs::remove_file(&out);
        cost
    };
    let (once, twice) = (run(requests)?, run(2 * requests)?);
    Ok((twice - once).instructions / requests)
}

/// Prints system calls per request of each server, by name.
pub(crate) fn syscalls() -> Result<ExitCode> {
    build_peers()?;
    let pki = Pki::mint()?;
    for (title, shape) in [("serial", SERIAL), ("pipelined 16", PIPELINED)] {
        println!("system calls per request, {title}");
        for server in SERVERS {
            let (total, calls) = syscalls_of(server, None, shape, 1_600)?;
            println!("  {server:<10}{total:>6}  {}", calls.join(", "));
        }
        println!("system calls per request, {title}, mutual TLS");
        for server in SECURE {
            let (total, calls) = syscalls_of(server, Some(&pki), shape, 1_600)?;
            println!("  {server:<10}{total:>6}  {}", calls.join(", "));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn syscalls_of(
    server: &str,
    pki: Option<&Pki>,
    shape: Shape,
    requests: u64,
) -> Result<(String, Vec<String>)> {
    let run = |requests| {
        let out = scratch(server);
        let mut strace = Command::new("strace");
        strace.args(["-f", "-c", "-o"]).arg(&out).arg(peer(server));
        serve(&mut strace, pki, shape, requests)?;
        let text = std::fs::read_to_string(&out);
        let _ = std::fs::remove_file(&out);
        Ok::<_, Box<dyn std::error::Error>>(strace_counts(&text?))
    };
    let (once, twice) = (run(requests)?, run(2 * requests)?);
    let (mut total, mut calls) = (0, Vec::new());
    for (name, count) in twice {
        let more = count.saturating_sub(once.get(&name).copied().unwrap_or(0));
        // Less than one in fifty requests is noise: a thread that parks, an allocator that trims.
        if more * 50 > requests {
            total += more;
            calls.push(format!("{name} {}", hundredths(more, requests)));
        }
    }
    Ok((hundredths(total, requests), calls))
}

/// The lines of `strace -c` end in the number of calls, perhaps one of errors, and the name.
fn strace_counts(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (name, count) = (words.last()?, words.get(3)?.parse().ok()?);
            (*name != "total").then(|| ((*name).to_owned(), count))
        })
        .collect()
}

/// Starts a server below a measuring tool, loads it, and ends it.
fn serve(command: &mut Command, pki: Option<&Pki>, shape: Shape, requests: u64) -> Result<()> {
    if let Some(pki) = pki {
        command.arg(pki.dir());
    }
    let server = Server::start(command)?;
    let mut connection = load::connect(server.address, pki)?;
    load::run(&mut connection, shape, requests)?;
    server.stop()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_table_of_strace() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n\
                    ------ ----------- ----------- --------- --------- ----------------\n \
                    60.00    0.000600           0      1601           sendto\n \
                    40.00    0.000400           0      3202      1601 recvfrom\n\
                    ------ ----------- ----------- --------- --------- ----------------\n\
                    100.00    0.001000           0      4803      1601 total\n";
        let counts = strace_counts(text);
        assert_eq!(
            counts.into_iter().collect::<Vec<_>>(),
            [("recvfrom".to_owned(), 3202), ("sendto".to_owned(), 1601)]
        );
    }
}
