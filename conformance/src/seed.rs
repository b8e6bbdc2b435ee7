//! Seeds for the fuzz targets, made from the cases.
//!
//! A seed is the bytes of a peer, so that any capture is one as well; only what is to be sent is
//! written down in a [form](spec) of its own.

use crate::case::{Case, Side, Spec};
use crate::encode::octets;

/// Separate the units of a message to send, and groups of them: no attack needs these two controls.
const UNIT: u8 = 0x1f;
const GROUP: u8 = 0x1e;

/// A target tries nothing longer than its longest seed; some cases have megabytes of frames.
const LONGEST: usize = 4096;

/// The seeds that a case gives: for each the fuzz target and the bytes.
pub fn seeds(case: &Case) -> Vec<(&'static str, Vec<u8>)> {
    match case {
        Case::Parse(case) => {
            let input = &case.input.0;
            let stream = match case.side {
                Side::Request => "request_stream",
                Side::Response => "response_stream",
            };
            let mut seeds: Vec<_> = [stream, "heads", "exchanges"]
                .into_iter()
                .map(|target| (target, input.clone()))
                .collect();
            if let Some(body) = chunked_body(input) {
                seeds.push(("chunked", body.to_vec()));
            }
            seeds
        }
        Case::Encode(case) => vec![("sending", write_spec(case.side, &case.spec))],
        Case::WebSocket(case) => {
            let frames = case.octets();
            let fits = (1..=LONGEST).contains(&frames.len());
            if fits { vec![("websocket", frames)] } else { Vec::new() }
        }
        Case::Cors(_) => Vec::new(),
    }
}

/// What stands behind a head that speaks of chunks.
fn chunked_body(input: &[u8]) -> Option<&[u8]> {
    const END: &[u8] = b"\r\n\r\n";
    let end = input.windows(END.len()).position(|window| window == END)? + END.len();
    let (head, body) = input.split_at(end);
    head.to_ascii_lowercase().windows(7).any(|window| window == b"chunked").then_some(body)
}

/// The message to send that these units make up, in groups.
///
/// First method, target and authority of a request; or method and version of the request that a
/// response answers, its status and reason. Then name and value of each field. Then, if there is a
/// body, the body; or the pieces of a streamed one, and name and value of each trailer.
pub fn spec(bytes: &[u8]) -> (Side, Spec) {
    let text = |unit: &[u8]| unit.iter().map(|byte| char::from(*byte)).collect::<String>();
    let units = |group: &[u8]| match group {
        [] => Vec::new(),
        group => group.split(|byte| *byte == UNIT).map(text).collect(),
    };
    let mut groups = bytes.split(|byte| *byte == GROUP).map(units);
    let mut first = groups.next().unwrap_or_default().into_iter();
    let mut spec = Spec::default();
    let (method, second) = (first.next(), first.next());
    let side = if matches!(second.as_deref(), Some("1.0" | "1.1")) {
        (spec.request_method, spec.request_version) = (method, second);
        spec.status = first.next().and_then(|status| status.parse().ok());
        spec.reason = first.next().filter(|reason| !reason.is_empty());
        Side::Response
    } else {
        (spec.method, spec.target, spec.host) = (method, second, first.next());
        Side::Request
    };
    let pairs = |units: Vec<String>| -> Vec<(String, String)> {
        let pair = |pair: &[String]| match pair {
            [name, value] => (name.clone(), value.clone()),
            rest => (rest.concat(), String::new()),
        };
        units.chunks(2).map(pair).collect()
    };
    spec.headers = groups.next().map(pairs).unwrap_or_default();
    match (groups.next(), groups.next()) {
        (Some(body), None) => spec.body = Some(body.concat()),
        (Some(chunks), Some(trailers)) => {
            (spec.stream, spec.chunks, spec.trailers) = (true, chunks, pairs(trailers));
        }
        _ => {}
    }
    (side, spec)
}

/// The inverse of [`spec`].
fn write_spec(side: Side, spec: &Spec) -> Vec<u8> {
    let or = |given: &Option<String>, default: &str| octets(given.as_deref().unwrap_or(default));
    let pairs = |pairs: &[(String, String)]| -> Vec<Vec<u8>> {
        pairs.iter().flat_map(|(name, value)| [octets(name), octets(value)]).collect()
    };
    let first = match side {
        Side::Request => {
            vec![or(&spec.method, "GET"), or(&spec.target, "/"), or(&spec.host, "a.test")]
        }
        Side::Response => vec![
            or(&spec.request_method, "GET"),
            or(&spec.request_version, "1.1"),
            spec.status.unwrap_or(200).to_string().into_bytes(),
            or(&spec.reason, ""),
        ],
    };
    let mut groups = vec![first, pairs(&spec.headers)];
    if spec.stream {
        groups.push(spec.chunks.iter().map(|chunk| octets(chunk)).collect());
        groups.push(pairs(&spec.trailers));
    } else if let Some(body) = &spec.body {
        groups.push(vec![octets(body)]);
    }
    let groups: Vec<Vec<u8>> = groups.iter().map(|units| units.join(&UNIT)).collect();
    groups.join(&GROUP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode;
    use crate::load::Cases;

    #[test]
    fn every_target_has_seeds() {
        let mut counts = std::collections::BTreeMap::new();
        for (target, seed) in Cases::built_in().unwrap().iter().flat_map(seeds) {
            assert!(target != "websocket" || seed.len() <= LONGEST);
            *counts.entry(target).or_insert(0) += 1;
        }
        let all = ["chunked", "exchanges", "heads", "request_stream", "response_stream", "sending"];
        for target in all.into_iter().chain(["websocket"]) {
            assert!(counts.get(target).is_some_and(|count| *count >= 50), "{target}: {counts:?}");
        }
    }

    #[test]
    fn a_message_to_send_survives_its_seed() {
        let mut compared = 0;
        for case in Cases::built_in().unwrap() {
            let Case::Encode(case) = case else { continue };
            let (side, again) = spec(&write_spec(case.side, &case.spec));
            assert_eq!(side, case.side, "{}", case.id);
            let sent = |spec| encode::send(side, spec).map(|sent| (sent.is_whole(), sent.written));
            assert_eq!(sent(&again), sent(&case.spec), "{}: {again:?}", case.id);
            compared += 1;
        }
        assert!(compared > 0);
    }
}
