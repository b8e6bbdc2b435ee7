//! How an operator tells a process to stop.

use std::io;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::oneshot;

/// The name of the first signal that comes. A second one ends the process at once.
///
/// # Errors
///
/// When the system does not let signals be handled.
pub fn first() -> io::Result<oneshot::Receiver<&'static str>> {
    let (tell, told) = oneshot::channel();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        let mut signals = signals.forever();
        if let Some(signal) = signals.next() {
            let _ = tell.send(if signal == SIGINT { "SIGINT" } else { "SIGTERM" });
        }
        if let Some(signal) = signals.next() {
            std::process::exit(128 + signal);
        }
    });
    Ok(told)
}
