//! What our parser takes, httparse takes and reads the same (it is the laxer of the two), and the
//! types of the `http` crate that a head becomes say what the head says.

use std::sync::Arc;

use http::{HeaderMap, Method};
use httparse::{EMPTY_HEADER, ParserConfig, Status};
use sinew_core::head::{Fields, RequestHead, TargetForm};
use sinew_core::http1::{
    BodySize, Client, ClientConfig, ClientEvent, NO_FIELDS, RequestLine, Server, ServerConfig,
    ServerEvent,
};
use sinew_core::machine::{Machine, Wire};
use sinew_core::time::Instant;

use super::ensure;
use crate::end::Breach;

const NOW: Instant = Instant::ZERO;

/// More field lines than the default limit lets in.
const MOST_FIELDS: usize = 128;

/// Whether the two were compared: both took the head.
pub type Compared = bool;

/// The head of a request.
pub fn check_request_head(bytes: &[u8]) -> Result<Compared, Breach> {
    let mut server = Server::new(Arc::new(ServerConfig::default()), NOW);
    server.inbox().extend_from_slice(bytes);
    let Ok(Some(ServerEvent::Request { head, .. })) = server.poll_event(NOW) else {
        return Ok(false);
    };
    check_request_types(&head)?;
    let mut fields = [EMPTY_HEADER; MOST_FIELDS];
    let mut theirs = httparse::Request::new(&mut fields);
    if !taken(theirs.parse(bytes))? {
        return Ok(false);
    }
    let ours = (Some(head.method().as_str()), Some(head.target()));
    let theirs_line = (theirs.method, theirs.path);
    ensure(ours == theirs_line, || format!("{ours:?}, httparse: {theirs_line:?}"))?;
    same_fields(head.fields(), theirs.headers)?;
    Ok(true)
}

/// The head of a response, interim or not.
pub fn check_response_head(bytes: &[u8]) -> Result<Compared, Breach> {
    let mut client = Client::new(Arc::new(ClientConfig::default()));
    let line = RequestLine { method: &Method::GET, target: b"/", authority: b"a" };
    let sent = client.send_request(NOW, line, NO_FIELDS, BodySize::Empty);
    ensure(sent.is_ok(), || format!("{sent:?}"))?;
    client.inbox().extend_from_slice(bytes);
    let Ok(Some(ClientEvent::Response { head, .. } | ClientEvent::Informational(head))) =
        client.poll_event(NOW)
    else {
        return Ok(false);
    };
    check_map(head.fields(), &head.to_header_map())?;
    let mut fields = [EMPTY_HEADER; MOST_FIELDS];
    let mut theirs = httparse::Response::new(&mut fields);
    let mut lax = ParserConfig::default();
    lax.allow_obsolete_multiline_headers_in_responses(true);
    if !taken(lax.parse_response(&mut theirs, bytes))? {
        return Ok(false);
    }
    let code = head.status().as_u16();
    ensure(Some(code) == theirs.code, || format!("{code}, httparse: {:?}", theirs.code))?;
    // We unfold a folded value; httparse leaves the fold in it.
    if !theirs.headers.iter().any(|field| field.value.contains(&b'\n')) {
        same_fields(head.fields(), theirs.headers)?;
    }
    Ok(true)
}

/// Whether httparse read the head. It knows no minor version above 1, which we read as 1:
/// <https://www.rfc-editor.org/rfc/rfc9110#section-2.5>
fn taken(parsed: httparse::Result<usize>) -> Result<bool, Breach> {
    match parsed {
        Ok(Status::Complete(_)) => Ok(true),
        Err(httparse::Error::Version) => Ok(false),
        other => Err(Breach(format!("we take what httparse does not: {other:?}"))),
    }
}

fn same_fields(ours: &Fields, theirs: &[httparse::Header<'_>]) -> Result<(), Breach> {
    let theirs = theirs.iter().map(|field| (field.name, field.value));
    ensure(ours.iter().eq(theirs.clone()), || {
        format!("{:?}, httparse: {:?}", ours.iter().collect::<Vec<_>>(), theirs.collect::<Vec<_>>())
    })
}

/// Nothing is lost on the way into a [`HeaderMap`], and the order of equal names stays.
fn check_map(fields: &Fields, map: &HeaderMap) -> Result<(), Breach> {
    let same = fields.iter().all(|(name, _)| {
        let theirs = map.get_all(name).iter().map(http::HeaderValue::as_bytes);
        fields.get_all(name).eq(theirs)
    });
    ensure(same && map.len() == fields.len(), || format!("{fields:?} became {map:?}"))
}

fn check_request_types(head: &RequestHead) -> Result<(), Breach> {
    check_map(head.fields(), &head.to_header_map())?;
    // Not every target that RFC 9112 has is one for `Uri`.
    let Some(request) = head.clone().into_http(()) else { return Ok(()) };
    let uri = request.uri();
    let differs = || format!("{:?} {} became {uri:?}", head.target_form(), head.target());
    ensure(request.method() == head.method() && request.version() == head.version(), differs)?;
    let authority = uri.authority().map(http::uri::Authority::as_str);
    match head.target_form() {
        TargetForm::Authority => ensure(authority == Some(head.target()), differs),
        TargetForm::Absolute => {
            let same = uri.path() == head.path() && uri.query() == head.query();
            ensure(same && authority == head.authority(), differs)
        }
        TargetForm::Origin | TargetForm::Asterisk => {
            let same = uri.path() == head.path() && uri.query() == head.query();
            ensure(same && authority.is_none(), differs)
        }
    }
}
