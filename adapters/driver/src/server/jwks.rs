//! The keys of a token issuer: fetched by a client of this crate, as often as the machine asks.

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::StatusCode;
use http::header::ACCEPT;
use sinew_auth::{
    Algorithm, BadJwks, BadJwksPolicy, Fetch, Jwks, JwksPolicy, JwtVerifier, KeySet, Lookup,
    MAX_JWKS,
};
use sinew_core::Machine as _;
use sinew_core::error::{Delivery, Phase};
use sinew_core::security::{Credential, Principal, Thumbprint, TokenError, TokenValidator};
use sinew_core::time::Instant;

use super::link::remember;
use super::service::Notice;
use crate::client::RestClient;
use crate::drive::Alarm;
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;

/// <https://www.rfc-editor.org/rfc/rfc7517#section-8.5.2>
const MEDIA_TYPES: &str = "application/jwk-set+json, application/json";

/// Where the keys of an issuer are, and when they are fetched.
///
/// They are fetched when the server starts to serve, once they have reached the age that the policy
/// says, and when a token names a key that is not known, which is asked for no more often than the
/// policy allows, however many such tokens come. If the issuer cannot be reached, its last keys are
/// good for a bounded time; without keys tokens are refused with 503. A set may have 256 KiB.
pub struct JwksEndpoint<R: Runtime> {
    client: RestClient<R>,
    path: String,
    policy: JwksPolicy,
}

/// Why keys were not fetched. Those from before stay in use until they are stale.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum KeysError {
    /// The call failed, or was answered with another status than 200.
    Call(ErrorKind),
    /// What came is no set of keys that can be used.
    Unusable(BadJwks),
}

impl<R: Runtime> JwksEndpoint<R> {
    /// The keys that this client gets at this path, by the default policy. The client should speak
    /// TLS: who can change the keys on their way can sign any token.
    pub fn new(client: RestClient<R>, path: impl Into<String>) -> Self {
        Self { client, path: path.into(), policy: JwksPolicy::default() }
    }

    /// When keys are fetched, and for how long they are good.
    #[must_use]
    pub fn policy(mut self, policy: JwksPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Who checks tokens with these keys, and who fetches them.
    pub(super) fn split(
        self,
        verifier: JwtVerifier,
    ) -> Result<(FetchedJwt<R>, Fetcher<R>), BadJwksPolicy> {
        let Self { client, path, policy } = self;
        let runtime = client.runtime().clone();
        // Due at once: nobody polls it before the server serves.
        let jwks = Jwks::new(policy, Instant::ZERO)?;
        let keys = Arc::new(Keys {
            runtime,
            state: Mutex::new(State { jwks, fetcher: None, first: None }),
        });
        let fetcher = Fetcher { keys: Arc::clone(&keys), client, path, timeout: policy.timeout };
        Ok((FetchedJwt { verifier, keys }, fetcher))
    }
}

/// What who checks and who fetches share. The lock is held for a look only.
struct Keys<R> {
    runtime: R,
    state: Mutex<State>,
}

struct State {
    jwks: Jwks,
    fetcher: Option<Waker>,
    /// What came of the first fetch.
    first: Option<Result<(), KeysError>>,
}

impl<R: Runtime> Keys<R> {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys for a token with this id and algorithm, or why there are none.
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Arc<KeySet>, TokenError> {
        let now = self.runtime.now();
        let mut state = self.lock();
        match state.jwks.find(now, id, algorithm) {
            Lookup::Keys(keys) => Ok(Arc::clone(keys)),
            Lookup::Unknown => Err(TokenError::UnknownKey),
            Lookup::Stale => Err(TokenError::Unavailable),
            Lookup::Pending => {
                let fetcher = state.fetcher.take();
                drop(state);
                fetcher.into_iter().for_each(Waker::wake);
                // The key may be on its way: whoever comes back then is told.
                Err(TokenError::Unavailable)
            }
        }
    }

