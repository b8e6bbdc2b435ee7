//! The inputs of the cases, altered at random, cut at random.

use http::Method;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::sync::LazyLock;

use sinew_conformance::case::{Case, CaseLimits, ParseCase, Side};
use sinew_conformance::feed::Way;
use sinew_conformance::laws::{Input, check_requests, check_responses};
use sinew_conformance::load::Cases;
use sinew_conformance::run::limits;
use sinew_core::http1::{ClientConfig, ServerConfig};

use crate::config;

static PARSE: LazyLock<Vec<ParseCase>> = LazyLock::new(|| {
    let cases = Cases::built_in().unwrap();
    let parse = cases.into_iter().filter_map(|case| match case {
        Case::Parse(case) => Some(*case),
        Case::Encode(_) | Case::Cors(_) | Case::WebSocket(_) => None,
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

/// The laws on one input: whole, byte by byte, and cut by the seed.
fn check_input(case: &ParseCase, seed: u64) -> Result<(), TestCaseError> {
    let bytes = &case.input.0;
    let cuts = [Way::Bytes, Way::Cuts(seed)].map(|way| way.pieces(bytes.len())).to_vec();
    let input = Input { bytes, eof: case.eof, cuts };
    let checked = match case.side {
        Side::Request => {
            let mut config = ServerConfig::default();
            config.limits = limits(&config.limits, case.limits).map_err(TestCaseError::fail)?;
            check_requests(&config, &input)
        }
        Side::Response => {
            let mut config = ClientConfig::default();
            config.limits = limits(&config.limits, case.limits).map_err(TestCaseError::fail)?;
            let method = case.request_method.as_deref().unwrap_or("GET");
            check_responses(&config, &Method::from_bytes(method.as_bytes()).unwrap(), &input)
        }
    };
    checked.map_err(|breach| TestCaseError::fail(breach.0))
}

proptest! {
    #![proptest_config(config(4000))]

    #[test]
    fn a_server_does_not_care_how_requests_are_cut((case, seed) in mutant(Side::Request)) {
        check_input(&case, seed)?;
    }

    #[test]
    fn a_client_does_not_care_how_responses_are_cut((case, seed) in mutant(Side::Response)) {
        check_input(&case, seed)?;
    }
}
