//! A service that is as well as it is told to be.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use sinew_tokio::{IntoResponse as _, Request, Response, RestServer, ServerHandle, TokioRuntime};

use crate::transcript::Outcome;

/// How a backend is.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) enum Mood {
    /// It answers at once.
    #[default]
    Well,
    /// It refuses so many times, and says that it did nothing; then it is well.
    Refuses(u32),
    /// It does what it is asked, and fails.
    Fails,
    /// One answer of twenty takes this long.
    Stutters(Duration),
    /// Every answer takes this long.
    Slow(Duration),
    /// It never answers.
    Hangs,
}

/// A server on a port of its own.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    handle: ServerHandle<TokioRuntime>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Requests that came.
    asked: AtomicU32,
    mood: Mutex<Mood>,
}

impl Backend {
    pub(crate) async fn start(mood: Mood) -> Outcome<Self> {
        let shared = Arc::new(Shared::default());
        let state = Arc::clone(&shared);
        let handler = move |_: Request| answer(Arc::clone(&state));
        let server = RestServer::builder()
            .listen("127.0.0.1:0")
            .allow_plaintext()
            .route(Method::GET, "/", handler.clone())
            .route(Method::POST, "/", handler)
            .bind()
            .await?;
        let address = server.local_addrs().first().copied().ok_or("no address")?;
        let handle = server.handle();
        tokio::spawn(server.serve());
        let backend = Self { address, handle, shared };
        backend.becomes(mood);
        Ok(backend)
    }

    pub(crate) fn becomes(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }

    /// Requests since the last time.
    pub(crate) fn asked(&self) -> u32 {
        self.shared.asked.swap(0, Ordering::SeqCst)
    }

    /// Closes its port.
    pub(crate) async fn dies(self) {
        self.handle.stop(Duration::ZERO).await;
    }
}

async fn answer(shared: Arc<Shared>) -> Response {
    let asked = shared.asked.fetch_add(1, Ordering::SeqCst);
    let mood = *shared.mood.lock().unwrap_or_else(PoisonError::into_inner);
    match mood {
        Mood::Refuses(times) if asked < times => {
            Response::new(StatusCode::SERVICE_UNAVAILABLE).header("retry-after", "0")
        }
        Mood::Fails => Response::new(StatusCode::SERVICE_UNAVAILABLE),
        Mood::Stutters(time) if asked % 20 == 19 => {
            tokio::time::sleep(time).await;
            "at last\n".into_response()
        }
        Mood::Slow(time) => {
            tokio::time::sleep(time).await;
            "there you are\n".into_response()
        }
        Mood::Hangs => std::future::pending().await,
        Mood::Well | Mood::Refuses(_) | Mood::Stutters(_) => "there you are\n".into_response(),
    }
}
