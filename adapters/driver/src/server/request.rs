//! A request, as a handler gets it.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use http::{Extensions, HeaderMap, Method, Version};
use sinew_core::error::{Misuse, Phase};
use sinew_core::head::RequestHead;
use sinew_core::observe::RequestId;
use sinew_core::propagation::CallContext;
use sinew_core::reason::Reason;
use sinew_core::security::SecurityContext;
use sinew_core::server::{Params, Record, Template};
use sinew_tls::PeerIdentity;

use super::going_away::GoingAway;
use super::link::{Gone, Link};
use super::problem::Problem;
use super::response::{IntoResponse, Response};
use super::switch::Switching;
use crate::body::Body;
use crate::error::{Error, Origin};
use crate::io::Peer;
use crate::upgraded::Upgraded;

/// A request: its head is read in place, and what is not asked for costs nothing.
///
/// It is a pointer: moving it about, into futures for one, is cheap.
pub struct Request(pub(super) Box<Inner>);

/// What a request consists of.
pub(super) struct Inner {
    pub(super) head: RequestHead,
    pub(super) body: Body,
    pub(super) body_limit: u64,
    pub(super) params: Params,
    pub(super) template: Option<u32>,
    pub(super) exchange: u64,
    pub(super) link: Arc<Link>,
    pub(super) record: Option<Arc<Record>>,
    pub(super) extensions: Extensions,
    pub(super) headers: OnceLock<Box<HeaderMap>>,
}

impl Request {
    /// A request of which no more is known than its head. It is made where the head comes out of the
    /// machine, so that the head is not moved from call to call.
    #[inline]
    pub(super) fn new(head: RequestHead, exchange: u64, link: Arc<Link>) -> Self {
        let memory = Box::new_uninit();
        let inner = Inner {
            head,
            body: Body::empty(),
            body_limit: 0,
            params: Params::default(),
            template: None,
            exchange,
            link,
            record: None,
            extensions: Extensions::new(),
            headers: OnceLock::new(),
        };
        Self(Box::write(memory, inner))
    }

    /// The method.
    pub fn method(&self) -> &Method {
        self.0.head.method()
    }

    /// The path, still percent-encoded.
    pub fn raw_path(&self) -> &str {
        self.0.head.path()
    }

    /// The query without its question mark, still percent-encoded.
    pub fn raw_query(&self) -> Option<&str> {
        self.0.head.query()
    }

    /// The target as it stood on the wire.
    pub fn target(&self) -> &str {
        self.0.head.target()
    }

    /// HTTP/1.0 or HTTP/1.1.
    pub fn version(&self) -> Version {
        self.0.head.version()
    }

