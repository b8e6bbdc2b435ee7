//! Random exchanges over a hostile network.

use bytes::Bytes;
use core::time::Duration;
use http::{Method, StatusCode};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::sync::Arc;

use sinew_conformance::exchange::{Answer, Asking, Body, Exchange, Serving};
use sinew_conformance::pair::Pair;
use sinew_conformance::transcript::Start;
use sinew_conformance::weather::Weather;
use sinew_core::error::Delivery;
use sinew_core::http1::{Client, ClientConfig, Server, ServerConfig};
use sinew_core::machine::CloseReason;
use sinew_core::time::Instant;

use crate::config;

fn pieces() -> impl Strategy<Value = Vec<Bytes>> {
    let piece = (any::<u8>(), prop_oneof![0usize..40, 200usize..3000, 60_000usize..90_000]);
    vec(piece.prop_map(|(byte, len)| Bytes::from(vec![byte; len])), 0..4)
}

fn body() -> impl Strategy<Value = Body> {
    let trailer = option::of("[a-z]{0,8}".prop_map(Bytes::from));
    prop_oneof![
        2 => Just(Body::Empty),
        2 => pieces().prop_map(Body::Exact),
        2 => (pieces(), trailer).prop_map(|(pieces, trailer)| Body::Streamed(pieces, trailer)),
    ]
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let method = select(vec![Method::GET, Method::HEAD, Method::POST, Method::PUT]);
    let answer = prop_oneof![
        6 => Just(Answer::AtTheEnd),
        1 => Just(Answer::AtOnce),
        1 => Just(Answer::Discarding),
    ];
    let status = select(vec![200, 201, 204, 304, 404, 500])
        .prop_map(|code| StatusCode::from_u16(code).unwrap());
    let millis = || prop_oneof![4 => Just(0u64), 1 => 1u64..800].prop_map(Duration::from_millis);
    let ask = (method, body(), prop::bool::weighted(0.3), answer);
    (ask, status, body(), millis(), millis(), 0u8..3).prop_map(
        |((method, request, expects, answer), status, response, thinks, rests, hints)| Exchange {
            method,
            request,
            expects,
            answer,
            thinks,
            hints,
            status,
            response,
            rests,
        },
    )
}

/// Splits and delays that no timer minds.
fn calm() -> impl Strategy<Value = Weather> {
    let pieces = vec(prop_oneof![1usize..4, 10usize..500, 5000usize..70_000], 0..5);
    let stalls = vec((0u64..200_000, 1u64..300), 0..3);
    (pieces, stalls, select(vec![0usize, 100, 5000])).prop_map(|(pieces, mut stalls, capacity)| {
        stalls.sort_unstable();
        let stalls = stalls.into_iter().map(|(at, ms)| (at, Duration::from_millis(ms))).collect();
        Weather { pieces, stalls, cut: None, capacity }
    })
}

/// Cuts, and stalls that timers do mind.
fn storm() -> impl Strategy<Value = Weather> {
    let stalls = vec((0u64..2000, 1u64..60), 0..3);
    (calm(), stalls, option::of(0u64..3000)).prop_map(|(calm, mut stalls, cut)| {
        stalls.sort_unstable();
        let stalls = stalls.into_iter().map(|(at, s)| (at, Duration::from_secs(s))).collect();
        Weather { stalls, cut, ..calm }
    })
}

/// What a client may send behind others.
fn ask() -> impl Strategy<Value = Exchange> {
    let method = select(vec![Method::GET, Method::GET, Method::HEAD, Method::DELETE]);
    (exchange(), method).prop_map(|(exchange, method)| Exchange {
        method,
        request: Body::Empty,
        ..exchange
    })
}

fn pair(plan: &[Exchange], depth: u32, up: Weather, down: Weather) -> Pair<Asking, Serving> {
    let config = ClientConfig { pipelining: depth, ..ClientConfig::default() };
    Pair::new(
        (Client::new(Arc::new(config)), Asking::new(plan.to_vec())),
        (
            Server::new(Arc::new(ServerConfig::default()), Instant::ZERO),
            Serving::new(plan.to_vec()),
        ),
        up,
        down,
    )
}

/// What may differ: nothing but that something is missing at the end.
fn check_delivered(pair: &Pair<Asking, Serving>, plan: &[Exchange]) -> Result<(), TestCaseError> {
    for (i, got) in pair.server.app.requests.iter().enumerate() {
        let wanted = &plan[i];
        let Start::Request { method, target, .. } = &got.start else { unreachable!() };
        prop_assert_eq!(method, wanted.method.as_str());
        prop_assert_eq!(target, &format!("/{i}"));
        let sent = wanted.request.bytes();
        prop_assert!(sent.starts_with(&got.body), "request {} was altered", i);
        if got.complete && wanted.answer != Answer::Discarding {
            prop_assert_eq!(got.body.len(), sent.len());
            prop_assert_eq!(&got.trailers, &trailers(&wanted.request));
        }
    }
    for (i, got) in pair.client.app.answers.iter().enumerate() {
        let wanted = &plan[i];
        let Start::Response { status, .. } = got.start else { unreachable!() };
        if status != wanted.status.as_u16() {
            // A machine's own answer to what the network made of the request.
            prop_assert!(status >= 400 && got.headers.iter().any(|(_, v)| v == b"close"));
            continue;
        }
        let bodiless = wanted.method == Method::HEAD || matches!(status, 204 | 304);
        let sent = if bodiless { Vec::new() } else { wanted.response.bytes() };
        prop_assert!(sent.starts_with(&got.body), "response {} was altered", i);
        if got.complete {
            prop_assert_eq!(got.body.len(), sent.len());
            if !bodiless {
                prop_assert_eq!(&got.trailers, &trailers(&wanted.response));
            }
        }
    }
    Ok(())
}

