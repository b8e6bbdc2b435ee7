//! The laws on whole connections: random exchanges over a hostile network, and random inputs cut
//! at random.

use bytes::Bytes;
use core::time::Duration;
use http::{Method, StatusCode};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::sync::{Arc, LazyLock};

use sinew_conformance::case::{Case, CaseLimits, Octets, ParseCase, Side};
use sinew_conformance::exchange::{Answer, Asking, Body, Exchange, Serving};
use sinew_conformance::feed::{Script, Way, drain};
use sinew_conformance::load::Cases;
use sinew_conformance::pair::Pair;
use sinew_conformance::run::{run, serve_script};
use sinew_conformance::suite::describe;
use sinew_conformance::transcript::{Start, Transcript};
use sinew_conformance::weather::Weather;
use sinew_core::error::{Fault, Kind};
use sinew_core::http1::{
    BodySize, Client, ClientConfig, NO_FIELDS, Server, ServerConfig, ServerEvent,
};
use sinew_core::machine::{CloseReason, Machine, Wire};
use sinew_core::time::Instant;

const NOW: Instant = Instant::ZERO;

/// So many cases, or as many times more as `PROPTEST_CASES` is above proptest's own 256.
fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let cases = cases.saturating_mul(default.cases.max(256) / 256);
    ProptestConfig { cases, failure_persistence: None, ..default }
}

// ---- exchanges -------------------------------------------------------------------------------

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

fn pair(plan: &[Exchange], up: Weather, down: Weather) -> Pair<Asking, Serving> {
    Pair::new(
        (Client::new(Arc::new(ClientConfig::default())), Asking::new(plan.to_vec())),
        (Server::new(Arc::new(server_config()), NOW), Serving::new(plan.to_vec())),
        up,
        down,
    )
}

