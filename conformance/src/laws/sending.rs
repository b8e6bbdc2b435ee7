//! What one machine agrees to send, the other reads as it was meant.

use http::Method;
use http::method::InvalidMethod;
use sinew_core::http1::{ClientConfig, ServerConfig};
use sinew_core::machine::Status;

use super::framing::is_beside_framing;
use super::{Input, ensure, same_however_cut};
use crate::case::{Behaviour, Side, Spec};
use crate::encode::{octets, send};
use crate::end::Breach;
use crate::feed::{Script, Way};
use crate::run::{Asked, fetch_script, serve_script};
use crate::suite::{describe, shorten};
use crate::transcript::{Lines, Message, Start, Transcript};

/// Sends, and reads what was written whole and cut by this seed.
pub fn check_sending(side: Side, spec: &Spec, seed: u64) -> Result<(), Breach> {
    // An answer to what is no request cannot be asked for.
    let (Ok(sent), Ok(method)) = (send(side, spec), method_of(spec)) else { return Ok(()) };
    if !sent.is_whole() {
        let what = || format!("refused in the middle, and it goes on: {}", shorten(&sent.written));
        return ensure(sent.is_broken_off(), what);
    }
    let bytes = &sent.written;
    let cuts = [Way::Bytes, Way::Cuts(seed)].map(|way| way.pieces(bytes.len())).to_vec();
    let input = Input { bytes, eof: sent.status != Status::Open, cuts };
    let run = match side {
        Side::Request => same_however_cut(&input, |pieces| {
            let mut script = Script::new(bytes, pieces, input.eof);
            Ok(serve_script(ServerConfig::default(), Behaviour::Whole, &mut script))
        }),
        Side::Response => same_however_cut(&input, |pieces| {
            let mut script = Script::new(bytes, pieces, input.eof);
            let asked = Asked { method: method.clone(), fields: &Vec::new(), body: 0 };
            fetch_script(ClientConfig::default(), &asked, &mut script).map_err(Breach)
        }),
    }?;
    let read = check_read(side, spec, &run);
    read.map_err(|breach| {
        let (wire, run) = (bytes.escape_ascii(), describe(&run));
        Breach(format!("{breach}\nsent: {spec:?}\nwire: {wire}\nread: {run}"))
    })
}

/// The method of the request that a response answers.
fn method_of(spec: &Spec) -> Result<Method, InvalidMethod> {
    Method::from_bytes(&octets(spec.request_method.as_deref().unwrap_or("GET")))
}

fn check_read(side: Side, spec: &Spec, run: &Transcript) -> Result<(), Breach> {
    // What an application may say and its peer need not want: an odd expectation, half a handshake.
    if is_beside_framing(run) {
        return Ok(());
    }
    ensure(run.error.is_none(), || "refused".to_owned())?;
    let status = spec.status.unwrap_or(200);
    if side == Side::Response && (100..200).contains(&status) && status != 101 {
        let same = run.interim == [status] && run.messages.is_empty();
        return ensure(same, || "another interim response".to_owned());
    }
    let [message] = &run.messages[..] else {
        return Err(Breach(format!("{} messages", run.messages.len())));
    };
    ensure(message.complete, || "unfinished".to_owned())?;
    check_start(spec, &message.start)?;
    check_fields(&spec.headers, &message.headers)?;
    let method = spec.request_method.as_deref();
    let bodiless = method == Some("HEAD") || matches!(status, 204 | 304);
    if side == Side::Request || !bodiless {
        ensure(message.body == body(spec), || "another body".to_owned())?;
        check_trailers(spec, message)?;
    }
    Ok(())
}

fn check_start(spec: &Spec, start: &Start) -> Result<(), Breach> {
    let same = match start {
        Start::Request { method, target, .. } => {
            *method == *spec.method.as_deref().unwrap_or("GET")
                && *target == *spec.target.as_deref().unwrap_or("/")
        }
        Start::Response { status, reason } => {
            *status == spec.status.unwrap_or(200)
                && spec.reason.as_deref().is_none_or(|wanted| octets(wanted) == *reason)
        }
    };
    ensure(same, || format!("another first line: {start:?}"))
}

/// Every field that was asked for stands there, in order, but for two that the machine writes in its
/// own words; besides, only what the machine adds.
fn check_fields(asked: &[(String, String)], read: &Lines) -> Result<(), Breach> {
    const OWN: [&str; 2] = ["connection", "content-length"];
    const ADDED: [&str; 6] =
        ["connection", "content-length", "date", "host", "transfer-encoding", "trailer"];
    let mut asked = lines(asked);
    asked.retain(|(name, _)| !OWN.contains(&name.as_str()));
    let mut asked = asked.into_iter().peekable();
    for line in read {
        if asked.peek() == Some(line) {
            asked.next();
        } else {
            ensure(ADDED.contains(&line.0.as_str()), || format!("made up: {line:?}"))?;
        }
    }
    let missing = asked.next();
    ensure(missing.is_none(), || format!("missing: {missing:?}"))
}

fn lines(fields: &[(String, String)]) -> Lines {
    let value = |value: &String| octets(value).trim_ascii().to_vec();
    fields.iter().map(|(name, v)| (name.to_lowercase(), value(v))).collect()
}

fn body(spec: &Spec) -> Vec<u8> {
    spec.chunks.iter().chain(&spec.body).flat_map(|piece| octets(piece)).collect()
}

/// Trailers travel where the body is chunked.
fn check_trailers(spec: &Spec, message: &Message) -> Result<(), Breach> {
    let chunked = message.headers.iter().any(|(name, _)| name == "transfer-encoding");
    let wanted = (chunked && !spec.trailers.is_empty()).then(|| lines(&spec.trailers));
    ensure(message.trailers == wanted, || format!("other trailers: {:?}", message.trailers))
}
