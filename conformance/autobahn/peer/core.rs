//! The bare machines, both roles: blocking sockets of std, a thread for each connection, and the sleep
//! rule between them.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant as Clock};

use bytes::{Buf as _, BytesMut};
use sinew_conformance::end::{Application, End, Read, Socket, Turn};
use sinew_conformance::websocket::door::{Doorkeeper, Visitor};
use sinew_conformance::websocket::echo::{self, Echo};
use sinew_core::error::Error;
use sinew_core::http1::{Client, ClientConfig, Server, ServerConfig};
use sinew_core::machine::Wire;
use sinew_core::outbox::Outbox;
use sinew_core::time::Instant;
use sinew_core::websocket::handshake::{Agreed, ClientHandshake, Origins, ServerHandshake};
use sinew_core::websocket::{Connection, Event, Message, Role};

use crate::{COUNT, Failure, case, report};

/// The name in the report.
const AGENT: &str = "core";

pub(crate) fn serve() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on {}", listener.local_addr()?);
    for socket in listener.incoming() {
        let socket = Tcp::new(socket?)?;
        thread::spawn(move || {
            if let Err(failure) = answer(socket) {
                eprintln!("{failure}");
            }
        });
    }
    Ok(())
}

/// One connection of a server.
fn answer(mut socket: Tcp) -> Result<(), Failure> {
    let server = Server::new(Arc::new(ServerConfig::default()), socket.now());
    let handshake = ServerHandshake {
        origins: Origins::Any,
        deflate: Some(echo::deflate()),
        ..ServerHandshake::default()
    };
    let mut end = End::new(server, Doorkeeper::new(handshake));
    drive(&mut end, &mut socket, |end| end.wire.is_upgraded())?;
    let (Some(agreed), Ok(upgraded)) = (end.app.agreed, end.wire.into_upgraded()) else {
        return Ok(());
    };
    let connection = connection(Role::Server, &agreed, upgraded, socket.now());
    drive(&mut End::new(connection, Echo::default()), &mut socket, |_| false)
}

/// Goes through all cases, one after the other, and has the report written.
pub(crate) fn visit(server: &str) -> Result<(), Failure> {
    let server = server.trim_start_matches("ws://");
    let mut count = 0;
    for event in converse(server, COUNT, Echo::logged())? {
        if let Event::Message(Message::Text(text)) = event {
            count = text.as_str().parse()?;
        }
    }
    for number in 1..=count {
        converse(server, &case(number, AGENT), Echo::default())?;
    }
    converse(server, &report(AGENT), Echo::default())?;
    println!("{count} cases");
    Ok(())
}

/// One connection of a client: what it was told.
fn converse(address: &str, target: &str, echo: Echo) -> Result<Vec<Event>, Failure> {
    let mut socket = Tcp::new(TcpStream::connect(address)?)?;
    let handshake =
        ClientHandshake { deflate: Some(echo::deflate()), ..ClientHandshake::default() };
    let mut client = Client::new(Arc::new(ClientConfig::default()));
    let opening = handshake.open(seed());
    let visitor = Visitor::knock(&mut client, opening, target, address, socket.now())?;
    let mut end = End::new(client, visitor);
    drive(&mut end, &mut socket, |end| end.wire.is_upgraded())?;
    let agreed = end.app.agreed.ok_or_else(|| format!("{target}: no answer"))??;
    let upgraded = end.wire.into_upgraded().map_err(|_| "the connection is not upgraded")?;
    let connection = connection(Role::Client, &agreed, upgraded, socket.now());
    let mut end = End::new(connection, echo);
    drive(&mut end, &mut socket, |_| false)?;
    Ok(end.app.log.unwrap_or_default())
}

fn connection(
    role: Role,
    agreed: &Agreed,
    upgraded: (BytesMut, Outbox),
    now: Instant,
) -> Connection {
    Connection::new(role, Arc::new(echo::config()), agreed, seed(), upgraded, now)
}

/// Takes turns until the connection is over, or `done`.
fn drive<W, A>(
    end: &mut End<W, A>,
    socket: &mut Tcp,
    done: impl Fn(&End<W, A>) -> bool,
) -> Result<(), Failure>
where
    W: Wire<Error = Error>,
    A: Application<W>,
{
    loop {
        let now = socket.now();
        match end.turn(socket, now).map_err(|breach| breach.to_string())? {
            Turn::Moved if done(end) => return Ok(()),
            Turn::Moved => {}
            Turn::Waits(_) => {
                end.fire(now);
                end.socket_woke();
            }
            Turn::Over(_) => return Ok(()),
        }
    }
}

/// A socket that blocks for a moment.
struct Tcp {
    socket: TcpStream,
    origin: Clock,
    block: Box<[u8]>,
}

impl Tcp {
    fn new(socket: TcpStream) -> io::Result<Self> {
        const MOMENT: Duration = Duration::from_millis(20);
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(MOMENT))?;
        socket.set_write_timeout(Some(MOMENT))?;
        Ok(Self { socket, origin: Clock::now(), block: vec![0; 64 * 1024].into() })
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.origin.elapsed()
    }
}

impl Socket for Tcp {
    fn read(&mut self, inbox: &mut BytesMut, _: Instant) -> Read {
        match self.socket.read(&mut self.block) {
            Ok(0) => Read::Eof,
            Ok(read) => {
                inbox.extend_from_slice(&self.block[..read]);
                Read::Bytes(read)
            }
            Err(error) if is_later(&error) => Read::Blocked,
            // A connection that broke has ended.
            Err(_) => Read::Eof,
        }
    }

    fn write(&mut self, outbox: &mut Outbox, _: Instant) -> usize {
        match self.socket.write(outbox.chunk()) {
            Ok(written) => {
                outbox.advance(written);
                written
            }
            Err(error) if is_later(&error) => 0,
            // Nobody takes it any more.
            Err(_) => {
                let left = outbox.len();
                outbox.advance(left);
                left
            }
        }
    }

    fn shut(&mut self) {
        // It may be gone already.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    fn close(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// One for each connection. There is nobody to hide it from.
fn seed() -> [u8; 32] {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    seed
}
