//! What all connections of a server share: routes, limits, the observer.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::header::ALLOW;
use http::{HeaderName, HeaderValue, StatusCode};
use sinew_core::content_coding::{Compression, Decompression};
use sinew_core::http1;
use sinew_core::limit::Quota;
use sinew_core::observe;
use sinew_core::policy::Priority;
use sinew_core::reason::Reason;
use sinew_core::security::{ProxyProtocol, Who};
use sinew_core::server::{Cost, Found, MediaRange, Params, RoutePolicy, Router, Stack};
use sinew_tls::ServerTls;

use super::audit::AuditLog;
use super::cancel::Cancellation;
use super::coding::Override;
use super::gate::Gate;
use super::health::Probes;
use super::jwks::KeysError;
use super::kept::Kept;
use super::mode::Mode;
use super::problem::Problem;
use super::response::{IntoResponse, Response};
use super::security_policy::Explain;
use crate::io::Peer;

/// What a route does differently from the server's defaults.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct RouteOptions {
    /// Bytes of a request body. `None`: the server's `max_request_size`.
    pub body_limit: Option<u64>,
    /// How long the handler may take to answer.
    pub handler_timeout: HandlerTimeout,
    /// Whether a slow request body is tolerated: no minimum rate is asked of it.
    pub slow_body: bool,
    /// What becomes of the handler when its client goes away before the answer.
    pub cancellation: Cancellation,
    /// How request bodies with a content coding are unpacked.
    pub decompression: Override<Decompression>,
    /// How answers are compressed.
    pub compression: Override<Compression>,
    /// Who may use the route, whatever else they may: an access rule of its own. Needs
    /// [`security`](super::ServerBuilder::security).
    pub who: Option<Who>,
    /// What the policies are told of the route.
    pub policy: RoutePolicy,
}

/// How long a handler may take, up to the head of its answer; then 503 is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HandlerTimeout {
    /// As the server's configuration says.
    #[default]
    Inherit,
    /// This long.
    After(Duration),
    /// As long as it likes: long polling.
    Never,
}

impl RouteOptions {
    /// The server's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Limits the request body, in bytes.
    pub fn body_limit(mut self, bytes: u64) -> Self {
        self.body_limit = Some(bytes);
        self
    }

    /// Limits the time of the handler.
    pub fn handler_timeout(mut self, timeout: HandlerTimeout) -> Self {
        self.handler_timeout = timeout;
        self
    }

    /// Says who may use the route: an access rule, named after it. [`Who::Anyone`] makes it public.
    /// Other methods of the same path have to say so, too, unless a rule of the policy allows them.
    pub fn allow(mut self, who: Who) -> Self {
        self.who = Some(who);
        self
    }

    /// Takes bodies of this type only, or of one of several: else 415, before any of it is read.
    pub fn content_type(mut self, range: MediaRange) -> Self {
        let expectation = &mut self.policy.expectation;
        let known = std::mem::take(&mut expectation.content_types);
        expectation.content_types = known.into_iter().chain([range]).collect();
        self
    }

    /// Wants this field to be there: else 400.
    pub fn require(mut self, field: HeaderName) -> Self {
        let expectation = &mut self.policy.expectation;
        let known = std::mem::take(&mut expectation.fields);
        expectation.fields = known.into_iter().chain([field]).collect();
        self
    }

    /// How much its requests matter when not all can be served.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.policy.priority = priority;
        self
    }

    /// What one request takes of a client's quota; 1 where nothing is said.
    pub fn cost(mut self, tokens: u32) -> Self {
        self.policy.cost = Cost(tokens);
        self
    }

    /// What each client has of this route, beside its other quotas. Needs
    /// [`rate_limit`](super::ServerBuilder::rate_limit).
    pub fn quota(mut self, quota: Quota) -> Self {
        self.policy.quota = Some(quota);
        self
    }

    /// Says what becomes of the handler when its client goes away before the answer.
    pub fn cancellation(mut self, policy: Cancellation) -> Self {
        self.cancellation = policy;
        self
    }

    /// Says whether, and how, request bodies with a content coding are unpacked.
    pub fn decompress(mut self, policy: Override<Decompression>) -> Self {
        self.decompression = policy;
        self
    }

    /// Says whether, and how, answers are compressed. Mind
    /// [what it gives away](sinew_core::content_coding).
    pub fn compress(mut self, policy: Override<Compression>) -> Self {
        self.compression = policy;
        self
    }

    /// Tolerates a slow request body.
    pub fn slow_body(mut self) -> Self {
        self.slow_body = true;
        self
    }
}

