//! A server that sends back what it is sent.

use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use bytes::BytesMut;
use sinew_core::machine::{Machine, Seen, Step, Wire};
use sinew_core::outbox::Outbox;
use sinew_core::time::Instant;
use sinew_core::websocket::handshake::Agreed;
use sinew_core::websocket::{Config, Connection, Event, Role};

use crate::Result;
use crate::callgrind;
use crate::cases::{drain, tick};
use crate::count::scratch;
use crate::server::{build_peers, peer};

/// Prints what an echo costs in each library: instructions for a message, then writes and times.
pub(crate) fn compare() -> Result<ExitCode> {
    build_peers()?;
    println!("{:<18}{:>10}{:>14}", "per message", "text-128", "text-128-x16");
    for library in ["sinew", "fastwebsockets", "tokio-websockets", "tungstenite"] {
        let single = instructions(library, "text-128")?;
        let together = instructions(library, "text-128-x16")?;
        println!("{library:<18}{single:>10}{together:>14}");
    }
    let compared = Command::new(peer("websocket")).arg("compare").status()?;
    Ok(if compared.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn instructions(library: &str, case: &str) -> Result<u64> {
    const MESSAGES: u64 = 16_000;
    let run = |messages: u64| {
        let out = scratch(library);
        let mut command = callgrind::command(&out);
        command.arg(peer("websocket")).args(["run", library, case, &messages.to_string()]);
        if !command.status()?.success() {
            return Err(format!("{library} cannot be measured").into());
        }
        let cost = callgrind::read(&out);
        let _ = std::fs::remove_file(&out);
        cost
    };
    let (once, twice) = (run(MESSAGES)?, run(2 * MESSAGES)?);
    Ok((twice - once).instructions / MESSAGES)
}

/// Texts of 128 bytes come `together` at a time, and each goes back.
pub(crate) fn echo(messages: u64, together: usize) -> Result<()> {
    let mut now = Instant::ZERO;
    // As large as what a driver reads into.
    let upgraded = (BytesMut::with_capacity(16 * 1024), Outbox::new());
    let config = Arc::new(Config::default());
    let mut server =
        Connection::new(Role::Server, config, &Agreed::default(), [7; 32], upgraded, now);
    let arriving = text(128).repeat(together);
    let mut echoed = 0;
    while echoed < messages {
        let now = tick(&mut now);
        server.inbox().extend_from_slice(black_box(&arriving));
        let mut seen = Seen::default();
        loop {
            match server.step(seen) {
                Step::Poll => match server.poll_event(now) {
                    Ok(Some(Event::Message(message))) => {
                        server.send_message(now, message).map_err(|_| "the queue is full")?;
                        echoed += 1;
                    }
                    Ok(Some(_)) => return Err("an event that nobody caused".into()),
                    Ok(None) => seen.drained = true,
                    Err(error) => return Err(error.into()),
                },
                Step::Write => drain(&mut server, &mut seen),
                Step::Read => seen.read_blocked = true,
                Step::Wait(deadline) => {
                    black_box(deadline);
                    break;
                }
                Step::HalfClose | Step::Close(_) => return Err("the server closed".into()),
            }
        }
    }
    Ok(())
}

/// A text of a client, of 126 to 65,535 bytes.
fn text(len: u16) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![0x81, 0x80 | 0x7e];
    frame.extend(len.to_be_bytes());
    frame.extend(mask);
    frame.extend((0..usize::from(len)).map(|at| b"sinew "[at % 6] ^ mask[at % 4]));
    frame
}
