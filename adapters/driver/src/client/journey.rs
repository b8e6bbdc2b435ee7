//! A call over all its requests: with which token it goes, and where answers send it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION};
use http::{HeaderMap, Method, StatusCode};
use sinew_core::client::dispatcher::CallSpec;
use sinew_core::client::redirect::{Content, Credentials, Hop, RedirectVerdict, Redirects};
use sinew_core::client::refresh::{Edition, Rejected};
use sinew_core::content_coding::KNOWN;
use sinew_core::error::{Delivery, Phase};
use sinew_core::policy::Priority;
use sinew_core::resilience::{Replay, RetryPolicy};
use sinew_core::time::Instant;

use super::flight::Flight;
use super::middleware::{Answering, Proceed};
use super::outgoing::{ATTEMPT, Departing, Given, Outgoing, Payload, Telling};
use super::response::ClientResponse;
use super::rest_client::{NO_TOKENS, Shared};
use crate::body::Body;
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;

/// What every request of a call has in common.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    /// Known when it begins.
    pub(super) deadline: Instant,
    pub(super) priority: Priority,
    pub(super) hedge: bool,
    pub(super) retry: Option<RetryPolicy>,
    pub(super) attempt: Option<Duration>,
    pub(super) pool: Option<Duration>,
    pub(super) route: Option<&'static str>,
    pub(super) hash_key: Option<u64>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            deadline: Instant::MAX,
            priority: Priority::default(),
            hedge: true,
            retry: None,
            attempt: None,
            pool: None,
            route: None,
            hash_key: None,
        }
    }
}

/// A call on its way, request by request.
pub(super) struct Journey<R: Runtime> {
    /// Whose call it is.
    pub(super) home: Arc<Shared<R>>,
    /// Whose connections the next request uses.
    shared: Arc<Shared<R>>,
    pub(super) request: Outgoing,
    pub(super) terms: Terms,
    /// Boxed: few clients follow them, and every call moves what it knows.
    redirects: Option<Box<Redirects>>,
    /// Whether the client adds a token: not where the call has its own, nor once it was sent elsewhere.
    adds_token: bool,
    /// A token was refused once: another one is not tried a second time.
    was_rejected: bool,
}

impl<R: Runtime> Journey<R> {
    #[inline]
    pub(super) fn new(shared: &Arc<Shared<R>>, method: Method, target: String) -> Self {
        let Shared { config, base, layers, .. } = &**shared;
        Self {
            home: Arc::clone(shared),
            shared: Arc::clone(shared),
            request: Outgoing {
                method,
                target,
                authority: Arc::clone(&base.authority),
                fields: HeaderMap::new(),
                given: Given::default(),
                trace: None,
                payload: Payload::Full(Bytes::new()),
                between_bytes: config.between_bytes,
                body_timeout: config.body_timeout,
                departing: None,
                told: None,
                unpacks: None,
                layers: Arc::clone(layers),
                explaining: None,
            },
            terms: Terms::default(),
            redirects: None,
            adds_token: true,
            was_rejected: false,
        }
    }

    /// Whether the call is tried again.
    pub(super) fn retry_policy(&self) -> RetryPolicy {
        self.terms.retry.unwrap_or(self.home.config.retry_policy)
    }

    /// Takes the body along, and what all calls of the client say.
    pub(super) fn load(&mut self, body: Option<Body>) {
        let Self { home, request, terms, .. } = self;
        for (name, value) in &home.config.default_headers {
            if !request.fields.contains_key(name) {
                request.fields.append(name, value.clone());
            }
        }
        if let Some(body) = body {
            // What is not sent once more need not be remembered.
            let policy = terms.retry.unwrap_or(home.config.retry_policy);
            let memory = (policy.attempts > 1 && policy.mode.obeys()).then_some(&home.memory);
            request.payload = Payload::new(body, memory);
        }
    }

    /// Makes requests until there is an answer.
    pub(super) async fn run(&mut self) -> Result<ClientResponse, Error> {
        self.prepare()?;
        loop {
            let token = self.authorise().await?;
            let answer = Flight::run(&self.shared.hub, self.spec(), &mut self.request).await?;
            if self.is_worth_another(token, &answer) {
                continue;
            }
            match self.redirect(&answer) {
                RedirectVerdict::Answer => {
                    return match self.request.unpacks {
                        Some(policy) => answer.unpacked(policy),
                        None => Ok(answer),
                    };
                }
                RedirectVerdict::Refuse(why) => {
                    let kind = ErrorKind::Redirect(why);
                    return Err(Error::new(kind, Phase::ResponseHead, Delivery::Processed));
                }
                RedirectVerdict::Follow(hop) => {
                    // Its connection may carry the next request.
                    drop(answer);
                    self.follow(hop)?;
                }
            }
        }
    }

