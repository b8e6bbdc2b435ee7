//! Both sides of a handover.

use std::fs::{self, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use sinew_core::server::drain::Phase;

use super::super::control::Control;
use super::super::listen::failed;
use super::rights::{self, Named};
use crate::error::Error;
use crate::runtime::StdListener;

/// How long the other side may take to say what is due at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// From the listeners to the word that they are served; then another successor gets its turn.
const START: Duration = Duration::from_secs(60);

/// How long nobody is listened to after that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// What a successor says once it serves.
const SERVING: &[u8; 8] = b"serving\n";

/// A server on its way to serve: what it has from its predecessor, and what its successor will have.
#[derive(Debug)]
pub(in super::super) struct Handover {
    path: PathBuf,
    /// Bound beside the path, and moved there once the server serves.
    socket: UnixListener,
    beside: PathBuf,
    predecessor: Option<UnixStream>,
    inherited: Vec<Named>,
    offered: Vec<Named>,
    /// Whether the files of Unix sockets are the business of another process: of the one before until
    /// this one serves, and of a successor then.
    handed: Arc<AtomicBool>,
}

impl Handover {
    /// Fetches the listeners of the process that offers them there, if there is one.
    pub(in super::super) fn begin(path: &Path) -> Result<Self, Error> {
        Self::open(path).map_err(|error| failed(&path.display().to_string(), error))
    }

    fn open(path: &Path) -> io::Result<Self> {
        let (predecessor, inherited) = match UnixStream::connect(path) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                let inherited = rights::receive(&stream)?;
                (Some(stream), inherited)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                (None, Vec::new())
            }
            Err(error) => return Err(error),
        };
        let mut beside = path.as_os_str().to_owned();
        beside.push(".next");
        let beside = PathBuf::from(beside);
        // Left over from a process that did not come to serve.
        let _ = fs::remove_file(&beside);
        let socket = UnixListener::bind(&beside)?;
        fs::set_permissions(&beside, Permissions::from_mode(0o600))?;
        let handed = Arc::new(AtomicBool::new(predecessor.is_some()));
        let (path, offered) = (path.to_owned(), Vec::new());
        Ok(Self { path, socket, beside, predecessor, inherited, offered, handed })
    }

    /// The listener that was asked for by this name.
    pub(in super::super) fn take(&mut self, name: &str) -> Option<StdListener> {
        let index = self.inherited.iter().position(|named| named.name == name)?;
        Some(self.inherited.swap_remove(index).listener)
    }

    /// A listener that a successor gets.
    pub(in super::super) fn offer(&mut self, name: &str, listener: &StdListener) -> io::Result<()> {
        if self.offered.len() >= rights::MOST || name.contains('\n') {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.offered.push(Named { name: name.to_owned(), listener: listener.try_clone()? });
        Ok(())
    }

    /// Whether the files of sockets are the business of another process.
    pub(in super::super) fn handed(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.handed)
    }

    /// The server serves: its predecessor may leave, and a successor may come.
    pub(in super::super) fn start(mut self, control: &Arc<Control>) -> io::Result<Offer> {
        fs::rename(&self.beside, &self.path)?;
        self.handed.store(false, Ordering::Release);
        let offered = Arc::new(Mutex::new(std::mem::take(&mut self.offered)));
        let socket = self.socket.try_clone()?;
        let (listeners, handed) = (Arc::clone(&offered), Arc::clone(&self.handed));
        let control = Arc::clone(control);
        thread::Builder::new().name("handover".to_owned()).spawn(move || {
            if find_successor(socket.incoming(), &listeners, || thread::sleep(PAUSE)) {
                handed.store(true, Ordering::Release);
                // Both accept until clients know; who is told comes back to the successor.
                control.command(|drain, now| drain.advance(now, Phase::Notify));
            }
        })?;
        let socket = self.socket.try_clone()?;
        let (path, handed) = (self.path.clone(), Arc::clone(&self.handed));
        let offer = Offer { path, socket, offered, handed };
        if let Some(mut predecessor) = self.predecessor.take() {
            predecessor.write_all(SERVING)?;
        }
        Ok(offer)
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        // It is gone if the server came to serve.
        let _ = fs::remove_file(&self.beside);
    }
}

/// Offers the listeners to whoever comes, until somebody serves; `false`: they are not offered any more.
fn find_successor(
    incoming: impl Iterator<Item = io::Result<UnixStream>>,
    listeners: &Mutex<Vec<Named>>,
    pause: impl Fn(),
) -> bool {
    for stream in incoming {
        match stream {
            Ok(stream) if hand_over(&stream, listeners).is_ok() => return true,
            Ok(_) => {}
            Err(_) if listeners.lock().unwrap_or_else(PoisonError::into_inner).is_empty() => break,
            // Too many open files, say: it would come again at once, and goes by.
            Err(_) => pause(),
        }
    }
    false
}

/// Ready when the other side serves.
fn hand_over(mut stream: &UnixStream, listeners: &Mutex<Vec<Named>>) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(START))?;
    {
        let listeners = listeners.lock().unwrap_or_else(PoisonError::into_inner);
        if listeners.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        rights::send(stream, &listeners)?;
    }
    let mut said = [0; SERVING.len()];
    stream.read_exact(&mut said)?;
    if said == *SERVING { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// What a server that serves has for its successor. Dropped, there is nothing any more.
#[derive(Debug)]
pub(in super::super) struct Offer {
    path: PathBuf,
    socket: UnixListener,
    offered: Arc<Mutex<Vec<Named>>>,
    handed: Arc<AtomicBool>,
}

impl Drop for Offer {
    fn drop(&mut self) {
        let offered = self.offered.lock().map(|mut offered| std::mem::take(&mut *offered));
        drop(offered);
        // The thread that waits there ends.
        let _ = shutdown(&self.socket, Shutdown::Both);
        if !self.handed.load(Ordering::Acquire) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

    use std::cell::Cell;
    use std::net::TcpListener;

    use super::*;

    /// A place to listen, in the hands of a process that leaves.
    fn offered() -> Mutex<Vec<Named>> {
        let listener = StdListener::Tcp(TcpListener::bind("127.0.0.1:0").unwrap());
        Mutex::new(vec![Named { name: "a".to_owned(), listener }])
    }

    #[test]
    fn a_successor_is_found_after_others_could_not_be_heard() {
        let (old, mut new) = UnixStream::pair().unwrap();
        new.write_all(SERVING).unwrap();
        let too_many = || Err(io::Error::from_raw_os_error(24));
        let pauses = Cell::new(0);
        let incoming = [too_many(), too_many(), Ok(old)].into_iter();
        assert!(find_successor(incoming, &offered(), || pauses.set(pauses.get() + 1)));
        assert_eq!(pauses.get(), 2);
        assert_eq!(rights::receive(&new).unwrap().len(), 1);
    }

    #[test]
    fn nobody_is_looked_for_when_nothing_is_offered() {
        let incoming = std::iter::repeat_with(|| Err(io::ErrorKind::InvalidInput.into()));
        assert!(!find_successor(incoming, &Mutex::default(), || unreachable!()));
    }
}
