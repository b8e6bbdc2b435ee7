//! Peers that freeze, vanish, cut and never come: each time the error names the phase, and how far the
//! request got.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::future::join;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use sinew_core::error::{Delivery, Phase};
use sinew_driver::{Error, ErrorKind, Runtime};
use socket2::{Domain, Socket, Type};

use super::raw::blocking;
use super::run;
use super::site::client_to;
use crate::rt;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Long enough for a peer that is well, on any machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Says to a process of the tests that it is a server.
const FREEZE: &str = "SINEW_FREEZE";

/// Short, because it runs out.
const SHORT: Duration = Duration::from_millis(100);

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// Reads up to the end of a head.
fn read_head(socket: &mut TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).unwrap();
        head.extend_from_slice(&byte);
    }
}

/// A peer that takes one connection, and does this with it.
fn peer(act: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || act(listener.accept().unwrap().0));
    address
}

fn told(error: &Error) -> (&ErrorKind, Phase, Delivery) {
    (error.kind(), error.phase(), error.delivery())
}

/// A server in a process of its own, which can be stopped and continued.
struct Frozen {
    process: Child,
    address: SocketAddr,
}

impl Frozen {
    fn start() -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "suite::broken::a_server_to_freeze", "--ignored", "--nocapture"])
            .env(FREEZE, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines.map_while(Result::ok).find_map(|line| {
            line.split_once("serves at ").map(|(_, address)| address.parse().unwrap())
        });
        Self { process, address: address.expect("an address") }
    }

    /// Returns when nothing of it runs any more.
    fn freeze(&self) {
        let process = Pid::from_child(&self.process);
        kill_process(process, Signal::STOP).unwrap();
        let (_, status) = waitpid(Some(process), WaitOptions::UNTRACED).unwrap().unwrap();
        assert!(status.stopped());
    }

    fn thaw(&self) {
        kill_process(Pid::from_child(&self.process), Signal::CONT).unwrap();
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
#[ignore = "it is no test but the server of one, which runs it"]
fn a_server_to_freeze() {
    // Only where a test asks for it: it never ends.
    if std::env::var_os(FREEZE).is_none() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("serves at {}", listener.local_addr().unwrap());
    for socket in listener.incoming() {
        std::thread::spawn(move || {
            let mut socket = socket.unwrap();
            loop {
                read_head(&mut socket);
                socket.write_all(ANSWER).unwrap();
            }
        });
    }
}

#[test]
fn a_frozen_server_is_waited_for_as_long_as_the_call_says() {
    run(async {
        let server = Frozen::start();
        let client = client_to(&url(server.address));
        let answered = client.post("/").timeout(PATIENCE).send().await.unwrap();
        assert_eq!(answered.text().await.unwrap(), "ok");

        server.freeze();
        // On the connection that was kept: the kernel takes the request, and nobody reads it.
        let error = client.post("/").timeout(SHORT).send().await.unwrap_err();
        assert_eq!(
            told(&error),
            (&ErrorKind::Deadline, Phase::ResponseHead, Delivery::MaybeProcessed)
        );

        let runtime = rt::Runtime::default();
        let thaw = async {
            runtime.sleep_until(runtime.now() + Duration::from_millis(500)).await;
            server.thaw();
        };
        let (answered, ()) = join(client.post("/").timeout(PATIENCE).send(), thaw).await;
        assert_eq!(answered.unwrap().text().await.unwrap(), "ok");
    });
}

#[test]
fn a_reset_in_the_middle_of_a_body_is_no_end() {
    run(async {
        let address = peer(|mut socket| {
            read_head(&mut socket);
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf").unwrap();
            // Until the client has read what came: a reset would throw it away.
            socket.read_exact(&mut [0]).unwrap();
            socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
        });
        let body = super::app::pattern(0, 1);
        let (go_on, wait) = tokio::sync::oneshot::channel::<()>();
        let piece = futures_util::stream::once(async move {
            let _ = wait.await;
            Ok::<_, std::convert::Infallible>(body)
        });
        let call = client_to(&url(address)).post("/").body(sinew_driver::Body::stream(piece));
        let mut response = call.send().await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "half");
        go_on.send(()).unwrap();
        let error = response.chunk().await.unwrap_err();
        assert_eq!(error.phase(), Phase::ResponseBody);
        assert_eq!(error.delivery(), Delivery::Processed);
        assert_eq!(*error.kind(), ErrorKind::Io(std::io::ErrorKind::ConnectionReset));
    });
}

#[test]
fn a_peer_that_vanished_without_a_word_runs_into_the_time_between_bytes() {
    run(async {
        let vanish = || {
            let (done, until) = std::sync::mpsc::channel::<()>();
            let address = peer(move |mut socket| {
                read_head(&mut socket);
                let half = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf";
                // Nobody may be there any more.
                let _ = socket.write_all(half);
                // The socket stays open and says nothing more, as if its machine had lost power.
                let _ = until.recv();
            });
            (address, done)
        };
        // On a busy machine the peer may be silent for too long before it has begun.
        let (mut response, _done) = loop {
            let (address, done) = vanish();
            let call = client_to(&url(address)).post("/").between_bytes(Some(SHORT));
            match call.send().await {
                Ok(response) => break (response, done),
                Err(error) => assert!(error.is_timeout(), "{error:?}"),
            }
        };
        assert_eq!(response.chunk().await.unwrap().unwrap(), "half");
        let error = response.chunk().await.unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
        assert_eq!((error.phase(), error.delivery()), (Phase::ResponseBody, Delivery::Processed));
    });
}

/// A listener whose queue is full: the kernel drops who knocks, as a firewall would.
fn black_hole() -> (Socket, Vec<TcpStream>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut inside = Vec::new();
    while let Ok(socket) = TcpStream::connect_timeout(&address, Duration::from_millis(50)) {
        inside.push(socket);
    }
    (listener, inside)
}

#[test]
fn a_connect_that_is_never_answered_was_not_sent() {
    run(async {
        let (listener, _inside) = blocking(black_hole).await;
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let builder = rt::RestClient::builder(url(address)).allow_plaintext();
        let client = builder.connect_timeout(SHORT).timeout(PATIENCE).build().unwrap();
        let error = client.post("/").send().await.unwrap_err();
        assert_eq!(told(&error), (&ErrorKind::Timeout, Phase::Connect, Delivery::NotSent));
    });
}