    /// Adds what the client says by itself, unless the fields say it. They do not change any more.
    fn prepare(&mut self) -> Result<(), Error> {
        let Self { home, request, terms, .. } = self;
        let config = &home.config;
        request.complete(config.deadlines.emit)?;
        let given = request.given;
        self.adds_token = !given.has(Telling::Authorization);
        if !self.adds_token && !home.may_carry_tokens() {
            return Err(Error::config(NO_TOKENS));
        }
        let leaves_http = given.has(Telling::Upgrade);
        self.redirects = config.redirects.filter(|_| !leaves_http).map(|policy| {
            let (method, target) = (request.method.clone(), request.target.clone());
            Box::new(Redirects::new(policy, method, home.origin.clone(), target))
        });
        // A part of what is packed cannot be unpacked: https://www.rfc-editor.org/rfc/rfc9110#section-14.2
        let asks_itself = given.has(Telling::AcceptEncoding) || given.has(Telling::Range);
        request.unpacks = config.decompression.filter(|_| !asks_itself);
        if request.unpacks.is_some() {
            request.fields.insert(ACCEPT_ENCODING, KNOWN);
        }
        let (deadlines, told) = (config.deadlines, given.has(Telling::Timeout));
        let (deadline, attempt) = (terms.deadline, terms.attempt.or(config.attempt_timeout));
        request.departing = (!told).then_some(Departing { config: deadlines, deadline, attempt });
        Ok(())
    }

    fn spec(&self) -> CallSpec {
        let Self { request, terms, .. } = self;
        CallSpec {
            sharing: request.sharing(),
            priority: terms.priority,
            hedge: terms.hedge && request.can_be_doubled(),
            retry: terms.retry,
            attempt_timeout: terms.attempt,
            pool_timeout: terms.pool,
            route: terms.route,
            hash_key: terms.hash_key,
            ..CallSpec::new(0, terms.deadline, request.safety())
        }
    }

    /// Puts the client's token into the request.
    async fn authorise(&mut self) -> Result<Option<Edition>, Error> {
        let Some(tokens) = self.shared.config.tokens.as_ref().filter(|_| self.adds_token) else {
            return Ok(None);
        };
        let (value, edition) = tokens.get(&self.shared.hub, self.terms.deadline).await?;
        self.request.fields.insert(AUTHORIZATION, value);
        Ok(edition)
    }

    /// Whether the token was refused, and another one may not be. What was refused was not acted on:
    /// any method may be sent again. <https://www.rfc-editor.org/rfc/rfc9110#section-15.5.2>
    fn is_worth_another(&mut self, token: Option<Edition>, answer: &ClientResponse) -> bool {
        let Self { shared, request, .. } = self;
        let (Some(tokens), Some(edition)) = (&shared.config.tokens, token) else { return false };
        answer.status() == StatusCode::UNAUTHORIZED
            && tokens.rejected(shared.hub.runtime.now(), edition) == Rejected::Again
            && request.replay() == Replay::Possible
            && !std::mem::replace(&mut self.was_rejected, true)
    }

    fn redirect(&mut self, answer: &ClientResponse) -> RedirectVerdict {
        let Some(redirects) = &mut self.redirects else { return RedirectVerdict::Answer };
        let head = answer.head();
        redirects.judge(head.status(), head.fields().get_all("location"), self.request.replay())
    }

    /// Turns the request into the one that an answer asks for.
    fn follow(&mut self, hop: Hop) -> Result<(), Error> {
        let Hop { method, origin, target, content, credentials } = hop;
        if origin != self.shared.origin {
            self.shared = if origin == self.home.origin {
                Arc::clone(&self.home)
            } else {
                self.home.elsewhere(&origin)?
            };
            self.request.authority = origin.authority().into();
        }
        self.adds_token &= credentials == Credentials::Keep;
        let mut kept = HeaderMap::new();
        for (name, value) in &self.request.fields {
            if credentials.keeps(name, value.is_sensitive())
                && content.keeps(name)
                && *name != ATTEMPT
            {
                kept.append(name, value.clone());
            }
        }
        self.request.fields = kept;
        if content == Content::Drop {
            self.request.payload = Payload::Full(Bytes::new());
        }
        (self.request.method, self.request.target) = (method, target);
        self.request.complete(self.home.config.deadlines.emit)
    }
}

impl<R: Runtime> Proceed for Journey<R> {
    fn request(&self) -> &Outgoing {
        &self.request
    }

    fn request_mut(&mut self) -> &mut Outgoing {
        &mut self.request
    }

    fn proceed(&mut self) -> Answering<'_> {
        Box::pin(self.run())
    }
}
