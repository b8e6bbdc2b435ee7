//! Listening sockets over a Unix socket, with their names: `SCM_RIGHTS`, unix(7).

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::super::listen::from_fd;
use crate::runtime::StdListener;

/// Listeners that one server hands over. The kernel takes 253 at a time.
pub(super) const MOST: usize = 64;

/// Bytes of all names together.
const NAMES: usize = 16 * 1024;

/// What the message starts with: a version of what follows.
const GREETING: &str = "sinew listeners 1\n";

/// A listening socket, and where its server was asked to listen.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) listener: StdListener,
}

/// Sends them all. Names have no line ends.
pub(super) fn send(mut stream: &UnixStream, listeners: &[Named]) -> io::Result<()> {
    let mut text = GREETING.to_owned();
    for named in listeners {
        text.push_str(&named.name);
        text.push('\n');
    }
    text.push('\n');
    let fds: Vec<BorrowedFd<'_>> = listeners.iter().map(|named| named.listener.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if listeners.len() > MOST
        || text.len() > NAMES
        || !control.push(SendAncillaryMessage::ScmRights(&fds))
    {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let sent = sendmsg(
        stream.as_fd(),
        &[IoSlice::new(text.as_bytes())],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    stream.write_all(text.as_bytes().get(sent..).unwrap_or_default())
}

/// Receives what was sent.
pub(super) fn receive(mut stream: &UnixStream) -> io::Result<Vec<Named>> {
    let mut bytes = vec![0; NAMES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(
        stream.as_fd(),
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut fds: Vec<OwnedFd> = Vec::new();
    for piece in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = piece {
            fds.extend(rights);
        }
    }
    let mut filled = message.bytes;
    while !bytes.get(..filled).is_some_and(|bytes| bytes.ends_with(b"\n\n")) {
        match stream.read(bytes.get_mut(filled..).unwrap_or_default())? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let text = String::from_utf8(bytes).map_err(|_| invalid())?;
    let names = text.strip_prefix(GREETING).ok_or_else(invalid)?;
    let names: Vec<&str> = names.lines().filter(|name| !name.is_empty()).collect();
    if names.len() != fds.len() {
        return Err(invalid());
    }
    let named = names.into_iter().zip(fds).map(|(name, fd)| {
        let listener = from_fd(fd).map_err(|_| invalid())?;
        Ok(Named { name: name.to_owned(), listener })
    });
    named.collect()
}
