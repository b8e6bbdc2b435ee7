//! Servers of the adapters that the suite runs by itself, one for each set of limits.

use core::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use sinew_async_std::AsyncStdRuntime;
use sinew_core::http1;
use sinew_driver::server::Conn;
use sinew_driver::{RestServer, RestServerConfig, Runtime, Spawn, Threads};
use sinew_smol::SmolRuntime;
use sinew_tls::rustls::ClientConnection;
use sinew_tls::rustls::pki_types::ServerName;
use sinew_tls::{ClientTls, ServerTls, Tls};
use sinew_tokio::TokioRuntime;

use super::link::Link;
use super::mirror;
use crate::case::CaseLimits;

/// The name in the certificate.
pub(super) const NAME: &str = "home.test";

/// Which adapter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum On {
    /// tokio, with worker threads.
    Tokio,
    /// smol.
    Smol,
    /// async-std.
    AsyncStd,
}

/// The servers of one adapter, over plaintext or TLS.
pub struct Home {
    pub(super) on: On,
    pub(super) tls: Option<(ServerTls, ClientTls)>,
    servers: Mutex<Vec<(CaseLimits, Arc<Server>)>>,
}

/// A server on a thread of its own; dropping it stops it.
struct Server {
    address: SocketAddr,
    stop: smol::channel::Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Home {
    /// No server runs yet.
    ///
    /// # Errors
    ///
    /// When no certificate can be made.
    pub fn new(on: On, tls: bool) -> Result<Self, String> {
        let tls = tls.then(certificates).transpose()?;
        Ok(Self { on, tls, servers: Mutex::default() })
    }

    /// Connects to the server with these limits, which is started where it does not run.
    ///
    /// # Errors
    ///
    /// When there is no server, or no connection to it.
    pub fn connect(&self, limits: CaseLimits) -> io::Result<Link> {
        let server = self.server(limits).map_err(io::Error::other)?;
        let Some((_, tls)) = &self.tls else { return Link::plain(server.address) };
        let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
        let session = ClientConnection::new(tls.config().clone(), name);
        Link::tls(server.address, session.map_err(io::Error::other)?)
    }

    fn server(&self, limits: CaseLimits) -> Result<Arc<Server>, String> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, server)) = servers.iter().find(|(known, _)| *known == limits) {
            return Ok(Arc::clone(server));
        }
        let server = Arc::new(Server::start(self.on, self.config(limits)?)?);
        servers.push((limits, Arc::clone(&server)));
        Ok(server)
    }

    fn config(&self, case: CaseLimits) -> Result<RestServerConfig, String> {
        let limits = crate::run::limits(&http1::Limits::default(), case)?;
        let mut config = RestServerConfig::default();
        config.host = "127.0.0.1".into();
        config.port = 0;
        config.mtls_config = self.tls.as_ref().map(|(server, _)| server.clone());
        config.allow_plaintext = self.tls.is_none();
        config.max_head_size = limits.head;
        config.max_head_fields = limits.fields;
        config.max_target_size = limits.target;
        config.max_request_size = limits.body;
        config.max_chunk_line = limits.chunk_line;
        config.max_chunk_extensions = limits.chunk_extensions;
        config.max_trailer_size = limits.trailer_bytes;
        config.max_trailer_fields = limits.trailers;
        Ok(config)
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Home").field("on", &self.on).finish_non_exhaustive()
    }
}

impl Server {
    fn start(on: On, config: RestServerConfig) -> Result<Self, String> {
        let (ready, started) = mpsc::channel();
        let (stop, stopped) = smol::channel::bounded(1);
        let thread = thread::spawn(move || match on {
            On::Tokio => {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build();
                match runtime {
                    Ok(tokio) => {
                        tokio.block_on(serve(TokioRuntime::default(), config, &ready, stopped));
                    }
                    Err(error) => drop(ready.send(Err(error.to_string()))),
                }
            }
            On::Smol => smol::block_on(serve(SmolRuntime, config, &ready, stopped)),
            On::AsyncStd => {
                let server = serve(AsyncStdRuntime::default(), config, &ready, stopped);
                async_std::task::block_on(server);
            }
        });
        let address = started.recv().map_err(|_| "the server did not start".to_owned())??;
        Ok(Self { address, stop, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.close();
        if let Some(thread) = self.thread.take() {
            // A panic in there was seen by whoever waited for an answer.
            let _ = thread.join();
        }
    }
}

async fn serve<R>(
    runtime: R,
    config: RestServerConfig,
    ready: &mpsc::Sender<Result<SocketAddr, String>>,
    stopped: smol::channel::Receiver<()>,
) where
    R: Runtime
        + Spawn<Conn<http1::Server, R, Threads>>
        + Spawn<Conn<Tls<http1::Server>, R, Threads>>,
{
    let server = RestServer::<R>::builder_on(runtime).config(config).fallback(mirror::answer);
    let server = match server.bind().await {
        Ok(server) => server,
        Err(error) => return drop(ready.send(Err(error.to_string()))),
    };
    let address = server.local_addrs().first().copied();
    if ready.send(address.ok_or_else(|| "the server listens nowhere".to_owned())).is_err() {
        return;
    }
    let handle = server.handle();
    let stop = async move {
        // Closed when nobody needs the server any more; nothing is ever sent.
        let _ = stopped.recv().await;
        handle.stop(Duration::ZERO).await;
    };
    until_both(server.serve(), stop).await;
}

/// Waits for both.
pub async fn until_both<A: Future, B: Future>(one: A, other: B) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut first, mut second) = (false, false);
    poll_fn(|cx| {
        first = first || one.as_mut().poll(cx).is_ready();
        second = second || other.as_mut().poll(cx).is_ready();
        if first && second { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// A certificate for both ends, which trust nothing else.
fn certificates() -> Result<(ServerTls, ClientTls), String> {
    let key = KeyPair::generate().map_err(|e| e.to_string())?;
    let certificate = CertificateParams::new([NAME.to_owned()])
        .and_then(|params| params.self_signed(&key))
        .map_err(|e| e.to_string())?;
    let pem = certificate.pem();
    let server = ServerTls::builder()
        .certificate_pem(&pem, key.serialize_pem())
        .and_then(sinew_tls::ServerTlsBuilder::build)
        .map_err(|e| e.to_string())?;
    let client = ClientTls::builder()
        .ca_pem(&pem)
        .and_then(sinew_tls::ClientTlsBuilder::build)
        .map_err(|e| e.to_string())?;
    Ok((server, client))
}