fn trailers(body: &Body) -> Option<Vec<(String, Vec<u8>)>> {
    match body {
        Body::Streamed(_, Some(value)) => Some(vec![("x-trailer".to_owned(), value.to_vec())]),
        _ => None,
    }
}

/// Every request is answered or accounted for, and what is said not to have been sent never came.
fn check_accounts(pair: &Pair<Asking, Serving>) -> Result<(), TestCaseError> {
    let (asked, answers) = (pair.client.app.asked, &pair.client.app.answers);
    let unanswered: Vec<_> = pair.client.wire.unanswered().collect();
    prop_assert_eq!(answers.len() + unanswered.len(), asked);
    for (i, lost) in unanswered.iter().enumerate() {
        let index = answers.len() + i;
        prop_assert_eq!(lost.exchange, index as u64 + 1);
        let target = format!("/{index}");
        let came = pair.server.app.requests.iter().any(
            |request| matches!(&request.start, Start::Request { target: t, .. } if *t == target),
        );
        match lost.delivery {
            Delivery::NotSent => prop_assert!(!came, "{} came all the same", index),
            delivery => prop_assert_eq!(delivery, Delivery::MaybeProcessed),
        }
    }
    Ok(())
}

/// Exchanges behind this one may find the connection closed.
fn may_end(exchange: &Exchange) -> bool {
    let has_body =
        !exchange.request.bytes().is_empty() || matches!(exchange.request, Body::Streamed(..));
    exchange.answer != Answer::AtTheEnd && has_body
}

proptest! {
    #![proptest_config(config(256))]

    /// Laws 6 and 8, and the point of it all: what is sent arrives.
    #[test]
    fn in_calm_weather_everything_arrives(
        plan in vec(exchange(), 0..6),
        up in calm(),
        down in calm(),
    ) {
        let mut pair = pair(&plan, 1, up, down);
        pair.run().map_err(|breach| TestCaseError::fail(breach.0))?;
        prop_assert_eq!(pair.client.app.refused, None);
        prop_assert_eq!(pair.server.app.refused, None);
        check_delivered(&pair, &plan)?;
        let certain = plan.iter().position(may_end).unwrap_or(plan.len());
        let answers = &pair.client.app.answers;
        prop_assert!(answers.len() >= certain, "{} of {}", answers.len(), certain);
        for (i, answer) in answers.iter().enumerate().take(certain) {
            let Start::Response { status, .. } = answer.start else { unreachable!() };
            prop_assert_eq!(status, plan[i].status.as_u16());
            prop_assert!(answer.complete && pair.server.app.requests[i].complete);
        }
        let hints: usize = plan[..certain].iter().map(|e| usize::from(e.hints)).sum();
        prop_assert!(pair.client.app.hints >= hints);
        if certain == plan.len() {
            prop_assert_eq!(pair.client.error, None);
            prop_assert_eq!(pair.server.error, None);
            prop_assert_eq!(pair.client.over, Some(CloseReason::Done));
            prop_assert_eq!(pair.server.over, Some(CloseReason::PeerClosed));
        }
    }

    /// Laws 4, 6 and 8 when the network fails: nothing hangs, spins, leaks or is made up.
    #[test]
    fn in_a_storm_nothing_hangs_and_nothing_is_made_up(
        plan in vec(exchange(), 0..6),
        up in storm(),
        down in storm(),
    ) {
        let mut pair = pair(&plan, 1, up, down);
        pair.run().map_err(|breach| TestCaseError::fail(breach.0))?;
        prop_assert_eq!(pair.client.app.refused, None);
        prop_assert_eq!(pair.server.app.refused, None);
        check_delivered(&pair, &plan)?;
    }

    /// The same with several requests on their way.
    #[test]
    fn in_calm_weather_everything_arrives_in_a_pipeline_too(
        plan in vec(ask(), 0..30),
        depth in 2u32..9,
        up in calm(),
        down in calm(),
    ) {
        let mut pair = pair(&plan, depth, up, down);
        pair.run().map_err(|breach| TestCaseError::fail(breach.0))?;
        prop_assert_eq!((pair.client.app.refused, pair.server.app.refused), (None, None));
        prop_assert_eq!((pair.client.error, pair.server.error), (None, None));
        check_delivered(&pair, &plan)?;
        check_accounts(&pair)?;
        prop_assert_eq!(pair.client.app.answers.len(), plan.len());
        for (answer, wanted) in pair.client.app.answers.iter().zip(&plan) {
            let Start::Response { status, .. } = answer.start else { unreachable!() };
            prop_assert_eq!(status, wanted.status.as_u16());
            prop_assert!(answer.complete);
        }
    }

    /// Whatever the network does, each request of a pipeline is answered or accounted for.
    #[test]
    fn in_a_storm_the_accounts_of_a_pipeline_are_right(
        plan in vec(ask(), 0..30),
        depth in 2u32..9,
        up in storm(),
        down in storm(),
    ) {
        let mut pair = pair(&plan, depth, up, down);
        pair.run().map_err(|breach| TestCaseError::fail(breach.0))?;
        prop_assert_eq!((pair.client.app.refused, pair.server.app.refused), (None, None));
        check_delivered(&pair, &plan)?;
        check_accounts(&pair)?;
    }
}
