//! Tokens that a client sends along: where they come from, and where they may go.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use http::HeaderValue;
use sinew_core::client::refresh::{BadRefresh, Edition, Lookup, Refresh, RefreshPolicy, Rejected};
use sinew_core::error::{Delivery, Phase};
use sinew_core::origin::Origin;
use sinew_core::security::MAX_CREDENTIAL;
use sinew_core::time::Instant;

use super::dial::within;
use super::hub::Hub;
use crate::drive::Alarm;
use crate::error::{BoxError, Error, ErrorKind};
use crate::runtime::Runtime;

/// A token, as it stands in `Authorization`, and how long it lives. It does not show.
#[derive(Clone)]
pub struct Token {
    value: HeaderValue,
    life: Option<Duration>,
}

impl Token {
    /// `Bearer …`: <https://www.rfc-editor.org/rfc/rfc6750#section-2.1>
    ///
    /// # Errors
    ///
    /// It is empty, longer than 8 KiB, or has a byte that no token has.
    pub fn bearer(token: &str) -> Result<Self, Error> {
        let in_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        let sound = !token.is_empty() && token.len() <= MAX_CREDENTIAL;
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        match value {
            Ok(mut value) if sound && token.bytes().all(in_token) => {
                value.set_sensitive(true);
                Ok(Self { value, life: None })
            }
            _ => Err(Error::config("a token that cannot be sent")),
        }
    }

    /// It lives for this long from now: `expires_in` of an OAuth answer. Without it, for ever.
    #[must_use]
    pub fn expires_in(mut self, life: Duration) -> Self {
        self.life = Some(life);
        self
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("life", &self.life).finish_non_exhaustive()
    }
}

/// Where tokens come from: an issuer that is asked, a file that is read. An `async` closure will do.
pub trait TokenSource: Send + Sync + 'static {
    /// The next token. It is asked for once at a time.
    fn fetch(&self) -> impl Future<Output = Result<Token, BoxError>> + Send;
}

impl<F, T> TokenSource for F
where
    F: Fn() -> T + Send + Sync + 'static,
    T: Future<Output = Result<Token, BoxError>> + Send,
{
    fn fetch(&self) -> impl Future<Output = Result<Token, BoxError>> + Send {
        self()
    }
}

/// The tokens of a client. They are for the origin of its base URL and for no other, and are sent
/// over TLS, or over a socket of this machine, alone.
///
/// ```
/// use std::time::Duration;
///
/// use sinew_driver::{BoxError, Error, Token, Tokens};
///
/// # fn tokens() -> Result<(), Error> {
/// let fixed = Tokens::fixed(Token::bearer("s3cr3t")?);
/// let fetched = Tokens::refreshed(async || -> Result<Token, BoxError> {
///     // Ask the issuer.
///     Ok(Token::bearer("n3xt")?.expires_in(Duration::from_secs(600)))
/// });
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Tokens {
    kind: Kind,
    origin: Option<Origin>,
}

#[derive(Clone)]
enum Kind {
    Fixed(HeaderValue),
    Refreshed(Arc<Refreshed>),
    /// The policy makes no sense.
    Refused(BadRefresh),
}

impl Tokens {
    /// The same one always.
    pub fn fixed(token: Token) -> Self {
        Self { kind: Kind::Fixed(token.value), origin: None }
    }

    /// Fetched when the first call needs one, and again a minute before its end: calls go on with the
    /// old one meanwhile, and as long as it is good where the next one cannot be fetched. A token that
    /// is refused with 401 is fetched anew, once, and its call made again.
    pub fn refreshed(source: impl TokenSource) -> Self {
        Self::refreshed_by(RefreshPolicy::default(), source)
    }

    /// The same, by another policy.
    pub fn refreshed_by(policy: RefreshPolicy, source: impl TokenSource) -> Self {
        // Jitter is nothing secret, and nothing that a call should fail for.
        let seed = getrandom::u64().unwrap_or_default();
        let kind = match Refresh::new(policy, seed) {
            Ok(refresh) => Kind::Refreshed(Arc::new(Refreshed {
                source: Box::new(source),
                state: Mutex::new(State { refresh, waiting: Vec::new(), failed: None }),
            })),
            Err(why) => Kind::Refused(why),
        };
        Self { kind, origin: None }
    }

