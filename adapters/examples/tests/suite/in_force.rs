//! All that a server goes by is replaced while it serves.

use std::cell::Cell;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::{join, join3};
use http::Method;
use sinew_config::Config;
use sinew_core::observe::Event;
use sinew_core::server::{RateLimitConfig, ReloadOutcome};
use sinew_driver::{BoxError, Notice, Reloader, Request, Response, RouteOptions, Spawn as _};
use sinew_examples::certs::{Authority, Identity};
use sinew_tls::rustls::client::Resumption;
use sinew_tls::rustls::server::WebPkiClientVerifier;
use sinew_tls::rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ServerConfig, StreamOwned, crypto,
};
use sinew_tls::{ClientTls, Options, ServerTls};
use tokio::sync::Semaphore;

use super::raw::{blocking, raw};
use super::site::{Builder, CLIENT, PATIENCE, Security, Site, client_to, client_with, pki};
use super::{pause, run, status_of};
use crate::rt;

type Reload = Reloader<rt::Runtime, rt::Mode>;

/// What was told, so far.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Notice>>>);

impl Told {
    fn hears(&self, builder: Builder) -> Builder {
        let told = self.clone();
        builder.observe(move |_, notice| told.0.lock().unwrap().push(notice.clone()))
    }

    fn count(&self, wanted: impl Fn(&Notice) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|notice| wanted(notice)).count()
    }

    fn refusals(&self) -> usize {
        self.count(|notice| *notice == Notice::Decided(Event::Reload(ReloadOutcome::Refused)))
    }
}

async fn start(builder: Builder) -> (Site, Reload) {
    let server = builder.listen("127.0.0.1:0").bind().await.unwrap();
    let reloader = server.reloader();
    let site = Site {
        addresses: server.local_addrs().to_vec(),
        operators: server.admin_addrs().to_vec(),
        handle: server.handle(),
        security: Security::Mutual,
    };
    rt::Runtime::default().spawn(server.serve());
    (site, reloader)
}

/// What the program is made of.
fn program() -> Builder {
    let builder = rt::RestServer::builder();
    let builder = builder.route(Method::GET, "/text", async |_: Request| "text");
    builder.route(Method::POST, "/echo", async |request: Request| Response::ok(request.into_body()))
}

#[expect(clippy::unnecessary_wraps, reason = "as a reader of files would say it")]
fn ok(builder: Builder) -> Result<Builder, BoxError> {
    Ok(builder)
}

fn serves(identity: &Identity, clients: &[&Authority]) -> ServerTls {
    let builder = ServerTls::builder().certificate_pem(&identity.chain, &identity.key).unwrap();
    let trusting = clients
        .iter()
        .fold(builder, |builder, authority| builder.client_ca_pem(authority.pem()).unwrap());
    trusting.build().unwrap()
}

fn calls(identity: &Identity, servers: &[&Authority]) -> ClientTls {
    let builder =
        ClientTls::builder().options(Options { handshake_timeout: PATIENCE, ..Options::CLIENT });
    let trusting =
        servers.iter().fold(builder, |builder, authority| builder.ca_pem(authority.pem()).unwrap());
    trusting.identity_pem(&identity.chain, &identity.key).unwrap().build().unwrap()
}

#[test]
fn a_new_certificate_is_served_and_no_request_is_lost() {
    run(async {
        let (one, two) = (&pki().authority, Authority::mint("the next authority").unwrap());
        let next = two.server(&["localhost", "127.0.0.1"]).unwrap();
        let (site, reloader) = start(program().tls(serves(&pki().server, &[one]))).await;
        let url = site.url();
        let only = |authority: &Authority| {
            client_with(&url, calls(&pki().client, &[authority])).get("/text").send()
        };
        assert!(only(one).await.is_ok() && only(&two).await.is_err());
        let (over, asked) = (Cell::new(false), Cell::new([0; 2]));
        let load = async || {
            let kept = client_with(&url, calls(&pki().client, &[one, &two]));
            while !over.get() {
                let fresh = client_with(&url, calls(&pki().client, &[one, &two]));
                for (n, client) in [&kept, &fresh].into_iter().enumerate() {
                    assert_eq!(status_of(client.get("/text").no_retry()).await, 200);
                    assert_eq!(status_of(client.post("/echo").no_retry().body("again")).await, 200);
                    let mut counts = asked.get();
                    counts[n] += 1;
                    asked.set(counts);
                }
            }
        };
        let reload = async {
            let more = async |than: [u32; 2]| {
                while asked.get().iter().zip(than).any(|(now, then)| *now < then + 20) {
                    pause().await;
                }
            };
            more([0; 2]).await;
            let tls = serves(&next, &[one]);
            assert_eq!(reloader.reload(|| ok(program().tls(tls))).await.unwrap(), 2);
            more(asked.get()).await;
            over.set(true);
        };
        join3(Box::pin(load()), Box::pin(load()), Box::pin(reload)).await;
        assert!(only(&two).await.is_ok(), "the new certificate is served");
        assert!(only(one).await.is_err(), "the old one is not");
    });
}

