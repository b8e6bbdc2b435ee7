//! Messages that somebody asks for, sound or not.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use sinew_conformance::case::{Side, Spec};
use sinew_conformance::laws::check_sending;

use crate::config;

/// A text with something odd in it now and then.
fn odd(usual: &'static [&'static str]) -> impl Strategy<Value = String> {
    let odd = select(vec![
        "\r",
        "\n",
        "\r\n",
        "\0",
        "\t",
        " ",
        "\u{7f}",
        "\u{ff}",
        ":",
        ",",
        "\r\nHost: b\r\n\r\n",
        "",
    ]);
    let usual = select(usual);
    prop_oneof![
        9 => usual.clone().prop_map(str::to_owned),
        1 => (usual.clone(), odd, usual).prop_map(|(a, b, c)| format!("{a}{b}{c}")),
    ]
}

fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    const NAMES: &[&str] = &[
        "x-a",
        "Accept",
        "Host",
        "Connection",
        "Content-Length",
        "Transfer-Encoding",
        "Upgrade",
        "Expect",
        "Trailer",
        "Date",
    ];
    const VALUES: &[&str] = &["v", "3", "close", "chunked", "a.test", "upgrade", "", " v ", "7"];
    vec((odd(NAMES), odd(VALUES)), 0..4)
}

fn spec() -> impl Strategy<Value = Spec> {
    let method = || option::of(select(vec!["GET", "HEAD", "POST", "OPTIONS", "CONNECT", "M-X"]));
    let target = option::of(odd(&["/", "/a?b", "*", "http://b.test/c", "a.test:443", ""]));
    let host = option::of(odd(&["a.test", "a.test:80", "[::1]"]));
    let status = option::of(select(vec![100u16, 101, 103, 200, 204, 205, 304, 404, 500, 999]));
    let line = (method(), target, host, status, option::of(odd(&["OK", ""])));
    let version = option::of(select(vec!["1.0", "1.1"]));
    let piece = || "[a-z]{0,9}";
    let body = (option::of(piece()), any::<bool>(), vec(piece(), 0..4), fields());
    (line, method(), version, fields(), body).prop_map(
        |((method, target, host, status, reason), asked, version, headers, body)| {
            let (body, stream, chunks, trailers) = body;
            let own = str::to_owned;
            Spec {
                method: method.map(own),
                target,
                host,
                status,
                reason,
                request_method: asked.map(own),
                request_version: version.map(own),
                headers,
                body: body.filter(|_| !stream),
                stream,
                chunks: if stream { chunks } else { Vec::new() },
                trailers: if stream { trailers } else { Vec::new() },
            }
        },
    )
}

proptest! {
    #![proptest_config(config(4000))]

    #[test]
    fn a_request_is_read_as_it_was_meant(spec in spec(), seed in any::<u64>()) {
        check_sending(Side::Request, &spec, seed).map_err(|b| TestCaseError::fail(b.0))?;
    }

    #[test]
    fn a_response_is_read_as_it_was_meant(spec in spec(), seed in any::<u64>()) {
        check_sending(Side::Response, &spec, seed).map_err(|b| TestCaseError::fail(b.0))?;
    }
}
