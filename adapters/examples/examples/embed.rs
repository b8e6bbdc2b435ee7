//! The core without the driver: a server on non-blocking sockets of std and one loop, in plaintext
//! or under mutual TLS. A runtime of your own does what `Conn::turn` does: it obeys `Wire::step`.
//!
//!     cargo run --release --example embed            # curl http://127.0.0.1:8080/
//!     cargo run --release --example embed -- --tls   # https, with the curl command to try

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Buf;
use http::StatusCode;
use sinew_core::http1::{BodySize, NO_FIELDS, Rejected, Server, ServerConfig, ServerEvent};
use sinew_core::machine::{Layered, Machine, Seen, Step};
use sinew_core::time::{Epoch, Instant};
use sinew_examples::certs::{Authority, private_folder};
use sinew_tls::ServerTls;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome {
    if std::env::args().any(|arg| arg == "--tls") {
        let (tls, _folder) = mutual_tls()?;
        serve(|machine, now| Ok(tls.accept(machine, now)?))
    } else {
        serve(|machine, _| Ok(machine))
    }
}

/// Accepts connections and gives each of them its turn, for ever.
fn serve<W>(wire: impl Fn(Server, Instant) -> Outcome<W>) -> Outcome
where
    W: Layered<Top = Server> + Machine<Event = ServerEvent>,
{
    let listener = TcpListener::bind("127.0.0.1:8080")?;
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);
    let origin = std::time::Instant::now();
    let epoch = Some(Epoch::new(SystemTime::now().duration_since(UNIX_EPOCH)?));
    let config = Arc::new(ServerConfig { epoch, ..ServerConfig::default() });
    let mut connections: Vec<Conn<W>> = Vec::new();
    loop {
        let now = Instant::ZERO + origin.elapsed();
        while let Ok((socket, _)) = listener.accept() {
            socket.set_nonblocking(true)?;
            let wire = wire(Server::new(Arc::clone(&config), now), now)?;
            connections.push(Conn { socket, wire, seen: Seen::default() });
        }
        connections.retain_mut(|connection| connection.turn(now).unwrap_or(false));
        // A poller would sleep until a socket is ready or the first deadline; this one naps.
        sleep(Duration::from_millis(1));
    }
}

/// A socket, a wire, and what is known about them.
struct Conn<W> {
    socket: TcpStream,
    wire: W,
    seen: Seen,
}

impl<W: Layered<Top = Server> + Machine<Event = ServerEvent>> Conn<W> {
    /// Goes on until only waiting is left. `false`: the connection is over.
    fn turn(&mut self, now: Instant) -> io::Result<bool> {
        self.wire.handle_timeout(now);
        self.seen = Seen { write_shut: self.seen.write_shut, ..Seen::default() };
        loop {
            match self.wire.step(self.seen) {
                Step::Poll => self.seen.drained = !self.poll(now),
                Step::Write => {
                    let outbox = self.wire.outbox();
                    match ready(self.socket.write(outbox.chunk()))? {
                        Some(written) => outbox.advance(written),
                        None => self.seen.write_blocked = true,
                    }
                    self.seen.drained = false;
                }
                Step::Read => {
                    let mut block = [0; 8192];
                    match ready(self.socket.read(&mut block))? {
                        Some(0) => self.wire.handle_eof(now),
                        Some(read) => self.wire.inbox().extend_from_slice(&block[..read]),
                        None => self.seen.read_blocked = true,
                    }
                    self.seen.drained = false;
                }
                Step::HalfClose => {
                    self.socket.shutdown(Shutdown::Write)?;
                    self.seen.write_shut = true;
                }
                Step::Wait(_) => return Ok(true),
                Step::Close(_) => return Ok(false),
            }
        }
    }

    /// The application: greets, or sends the body back as it comes. `true`: there may be more.
    fn poll(&mut self, now: Instant) -> bool {
        // What the client does not take is not pulled either.
        if self.wire.top().response_open() && !self.wire.top().can_send() {
            return false;
        }
        // The machine has answered what it does not understand; the loop sends that and closes.
        let Ok(Some(event)) = self.wire.poll_event(now) else { return false };
        let top = self.wire.top();
        let answered = match event {
            ServerEvent::Request { head, body: BodySize::Empty } => {
                let text = format!("{} {}\n", head.method(), head.path());
                let size = BodySize::Exact(text.len() as u64);
                top.send_response(now, StatusCode::OK, NO_FIELDS, size)
                    .map_err(Rejected::from)
                    .and_then(|()| top.send_data(now, text.into()))
                    .and_then(|()| Ok(top.send_end(now, NO_FIELDS)?))
            }
            ServerEvent::Request { .. } => {
                if top.awaits_continue() {
                    let _ = top.send_informational(now, StatusCode::CONTINUE, NO_FIELDS);
                }
                let sent = top.send_response(now, StatusCode::OK, NO_FIELDS, BodySize::Unknown);
                sent.map_err(Rejected::from)
            }
            ServerEvent::Data(data) => top.send_data(now, data),
            ServerEvent::End(_) => top.send_end(now, NO_FIELDS).map_err(Rejected::from),
        };
        answered.unwrap_or_else(|_| top.abort(now));
        true
    }
}

/// `None`: not now.
fn ready(done: io::Result<usize>) -> io::Result<Option<usize>> {
    let blocked = |error: &io::Error| error.kind() == ErrorKind::WouldBlock;
    if done.as_ref().is_err_and(blocked) { Ok(None) } else { done.map(Some) }
}

fn mutual_tls() -> Outcome<(ServerTls, tempfile::TempDir)> {
    let authority = Authority::mint("embed authority")?;
    let server = authority.server(&["127.0.0.1"])?;
    let client = authority.client("spiffe://embed.test/curl")?;
    let folder = private_folder()?;
    std::fs::write(folder.path().join("ca.pem"), authority.pem())?;
    std::fs::write(folder.path().join("client.pem"), client.chain + &client.key)?;
    let at = folder.path().display();
    println!("curl --cacert {at}/ca.pem --cert {at}/client.pem https://127.0.0.1:8080/");
    let tls = ServerTls::builder().certificate_pem(&server.chain, &server.key)?;
    Ok((tls.client_ca_pem(authority.pem())?.build()?, folder))
}
