//! The suite's own end of a connection: blocking, plain or TLS.

use core::time::Duration;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use sinew_tls::rustls::pki_types::ServerName;
use sinew_tls::rustls::{
    ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned,
};

/// One connection.
#[derive(Debug)]
pub struct Line {
    socket: TcpStream,
    session: Session,
}

#[derive(Debug)]
enum Session {
    Plain,
    Client(Box<StreamOwned<ClientConnection, TcpStream>>),
    Server(Box<StreamOwned<ServerConnection, TcpStream>>),
}

/// What listening to a line gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// So many bytes.
    Bytes(usize),
    /// The peer shut its writing side.
    End,
    /// The connection broke: a reset, or TLS that ended without saying so.
    Broken(String),
    /// Nothing in time.
    Nothing,
}

impl Line {
    /// A line without TLS.
    pub fn plain(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        Ok(Self { socket, session: Session::Plain })
    }

    /// The client's end of a TLS session, once the handshake is done.
    pub fn client(
        mut socket: TcpStream,
        config: &Arc<ClientConfig>,
        name: ServerName<'static>,
        time: Duration,
    ) -> io::Result<Self> {
        let mut session =
            ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        socket.set_read_timeout(Some(time))?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        let stream = StreamOwned::new(session, socket.try_clone()?);
        Ok(Self { session: Session::Client(Box::new(stream)), ..Self::plain(socket)? })
    }

    /// The server's end of a TLS session, once the handshake is done.
    pub fn server(
        mut socket: TcpStream,
        config: &Arc<ServerConfig>,
        time: Duration,
    ) -> io::Result<Self> {
        let mut session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        socket.set_read_timeout(Some(time))?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        let stream = StreamOwned::new(session, socket.try_clone()?);
        Ok(Self { session: Session::Server(Box::new(stream)), ..Self::plain(socket)? })
    }

    /// Sends bytes, as far as the peer takes them: one that refuses early may close at any byte, and
    /// what it said is heard all the same.
    pub fn say(&mut self, bytes: &[u8], time: Duration) {
        let _ = self.socket.set_write_timeout(Some(time));
        let _ = self.socket.set_read_timeout(Some(time));
        let stream = self.stream();
        let _ = stream.write_all(bytes).and_then(|()| stream.flush());
    }

    /// Shuts the writing side.
    pub fn shut(&mut self) {
        match &mut self.session {
            Session::Plain => {}
            Session::Client(stream) => stream.conn.send_close_notify(),
            Session::Server(stream) => stream.conn.send_close_notify(),
        }
        let _ = self.stream().flush();
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Waits for bytes.
    pub fn hear(&mut self, into: &mut Vec<u8>, time: Duration) -> Heard {
        if time.is_zero() || self.socket.set_read_timeout(Some(time)).is_err() {
            return Heard::Nothing;
        }
        let mut piece = [0; 16_384];
        match self.stream().read(&mut piece) {
            Ok(0) => Heard::End,
            Ok(n) => {
                into.extend_from_slice(&piece[..n]);
                Heard::Bytes(n)
            }
            Err(e) => match e.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {
                    Heard::Nothing
                }
                _ => Heard::Broken(e.to_string()),
            },
        }
    }

    fn stream(&mut self) -> &mut dyn Stream {
        match &mut self.session {
            Session::Plain => &mut self.socket,
            Session::Client(stream) => stream,
            Session::Server(stream) => stream,
        }
    }
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}
