//! The head of a response.

use core::fmt;

use http::{HeaderMap, StatusCode, Version};

use super::Fields;
use crate::error::Delivery;

/// The head of a response: status, reason, version, fields.
#[derive(Clone)]
pub struct ResponseHead {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) reason: (u16, u16),
    pub(crate) fields: Fields,
}

impl ResponseHead {
    /// A head that nobody sent. `None` where the fields take more than 64 KiB.
    pub fn new(status: StatusCode, fields: &HeaderMap) -> Option<Self> {
        let fields = Fields::of(fields)?;
        Some(Self { status, version: Version::HTTP_11, reason: (0, 0), fields })
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// HTTP/1.0 or HTTP/1.1. A higher minor version is read as 1.1.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The reason phrase as it stood on the wire; it means nothing.
    pub fn reason(&self) -> &[u8] {
        self.fields.slice(self.reason.0, self.reason.1)
    }

    /// What the answer says about its request, as [`Delivery::of_answer`] reads it.
    pub fn delivery(&self) -> Delivery {
        Delivery::of_answer(self.status, || self.fields.get("retry-after").is_some())
    }

    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.fields.get(name)
    }

    /// All field lines.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// Takes every line of a field out, where it no longer says what is: `content-encoding` of a body
    /// that was unpacked.
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

    /// Builds an [`http::Response`] around a body.
    pub fn into_http<B>(self, body: B) -> http::Response<B> {
        let mut response = http::Response::new(body);
        *response.status_mut() = self.status;
        *response.version_mut() = self.version;
        *response.headers_mut() = self.fields.to_header_map();
        response
    }
}

impl fmt::Debug for ResponseHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseHead")
            .field("status", &self.status)
            .field("version", &self.version)
            .field("fields", &self.fields)
            .finish_non_exhaustive()
    }
}