fn server_config() -> ServerConfig {
    ServerConfig::default()
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

/// Exchanges behind this one may find the connection closed.
fn may_end(exchange: &Exchange) -> bool {
    exchange.answer != Answer::AtTheEnd && !exchange.request.bytes().is_empty()
        || exchange.answer != Answer::AtTheEnd && matches!(exchange.request, Body::Streamed(..))
}

proptest! {
    #![proptest_config(config(128))]

    /// Laws 6 and 8, and the point of it all: what is sent arrives.
    #[test]
    fn in_calm_weather_everything_arrives(
        plan in vec(exchange(), 0..6),
        up in calm(),
        down in calm(),
    ) {
        let mut pair = pair(&plan, up, down);
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
        let mut pair = pair(&plan, up, down);
        pair.run().map_err(|breach| TestCaseError::fail(breach.0))?;
        prop_assert_eq!(pair.client.app.refused, None);
        prop_assert_eq!(pair.server.app.refused, None);
        check_delivered(&pair, &plan)?;
    }
}

// ---- inputs ----------------------------------------------------------------------------------

static PARSE: LazyLock<Vec<ParseCase>> = LazyLock::new(|| {
    let cases = Cases::built_in().unwrap();
    let parse = cases.into_iter().filter_map(|case| match case {
        Case::Parse(case) => Some(*case),
        Case::Encode(_) => None,
    });
    parse.collect()
});

#[derive(Clone, Debug)]
enum Mutation {
    Set(Index, u8),
    Insert(Index, u8),
    Remove(Index, usize),
    Repeat(Index, usize),
    Splice(Index, Index, Index, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let byte = || prop_oneof![select(b"\r\n\t :;,=\"0159afAF\0\x7f\x80\xff".to_vec()), any::<u8>()];
    prop_oneof![
        (any::<Index>(), byte()).prop_map(|(at, b)| Mutation::Set(at, b)),
        (any::<Index>(), byte()).prop_map(|(at, b)| Mutation::Insert(at, b)),
        (any::<Index>(), 1usize..6).prop_map(|(at, n)| Mutation::Remove(at, n)),
        (any::<Index>(), 1usize..30).prop_map(|(at, n)| Mutation::Repeat(at, n)),
        (any::<Index>(), any::<Index>(), any::<Index>(), 1usize..60)
            .prop_map(|(at, from, start, n)| Mutation::Splice(at, from, start, n)),
    ]
}

fn mutate(input: &mut Vec<u8>, mutation: &Mutation) {
    let place = |at: &Index, len: usize| at.index(len + 1);
    match mutation {
        Mutation::Set(at, byte) if !input.is_empty() => {
            let at = at.index(input.len());
            input[at] = *byte;
        }
        Mutation::Set(..) => {}
        Mutation::Insert(at, byte) => input.insert(place(at, input.len()), *byte),
        Mutation::Remove(at, n) => {
            let at = place(at, input.len());
            input.drain(at..(at + n).min(input.len()));
        }
        Mutation::Repeat(at, n) => {
            let at = place(at, input.len());
            let again = input[at..(at + n).min(input.len())].to_vec();
            input.splice(at..at, again);
        }
        Mutation::Splice(at, from, start, n) => {
            let from = &PARSE[from.index(PARSE.len())].input.0;
            let start = place(start, from.len());
            let at = place(at, input.len());
            input.splice(at..at, from[start..(start + n).min(from.len())].iter().copied());
        }
    }
}

/// A case with its input altered, its limits too, and a seed for cuts.
fn mutant(side: Side) -> impl Strategy<Value = (ParseCase, u64)> {
    let tight = CaseLimits {
        max_head: Some(300),
        max_uri: Some(60),
        max_headers: Some(6),
        max_body: Some(40),
        max_chunk_line: Some(30),
        max_chunk_ext_total: Some(40),
        max_trailers: Some(2),
        max_trailer_bytes: Some(60),
        max_interim: Some(2),
    };
    let limits = prop_oneof![3 => Just(CaseLimits::default()), 1 => Just(tight)];
    let more = option::weighted(0.3, any::<Index>());
    (any::<Index>(), vec(mutation(), 0..4), more, any::<bool>(), limits, any::<u64>()).prop_map(
        move |(index, mutations, more, eof, limits, seed)| {
            let pool: Vec<&ParseCase> = PARSE.iter().filter(|case| case.side == side).collect();
            let mut case = pool[index.index(pool.len())].clone();
            if let Some(more) = more {
                case.input.0.extend_from_slice(&pool[more.index(pool.len())].input.0);
            }
            for mutation in &mutations {
                mutate(&mut case.input.0, mutation);
            }
            case.eof = eof;
            case.limits = limits;
            (case, seed)
        },
    )
}

/// Laws 3, 4, 5 and 6 on one input.
fn check_input(case: &ParseCase, seed: u64) -> Result<(), TestCaseError> {
    let whole = run(case, Way::Whole).map_err(TestCaseError::reject)?;
    prop_assert_eq!(&whole.breach, &None);
    for way in [Way::Bytes, Way::Cuts(seed)] {
        let cut = run(case, way).map_err(TestCaseError::reject)?;
        prop_assert_eq!(&cut.breach, &None);
        let (got, wanted) = (describe(&cut), describe(&whole));
        prop_assert!(cut.agrees_with(&whole), "{way:?}: {got}\nbut whole: {wanted}");
    }
    if case.side == Side::Request {
        check_answers(&whole)?;
    }
    Ok(())
}

/// Law 5, and one answer for one request.
fn check_answers(run: &Transcript) -> Result<(), TestCaseError> {
    let answers = run.written.iter().filter(|answer| !answer.is_interim()).count();
    let by_the_machine = run.error.and_then(|error| error.status());
    let wanted = run.complete() + usize::from(by_the_machine.is_some());
    prop_assert_eq!(answers, wanted, "{}", describe(run));
    if let Some(status) = by_the_machine {
        let answer = run.last_answer().unwrap();
        prop_assert_eq!(answer.status(), status.as_u16());
        prop_assert!(answer.says_close());
        prop_assert_eq!(run.error.map(|error| error.fault()), Some(Fault::Peer));
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn a_server_does_not_care_how_requests_are_cut((case, seed) in mutant(Side::Request)) {
        check_input(&case, seed)?;
    }

    #[test]
    fn a_client_does_not_care_how_responses_are_cut((case, seed) in mutant(Side::Response)) {
        check_input(&case, seed)?;
    }
}

// ---- bounds (law 7) --------------------------------------------------------------------------

#[test]
fn a_declared_length_allocates_nothing() {
    let mut config = ServerConfig::default();
    config.limits.body = u64::MAX;
    let heads: [&[u8]; 2] = [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\nx",
    ];
    for head in heads {
        let mut server = Server::new(Arc::new(config.clone()), NOW);
        server.inbox().extend_from_slice(head);
        while let Ok(Some(_)) = server.poll_event(NOW) {}
        assert_eq!(server.error(), None);
        assert!(server.inbox().capacity() < 4096, "{}", server.inbox().capacity());
    }
}

#[test]
fn a_peer_that_does_not_read_is_not_read_for_ever() {
    let mut server = Server::new(Arc::new(ServerConfig::default()), NOW);
    let mut fed = 0;
    for _ in 0..10_000 {
        if !server.wants_read() {
            break;
        }
        server.inbox().extend_from_slice(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        fed += 1;
        while let Ok(Some(ServerEvent::Request { .. })) = server.poll_event(NOW) {
            server.send_response(NOW, StatusCode::OK, NO_FIELDS, BodySize::Empty).unwrap();
        }
    }
    assert!(!server.wants_read(), "after {fed} requests");
    assert_eq!(server.exchange(), u64::from(ServerConfig::default().limits.pipeline));
    // Once the peer reads, the rest is served: bytes that nobody asked for stayed bytes.
    let mut written = Vec::new();
    loop {
        let drained = drain(server.outbox(), &mut written, usize::MAX);
        while let Ok(Some(ServerEvent::Request { .. })) = server.poll_event(NOW) {
            server.send_response(NOW, StatusCode::OK, NO_FIELDS, BodySize::Empty).unwrap();
        }
        if drained == 0 {
            break;
        }
    }
    assert_eq!(server.exchange(), fed);
}

#[test]
fn an_application_that_does_not_pull_stops_the_peer() {
    let config = ServerConfig::default();
    let most = config.limits.inbox + 1000;
    let mut server = Server::new(Arc::new(config), NOW);
    server
        .inbox()
        .extend_from_slice(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    assert!(matches!(server.poll_event(NOW), Ok(Some(ServerEvent::Request { .. }))));
    while server.wants_read() {
        server.inbox().extend_from_slice(&[b'x'; 1000]);
        assert!(server.inbox().len() <= most);
    }
}

#[test]
fn an_edited_inbox_is_an_error_and_nothing_worse() {
    let mut server = Server::new(Arc::new(ServerConfig::default()), NOW);
    server.inbox().extend_from_slice(b"GET / HTTP/1.1\r\nHo");
    assert!(matches!(server.poll_event(NOW), Ok(None)));
    server.inbox().truncate(3);
    let error = server.poll_event(NOW).unwrap_err();
    assert_eq!((error.kind, error.fault()), (Kind::InboxEdited, Fault::Local));
    assert_eq!(server.poll_event(NOW).unwrap_err(), error);
}

#[test]
fn one_script_one_transcript() {
    // Law 2: nothing but the arguments decides.
    let input = PARSE.iter().find(|case| case.id == "pipelining/post-get").unwrap();
    let once = || {
        let mut script =
            Script::new(&input.input.0, Way::Cuts(3).pieces(input.input.0.len()), false);
        (serve_script(ServerConfig::default(), &mut script), script.written)
    };
    assert_eq!(once(), once());
}

#[test]
fn octets_print_as_they_are_written() {
    assert_eq!(format!("{:?}", Octets(b"a\r\n\xff".to_vec())), "\"a\\r\\n\\xff\"");
}