    /// The first value of a field, as bytes. Names compare case-insensitively.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.0.head.header(name)
    }

    /// The first value of a field, where it is text.
    pub fn header_str(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.0.head.header(name)?).ok()
    }

    /// All fields as a map, built at the first call.
    pub fn headers(&self) -> &HeaderMap {
        self.0.headers.get_or_init(|| Box::new(self.0.head.to_header_map()))
    }

    /// The indexed head behind this request.
    pub fn head(&self) -> &RequestHead {
        &self.0.head
    }

    /// The value of a parameter of the route, decoded once: `param("id")` for `/api/{id}`.
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        self.0.params.get(self.template()?, self.0.head.path(), name)
    }

    /// Names and values of all parameters of the route, in order.
    pub fn params(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        let path = self.0.head.path();
        self.template().into_iter().flat_map(move |template| self.0.params.iter(template, path))
    }

    /// The route as it was added, `/api/{id}`; `None` in a fallback.
    pub fn route(&self) -> Option<&str> {
        self.template().map(Template::as_str)
    }

    /// Who is on the other side.
    pub fn peer(&self) -> &Peer {
        &self.0.link.peer
    }

    /// Whom the peer's certificate names; `None` without TLS or without a certificate.
    pub fn identity(&self) -> Option<&PeerIdentity> {
        self.0.link.identity.get().map(|identity| &**identity)
    }

    /// Who asks, as far as certificate, token and address prove it. Of a server without any policy
    /// nothing is known here.
    pub fn security(&self) -> &SecurityContext {
        static NOBODY: SecurityContext = SecurityContext {
            peer: None,
            principal: None,
            peer_address: None,
            client_address: None,
        };
        self.0.record.as_ref().map_or(&NOBODY, |record| &record.security)
    }

    /// What calls made for this request inherit, by [`Call::context`](crate::Call::context): its
    /// trace, its id, its deadline, its priority; no credential.
    pub fn context(&self) -> CallContext {
        let Some(record) = &self.0.record else { return CallContext::default() };
        CallContext { request_id: record.request_id.clone(), ..record.context.clone() }
    }

    /// By what the request is found again; on a server with policies every request has one.
    pub fn id(&self) -> Option<&RequestId> {
        self.0.record.as_ref()?.request_id.as_ref()
    }

    /// What the layers found out, those of the application among them.
    pub fn record(&self) -> Option<&Record> {
        self.0.record.as_deref()
    }

    /// Which access rule let the request in, in plain words; of one that a policy would have refused,
    /// had it been enforced, why. `None` without access rules.
    pub fn explanation(&self) -> Option<String> {
        self.0.link.stack.explain(self.record()?)
    }

    /// What earlier stages left for later ones, by type.
    pub fn extensions(&self) -> &Extensions {
        &self.0.extensions
    }

    /// What earlier stages left for later ones, by type.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.0.extensions
    }

    /// Ready when the client left or the exchange is over, for handlers that want to stop early or
    /// that go on elsewhere. Costs nothing until it is polled.
    pub fn gone(&self) -> Gone {
        Gone { link: Arc::clone(&self.0.link), exchange: self.0.exchange }
    }

    /// Ready when the server leaves and this exchange, or the connection that it becomes with
    /// [`upgrade`](Self::upgrade), is to come to its end; for whoever answers without end, or late. Not
    /// all are told at the same moment: it is spread, so that not all come back at once.
    ///
    /// An event stream whose handler does not poll this is ended by the server when it is time.
    pub fn going_away(&self) -> GoingAway {
        GoingAway { link: Arc::clone(&self.0.link), exchange: self.0.exchange }
    }

    /// Takes the connection over: answers 101 with the protocol chosen in `upgrade`, or 2xx to
    /// CONNECT, and goes on in whatever follows. The handler has all the time it wants then, and
    /// what it returns is not sent.
    ///
    /// ```
    /// use http::StatusCode;
    /// use sinew_driver::{Problem, Request, Response};
    ///
    /// async fn echo(request: Request) -> Result<(), Problem> {
    ///     let answer = Response::new(StatusCode::SWITCHING_PROTOCOLS).header("upgrade", "echo");
    ///     let connection = request.upgrade(answer).await?;
    ///     while let Some(bytes) = connection.read().await? {
    ///         connection.write(bytes).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// A session counts as a connection while the server drains;
    /// [`going_away`](Self::going_away) is the sign to end it.
    ///
    /// # Errors
    ///
    /// A request that does not offer that, one whose body was not read, an answer that is none of
    /// the two: nothing was sent then, and the handler can answer as usual; left to `?`, it is a
    /// 400. A connection that is gone.
    pub async fn upgrade(self, answer: impl IntoResponse) -> Result<Upgraded, Error> {
        self.switch(answer.into_response()).await
    }

    /// The same, of a request that is kept.
    pub(super) async fn switch(&self, answer: Response) -> Result<Upgraded, Error> {
        if !self.0.head.offers_switch() {
            // The driver looks for this only where something is offered.
            let error = sinew_core::Error::usage(Misuse::Upgrade, Phase::ResponseHead);
            return Err(Error::from(error).of(Origin::Request));
        }
        let (link, exchange) = (Arc::clone(&self.0.link), self.0.exchange);
        let switching = Switching { link, exchange, response: Some(answer) };
        switching.await.map_err(|error| error.of(Origin::Request))
    }

    /// The body, to be read piece by piece.
    pub fn body_mut(&mut self) -> &mut Body {
        &mut self.0.body
    }

    /// The body alone. It can be sent to another task, or back as the answer.
    pub fn into_body(self) -> Body {
        self.0.body
    }

    /// The same as an [`http::Request`]. [`Peer`] and the peer's identity go into its extensions.
    ///
    /// # Errors
    ///
    /// 400, where the target has a byte that [`http::Uri`] does not take.
    pub fn into_http(self) -> Result<http::Request<Body>, Problem> {
        let Inner { head, body, link, mut extensions, .. } = *self.0;
        extensions.insert(link.peer.clone());
        if let Some(identity) = link.identity.get() {
            extensions.insert(Arc::clone(identity));
        }
        let mut request =
            head.into_http(body).ok_or_else(|| Problem::because(Reason::MalformedRequest))?;
        *request.extensions_mut() = extensions;
        Ok(request)
    }

    fn template(&self) -> Option<&Template> {
        self.0.link.templates.get(usize::try_from(self.0.template?).ok()?)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("head", &self.0.head)
            .field("route", &self.route())
            .field("peer", self.peer())
            .finish_non_exhaustive()
    }
}
