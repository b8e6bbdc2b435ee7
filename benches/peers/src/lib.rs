//! What the servers have in common: one thread of tokio, a port of the system's choice, the address
//! on standard output, and an end when standard input ends.

use std::io::{Read, Result, Write, stdin, stdout};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;

use tokio::runtime::{Builder, Runtime};

/// The body of every answer.
pub const HELLO: &[u8] = b"Hello, World!";

/// A runtime of one thread.
pub fn runtime() -> Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// The first argument: where `cert.pem`, `key.pem` and `ca.pem` are, if TLS is wanted.
pub fn certificates() -> Option<PathBuf> {
    std::env::args_os().nth(1).map(PathBuf::from)
}

/// Tells the measuring side where to connect, and leaves when it is done.
pub fn announce(address: SocketAddr) -> Result<()> {
    writeln!(stdout(), "{address}")?;
    stdout().flush()?;
    thread::spawn(|| {
        let _ = stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    Ok(())
}
