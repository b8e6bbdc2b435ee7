//! Listening sockets: addresses, Unix paths, sockets handed over by whoever started us.

use std::io;
use std::net::{SocketAddr, TcpListener};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sinew_core::error::{Delivery, Phase};
#[cfg(any(target_os = "android", target_os = "linux"))]
use socket2::SockRef;
use socket2::{Domain, Protocol, Socket, Type};

use super::handover::Handover;
use crate::error::{Error, ErrorKind};
use crate::runtime::{Runtime, StdListener};

/// Connections that the kernel holds for us before they are accepted.
pub(super) const BACKLOG: i32 = 1024;

/// Bytes of a connection that the kernel takes from us beyond what the peer's window lets it send. Without
/// this limit it takes megabytes for a peer that reads nothing; two times 64 KiB keep a fast one busy.
#[cfg(any(target_os = "android", target_os = "linux"))]
const UNSENT: u32 = 128 * 1024;

/// Where to listen.
#[derive(Debug)]
pub(super) enum Place {
    /// `host:port`, or `unix:/path`.
    Named(String),
    /// A listening socket that exists already.
    Given(StdListener),
}

/// A listening socket, bound and not registered with a runtime yet.
pub(super) struct Bound {
    pub(super) listener: StdListener,
    pub(super) address: Option<SocketAddr>,
    pub(super) file: Option<SocketFile>,
}

/// The file of a Unix socket; removed when the listener goes.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Whether it is the business of another process.
    handed: Option<Arc<AtomicBool>>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.handed.as_ref().is_some_and(|handed| handed.load(Ordering::Acquire)) {
            return;
        }
        // It may be gone already.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The names of those that have one.
pub(super) fn names(places: &[Place]) -> Vec<String> {
    let name = |place: &Place| match place {
        Place::Named(name) => Some(name.clone()),
        Place::Given(_) => None,
    };
    places.iter().filter_map(name).collect()
}

impl Place {
    /// Binds it, or takes it over from the process before; a successor gets it, too.
    pub(super) async fn bind<R: Runtime>(
        self,
        runtime: &R,
        mut handover: Option<&mut Handover>,
    ) -> Result<Bound, Error> {
        let name = match self {
            Self::Given(listener) => {
                return given(listener).map_err(|error| failed("socket", error));
            }
            Self::Named(name) => name,
        };
        let inherited = handover.as_mut().and_then(|handover| handover.take(&name));
        let mut bound = match inherited {
            Some(listener) => inherit(&name, listener).map_err(|error| failed(&name, error))?,
            None => bind_named(&name, runtime).await?,
        };
        if let Some(handover) = handover {
            let offered = handover.offer(&name, &bound.listener);
            offered.map_err(|error| failed(&name, error))?;
            if let Some(file) = &mut bound.file {
                file.handed = Some(handover.handed());
            }
        }
        Ok(bound)
    }

    /// Whether TLS, or the permission to do without, is needed there.
    pub(super) fn is_network(&self) -> bool {
        match self {
            Self::Named(name) => !name.starts_with("unix:"),
            Self::Given(listener) => matches!(listener, StdListener::Tcp(_)),
        }
    }
}

async fn bind_named<R: Runtime>(name: &str, runtime: &R) -> Result<Bound, Error> {
    if let Some(path) = name.strip_prefix("unix:") {
        return bind_unix(Path::new(path)).map_err(|error| failed(name, error));
    }
    let addresses = match name.parse::<SocketAddr>() {
        Ok(address) => vec![address],
        Err(_) => {
            let (host, port) = split(name)?;
            // That a name is not known has no code, and no kind of its own either.
            let kind = |error: io::Error| match error.raw_os_error() {
                Some(_) => error,
                None => io::Error::new(io::ErrorKind::NotFound, error),
            };
            runtime.resolve(host, port).await.map_err(|error| failed(name, kind(error)))?
        }
    };
    let Some(&address) = addresses.first() else {
        return Err(failed(name, io::ErrorKind::NotFound.into()));
    };
    let bound = bind_tcp(address).and_then(|listener| given(StdListener::Tcp(listener)));
    bound.map_err(|error| failed(name, error))
}