#[test]
fn whoever_is_not_trusted_any_more_is_told_to_close() {
    run(async {
        let (one, two) = (&pki().authority, Authority::mint("the other authority").unwrap());
        let told = Told::default();
        let (go, entered) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let program = || {
            let (released, inside) = (Arc::clone(&go), Arc::clone(&entered));
            told.hears(program()).route(Method::GET, "/slow", move |_: Request| {
                let (released, inside) = (Arc::clone(&released), Arc::clone(&inside));
                async move {
                    inside.add_permits(1);
                    released.acquire().await.unwrap().forget();
                    "slow"
                }
            })
        };
        let (site, reloader) = start(program().tls(serves(&pki().server, &[one, &two]))).await;
        let stays = client_with(&site.url(), calls(&pki().client, &[one]));
        let goes = client_with(&site.url(), calls(&two.client(CLIENT).unwrap(), &[one]));
        let connections = async |most: usize| {
            while site.handle.connections() > most {
                pause().await;
            }
        };
        let running = goes.get("/slow").no_retry().send();
        let change = async {
            entered.acquire().await.unwrap().forget();
            for client in [&stays, &goes] {
                assert_eq!(status_of(client.get("/text")).await, 200);
            }
            assert_eq!(site.handle.connections(), 3);
            let tls = serves(&pki().server, &[one]);
            reloader.reload(|| ok(program().tls(tls))).await.unwrap();
            // The one that is idle is closed.
            connections(2).await;
            go.add_permits(1);
        };
        let (answer, ()) = join(running, change).await;
        let answer = answer.unwrap();
        assert_eq!(answer.header("connection").unwrap(), "close");
        assert_eq!(answer.text().await.unwrap(), "slow", "what runs is finished");
        connections(1).await;
        assert_eq!(told.count(|notice| *notice == Notice::Distrusted), 2);
        assert!(goes.get("/text").no_retry().send().await.is_err());
        assert_eq!(status_of(stays.get("/text").no_retry()).await, 200);
        // The one that was refused may be there for a moment yet.
        connections(1).await;
        assert_eq!(told.count(|notice| *notice == Notice::Distrusted), 2, "the other one stayed");
    });
}