    /// For this origin alone, `https://billing.test`: a client of another one is refused when it is
    /// built.
    #[must_use]
    pub fn only_for(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Whether a client of this origin may have them.
    pub(super) fn check(&self, origin: &Origin) -> Result<(), Error> {
        if let Kind::Refused(why) = &self.kind {
            return Err(Error::config(why.to_string()).with_source(*why));
        }
        match &self.origin {
            Some(own) if own != origin => {
                Err(Error::config(format!("the tokens are for {own}, and not for {origin}")))
            }
            _ => Ok(()),
        }
    }

    /// The value of `Authorization`, and which one it is; waits for it until `by`.
    pub(super) async fn get<R: Runtime>(
        &self,
        hub: &Hub<R>,
        by: Instant,
    ) -> Result<(HeaderValue, Option<Edition>), Error> {
        match &self.kind {
            Kind::Fixed(value) => Ok((value.clone(), None)),
            Kind::Refreshed(tokens) => {
                tokens.get(hub, by).await.map(|(value, edition)| (value, Some(edition)))
            }
            Kind::Refused(why) => Err(Error::config(why.to_string())),
        }
    }

    /// A token was refused: whether it is worth to ask with another one.
    pub(super) fn rejected(&self, now: Instant, edition: Edition) -> Rejected {
        match &self.kind {
            Kind::Refreshed(tokens) => tokens.lock().refresh.rejected(now, edition),
            Kind::Fixed(_) | Kind::Refused(_) => Rejected::Fresh,
        }
    }
}

/// A fetch that takes longer has failed.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Token, BoxError>> + Send + 'a>>;

/// A [`TokenSource`] of any type.
trait AnySource: Send + Sync {
    fn fetch(&self) -> Fetching<'_>;
}

impl<S: TokenSource> AnySource for S {
    fn fetch(&self) -> Fetching<'_> {
        Box::pin(TokenSource::fetch(self))
    }
}

struct Refreshed {
    source: Box<dyn AnySource>,
    state: Mutex<State>,
}

struct State {
    refresh: Refresh<HeaderValue>,
    /// Calls that have no token to go on with.
    waiting: Vec<Waker>,
    /// Why the last fetch failed.
    failed: Option<String>,
}

impl Refreshed {
    async fn get<R: Runtime>(
        self: &Arc<Self>,
        hub: &Hub<R>,
        by: Instant,
    ) -> Result<(HeaderValue, Edition), Error> {
        let mut alarm = Alarm::new();
        poll_fn(|cx| {
            let now = hub.runtime.now();
            let mut state = self.lock();
            match state.refresh.look(now) {
                Lookup::Use(value, edition) => return Poll::Ready(Ok((value, edition))),
                Lookup::Failed { .. } => {
                    let why = state.failed.clone().unwrap_or_default();
                    let failed = Error::new(ErrorKind::Token, Phase::Token, Delivery::NotSent);
                    return Poll::Ready(Err(failed.with_source(why)));
                }
                Lookup::Fetch(old) => {
                    if old.is_none() {
                        state.waiting.push(cx.waker().clone());
                    }
                    drop(state);
                    hub.spawn(Box::pin(fetch(Arc::clone(self), hub.runtime.clone())));
                    if let Some(old) = old {
                        return Poll::Ready(Ok(old));
                    }
                }
                Lookup::Wait => {
                    if !state.waiting.iter().any(|known| known.will_wake(cx.waker())) {
                        state.waiting.push(cx.waker().clone());
                    }
                    drop(state);
                }
            }
            if by <= now || alarm.arm(cx, &hub.runtime, now, Some(by)).is_ready() {
                let late = Error::new(ErrorKind::Deadline, Phase::Token, Delivery::NotSent);
                return Poll::Ready(Err(late));
            }
            Poll::Pending
        })
        .await
    }

    fn settle(&self, now: Instant, fetched: Result<Token, String>) {
        let mut state = self.lock();
        match fetched {
            Ok(Token { value, life }) => {
                state.refresh.fetched(now, value, life);
                state.failed = None;
            }
            Err(why) => {
                state.refresh.failed(now);
                state.failed = Some(why);
            }
        }
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fetches a token, in a task of its own: it ends within its time, whoever gives up meanwhile.
fn fetch<R: Runtime>(tokens: Arc<Refreshed>, runtime: R) -> impl Future<Output = ()> + Send {
    let unsettled = Unsettled { tokens, runtime, is_over: false };
    async move {
        // All of it, and not each of its fields.
        let mut unsettled = unsettled;
        let Unsettled { tokens, runtime, .. } = &unsettled;
        let until = (Phase::Token, runtime.now() + FETCH_TIMEOUT);
        let fetched = match within(runtime, until, tokens.source.fetch()).await {
            Ok(Ok(token)) => Ok(token),
            Ok(Err(why)) => Err(why.to_string()),
            Err(late) => Err(late.to_string()),
        };
        tokens.settle(runtime.now(), fetched);
        unsettled.is_over = true;
    }
}

/// A fetch that panics, or whose runtime ends, polled or not, has failed: nobody waits for it for ever.
struct Unsettled<R: Runtime> {
    tokens: Arc<Refreshed>,
    runtime: R,
    is_over: bool,
}

impl<R: Runtime> Drop for Unsettled<R> {
    fn drop(&mut self) {
        if !self.is_over {
            let why = "the source of the token gave up".to_owned();
            self.tokens.settle(self.runtime.now(), Err(why));
        }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Fixed(_) => "fixed",
            Kind::Refreshed(_) => "refreshed",
            Kind::Refused(_) => "refused",
        };
        f.debug_struct("Tokens").field("kind", &kind).field("origin", &self.origin).finish()
    }
}
