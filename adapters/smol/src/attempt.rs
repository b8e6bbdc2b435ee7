//! System calls that do not block.

use std::io::{self, ErrorKind};
use std::task::{Context, Poll, ready};

/// Makes a system call, again when a signal interrupted it, and when it would have blocked once it is
/// said that it no longer does.
pub(crate) fn attempt<T>(
    cx: &mut Context<'_>,
    mut call: impl FnMut() -> io::Result<T>,
    poll_ready: impl Fn(&mut Context<'_>) -> Poll<io::Result<()>>,
) -> Poll<io::Result<T>> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(poll_ready(cx))?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return Poll::Ready(done),
        }
    }
}
