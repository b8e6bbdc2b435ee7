//! A connection from the suite to a server, as bytes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

#[cfg(feature = "serve")]
use sinew_tls::rustls::{ClientConnection, StreamOwned};

/// Nobody takes longer to let a connection in.
const CONNECT: Duration = Duration::from_secs(5);

/// A connection, and everything that came over it.
#[derive(Debug)]
pub struct Link {
    stream: Stream,
    received: Vec<u8>,
    ended: bool,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "serve")]
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Link {
    /// Connects.
    pub fn plain(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::over(Stream::Plain(connect(address)?)))
    }

    /// Connects and does TLS.
    #[cfg(feature = "serve")]
    pub fn tls(address: SocketAddr, session: ClientConnection) -> io::Result<Self> {
        let mut stream = StreamOwned::new(session, connect(address)?);
        stream.sock.set_read_timeout(Some(CONNECT))?;
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self::over(Stream::Tls(Box::new(stream))))
    }

    fn over(stream: Stream) -> Self {
        Self { stream, received: Vec::new(), ended: false }
    }

    /// Everything that came so far.
    pub fn received(&self) -> &[u8] {
        &self.received
    }

    /// Whether the server ended the connection, in whatever way.
    pub const fn ended(&self) -> bool {
        self.ended
    }

    /// Sends these bytes. A server that left does not take them; reading shows that it left.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = match &mut self.stream {
            Stream::Plain(socket) => socket.write_all(bytes),
            #[cfg(feature = "serve")]
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        };
    }

    /// Sends nothing more; what the server sends is still read.
    pub fn shut(&mut self) {
        #[cfg(feature = "serve")]
        if let Stream::Tls(stream) = &mut self.stream {
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
        let _ = self.socket().shutdown(Shutdown::Write);
    }

    /// Reads until it is enough, the server ends the connection, or nobody waits any longer.
    pub fn receive(&mut self, patience: Duration, mut enough: impl FnMut(&[u8]) -> bool) {
        let started = Instant::now();
        let mut buffer = [0; 16 * 1024];
        while !self.ended && !enough(&self.received) {
            let left = patience.saturating_sub(started.elapsed());
            if left.is_zero() || self.socket().set_read_timeout(Some(left)).is_err() {
                return;
            }
            let read = match &mut self.stream {
                Stream::Plain(socket) => socket.read(&mut buffer),
                #[cfg(feature = "serve")]
                Stream::Tls(stream) => stream.read(&mut buffer),
            };
            match read {
                Ok(0) => self.ended = true,
                Ok(n) => self.received.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e)
                    if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
                {
                    return;
                }
                Err(_) => self.ended = true,
            }
        }
    }

    fn socket(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(socket) => socket,
            #[cfg(feature = "serve")]
            Stream::Tls(stream) => &stream.sock,
        }
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, CONNECT)?;
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(CONNECT))?;
    Ok(socket)
}