    /// Ready when a fetch is due.
    fn poll_due(&self, cx: &mut Context<'_>, alarm: &mut Alarm<R>) -> Poll<()> {
        loop {
            let now = self.runtime.now();
            let mut state = self.lock();
            if let Ok(Some(Fetch)) = state.jwks.poll_event(now) {
                return Poll::Ready(());
            }
            let old = remember(&mut state.fetcher, cx.waker());
            let deadline = state.jwks.deadline().map(|deadline| deadline.at);
            drop(state);
            drop(old);
            if alarm.arm(cx, &self.runtime, now, deadline).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Hands over what came of a fetch: how many keys can be used.
    fn settle(&self, fetched: Result<KeySet, KeysError>) -> Result<usize, KeysError> {
        let now = self.runtime.now();
        let mut state = self.lock();
        state.first.get_or_insert_with(|| fetched.as_ref().map(|_| ()).map_err(Clone::clone));
        let jwks = &mut state.jwks;
        match fetched {
            Ok(keys) => {
                let usable = keys.keys().len();
                jwks.handle_keys(now, keys);
                Ok(usable)
            }
            Err(error) => {
                jwks.handle_failure(now);
                Err(error)
            }
        }
    }
}

/// Fetches keys, for as long as it is polled.
pub(super) struct Fetcher<R: Runtime> {
    keys: Arc<Keys<R>>,
    client: RestClient<R>,
    path: String,
    timeout: Duration,
}

impl<R: Runtime> Fetcher<R> {
    /// What came of the first fetch, once that is known.
    pub(super) fn first(&self) -> impl Fn() -> Option<Result<(), KeysError>> + Send + use<R> {
        let keys = Arc::clone(&self.keys);
        move || keys.lock().first.clone()
    }

    /// Never ends. `tell` hears of every fetch, and of keys that are new.
    pub(super) async fn run(self, tell: impl Fn(&Notice) + Send) {
        let mut alarm = Alarm::new();
        let mut known = KeySet::default();
        loop {
            poll_fn(|cx| self.keys.poll_due(cx, &mut alarm)).await;
            let fetched = self.fetch().await;
            let replaced = fetched.as_ref().ok().filter(|keys| **keys != known).cloned();
            tell(&Notice::Keys(self.keys.settle(fetched)));
            if let Some(keys) = replaced {
                tell(&Notice::KeysReplaced(keys.keys().len()));
                known = keys;
            }
        }
    }

    async fn fetch(&self) -> Result<KeySet, KeysError> {
        let failed = |error: Error| KeysError::Call(error.kind().clone());
        // The machine says when to ask again.
        let call = self.client.get(&self.path).header(ACCEPT, MEDIA_TYPES).timeout(self.timeout);
        let response = call.no_retry().send().await.map_err(failed)?;
        match response.status() {
            StatusCode::OK => {
                let json = response.at_most(MAX_JWKS as u64).bytes().await.map_err(failed)?;
                KeySet::from_json(&json).map_err(KeysError::Unusable)
            }
            other => Err(KeysError::Call(ErrorKind::Status(other))),
        }
    }
}

/// Checks tokens with the keys that were fetched last.
pub(super) struct FetchedJwt<R> {
    verifier: JwtVerifier,
    keys: Arc<Keys<R>>,
}

impl<R: Runtime> TokenValidator for FetchedJwt<R> {
    fn validate(
        &self,
        credential: Credential<'_>,
        peer: Option<&Thumbprint>,
        now: Duration,
    ) -> Result<Arc<Principal>, TokenError> {
        let Credential::Bearer(token) = credential else { return Err(TokenError::Unknown) };
        let token = std::str::from_utf8(token.expose()).map_err(|_| TokenError::Malformed)?;
        let (id, algorithm) = self.verifier.key(token)?;
        let keys = self.keys.find(id.as_deref(), algorithm)?;
        let claims = self.verifier.verify(token, &keys, now, peer)?;
        Ok(Arc::new(claims.principal()))
    }
}

impl<R: Runtime> fmt::Debug for JwksEndpoint<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwksEndpoint")
            .field("call", &self.client.get(&self.path))
            .field("policy", &self.policy)
            .finish()
    }
}

impl fmt::Display for KeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(kind) => {
                Error::new(kind.clone(), Phase::ResponseBody, Delivery::Processed).fmt(f)
            }
            Self::Unusable(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for KeysError {}
