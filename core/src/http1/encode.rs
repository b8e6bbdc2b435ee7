//! Writes heads. What the application gives is checked before a byte of it can leave.

use http::{StatusCode, Version};

use super::field::{FieldName, FieldValue};
use super::framing::is_forbidden_in_trailers;
use super::grammar::{decimal, is_field_value, is_token, list, trim};
use super::message::{RequestLine, StatusLine};
use crate::decimal::Backwards;
use crate::error::Misuse;
use crate::head::{NameFilter, is_host, is_name};
use crate::outbox::Draft;

/// What the application's fields said about framing.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) date: bool,
    pub(crate) host: bool,
    pub(crate) close: bool,
    pub(crate) expects_continue: bool,
    pub(crate) content_length: Option<u64>,
    pub(crate) upgrade: Option<Vec<u8>>,
}

/// `HTTP-version SP status-code SP reason CR LF`
#[inline]
pub(crate) fn status_line(head: &mut Draft<'_>, line: &StatusLine<'_>) -> Result<(), Misuse> {
    if line.status == StatusCode::OK && line.reason.is_none() {
        head.put(b"HTTP/1.1 200 OK\r\n");
        return Ok(());
    }
    any_status_line(head, line)
}

fn any_status_line(head: &mut Draft<'_>, line: &StatusLine<'_>) -> Result<(), Misuse> {
    let reason = match line.reason {
        Some(reason) if !is_field_value(reason) => return Err(Misuse::Reason),
        Some(reason) => reason,
        None => line.status.canonical_reason().unwrap_or_default().as_bytes(),
    };
    head.put(b"HTTP/1.1 ");
    head.put(line.status.as_str().as_bytes());
    head.put(b" ");
    head.put(reason);
    head.put(b"\r\n");
    Ok(())
}

/// `method SP request-target SP HTTP-version CR LF`
pub(crate) fn request_line(head: &mut Draft<'_>, line: RequestLine<'_>) -> Result<(), Misuse> {
    // `Method` is a token by construction.
    if !line.has_sound_target() {
        return Err(Misuse::Target);
    }
    let method = line.method.as_str().as_bytes();
    let room = head.room(method.len() + line.target.len() + 12);
    let (method_at, rest) = room.split_at_mut(method.len());
    method_at.copy_from_slice(method);
    let (space_at, rest) = rest.split_at_mut(1);
    space_at.copy_from_slice(b" ");
    let (target_at, version_at) = rest.split_at_mut(line.target.len());
    target_at.copy_from_slice(line.target);
    version_at.copy_from_slice(b" HTTP/1.1\r\n");
    Ok(())
}

/// One field line.
pub(crate) fn field(head: &mut Draft<'_>, name: &[u8], value: &[u8]) {
    let line = head.room(name.len() + value.len() + 4);
    let (name_at, line) = line.split_at_mut(name.len());
    name_at.copy_from_slice(name);
    let (colon_at, line) = line.split_at_mut(2);
    colon_at.copy_from_slice(b": ");
    let (value_at, end_at) = line.split_at_mut(value.len());
    value_at.copy_from_slice(value);
    end_at.copy_from_slice(b"\r\n");
}

/// Fields that concern the machine.
static CONCERNS: NameFilter = NameFilter::new(&[
    b"date",
    b"host",
    b"expect",
    b"upgrade",
    b"connection",
    b"content-length",
    b"transfer-encoding",
]);

impl Given {
    /// Writes the application's fields, except those that the machine writes by itself.
    #[inline]
    pub(crate) fn write<N: FieldName, V: FieldValue>(
        &mut self,
        head: &mut Draft<'_>,
        fields: impl IntoIterator<Item = (N, V)>,
    ) -> Result<(), Misuse> {
        for (name, value) in fields {
            let (name, value) = (name.as_ref(), value.as_ref());
            if !N::IS_TOKEN && !is_token(name) {
                return Err(Misuse::FieldName);
            }
            if !V::IS_SOUND && !is_field_value(value) {
                return Err(Misuse::FieldValue);
            }
            if !CONCERNS.may_hold(name) || self.take(name, value)? {
                field(head, name, value);
            }
        }
        Ok(())
    }

    /// Notes a field that concerns the machine; `false` where the machine writes it itself.
    fn take(&mut self, name: &[u8], value: &[u8]) -> Result<bool, Misuse> {
        match name.len() {
            4 if is_name(name, b"date") => self.date = true,
            4 if is_name(name, b"host") => {
                if self.host || !is_host(value) {
                    return Err(Misuse::Host);
                }
                self.host = true;
            }
            6 if is_name(name, b"expect") => {
                self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue");
            }
            7 if is_name(name, b"upgrade") => {
                let all = self.upgrade.get_or_insert_default();
                if !all.is_empty() {
                    all.extend_from_slice(b", ");
                }
                all.extend_from_slice(value);
            }
            10 if is_name(name, b"connection") => {
                self.close |= list(value).any(|option| is_name(option, b"close"));
                return Ok(false);
            }
            14 if is_name(name, b"content-length") => {
                if self.content_length.is_some() {
                    return Err(Misuse::ContentLength);
                }
                self.content_length = Some(decimal(trim(value)).ok_or(Misuse::ContentLength)?);
                return Ok(false);
            }
            17 if is_name(name, b"transfer-encoding") => {
                return Err(Misuse::TransferEncoding);
            }
            _ => {}
        }
        Ok(true)
    }
}

/// `connection`, as far as it says something that the version does not say already. A head with an
/// `upgrade` says so: <https://www.rfc-editor.org/rfc/rfc9110#section-7.8>
#[inline]
pub(crate) fn connection(head: &mut Draft<'_>, keep: bool, version: Version, upgrade: bool) {
    let line: &[u8] = match (upgrade, keep, version) {
        (true, true, Version::HTTP_10) => b"connection: upgrade, keep-alive\r\n",
        (true, true, _) => b"connection: upgrade\r\n",
        (true, false, _) => b"connection: upgrade, close\r\n",
        (false, true, Version::HTTP_10) => b"connection: keep-alive\r\n",
        (false, true, _) => return,
        (false, false, _) => b"connection: close\r\n",
    };
    head.put(line);
}

/// `content-length`
pub(crate) fn content_length(head: &mut Draft<'_>, length: u64) {
    let mut line = Backwards::<38>::new();
    line.put(b"\r\n");
    line.number(length);
    line.put(b"content-length: ");
    head.put(line.as_bytes());
}

/// The last chunk and the trailer section.
pub(crate) fn last_chunk<N: AsRef<[u8]>, V: AsRef<[u8]>>(
    head: &mut Draft<'_>,
    trailers: impl IntoIterator<Item = (N, V)>,
) -> Result<(), Misuse> {
    head.put(b"0\r\n");
    check_trailers(trailers, |name, value| field(head, name, value))?;
    head.put(b"\r\n");
    Ok(())
}

/// Hands on each trailer that may be sent; the first that may not ends it.
pub(crate) fn check_trailers<N: AsRef<[u8]>, V: AsRef<[u8]>>(
    trailers: impl IntoIterator<Item = (N, V)>,
    mut each: impl FnMut(&[u8], &[u8]),
) -> Result<(), Misuse> {
    for (name, value) in trailers {
        let (name, value) = (name.as_ref(), value.as_ref());
        if !is_token(name) {
            return Err(Misuse::FieldName);
        }
        if is_forbidden_in_trailers(name) {
            return Err(Misuse::Trailer);
        }
        if !is_field_value(value) {
            return Err(Misuse::FieldValue);
        }
        each(name, value);
    }
    Ok(())
}
