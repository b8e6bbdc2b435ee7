//! Random exchanges over a hostile network.

use bytes::Bytes;
use core::time::Duration;
use http::{Method, StatusCode};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use sinew_conformance::exchange::{Answer, Body, Exchange};
use sinew_conformance::laws::{Scene, check_exchanges};
use sinew_conformance::weather::Weather;

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
fn calm() -> BoxedStrategy<Weather> {
    let pieces = vec(prop_oneof![1usize..4, 10usize..500, 5000usize..70_000], 0..5);
    let stalls = vec((0u64..200_000, 1u64..300), 0..3);
    (pieces, stalls, select(vec![0usize, 100, 5000]))
        .prop_map(|(pieces, mut stalls, capacity)| {
            stalls.sort_unstable();
            let stalls =
                stalls.into_iter().map(|(at, ms)| (at, Duration::from_millis(ms))).collect();
            Weather { pieces, stalls, cut: None, capacity }
        })
        .boxed()
}

/// Cuts, and stalls that timers do mind.
fn storm() -> BoxedStrategy<Weather> {
    let stalls = vec((0u64..2000, 1u64..60), 0..3);
    (calm(), stalls, option::of(0u64..3000))
        .prop_map(|(calm, mut stalls, cut)| {
            stalls.sort_unstable();
            let stalls = stalls.into_iter().map(|(at, s)| (at, Duration::from_secs(s))).collect();
            Weather { stalls, cut, ..calm }
        })
        .boxed()
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

fn scene(
    plan: impl Strategy<Value = Vec<Exchange>>,
    depth: impl Strategy<Value = u32>,
    weather: fn() -> BoxedStrategy<Weather>,
) -> impl Strategy<Value = Scene> {
    (plan, depth, weather(), weather()).prop_map(|(plan, depth, up, down)| Scene {
        plan,
        depth,
        up,
        down,
    })
}

fn check(scene: &Scene) -> Result<(), TestCaseError> {
    check_exchanges(scene).map_err(|breach| TestCaseError::fail(breach.0))
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn in_calm_weather_everything_arrives(scene in scene(vec(exchange(), 0..6), Just(1), calm)) {
        prop_assert!(scene.is_calm());
        check(&scene)?;
    }

    #[test]
    fn in_a_storm_nothing_hangs_and_nothing_is_made_up(
        scene in scene(vec(exchange(), 0..6), Just(1), storm),
    ) {
        check(&scene)?;
    }

    #[test]
    fn in_calm_weather_everything_arrives_in_a_pipeline_too(
        scene in scene(vec(ask(), 0..30), 2u32..9, calm),
    ) {
        prop_assert!(scene.is_calm());
        check(&scene)?;
    }

    #[test]
    fn in_a_storm_the_accounts_of_a_pipeline_are_right(
        scene in scene(vec(ask(), 0..30), 2u32..9, storm),
    ) {
        check(&scene)?;
    }
}
