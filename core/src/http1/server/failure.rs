//! The answer that the machine writes by itself when an exchange fails.

use crate::error::{Error, Misuse};
use crate::head::same_name;
use crate::http1::encode;
use crate::http1::framing::Asked;
use crate::http1::grammar::{is_field_value, is_token};
use crate::observe;
use crate::problem::{Document, Ids, MEDIA_TYPE};
use crate::reason::Reason;
use crate::time::Instant;

use super::Server;

/// What such an answer says of the running exchange. The memory is kept for the next one.
#[derive(Debug, Default)]
pub(super) struct Description {
    ids: Ids,
    /// Field lines as they go out.
    lines: Vec<u8>,
}

/// Fields of such an answer that are the machine's own.
const OWN: [&[u8]; 5] =
    [b"connection", b"content-length", b"content-type", b"date", b"transfer-encoding"];

impl Server {
    /// Says by what the running exchange is found again, and which fields belong on its answer,
    /// whatever it will be: the answers that the machine writes by itself, when the exchange fails,
    /// have them as well. What the application sends is not touched.
    ///
    /// # Errors
    ///
    /// A field that cannot be sent; nothing is kept then. Fields that the machine writes itself are
    /// left out.
    pub fn describe_failure<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        now: Instant,
        ids: Ids,
        fields: impl IntoIterator<Item = (N, V)>,
    ) -> Result<(), Error> {
        self.check(now)?;
        let mut description = self.description.take().unwrap_or_default();
        description.lines.clear();
        for (name, value) in fields {
            let (name, value) = (name.as_ref(), value.as_ref());
            if !is_token(name) {
                return Err(self.misuse(Misuse::FieldName));
            }
            if !is_field_value(value) {
                return Err(self.misuse(Misuse::FieldValue));
            }
            if OWN.iter().any(|own| same_name(name, own)) {
                continue;
            }
            let lines = &mut description.lines;
            lines.extend_from_slice(name);
            lines.extend_from_slice(b": ");
            lines.extend_from_slice(value);
            lines.extend_from_slice(b"\r\n");
        }
        description.ids = ids;
        self.description = Some(description);
        Ok(())
    }

    /// The next exchange is another one.
    pub(super) fn forget_description(&mut self) {
        if let Some(description) = &mut self.description {
            description.ids = Ids::default();
            description.lines.clear();
        }
    }

    /// A problem document without any internal text: <https://www.rfc-editor.org/rfc/rfc9457>
    pub(super) fn answer_error(&mut self, now: Instant, error: &Error) {
        let Some(status) = error.status() else { return };
        let described = self.description.as_deref();
        let mut document = Document::from(Reason::of(error));
        if let Some(described) = described {
            document.ids = &described.ids;
        }
        let body = document.to_json();
        let mut head = self.outbox.draft();
        // A status line without a reason of our own cannot be refused.
        let _ = encode::status_line(&mut head, &status.into());
        if let Some(epoch) = self.config.epoch {
            head.put(self.date.line(epoch, now));
        }
        if let Some(described) = described {
            head.put(&described.lines);
        }
        encode::field(&mut head, b"content-type", MEDIA_TYPE.as_bytes());
        encode::content_length(&mut head, body.len() as u64);
        head.put(b"connection: close\r\n\r\n");
        if self.asked != Asked::Head {
            head.put(body.as_bytes());
            self.bodies.sent += body.len() as u64;
        }
        head.finish();
        self.log.record(observe::Event::Responded { exchange: self.exchange, status });
    }
}
