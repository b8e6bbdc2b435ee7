//! The head of a request.

use core::fmt;

use bytes::Bytes;
use http::{HeaderMap, Method, Uri, Version};

use super::{Fields, Target, TargetForm};

/// The head of a request: method, target, version, fields.
///
/// Some 200 bytes by value, without a lifetime.
#[derive(Clone)]
pub struct RequestHead {
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) fields: Fields,
    /// Where the target starts in the block, and its length.
    pub(crate) target_at: (u16, u16),
    pub(crate) target: Target,
    /// The value of `Host`.
    pub(crate) host: Option<(u16, u16)>,
    /// The value of `Upgrade`, where `Connection` names it and the version allows it.
    pub(crate) upgrade: Option<(u16, u16)>,
    pub(crate) expects_continue: bool,
}

impl RequestHead {
    /// The method; case-sensitive.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// HTTP/1.0 or HTTP/1.1. A higher minor version is read as 1.1.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The target as it stood on the wire.
    pub fn target(&self) -> &str {
        self.fields.text(self.target_at.0, self.target_at.1)
    }

    /// Which of the four forms the target has.
    pub fn target_form(&self) -> TargetForm {
        self.target.form
    }

    /// The path, still percent-encoded; every `%` in it starts a valid `%XX`. `*` in asterisk-form,
    /// `/` for an absolute target without one, empty for CONNECT.
    pub fn path(&self) -> &str {
        match (self.target.form, self.relative(self.target.path)) {
            (TargetForm::Absolute, "") => "/",
            (_, path) => path,
        }
    }

    /// The same as bytes.
    pub fn path_bytes(&self) -> &[u8] {
        let (start, len) = self.target.path;
        match (self.target.form, self.fields.slice(self.target_at.0 + start, len)) {
            (TargetForm::Absolute, b"") => b"/",
            (_, path) => path,
        }
    }

    /// The query without its question mark, still percent-encoded.
    pub fn query(&self) -> Option<&str> {
        self.target.query.map(|span| self.relative(span))
    }

    /// The authority asked for: that of the target in absolute-form or for CONNECT, else `Host`.
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2>
    pub fn authority(&self) -> Option<&str> {
        match self.target.form {
            TargetForm::Absolute | TargetForm::Authority => {
                Some(self.relative(self.target.authority))
            }
            TargetForm::Origin | TargetForm::Asterisk => {
                self.host.map(|(start, len)| self.fields.text(start, len))
            }
        }
    }

    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.fields.get(name)
    }

    /// All field lines.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// The protocols that the client offers to switch to, where `Connection` names `upgrade` and
    /// the version is 1.1.
    pub fn upgrade(&self) -> Option<&[u8]> {
        self.upgrade.map(|(start, len)| self.fields.slice(start, len))
    }

    /// Whether an answer can end HTTP on this connection: the client offers an upgrade, or wants a
    /// tunnel.
    pub fn offers_switch(&self) -> bool {
        self.upgrade.is_some() || self.method == Method::CONNECT
    }

    /// Whether the client waits for `100 Continue` before it sends the body.
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Takes every line of a field out, where it no longer says what is: `content-encoding` of a body
    /// that was unpacked. What was read from it before stays: host, upgrade, expectation.
    pub fn remove_field(&mut self, name: &str) {
        self.fields.remove(name);
    }

    /// Copies the head out of the read buffer that it was parsed in.
    pub fn detach(&mut self) {
        self.fields.detach();
    }

    /// Builds a [`HeaderMap`]; the values share the block.
    pub fn to_header_map(&self) -> HeaderMap {
        self.fields.to_header_map()
    }

    /// Builds a [`Uri`]. `None` where the target has a byte that `Uri` does not take.
    pub fn to_uri(&self) -> Option<Uri> {
        let (start, len) = (usize::from(self.target_at.0), usize::from(self.target_at.1));
        Uri::from_maybe_shared(self.fields.block().slice(start..start + len)).ok()
    }

    /// Builds an [`http::Request`] around a body. `None` as with [`to_uri`](Self::to_uri).
    pub fn into_http<B>(self, body: B) -> Option<http::Request<B>> {
        let uri = self.to_uri()?;
        let mut request = http::Request::new(body);
        *request.uri_mut() = uri;
        *request.headers_mut() = self.fields.to_header_map();
        *request.version_mut() = self.version;
        *request.method_mut() = self.method;
        Some(request)
    }

    /// The block of bytes that the head was read from, request line first.
    pub fn as_bytes(&self) -> &Bytes {
        self.fields.block()
    }

    fn relative(&self, (start, len): (u16, u16)) -> &str {
        self.fields.text(self.target_at.0 + start, len)
    }
}

impl fmt::Debug for RequestHead {
    /// Path without query, names of fields without values: both may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method)
            .field("path", &self.path())
            .field("version", &self.version)
            .field("fields", &self.fields)
            .finish_non_exhaustive()
    }
}
