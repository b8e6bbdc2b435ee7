//! A client that is nothing but a socket, on a thread of its own: for bytes that no client sends.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use sinew_tls::rustls::{ClientConnection, StreamOwned};

use super::site::{Security, Site, client_tls};

/// Runs `talk` on a thread with a connection to the site and hands back what it returns.
pub(crate) async fn raw<T: Send + 'static>(
    site: &Site,
    talk: impl FnOnce(Raw) -> T + Send + 'static,
) -> T {
    let (address, security) = (site.address(), site.security);
    blocking(move || talk(Raw::connect(address, security))).await
}

/// Runs what blocks on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || tell.send(act()).map_err(drop));
    told.await.expect("the raw client failed; its panic says why")
}

/// A connection, under TLS by the stream of rustls.
pub(crate) struct Raw {
    socket: Socket,
    held: Vec<u8>,
}

enum Socket {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A response as it came: head and body, the body by content-length.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        let code = self.head.split(' ').nth(1).unwrap_or_default();
        code.parse().unwrap_or_else(|_| panic!("no status in {:?}", self.head))
    }

    /// The value of a field, by its lower-case name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

impl Raw {
    pub(crate) fn connect(address: SocketAddr, security: Security) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        // Never reached unless a test fails.
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        socket.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
        let socket = match security {
            Security::Plain => Socket::Plain(socket),
            Security::Mutual => {
                let (config, name) = (Arc::clone(client_tls().config()), address.ip().into());
                let session = ClientConnection::new(config, name).unwrap();
                Socket::Tls(Box::new(StreamOwned::new(session, socket)))
            }
        };
        Self { socket, held: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    /// Sends to somebody who may have closed already.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        match &mut self.socket {
            Socket::Plain(socket) => socket.write_all(bytes.as_ref()),
            Socket::Tls(socket) => socket.write_all(bytes.as_ref()).and_then(|()| socket.flush()),
        }
    }

    pub(crate) fn half_close(&mut self) {
        let socket = match &mut self.socket {
            Socket::Plain(socket) => socket,
            Socket::Tls(socket) => {
                socket.conn.send_close_notify();
                socket.flush().unwrap();
                &mut socket.sock
            }
        };
        socket.shutdown(Shutdown::Write).unwrap();
    }

    /// Goes away so that the other side is told: a socket that is closed with bytes unread resets
    /// the connection. Waits for such bytes.
    pub(crate) fn reset(self) {
        let socket = match &self.socket {
            Socket::Plain(socket) => socket,
            Socket::Tls(socket) => &socket.sock,
        };
        assert_eq!(socket.peek(&mut [0]).unwrap(), 1);
    }

    /// Reads one response; `None` where the connection ends instead.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.held.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.read() {
                assert!(self.held.is_empty(), "cut head: {:?}", self.held.escape_ascii());
                return None;
            }
        };
        let head: Vec<u8> = self.held.drain(..end).collect();
        let mut answer = Answer { head: String::from_utf8(head).unwrap(), body: Vec::new() };
        let length = answer.field("content-length").map_or(0, |length| length.parse().unwrap());
        let informational = answer.status() < 200;
        while !informational && self.held.len() < length {
            assert!(self.read(), "the body was cut");
        }
        answer.body = self.held.drain(..if informational { 0 } else { length }).collect();
        Some(answer)
    }

    /// The next bytes, this many.
    pub(crate) fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.held.len() < length {
            assert!(self.read(), "cut: {:?}", self.held.escape_ascii());
        }
        self.held.drain(..length).collect()
    }

    /// Whether the other side closed, with not a byte before.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.held.is_empty() && !self.read()
    }

    /// All that comes until the other side closes.
    pub(crate) fn rest(mut self) -> Vec<u8> {
        while self.read() {}
        self.held
    }

    fn read(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        let read = match &mut self.socket {
            Socket::Plain(socket) => socket.read(&mut piece),
            // An end without close_notify is an error here, and fails the test.
            Socket::Tls(socket) => socket.read(&mut piece),
        };
        match read {
            Ok(0) => false,
            Ok(taken) => {
                self.held.extend_from_slice(&piece[..taken]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("the server is silent: {error}"),
        }
    }
}
