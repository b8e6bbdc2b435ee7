//! The server whose all is replaced, and what it tells.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use http::Method;
use sinew_conformance::network::line::Line;
use sinew_core::observe::Event;
use sinew_core::server::ReloadOutcome;
use sinew_driver::{Notice, Request, RestServer, Runtime, ServerBuilder, Threads};
use sinew_tls::{ConfigError, ServerTls};

use super::super::Problem;
use super::PATIENCE;

/// What a request takes, so that there are always some that run.
pub(super) const WORK: Duration = Duration::from_millis(10);

/// What the server was told, by number.
#[derive(Default)]
struct Told {
    refusals: AtomicU64,
    distrusted: AtomicU64,
    slow: AtomicU64,
    /// What takes long may end.
    may_end: AtomicBool,
}

/// All that a server goes by, of any epoch.
pub(super) struct Stage<R> {
    runtime: R,
    folder: PathBuf,
    told: Arc<Told>,
}

impl<R: Runtime> Stage<R> {
    pub(super) fn new(runtime: R, folder: &Path) -> Self {
        Self { runtime, folder: folder.to_owned(), told: Arc::default() }
    }

    pub(super) fn build(&self, epoch: u32) -> Result<ServerBuilder<R, Threads>, ConfigError> {
        let file = |name| self.folder.join(name);
        let tls = ServerTls::builder()
            .certificate_file(file("cert.pem"), file("key.pem"))?
            .client_ca_file(file("ca.pem"))?
            .build()?;
        let (working, slow) = (self.runtime.clone(), self.runtime.clone());
        let (told, running) = (Arc::clone(&self.told), Arc::clone(&self.told));
        Ok(RestServer::<R>::builder_on(self.runtime.clone())
            .tls(tls)
            .max_request_size(limit(epoch).into())
            .route(Method::GET, "/plain", move |_: Request| after(&working, WORK))
            .route(Method::GET, "/slow", move |_: Request| {
                let (slow, running) = (slow.clone(), Arc::clone(&running));
                async move {
                    running.slow.fetch_add(1, Ordering::SeqCst);
                    while !running.may_end.load(Ordering::SeqCst) {
                        after(&slow, WORK).await;
                    }
                    "Hello, World!"
                }
            })
            .route(Method::GET, &format!("/epoch/{epoch}"), async |_: Request| "here")
            .route(Method::POST, "/body", Request::bytes)
            .observe(move |_, notice| match notice {
                Notice::Decided(Event::Reload(ReloadOutcome::Refused)) => {
                    told.refusals.fetch_add(1, Ordering::SeqCst);
                }
                Notice::Distrusted => {
                    told.distrusted.fetch_add(1, Ordering::SeqCst);
                }
                _ => {}
            }))
    }

    /// Asks for what takes long, and waits until that runs.
    pub(super) fn run_slowly(&self, connection: &mut Line) -> Result<(), Problem> {
        connection.say(b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n", PATIENCE.answer);
        let polls = PATIENCE.answer.as_millis();
        for _ in 0..polls {
            if self.told.slow.load(Ordering::SeqCst) > 0 {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Err(Problem::new("a request is not taken up"))
    }

    /// Lets what takes long end.
    pub(super) fn let_end(&self) {
        self.told.may_end.store(true, Ordering::SeqCst);
    }

    /// Reloads that were refused.
    pub(super) fn refusals(&self) -> u64 {
        self.told.refusals.load(Ordering::SeqCst)
    }

    /// Connections whose clients were not trusted any more.
    pub(super) fn distrusted(&self) -> u64 {
        self.told.distrusted.load(Ordering::SeqCst)
    }
}

/// Bytes of a body, at most.
pub(super) const fn limit(epoch: u32) -> u32 {
    1_000 + epoch
}

/// The same answer, after a while.
fn after<R: Runtime>(
    runtime: &R,
    time: Duration,
) -> impl Future<Output = &'static str> + Send + 'static + use<R> {
    let sleep = runtime.sleep_until(runtime.now() + time);
    async move {
        sleep.await;
        "Hello, World!"
    }
}