/// A listener that the process before was asked for by this name.
fn inherit(name: &str, listener: StdListener) -> io::Result<Bound> {
    let bound = given(listener)?;
    let path = name.strip_prefix("unix:").map(PathBuf::from);
    Ok(Bound { file: path.map(|path| SocketFile { path, handed: None }), ..bound })
}

/// Whether a [builder](super::ServerBuilder::listen) can listen on a place of this name: `host:port` or
/// `unix:/path`.
///
/// # Errors
///
/// When it is neither.
pub fn check_place(name: &str) -> Result<(), Error> {
    match name.strip_prefix("unix:") {
        Some(path) if !path.is_empty() => Ok(()),
        _ => split(name).map(|_| ()),
    }
}

fn split(name: &str) -> Result<(&str, u16), Error> {
    let parts = name.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    parts.filter(|(host, _)| !host.is_empty()).ok_or_else(|| {
        Error::config(format!("cannot listen on {name:?}: it is neither host:port nor unix:/path"))
    })
}

pub(super) fn failed(place: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::Listen(place.into(), error.kind()), Phase::Idle, Delivery::NotSent)
        .with_source(error)
}

fn given(listener: StdListener) -> io::Result<Bound> {
    let address = match &listener {
        StdListener::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            // Connections inherit it. Where it is refused, more memory of the kernel is all that is lost.
            #[cfg(any(target_os = "android", target_os = "linux"))]
            let _ = SockRef::from(listener).set_tcp_notsent_lowat(UNSENT);
            Some(listener.local_addr()?)
        }
        #[cfg(unix)]
        StdListener::Unix(listener) => {
            listener.set_nonblocking(true)?;
            None
        }
    };
    Ok(Bound { listener, address, file: None })
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted server takes its port over from connections that linger in the kernel. (On
    // Windows the option would let another process steal the port.)
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(unix)]
fn bind_unix(path: &Path) -> io::Result<Bound> {
    let listener = match UnixListener::bind(path) {
        // A file that nobody listens on is left over from a process that was killed.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    let bound = given(StdListener::Unix(listener))?;
    let file = SocketFile { path: path.to_owned(), handed: None };
    Ok(Bound { file: Some(file), ..bound })
}

#[cfg(unix)]
fn is_stale(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;

    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && UnixStream::connect(path).is_err_and(refused)
}

#[cfg(not(unix))]
fn bind_unix(_: &Path) -> io::Result<Bound> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A listening socket that whoever started this process handed over, TCP or Unix.
#[cfg(unix)]
pub(super) fn from_fd(fd: std::os::fd::OwnedFd) -> Result<StdListener, Error> {
    let socket = Socket::from(fd);
    let kind = socket.local_addr().and_then(|address| Ok((address.domain(), socket.r#type()?)));
    match kind {
        Ok((Domain::IPV4 | Domain::IPV6, Type::STREAM)) => Ok(StdListener::Tcp(socket.into())),
        Ok((Domain::UNIX, Type::STREAM)) => {
            let fd = std::os::fd::OwnedFd::from(socket);
            Ok(StdListener::Unix(fd.into()))
        }
        Ok(_) => Err(Error::config("the socket handed over is neither TCP nor Unix")),
        Err(error) => Err(failed("the socket handed over", error)),
    }
}

#[cfg(all(test, any(target_os = "android", target_os = "linux")))]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;

    #[test]
    fn the_kernel_takes_little_for_a_peer_that_reads_nothing() -> io::Result<()> {
        let bound = given(StdListener::Tcp(bind_tcp((Ipv4Addr::LOCALHOST, 0).into())?))?;
        let StdListener::Tcp(listener) = bound.listener else { unreachable!("a TCP listener") };
        listener.set_nonblocking(false)?;
        let _client = TcpStream::connect(listener.local_addr()?)?;
        let (accepted, _) = listener.accept()?;
        assert_eq!(SockRef::from(&accepted).tcp_notsent_lowat()?, UNSENT);
        Ok(())
    }
}
