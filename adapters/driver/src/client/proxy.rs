//! A proxy on the way to a service: a tunnel through it, opened by CONNECT.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use http::header::PROXY_AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use sinew_core::error::{Delivery, Phase};
use sinew_core::http1::{BodySize, Client, ClientConfig, ClientEvent, RequestLine};
use sinew_core::machine::Layered as _;
use sinew_core::security::Destination;
use sinew_tls::ClientTls;

use super::base::{Base, Site, shown};
use super::conn::{Conn, refused};
use crate::drive::Pipe;
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;
use crate::wire::AnyWire;

/// A proxy that connections go through: each is a tunnel that it opens when it is asked by CONNECT, to
/// services in plaintext, too. Names of services are resolved by the proxy. TLS runs to the service
/// itself; whom its certificate must name does not change.
///
/// The proxy itself is spoken to in the clear, or over TLS of its own: then that to a service goes through
/// it. It is not among the destinations of an
/// [`EgressPolicy`](sinew_core::security::EgressPolicy): whoever writes it down means it. Sockets of this
/// machine are reached without it.
///
/// <https://www.rfc-editor.org/rfc/rfc9110#section-9.3.6>
#[derive(Clone, Debug)]
pub struct Proxy {
    site: Site,
    /// Whom to trust, what to show, and whom its certificate must name.
    secure: Option<(ClientTls, String)>,
    authorization: Option<HeaderValue>,
    bypass: Vec<Destination>,
}

impl Proxy {
    /// A proxy at `http://host[:port]` or `unix:/path/of/socket`.
    ///
    /// # Errors
    ///
    /// Another scheme, a path, or no URL at all.
    pub fn new(url: &str) -> Result<Self, Error> {
        let base = Base::parse(url, false)?;
        if base.secure || !base.prefix.is_empty() {
            let shown = shown(url);
            return Err(Error::config(format!(
                "{shown}: a proxy is http://host:port or unix:/path, or secured and https://host:port"
            )));
        }
        Ok(Self { site: base.site, secure: None, authorization: None, bypass: Vec::new() })
    }

    /// A proxy at `https://host[:port]`. `tls` says whom to trust as the proxy, and what it is shown; what
    /// services are shown is the client's, and the proxy does not see it.
    ///
    /// # Errors
    ///
    /// Another scheme, a path, or no URL at all.
    pub fn secured(url: &str, tls: &ClientTls) -> Result<Self, Error> {
        let base = Base::parse(url, false)?;
        if !base.secure || !base.prefix.is_empty() {
            let shown = shown(url);
            return Err(Error::config(format!("{shown}: a secured proxy is https://host:port")));
        }
        let secure = Some((tls.clone(), base.server_name));
        Ok(Self { site: base.site, secure, authorization: None, bypass: Vec::new() })
    }

    /// What it is shown as `proxy-authorization`, such as `Basic dXNlcjpwdw==`. It is kept out of debug
    /// output; whoever reads along on the way to a proxy that is not secured sees it.
    ///
    /// # Errors
    ///
    /// Text that cannot stand in a field.
    pub fn authorization(mut self, value: &str) -> Result<Self, Error> {
        let mut value = HeaderValue::try_from(value)
            .map_err(|_| Error::config("credentials of a proxy that cannot be sent"))?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(self)
    }

    /// Destinations that are reached without it, added to those that were given before.
    #[must_use]
    pub fn bypass(mut self, destinations: impl IntoIterator<Item = Destination>) -> Self {
        self.bypass.extend(destinations);
        self
    }

    /// Whom it is asked for, and where it is; `None` where it is not used.
    pub(super) fn toward(&self, site: &Site) -> Option<(&Site, Tunnelled<'_>)> {
        let Site::Tcp { host, port } = site else { return None };
        if self.bypass.iter().any(|destination| destination.means(host, *port)) {
            return None;
        }
        // An address of IPv6 stands in brackets: https://www.rfc-editor.org/rfc/rfc3986#section-3.2.2
        let authority =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Some((&self.site, Tunnelled { proxy: self, authority }))
    }
}

/// What a proxy is asked for.
pub(super) struct Tunnelled<'a> {
    proxy: &'a Proxy,
    authority: String,
}

impl Tunnelled<'_> {
    /// Asks on a connection to the proxy. The socket leads to the service then.
    pub(super) async fn ask<R: Runtime>(
        self,
        runtime: &R,
        machine: &Arc<ClientConfig>,
        pipe: Pipe<R::Io>,
    ) -> Result<Pipe<R::Io>, Error> {
        let client = Client::new(Arc::clone(machine));
        let wire = match &self.proxy.secure {
            None => AnyWire::Plain(Box::new(client)),
            Some((tls, name)) => AnyWire::start_tls(tls, name, client, runtime.now())?,
        };
        let mut conn = Conn::new(wire, pipe, runtime.clone());
        poll_fn(|cx| conn.poll_secured(cx)).await.map_err(Error::while_connecting)?;
        let mut fields = HeaderMap::new();
        if let Some(value) = &self.proxy.authorization {
            fields.insert(PROXY_AUTHORIZATION, value.clone());
        }
        let authority = self.authority.as_bytes();
        let line = RequestLine { method: &Method::CONNECT, target: authority, authority };
        let top = conn.wire.top();
        top.send_request(runtime.now(), line, &fields, BodySize::Empty).map_err(refused)?;
        loop {
            // Nothing of a call was sent yet, whatever becomes of the proxy.
            let event = poll_fn(|cx| conn.poll_event(cx)).await.map_err(Error::while_connecting)?;
            let ClientEvent::Response { head, .. } = event else { continue };
            let kind = if conn.wire.top_ref().is_upgraded() {
                // Neither TLS nor HTTP has a server that speaks first.
                ErrorKind::Io(io::ErrorKind::InvalidData)
            } else {
                ErrorKind::Proxy(head.status())
            };
            let refused = || Error::new(kind, Phase::Connect, Delivery::NotSent);
            return conn.into_socket().ok_or_else(refused);
        }
    }
}
