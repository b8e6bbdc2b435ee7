//! Calls through a proxy, which is a socket and some threads.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::spawn;
use std::time::Duration;

use http::StatusCode;
use sinew_core::error::{Delivery, Phase};
use sinew_driver::{Error, ErrorKind, Proxy};
use sinew_tls::ClientTls;
use sinew_tls::rustls::ServerConnection;

use super::site::{PATIENCE, Security, Site, client_tls, pki, server_tls};
use super::{each, run, status_of};
use crate::rt;

/// What a proxy does when it is asked.
#[derive(Clone, Copy)]
enum Manner {
    /// Connects to the port that was asked for, on this machine, whatever the name.
    Open,
    /// Answers this, and closes.
    Say(&'static str),
    /// Answers nothing.
    Wait,
}

/// A proxy. It goes on until the process ends.
struct Relay {
    address: SocketAddr,
    /// The heads of what it was asked.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Relay {
    fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let heard = Arc::clone(&asked);
        spawn(move || {
            for socket in listener.incoming() {
                let (socket, heard) = (socket.unwrap(), Arc::clone(&heard));
                spawn(move || serve(socket, manner, &heard));
            }
        });
        Self { address, asked }
    }

    fn proxy(&self) -> Proxy {
        Proxy::new(&format!("http://{}", self.address)).unwrap()
    }

    /// The same, behind one that ends TLS for it.
    fn secured(&self, tls: &ClientTls) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let plain = self.address;
        spawn(move || {
            for socket in listener.incoming() {
                let service = TcpStream::connect(plain).unwrap();
                unwrap_tls(socket.unwrap(), service);
            }
        });
        Proxy::secured(&format!("https://localhost:{port}"), tls).unwrap()
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(mut socket: TcpStream, manner: Manner, heard: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    heard.lock().unwrap().push(head.clone());
    match manner {
        Manner::Open => {
            let target = head.split(' ').nth(1).unwrap();
            let port: u16 = target.rsplit_once(':').unwrap().1.parse().unwrap();
            let service = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            socket.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
            let (from, to) = (socket.try_clone().unwrap(), service.try_clone().unwrap());
            spawn(move || pass(from, to));
            pass(service, socket);
        }
        Manner::Say(answer) => socket.write_all(answer.as_bytes()).unwrap(),
        // Until the client gives up.
        Manner::Wait => drop(socket.read(&mut [0])),
    }
}

/// Passes on what is in the session that a socket carries. How it ends is not asked.
fn unwrap_tls(mut secure: TcpStream, mut plain: TcpStream) {
    let config = Arc::clone(server_tls(&pki().server).config());
    let session = Arc::new(Mutex::new(ServerConnection::new(config).unwrap()));
    let (ours, mut out, mut back) =
        (Arc::clone(&session), secure.try_clone().unwrap(), plain.try_clone().unwrap());
    spawn(move || {
        let mut block = [0; 16 * 1024];
        while let Ok(read @ 1..) = secure.read(&mut block) {
            let mut session = ours.lock().unwrap();
            let mut left = &block[..read];
            while !left.is_empty() {
                session.read_tls(&mut left).unwrap();
                let Ok(state) = session.process_new_packets() else { return };
                let mut text = vec![0; state.plaintext_bytes_to_read()];
                session.reader().read_exact(&mut text).unwrap();
                plain.write_all(&text).unwrap();
            }
            while session.wants_write() {
                session.write_tls(&mut secure).unwrap();
            }
        }
        let _ = plain.shutdown(Shutdown::Write);
    });
    spawn(move || {
        let mut block = [0; 16 * 1024];
        loop {
            let read = back.read(&mut block).unwrap_or(0);
            let mut session = session.lock().unwrap();
            match read {
                0 => session.send_close_notify(),
                read => session.writer().write_all(&block[..read]).unwrap(),
            }
            while session.wants_write() && session.write_tls(&mut out).is_ok() {}
            if read == 0 {
                return;
            }
        }
    });
}

/// Passes bytes on until one side is gone.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    // How the tunnel ends is not asked.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

fn builder_for(security: Security, url: &str, proxy: Proxy) -> rt::ClientBuilder {
    let builder = rt::RestClient::builder(url).connect_timeout(PATIENCE).proxy(proxy);
    match security {
        Security::Plain => builder.allow_plaintext(),
        Security::Mutual => builder.tls(client_tls()).server_name("localhost"),
    }
}

/// What a call comes to through this proxy, and how often the proxy was asked.
async fn failure(manner: Manner, connect: Duration) -> (Error, usize) {
    let relay = Relay::start(manner);
    let builder = builder_for(Security::Plain, "http://inner.test", relay.proxy());
    let client = builder.connect_timeout(connect).build().unwrap();
    let error = client.get("/text").send().await.unwrap_err();
    assert_eq!((error.phase(), error.delivery()), (Phase::Connect, Delivery::NotSent), "{error:?}");
    (error, relay.asked().len())
}

#[test]
fn calls_go_through_a_tunnel_to_a_name_that_only_the_proxy_knows() {
    each(async |security| {
        let site = Site::start(security).await;
        let relay = Relay::start(Manner::Open);
        let port = site.address().port();
        let url = site.url().replace("127.0.0.1", "inner.test");
        let proxy = relay.proxy().authorization("Basic c2ludzpldw==").unwrap();
        let client = builder_for(security, &url, proxy).build().unwrap();
        for _ in 0..3 {
            let response = client.get("/items/42").send().await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.peer_identity().is_some(), security == Security::Mutual);
            assert_eq!(response.bytes().await.unwrap(), r#"{"id":42,"name":"item 42"}"#);
        }
        let asked = relay.asked();
        let [head] = &asked[..] else { panic!("one tunnel: {asked:?}") };
        let mut lines: Vec<_> = head.trim_end().split("\r\n").collect();
        assert_eq!(lines.remove(0), format!("CONNECT inner.test:{port} HTTP/1.1"));
        lines.sort_unstable();
        let host = format!("host: inner.test:{port}");
        assert_eq!(lines, [&*host, "proxy-authorization: Basic c2ludzpldw=="]);
        assert!(!format!("{client:?} {:?}", relay.proxy()).contains("Basic"));
    });
}

#[test]
fn to_a_secured_proxy_tls_goes_around_all_of_it() {
    each(async |security| {
        let site = Site::start(security).await;
        let relay = Relay::start(Manner::Open);
        let proxy = relay.secured(&client_tls()).authorization("Basic c2ludzpldw==").unwrap();
        let url = site.url().replace("127.0.0.1", "inner.test");
        let client = builder_for(security, &url, proxy).build().unwrap();
        for size in [1, 300_000, 2] {
            let body: Vec<u8> = (0..=250).cycle().take(size).collect();
            let response = client.post("/echo").body(body.clone()).send().await.unwrap();
            // That of the service, never that of the proxy.
            assert_eq!(response.peer_identity().is_some(), security == Security::Mutual);
            assert!(response.bytes().await.unwrap() == body, "{size} bytes");
        }
        let asked = relay.asked();
        let [head] = &asked[..] else { panic!("one tunnel: {asked:?}") };
        assert!(head.contains("proxy-authorization: Basic c2ludzpldw==\r\n"), "{head}");
    });
}

#[test]
fn a_secured_proxy_that_is_not_trusted_hears_nothing() {
    run(async {
        let relay = Relay::start(Manner::Open);
        let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let tls = ClientTls::builder().ca_pem(stranger.cert.pem()).unwrap().build().unwrap();
        let proxy = relay.secured(&tls);
        let client = builder_for(Security::Plain, "http://inner.test", proxy).build().unwrap();
        let error = client.get("/text").send().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Tls(_)), "{error:?}");
        assert_eq!((error.phase(), error.delivery()), (Phase::Connect, Delivery::NotSent));
        assert_eq!(relay.asked().len(), 0);
    });
}