/// A call by rustls alone, and how its handshake went. `Err`: there was no answer.
fn ask(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<HandshakeKind, String> {
    let socket = TcpStream::connect(address).map_err(|error| error.to_string())?;
    let session = ClientConnection::new(Arc::clone(config), address.ip().into()).unwrap();
    let mut stream = StreamOwned::new(session, socket);
    let request = b"GET /text HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).map_err(|error| error.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(stream.conn.handshake_kind().unwrap())
}

/// A server whose sessions are resumed although it asks for certificates: not one that we build.
fn resuming(identity: &Identity, clients: &Authority) -> ServerConfig {
    let built = serves(identity, &[clients]);
    let provider = Arc::new(crypto::ring::default_provider());
    let roots = Arc::new(roots(clients));
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build().unwrap();
    let provider = Arc::new(crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(&built.config().cert_resolver));
    config.alpn_protocols.clone_from(&built.config().alpn_protocols);
    config
}

fn roots(authority: &Authority) -> sinew_tls::rustls::RootCertStore {
    use sinew_tls::rustls::pki_types::CertificateDer;
    use sinew_tls::rustls::pki_types::pem::PemObject as _;
    let mut roots = sinew_tls::rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    roots
}

#[test]
fn whoever_is_not_trusted_any_more_cannot_resume() {
    run(async {
        let (one, two) = (&pki().authority, Authority::mint("the other authority").unwrap());
        let lax = resuming(&pki().server, &two);
        let given = |config: &ServerConfig| {
            ServerTls::from_config(Arc::new(config.clone()), Options::SERVER)
        };
        let (site, reloader) = start(program().tls(given(&lax))).await;
        let config = Arc::clone(calls(&two.client(CLIENT).unwrap(), &[one]).config());
        let mut config = ClientConfig::clone(&config);
        config.resumption = Resumption::in_memory_sessions(8);
        let (address, config) = (site.address(), Arc::new(config));
        let asks = || {
            let config = Arc::clone(&config);
            blocking(move || ask(address, &config))
        };
        assert_eq!(asks().await, Ok(HandshakeKind::Full));
        assert_eq!(asks().await, Ok(HandshakeKind::Resumed));
        // Whoever shares its sessions with what was in force would let them go on.
        let shares = given(&lax);
        let error = reloader.reload(|| ok(program().tls(shares))).await.unwrap_err().to_string();
        assert!(error.contains("shares sessions"), "{error}");
        assert_eq!(asks().await, Ok(HandshakeKind::Resumed));
        let tls = serves(&pki().server, &[one]);
        reloader.reload(|| ok(program().tls(tls))).await.unwrap();
        assert!(asks().await.is_err());
        let tls = given(&resuming(&pki().server, one));
        reloader.reload(|| ok(program().tls(tls))).await.unwrap();
        assert!(asks().await.is_err());
    });
}

#[test]
fn a_broken_file_keeps_what_was_in_force() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let path = folder.path().join("server.toml");
        write("cert.pem", &pki().server.chain);
        write("key.pem", &pki().server.key);
        write("ca.pem", pki().authority.pem());
        let good =
            "[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\nclient_ca = [\"ca.pem\"]\n";
        write("server.toml", good);
        let told = Told::default();
        let build = || -> Result<Builder, BoxError> {
            Ok(Config::from_file(&path)?.apply(told.hears(program()))?)
        };
        let (site, reloader) = start(build().unwrap()).await;
        let client = client_with(&site.url(), calls(&pki().client, &[&pki().authority]));
        for (n, (name, text, why)) in [
            ("server.toml", "[tls", "server.toml:1:"),
            ("server.toml", "[tsl]", "nearest name is \"tls\""),
            ("cert.pem", "none", "tls.certificate"),
            ("key.pem", &*pki().client.key, "tls.key"),
        ]
        .into_iter()
        .enumerate()
        {
            let before = fs::read_to_string(folder.path().join(name)).unwrap();
            write(name, text);
            let error = reloader.reload(build).await.unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert_eq!(told.refusals(), n + 1);
            let refused = Notice::ReloadRefused { why: error };
            assert_eq!(told.count(|notice| *notice == refused), 1);
            assert_eq!(status_of(client.get("/text").no_retry()).await, 200);
            write(name, &before);
        }
        write("server.toml", &format!("{good}[limits]\nmax_request_size = 3\n"));
        assert_eq!(status_of(client.post("/echo").body("four")).await, 200);
        assert_eq!(reloader.reload(build).await.unwrap(), 2);
        assert_eq!(site.handle.connections(), 1, "all of it over one connection");
        // It is closed, as the body is not read.
        assert_eq!(status_of(client.post("/echo").body("four")).await, 413);
        let elsewhere = format!("server.listen = [\"127.0.0.1:1\"]\n{good}");
        write("server.toml", &elsewhere);
        let error = reloader.reload(build).await.unwrap_err().to_string();
        assert!(error.contains("where it listens can only be changed by a new process"), "{error}");
    });
}

#[test]
fn running_requests_keep_what_they_began_with() {
    run(async {
        let (open, opened) = tokio::sync::watch::channel(false);
        let begins = Arc::new(AtomicBool::new(false));
        let begun = Arc::clone(&begins);
        let first = rt::RestServer::builder().allow_plaintext().route(
            Method::GET,
            "/{name}",
            move |request: Request| {
                let mut opened = opened.clone();
                begun.store(true, Ordering::Release);
                async move {
                    let _ = opened.wait_for(|open| *open).await;
                    format!("old {} {:?}", request.param("name").unwrap(), request.route())
                }
            },
        );
        let (site, reloader) = start(first).await;
        let site = Site { security: Security::Plain, ..site };
        let client = client_to(&site.url());
        let running = client.get("/a").send();
        let change =
            async {
                while !begins.load(Ordering::Acquire) {
                    pause().await;
                }
                let quota = RateLimitConfig::default();
                let second = rt::RestServer::builder()
                    .allow_plaintext()
                    .rate_limit(quota)
                    .route_with(Method::GET, "/b/c", RouteOptions::new(), async |_: Request| "new");
                reloader.reload(|| ok(second)).await.unwrap();
                let answer = client.get("/b/c").send().await.unwrap();
                assert!(answer.header("ratelimit").is_some());
                assert_eq!(answer.text().await.unwrap(), "new");
                assert_eq!(status_of(client.get("/a")).await, 404, "it is a route no more");
                open.send_replace(true);
            };
        let (old, ()) = join(running, change).await;
        let old = old.unwrap();
        assert!(old.header("ratelimit").is_none());
        assert_eq!(old.text().await.unwrap(), "old a Some(\"/{name}\")");
        // Its connection goes on, by what is in force now.
        assert_eq!(status_of(client.get("/b/c")).await, 200);
        let answers = raw(&site, |mut socket| {
            socket.send("GET /b/c HTTP/1.1\r\nhost: a\r\n\r\n");
            socket.answer().unwrap().status()
        })
        .await;
        assert_eq!(answers, 200);
    });
}
