//! A request, as a handler gets it.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use http::{Extensions, HeaderMap, Method, StatusCode, Version};
use sinew_core::head::RequestHead;
use sinew_core::server::{Params, Template};
use sinew_tls::PeerIdentity;

use super::link::{Gone, Link};
use super::problem::Problem;
use crate::body::Body;
use crate::io::Peer;

/// A request: its head is read in place, and what is not asked for costs nothing.
pub struct Request {
    pub(super) head: RequestHead,
    pub(super) body: Body,
    pub(super) body_limit: u64,
    pub(super) params: Params,
    pub(super) template: Option<u32>,
    pub(super) exchange: u64,
    pub(super) link: Arc<Link>,
    extensions: Extensions,
    headers: OnceLock<Box<HeaderMap>>,
}

impl Request {
    pub(super) fn new(head: RequestHead, link: Arc<Link>, exchange: u64) -> Self {
        Self {
            head,
            body: Body::empty(),
            body_limit: 0,
            params: Params::default(),
            template: None,
            exchange,
            link,
            extensions: Extensions::new(),
            headers: OnceLock::new(),
        }
    }

    /// The method.
    pub fn method(&self) -> &Method {
        self.head.method()
    }

    /// The path, still percent-encoded.
    pub fn raw_path(&self) -> &str {
        self.head.path()
    }

    /// The query without its question mark, still percent-encoded.
    pub fn raw_query(&self) -> Option<&str> {
        self.head.query()
    }

    /// The target as it stood on the wire.
    pub fn target(&self) -> &str {
        self.head.target()
    }

    /// HTTP/1.0 or HTTP/1.1.
    pub fn version(&self) -> Version {
        self.head.version()
    }

    /// The first value of a field, as bytes. Names compare case-insensitively.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.header(name)
    }

    /// The first value of a field, where it is text.
    pub fn header_str(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.head.header(name)?).ok()
    }

    /// All fields as a map, built at the first call.
    pub fn headers(&self) -> &HeaderMap {
        self.headers.get_or_init(|| Box::new(self.head.to_header_map()))
    }

    /// The indexed head behind this request.
    pub fn head(&self) -> &RequestHead {
        &self.head
    }

    /// The value of a parameter of the route, decoded once: `param("id")` for `/api/{id}`.
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        self.params.get(self.template()?, self.head.path(), name)
    }

    /// Names and values of all parameters of the route, in order.
    pub fn params(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        let path = self.head.path();
        self.template().into_iter().flat_map(move |template| self.params.iter(template, path))
    }

    /// The route as it was added, `/api/{id}`; `None` in a fallback.
    pub fn route(&self) -> Option<&str> {
        self.template().map(Template::as_str)
    }

    /// Who is on the other side.
    pub fn peer(&self) -> &Peer {
        &self.link.peer
    }

    /// Whom the peer's certificate names; `None` without TLS or without a certificate.
    pub fn identity(&self) -> Option<&PeerIdentity> {
        self.link.identity.get().map(|identity| &**identity)
    }

    /// What earlier stages left for later ones, by type.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// What earlier stages left for later ones, by type.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }

    /// Ready when the client left or the exchange is over, for handlers that want to stop early or
    /// that go on elsewhere. Costs nothing until it is polled.
    pub fn gone(&self) -> Gone {
        Gone { link: Arc::clone(&self.link), exchange: self.exchange }
    }

    /// The body, to be read piece by piece.
    pub fn body_mut(&mut self) -> &mut Body {
        &mut self.body
    }

    /// The body alone. It can be sent to another task, or back as the answer.
    pub fn into_body(self) -> Body {
        self.body
    }

    /// The same as an [`http::Request`]. [`Peer`] and the peer's identity go into its extensions.
    ///
    /// # Errors
    ///
    /// 400, where the target has a byte that [`http::Uri`] does not take.
    pub fn into_http(self) -> Result<http::Request<Body>, Problem> {
        let Self { head, body, link, mut extensions, .. } = self;
        extensions.insert(link.peer.clone());
        if let Some(identity) = link.identity.get() {
            extensions.insert(Arc::clone(identity));
        }
        let mut request =
            head.into_http(body).ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST))?;
        *request.extensions_mut() = extensions;
        Ok(request)
    }

    fn template(&self) -> Option<&Template> {
        self.link.templates.get(usize::try_from(self.template?).ok()?)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("head", &self.head)
            .field("route", &self.route())
            .field("peer", self.peer())
            .finish_non_exhaustive()
    }
}
