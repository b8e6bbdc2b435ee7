//! Any method of a client, in any order.

use bytes::Bytes;
use core::time::Duration;
use http::Method;
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::Arc;

use sinew_conformance::end::check_over;
use sinew_conformance::reader;
use sinew_core::error::Error;
use sinew_core::http1::{BodySize, Client, ClientConfig, ClientEvent, RequestLine};
use sinew_core::machine::{Machine, Status, Wire};
use sinew_core::time::Instant;

use crate::config;
use crate::methods::{FIELDS, Op, Watch, data, limits, op, trailers};

const RESPONSES: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n",
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
    b"hello",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"0\r\nx-t: v\r\n\r\n",
    b"HTTP/1.",
    b"x",
    b"",
];

fn client_head(
    client: &mut Client,
    now: Instant,
    pick: usize,
    size: BodySize,
    field: usize,
) -> Option<Error> {
    const GOOD: (&str, &[u8], &[u8]) = ("GET", b"/", b"a.test");
    const LINES: [(&str, &[u8], &[u8]); 12] = [
        GOOD,
        GOOD,
        ("HEAD", b"/", b"a.test"),
        ("POST", b"/", b"a.test"),
        ("POST", b"/p?q", b"a.test:80"),
        ("PUT", b"/", b"a.test"),
        ("CONNECT", b"a.test:443", b"a.test:443"),
        ("OPTIONS", b"*", b"a.test"),
        ("GET", b"/a b", b"a.test"),
        ("GET", b"", b"a.test"),
        ("GET", b"/", b"a\r\nb"),
        ("GET", b"http://a.test/", b"a.test"),
    ];
    let (method, target, authority) = LINES[pick];
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let line = RequestLine { method: &method, target, authority };
    client.send_request(now, line, FIELDS[field].iter().copied(), size).err()
}

fn run_client(depth: u32, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let config = ClientConfig {
        limits: limits(),
        response_head: Some(Duration::from_secs(20)),
        pipelining: depth,
        observe: true,
        ..ClientConfig::default()
    };
    let mut client = Client::new(Arc::new(config));
    let mut watch = Watch::new();
    let mut responses = 0;
    for op in ops {
        let now = watch.now;
        let view = |client: &mut Client| (client.outbox().len(), client.outbox().drained());
        if !matches!(op, Op::Feed(_) | Op::Drain(_) | Op::Rest | Op::EditInbox) {
            client.handle_timeout(now);
        }
        let before = view(&mut client);
        let was_ready = client.reusable() || client.can_pipeline(&Method::GET);
        let sent = client.exchange();
        let mut error = None;
        match op {
            Op::Feed(bytes) => client.inbox().extend_from_slice(bytes),
            Op::Eof => client.handle_eof(now),
            Op::Poll => {
                let polled = client.poll_event(now);
                let known = client.error();
                watch.judge_poll(
                    &client,
                    polled.as_ref().map(Option::as_ref).map_err(|e| *e),
                    known,
                )?;
                responses += usize::from(matches!(polled, Ok(Some(ClientEvent::Response { .. }))));
            }
            Op::Drain(most) => _ = watch.drain(&mut client, most),
            Op::Wait(time) => watch.now = now + time,
            Op::Fire => client.handle_timeout(now),
            Op::Rest => client.rest(),
            Op::EditInbox => {
                let half = client.inbox().len() / 2;
                client.inbox().truncate(half);
            }
            Op::Head { pick, size, field } => {
                error = client_head(&mut client, now, pick, size, field);
                prop_assert!(error.is_some() || was_ready, "sent where nothing could follow");
                prop_assert_eq!(client.exchange(), sent + u64::from(error.is_none()));
            }
            Op::Data(len) => error = data(client.send_data(now, Bytes::from(vec![b'd'; len]))),
            Op::End(some) => error = client.send_end(now, trailers(some).iter().copied()).err(),
            Op::Abort => client.abort(now),
            Op::Close => client.close(now),
            Op::Timeout(limit) => client.set_response_head_timeout(now, limit),
            Op::BodyLimit(_) => client.set_between_bytes(now, None),
            Op::Reconfigure => {}
            Op::LiftRate => client.set_between_bytes(now, Some(Duration::from_secs(2))),
            Op::Whole { .. } | Op::Interim(_) | Op::Discard => {}
        }
        let known = client.error();
        Watch::judge_verb(error, before, view(&mut client), known)?;
        watch.check(&mut client, known)?;
        prop_assert!(!(client.awaits_response() && client.body_open()));
        prop_assert!(!client.can_send() || client.request_open());
        let unanswered = client.unanswered().count();
        prop_assert!(unanswered <= depth as usize);
        prop_assert!(client.unanswered().all(|lost| lost.exchange <= client.exchange()));
        if client.reusable() {
            prop_assert_eq!(unanswered, 0);
            prop_assert!(!client.awaits_response() && !client.request_open() && known.is_none());
        }
        while client.poll_observed().is_some() {}
    }
    finish_client(client, watch, responses)
}

fn finish_client(
    mut client: Client,
    mut watch: Watch,
    mut responses: usize,
) -> Result<(), TestCaseError> {
    client.close(watch.now);
    client.abort(watch.now);
    client.handle_eof(watch.now);
    for _ in 0..100 {
        for _ in 0..1000 {
            let polled = client.poll_event(watch.now);
            responses += usize::from(matches!(polled, Ok(Some(ClientEvent::Response { .. }))));
            // What was drained is looked at again, as every driver does.
            let drained = watch.drain(&mut client, usize::MAX);
            if drained == 0 && !matches!(polled, Ok(Some(_))) {
                break;
            }
        }
        match (client.status(), client.deadline()) {
            (Status::Close(_), _) => break,
            (_, Some(deadline)) => watch.now = deadline.at,
            (_, None) => break,
        }
    }
    let over = matches!(client.status(), Status::Close(_)) || client.is_upgraded();
    prop_assert!(over, "{:?} {:?} {:?}", client.status(), client.deadline(), client.error());
    if !client.is_upgraded() {
        check_over(&mut client).map_err(|breach| TestCaseError::fail(breach.0))?;
    }
    // An aborted request breaks off on the wire; what stands there before it is whole.
    let requests = reader::requests(&watch.written, true)
        .map_err(|malformed| TestCaseError::fail(malformed.0))?;
    prop_assert!(responses <= requests.len() + 1);
    Ok(())
}

proptest! {
    #![proptest_config(config(5000))]

    #[test]
    fn a_client_takes_any_method_at_any_time(
        depth in 1u32..5,
        ops in vec(op(RESPONSES), 0..60),
    ) {
        run_client(depth, ops)?;
    }
}
