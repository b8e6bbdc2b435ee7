//! Any method of a server, in any order.

use bytes::Bytes;
use http::StatusCode;
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::Arc;

use sinew_conformance::end::check_over;
use sinew_conformance::reader;
use sinew_core::error::Error;
use sinew_core::http1::{BodySize, Limits, Server, ServerConfig, ServerEvent};
use sinew_core::machine::{Machine, Status, Wire};
use sinew_core::time::Instant;

use crate::config;
use crate::methods::{FIELDS, Op, Watch, data, limits, op, trailers};

const REQUESTS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\nHEAD /2 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"hello",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"0\r\nx-t: v\r\n\r\n",
    b"GET / HT",
    b"\r\n",
    b"x",
    b"",
];

const STATUS: [u16; 12] = [200, 200, 200, 200, 204, 304, 101, 100, 404, 500, 200, 201];

fn server_head(
    server: &mut Server,
    now: Instant,
    pick: usize,
    size: BodySize,
    field: usize,
) -> Option<Error> {
    let status = StatusCode::from_u16(STATUS[pick]).unwrap();
    server.send_response(now, status, FIELDS[field].iter().copied(), size).err()
}

fn run_server(ops: Vec<Op>) -> Result<(), TestCaseError> {
    let config = ServerConfig { limits: limits(), observe: true, ..ServerConfig::default() };
    let idle = config.idle / 2;
    let other = Arc::new(ServerConfig { limits: Limits { body: 20, ..limits() }, idle, ..config });
    let mut server = Server::new(Arc::new(config), Instant::ZERO);
    let mut watch = Watch::new();
    let mut methods: Vec<String> = Vec::new();
    for op in ops {
        let now = watch.now;
        let view = |server: &mut Server| (server.outbox().len(), server.outbox().drained());
        // Timers due run first in every input: what they change is not the verb's doing.
        if !matches!(op, Op::Feed(_) | Op::Drain(_) | Op::Rest | Op::EditInbox) {
            server.handle_timeout(now);
        }
        let before = view(&mut server);
        let mut error = None;
        match op {
            Op::Feed(bytes) => server.inbox().extend_from_slice(bytes),
            Op::Eof => server.handle_eof(now),
            Op::Poll => {
                let polled = server.poll_event(now);
                let known = server.error();
                watch.judge_poll(
                    &server,
                    polled.as_ref().map(Option::as_ref).map_err(|e| *e),
                    known,
                )?;
                if let Ok(Some(ServerEvent::Request { head, .. })) = polled {
                    methods.push(head.method().as_str().to_owned());
                }
            }
            Op::Drain(most) => _ = watch.drain(&mut server, most),
            Op::Wait(time) => watch.now = now + time,
            Op::Fire => server.handle_timeout(now),
            Op::Rest => server.rest(),
            Op::EditInbox => {
                let half = server.inbox().len() / 2;
                server.inbox().truncate(half);
            }
            Op::Head { pick, size, field } => {
                error = server_head(&mut server, now, pick, size, field);
            }
            Op::Whole { pick, field, len } => {
                let status = StatusCode::from_u16(STATUS[pick]).unwrap();
                let body = Bytes::from(vec![b'd'; len]);
                error = server.send_whole(now, status, FIELDS[field].iter().copied(), body).err();
            }
            Op::Interim(status) => {
                let status = StatusCode::from_u16(status).unwrap();
                error = server.send_informational(now, status, FIELDS[1].iter().copied()).err();
            }
            Op::Data(len) => error = data(server.send_data(now, Bytes::from(vec![b'd'; len]))),
            Op::End(some) => error = server.send_end(now, trailers(some).iter().copied()).err(),
            Op::Abort => server.abort(now),
            Op::Discard => server.discard_body(now),
            Op::Close => server.close(now),
            Op::Timeout(limit) => server.set_handler_timeout(now, limit),
            Op::BodyLimit(bytes) => error = server.set_body_limit(now, bytes).err(),
            Op::LiftRate => server.lift_body_rate(),
            Op::Reconfigure => error = server.reconfigure(Arc::clone(&other)).err(),
        }
        let known = server.error();
        Watch::judge_verb(error, before, view(&mut server), known)?;
        watch.check(&mut server, known)?;
        prop_assert!(!(server.awaits_response() && server.response_open()));
        prop_assert!(!server.awaits_continue() || server.awaits_response());
        if known.is_some() {
            prop_assert!(!server.awaits_response() && !server.response_open());
            prop_assert!(!server.body_open() && !server.is_upgraded() && !server.is_idle());
        }
        while server.poll_observed().is_some() {}
    }
    finish_server(server, watch, &methods)
}

/// Law 8: however it got here, a connection that is left alone comes to an end.
fn finish_server(
    mut server: Server,
    mut watch: Watch,
    methods: &[String],
) -> Result<(), TestCaseError> {
    server.close(watch.now);
    server.abort(watch.now);
    server.discard_body(watch.now);
    server.handle_eof(watch.now);
    for _ in 0..100 {
        for _ in 0..1000 {
            let polled = server.poll_event(watch.now);
            if let Ok(Some(ServerEvent::Request { .. })) = polled {
                server.abort(watch.now);
            }
            // What was drained is looked at again, as every driver does.
            let drained = watch.drain(&mut server, usize::MAX);
            if drained == 0 && !matches!(polled, Ok(Some(_))) {
                break;
            }
        }
        match (server.status(), server.deadline()) {
            (Status::Close(_), _) => break,
            (_, Some(deadline)) => watch.now = deadline.at,
            (_, None) => break,
        }
    }
    let over = matches!(server.status(), Status::Close(_)) || server.is_upgraded();
    prop_assert!(over, "{:?} {:?} {:?}", server.status(), server.deadline(), server.error());
    if !server.is_upgraded() {
        check_over(&mut server).map_err(|breach| TestCaseError::fail(breach.0))?;
    }
    let answers = reader::responses(&watch.written, methods, true)
        .map_err(|malformed| TestCaseError::fail(malformed.0))?;
    let finals = answers.iter().filter(|answer| !answer.is_interim()).count();
    prop_assert!(finals <= methods.len() + 1);
    Ok(())
}

proptest! {
    #![proptest_config(config(5000))]

    #[test]
    fn a_server_takes_any_method_at_any_time(ops in vec(op(REQUESTS), 0..60)) {
        run_server(ops)?;
    }
}
