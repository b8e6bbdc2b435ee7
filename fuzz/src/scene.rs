//! Exchanges and weather, read from bytes.

use core::ops::RangeInclusive;
use core::time::Duration;

use http::{Method, StatusCode};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use sinew_conformance::exchange::{Answer, Body, Exchange};
use sinew_conformance::laws::Scene;
use sinew_conformance::weather::Weather;

/// Every input is a scene; one that ends early is a short one.
pub fn scene(bytes: &[u8]) -> Scene {
    let mut bytes = Unstructured::new(bytes);
    let depth = bytes.int_in_range(1..=4).unwrap_or(1);
    let up = weather(&mut bytes).unwrap_or_default();
    let down = weather(&mut bytes).unwrap_or_default();
    let mut plan = Vec::new();
    while plan.len() < 6
        && !bytes.is_empty()
        && let Ok(exchange) = exchange(&mut bytes, depth > 1)
    {
        plan.push(exchange);
    }
    Scene { plan, depth, up, down }
}

fn weather(bytes: &mut Unstructured<'_>) -> Result<Weather> {
    let pieces = (0..bytes.int_in_range(0..=4)?)
        .map(|_| Ok(usize::from(bytes.arbitrary::<u16>()?) + 1))
        .collect::<Result<Vec<_>>>()?;
    let mut stalls = (0..bytes.int_in_range(0..=2)?)
        .map(|_| Ok((u64::from(bytes.arbitrary::<u16>()?), millis(bytes, 1..=60_000)?)))
        .collect::<Result<Vec<_>>>()?;
    stalls.sort_unstable();
    let cut = bytes.arbitrary::<Option<u16>>()?.map(u64::from);
    let capacity = *bytes.choose(&[0, 100, 5000])?;
    Ok(Weather { pieces, stalls, cut, capacity })
}

fn millis(bytes: &mut Unstructured<'_>, range: RangeInclusive<u64>) -> Result<Duration> {
    Ok(Duration::from_millis(bytes.int_in_range(range)?))
}

fn body(bytes: &mut Unstructured<'_>) -> Result<Body> {
    let mut pieces = Vec::new();
    for _ in 0..bytes.int_in_range(0..=3)? {
        let length = *bytes.choose(&[0, 1, 40, 2000, 70_000])?;
        pieces.push(vec![bytes.arbitrary::<u8>()?; length].into());
    }
    Ok(match bytes.int_in_range(0..=2)? {
        0 => Body::Empty,
        1 => Body::Exact(pieces),
        _ => Body::Streamed(pieces, bytes.arbitrary::<bool>()?.then(|| "t".into())),
    })
}

/// Behind others a client sends only what is idempotent, and has no body.
fn exchange(bytes: &mut Unstructured<'_>, behind: bool) -> Result<Exchange> {
    let (method, request) = if behind {
        (bytes.choose(&[Method::GET, Method::HEAD, Method::DELETE])?.clone(), Body::Empty)
    } else {
        let methods = [Method::GET, Method::HEAD, Method::POST, Method::PUT];
        (bytes.choose(&methods)?.clone(), body(bytes)?)
    };
    let statuses = [200, 201, 204, 304, 404, 500];
    Ok(Exchange {
        method,
        request,
        expects: bytes.ratio(1u8, 3u8)?,
        answer: *bytes.choose(&[Answer::AtTheEnd, Answer::AtOnce, Answer::Discarding])?,
        thinks: millis(bytes, 0..=800)?,
        rests: millis(bytes, 0..=800)?,
        hints: bytes.int_in_range(0..=2)?,
        status: StatusCode::from_u16(*bytes.choose(&statuses)?).unwrap_or_default(),
        response: body(bytes)?,
    })
}