#[test]
fn what_the_proxy_refuses_says_so() {
    run(async {
        for (answer, status, asked) in [
            // It would say so again.
            ("HTTP/1.1 407 No\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n", 407, 1),
            ("HTTP/1.1 403 No\r\ncontent-length: 4\r\n\r\nnono", 403, 1),
            // Nothing was sent: it may be asked again, for any method.
            ("HTTP/1.1 502 No\r\ncontent-length: 0\r\n\r\n", 502, 3),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 504 No\r\n\r\n", 504, 3),
        ] {
            let (error, times) = failure(Manner::Say(answer), PATIENCE).await;
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!((error.kind(), times), (&ErrorKind::Proxy(status), asked), "{answer}");
        }
    });
}

#[test]
fn what_is_no_proxy_is_told_apart() {
    run(async {
        let (error, _) = failure(Manner::Wait, Duration::from_millis(50)).await;
        assert_eq!(error.kind(), &ErrorKind::Timeout);
        let (error, _) = failure(Manner::Say(""), PATIENCE).await;
        assert!(matches!(error.kind(), ErrorKind::Io(_) | ErrorKind::Protocol(_)), "{error:?}");
        let (error, _) = failure(Manner::Say("220 mail.test ESMTP\r\n"), PATIENCE).await;
        assert!(matches!(error.kind(), ErrorKind::Protocol(_)), "{error:?}");
        // An answer to what was not asked yet is nobody's.
        let forged = "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged";
        let (error, _) = failure(Manner::Say(forged), PATIENCE).await;
        assert_eq!(error.kind(), &ErrorKind::Io(std::io::ErrorKind::InvalidData));
        // Nobody there.
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let proxy = Proxy::new(&format!("http://{closed}")).unwrap();
        let client = builder_for(Security::Plain, "http://inner.test", proxy).build().unwrap();
        let error = client.get("/text").send().await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Connect(std::io::ErrorKind::ConnectionRefused));
        assert_eq!((error.phase(), error.delivery()), (Phase::Connect, Delivery::NotSent));
    });
}

#[test]
fn some_destinations_are_reached_without_it() {
    each(async |security| {
        let site = Site::start(security).await;
        let relay = Relay::start(Manner::Open);
        let bypass = |destination: &str| relay.proxy().bypass([destination.parse().unwrap()]);
        for direct in ["127.0.0.0/8", &site.address().to_string()] {
            let client = builder_for(security, &site.url(), bypass(direct)).build().unwrap();
            assert_eq!(status_of(client.get("/text")).await, 200);
        }
        assert_eq!(relay.asked().len(), 0);
        let client = builder_for(security, &site.url(), bypass("127.0.0.1:1")).build().unwrap();
        assert_eq!(status_of(client.get("/text")).await, 200);
        assert_eq!(relay.asked().len(), 1);
    });
}

#[test]
fn what_is_no_url_of_a_proxy_is_refused() {
    for url in ["https://proxy.test", "proxy.test:3128", "http://proxy.test/path", "socks5://a"] {
        assert!(matches!(Proxy::new(url).unwrap_err().kind(), ErrorKind::Config(_)), "{url}");
    }
    for url in ["http://proxy.test", "https://proxy.test/path", "unix:/run/proxy"] {
        let refused = Proxy::secured(url, &client_tls()).unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::Config(_)), "{url}");
    }
    assert!(Proxy::new("http://proxy.test:3128").unwrap().authorization("a\nb").is_err());
}