/// What a server tells its observer. Nothing of a request's content is in it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// A decision of the connection's machines.
    Decided(observe::Event),
    /// Why a policy refused the request of this exchange, in plain words: which access rule, or what
    /// is wrong with the token. It follows upon the event that says so, where there is more to say.
    Explained {
        /// Counts the exchanges of this connection, from 1.
        exchange: u64,
        /// One phrase.
        why: String,
    },
    /// The keys of a token issuer were fetched, and so many can be used; or they were not.
    Keys(Result<usize, KeysError>),
    /// The keys of a token issuer are others from now on, and so many can be used.
    KeysReplaced(usize),
    /// The audit log cannot be written to; it is tried again every second.
    AuditFailed(io::ErrorKind),
    /// A handler, or the producer of a body, panicked; the client got a 500 or a cut body. Of no
    /// connection: what ran [in the background](super::ServerBuilder::background) did, and has ended.
    Panicked,
    /// An answer could not be sent as it was: a field that cannot stand in a head, a body that does
    /// not have the announced length, a status that is not final.
    Misused {
        /// What is wrong with it.
        error: sinew_core::Error,
        /// The field that it is about; `None`: it is about none, or about one whose name is none.
        field: Option<HeaderName>,
    },
    /// Why what a server goes by was not replaced; what was in force is.
    ReloadRefused {
        /// In plain words.
        why: String,
    },
    /// The client of this connection would not be let in any more, since the server goes by another
    /// configuration: it is told to close.
    Distrusted,
    /// The socket failed.
    SocketFailed(io::ErrorKind),
    /// TLS failed, the handshake most likely.
    TlsFailed(sinew_tls::Failure),
    /// The configuration does not allow a TLS session to start.
    TlsUnavailable,
    /// Accepting failed; with a backlog of failures the listener pauses for a while.
    AcceptFailed(io::ErrorKind),
    /// The process before cannot be told that this one serves, or no successor can come: see
    /// [`handover`](super::ServerBuilder::handover).
    HandoverFailed(io::ErrorKind),
}

/// Called on the connection's task: it must be quick and must not block.
pub(super) type Observer = Arc<dyn Fn(Option<&Peer>, &Notice) + Send + Sync>;

pub(super) struct Service<M: Mode> {
    /// Counts what was in force, from 1.
    pub(super) epoch: u64,
    pub(super) router: Router<Route<M>>,
    pub(super) fallback: Option<M::Handler>,
    pub(super) machine: Arc<http1::ServerConfig>,
    pub(super) observer: Option<Observer>,
    pub(super) stack: Arc<Stack>,
    pub(super) gate: Option<Arc<Gate>>,
    /// Who answers probes, where they are answered.
    pub(super) probes: Option<Arc<Probes>>,
    /// It is the admin surface of another one.
    pub(super) is_admin: bool,
    pub(super) decompression: Option<Decompression>,
    pub(super) compression: Option<Compression>,
    pub(super) explain: Explain,
    /// The policy of what is no route.
    pub(super) elsewhere: RoutePolicy,
    pub(super) tls: Option<ServerTls>,
    pub(super) audit: Option<Arc<AuditLog>>,
    pub(super) kept: Kept,
    pub(super) proxy_protocol: Option<Arc<ProxyProtocol>>,
}

pub(super) struct Route<M: Mode> {
    pub(super) handler: M::Handler,
    pub(super) options: RouteOptions,
}

/// Where a request goes.
pub(super) enum Destination<'s, M: Mode> {
    Route { route: &'s Route<M>, template: usize, params: Params },
    Fallback(&'s M::Handler),
    Answer(Response),
}

impl<M: Mode> Service<M> {
    /// Its TLS, where that is another one than before.
    pub(super) fn changed_tls(&self, before: &Self) -> Option<&ServerTls> {
        let same = |tls: &&ServerTls| before.tls.as_ref().is_some_and(|before| before.is_same(tls));
        self.tls.as_ref().filter(|tls| !same(tls))
    }

    pub(super) fn find(&self, head: &sinew_core::head::RequestHead) -> Destination<'_, M> {
        let answer = match self.router.find(head.method(), head.path_bytes()) {
            Ok(Found::Route { value, template, params }) => {
                return Destination::Route { route: value, template, params };
            }
            Ok(Found::Missing) => match &self.fallback {
                Some(handler) => return Destination::Fallback(handler),
                None => Problem::because(Reason::NotFound).into_response(),
            },
            Ok(Found::WrongMethod(allow)) => {
                Problem::because(Reason::MethodNotAllowed).into_response().allow(allow)
            }
            Ok(Found::Options(allow)) => Response::new(StatusCode::NO_CONTENT).allow(allow),
            Err(bad) => Problem::because(Reason::BadPath).detail(bad.explain()).into_response(),
        };
        Destination::Answer(answer)
    }

    pub(super) fn notice(&self, peer: Option<&Peer>, notice: &Notice) {
        if let Some(observer) = &self.observer {
            observer(peer, notice);
        }
    }
}

impl Response {
    fn allow(mut self, methods: &HeaderValue) -> Self {
        self.0.fields.push((ALLOW, methods.clone()));
        self
    }
}

impl<M: Mode> fmt::Debug for Service<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("machine", &self.machine).finish_non_exhaustive()
    }
}

impl<M: Mode> fmt::Debug for Route<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("options", &self.options).finish_non_exhaustive()
    }
}
