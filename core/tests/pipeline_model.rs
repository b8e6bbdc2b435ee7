//! Pipelined requests against a model that counts bytes: who is answered by what, who is not, how
//! far each got, and what may follow what.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use http::Method;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use sinew_core::error::{Delivery, Error, Kind, Misuse, Violation};
use sinew_core::http1::{BodySize, Client, ClientConfig, ClientEvent, RequestLine, Unanswered};
use sinew_core::machine::{CloseReason, Machine, Status, Wire};
use sinew_core::observe::Event;
use sinew_core::time::Instant;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Length,
    Chunked,
    Empty,
    Old,
    Last,
    ToTheEnd,
}

#[derive(Clone, Debug)]
enum Op {
    Send { method: Method, last: bool },
    Drain(usize),
    Interim,
    Answer(Answer),
    Feed(usize),
    Poll,
    Wait(u64),
    Eof,
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    let method = select(vec![Method::GET, Method::GET, Method::HEAD, Method::DELETE, Method::POST]);
    let answer = prop_oneof![
        8 => select(vec![Answer::Length, Answer::Chunked, Answer::Empty]),
        1 => select(vec![Answer::Old, Answer::Last, Answer::ToTheEnd]),
    ];
    let amount = || prop_oneof![0usize..100, Just(usize::MAX), Just(usize::MAX)];
    prop_oneof![
        10 => (method, prop::bool::weighted(0.03)).prop_map(|(method, last)| Op::Send { method, last }),
        8 => amount().prop_map(Op::Drain),
        1 => Just(Op::Interim),
        8 => answer.prop_map(Op::Answer),
        8 => amount().prop_map(Op::Feed),
        8 => Just(Op::Poll),
        2 => select(vec![1u64, 5, 500]).prop_map(Op::Wait),
        1 => prop::bool::weighted(0.1).prop_map(|end| if end { Op::Eof } else { Op::Poll }),
        1 => prop::bool::weighted(0.1).prop_map(|close| if close { Op::Close } else { Op::Poll }),
    ]
}

struct Asked {
    method: Method,
    /// Where its first byte lies in all that was ever queued.
    start: u64,
    last: bool,
}

/// What is known from outside.
struct World {
    client: Client,
    now: Instant,
    depth: u32,
    asked: Vec<Asked>,
    drained: u64,
    /// Answers that the server wrote, and their bytes that are still under way.
    written: usize,
    way: Vec<u8>,
    server_left: bool,
    /// Answers whose head, and whose end, the client told.
    heads: usize,
    ends: usize,
    body: Vec<u8>,
    window: u32,
    keeps: bool,
    eof: bool,
    closing: bool,
    error: Option<Error>,
}

impl World {
    fn new(depth: u32) -> Self {
        let config = ClientConfig { pipelining: depth, observe: true, ..ClientConfig::default() };
        Self {
            client: Client::new(Arc::new(config)),
            now: Instant::ZERO,
            depth,
            asked: Vec::new(),
            drained: 0,
            written: 0,
            way: Vec::new(),
            server_left: false,
            heads: 0,
            ends: 0,
            body: Vec::new(),
            window: 1,
            keeps: true,
            eof: false,
            closing: false,
            error: None,
        }
    }

    fn is_over(&self) -> bool {
        self.error.is_some() || matches!(self.client.status(), Status::Close(_))
    }

    fn unanswered(&self) -> Vec<Unanswered> {
        let of = |(i, asked): (usize, &Asked)| {
            let begun = self.drained > asked.start;
            let delivery = if begun { Delivery::MaybeProcessed } else { Delivery::NotSent };
            Unanswered { exchange: i as u64 + 1, delivery }
        };
        self.asked.iter().enumerate().skip(self.heads).map(of).collect()
    }

    fn may_follow(&self, method: &Method) -> bool {
        let running = self.asked.len() - self.ends;
        let Some(front) = self.asked.get(self.ends) else { return false };
        let leads = front.method.is_idempotent() || self.heads > self.ends;
        let keeps = self.keeps && self.asked.last().is_some_and(|last| !last.last);
        let open = !self.is_over() && !self.eof && !self.closing;
        open && keeps && leads && method.is_idempotent() && (running as u32) < self.window
    }

    fn send(&mut self, method: Method, last: bool) -> Result<(), TestCaseError> {
        let queued = self.client.outbox().len() as u64;
        let ready = self.client.reusable() || self.may_follow(&method);
        let fields = last.then_some(("connection", "close"));
        let line = RequestLine { method: &method, target: b"/", authority: b"a.test" };
        let sent = self.client.send_request(self.now, line, fields, BodySize::Empty);
        prop_assert_eq!(sent.is_ok(), ready, "{:?}", sent);
        if ready {
            let start = self.drained + queued;
            self.asked.push(Asked { method, start, last });
            prop_assert_eq!(self.client.exchange(), self.asked.len() as u64);
        }
        Ok(())
    }

    /// An honest server answers what it has, in order.
    fn answer(&mut self, answer: Answer) {
        let Some(asked) = self.asked.get(self.written) else { return };
        if self.server_left || asked.start >= self.drained {
            return;
        }
        let n = self.written + 1;
        let body = if asked.method == Method::HEAD { "" } else { "hello" };
        let chunked = if body.is_empty() { "" } else { "5\r\nhello\r\n0\r\n\r\n" };
        let text = match answer {
            Answer::Length => {
                format!("HTTP/1.1 200 OK\r\nn: {n}\r\ncontent-length: 5\r\n\r\n{body}")
            }
            Answer::Chunked => {
                format!("HTTP/1.1 200 OK\r\nn: {n}\r\ntransfer-encoding: chunked\r\n\r\n{chunked}")
            }
            Answer::Empty => format!("HTTP/1.1 204 No Content\r\nn: {n}\r\n\r\n"),
            Answer::Old => format!(
                "HTTP/1.0 200 OK\r\nn: {n}\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\n{body}"
            ),
            Answer::Last => format!(
                "HTTP/1.1 200 OK\r\nn: {n}\r\nconnection: close\r\ncontent-length: 5\r\n\r\n{body}"
            ),
            Answer::ToTheEnd => format!("HTTP/1.1 200 OK\r\nn: {n}\r\n\r\n{body}"),
        };
        self.way.extend_from_slice(text.as_bytes());
        self.written += 1;
        self.server_left = asked.last || matches!(answer, Answer::Last | Answer::ToTheEnd);
    }

    fn poll(&mut self) -> Result<(), TestCaseError> {
        loop {
            let polled = self.client.poll_event(self.now);
            while let Some(event) = self.client.poll_observed() {
                if let Event::PipelineWindow { size } = event {
                    prop_assert!((1..=self.depth).contains(&size));
                    prop_assert!(self.written > 0, "an answer opens the window");
                    self.window = size;
                }
            }
            let event = match polled {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(()),
                Err(error) => {
                    prop_assert!(self.eof, "an honest server: {:?}", error);
                    prop_assert_eq!(error.kind, Kind::Truncated);
                    let first = self.unanswered().first().map(|lost| lost.delivery);
                    if self.heads == self.ends {
                        prop_assert_eq!(Some(error.delivery), first);
                    }
                    self.error = Some(error);
                    return Ok(());
                }
            };
            match event {
                ClientEvent::Response { head, body } => {
                    prop_assert_eq!(self.heads, self.ends);
                    self.heads += 1;
                    let turn = self.heads.to_string();
                    prop_assert_eq!(head.header("n"), Some(turn.as_bytes()));
                    let asked = &self.asked[self.ends];
                    self.keeps &= !asked.last && head.header("connection") != Some(b"close");
                    let length = head.header("content-length").is_some();
                    let chunked = head.header("transfer-encoding").is_some();
                    self.keeps &= length || chunked || body == BodySize::Empty;
                    if asked.method == Method::HEAD {
                        prop_assert_eq!(body, BodySize::Empty);
                    }
                    self.ends += usize::from(body == BodySize::Empty);
                }
                ClientEvent::Data(data) => self.body.extend_from_slice(&data),
                ClientEvent::End(_) => {
                    prop_assert_eq!(std::mem::take(&mut self.body), b"hello");
                    self.ends += 1;
                    prop_assert_eq!(self.heads, self.ends);
                }
                ClientEvent::Informational(_) | ClientEvent::Continue => {}
            }
            self.check()?;
        }
    }

    fn apply(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Send { method, last } => self.send(method, last)?,
            Op::Drain(most) => {
                let outbox = self.client.outbox();
                let n = most.min(outbox.len());
                outbox.advance(n);
                self.drained += n as u64;
            }
            Op::Interim => {
                let due = self.asked.get(self.written).is_some_and(|a| a.start < self.drained);
                if due && !self.server_left {
                    self.way.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\n\r\n");
                }
            }
            Op::Answer(answer) => self.answer(answer),
            Op::Feed(most) => {
                if self.client.wants_read() {
                    let n = most.min(self.way.len());
                    self.client.inbox().extend(self.way.drain(..n));
                }
            }
            Op::Poll => self.poll()?,
            Op::Wait(ms) => self.now = self.now + Duration::from_millis(ms),
            Op::Eof => {
                self.eof = true;
                self.client.handle_eof(self.now);
            }
            Op::Close => {
                self.closing = true;
                self.client.close(self.now);
            }
        }
        self.check()
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let unanswered: Vec<_> = self.client.unanswered().collect();
        prop_assert_eq!(unanswered, self.unanswered());
        prop_assert!(self.asked.len() - self.ends <= self.depth.max(1) as usize);
        for method in [Method::GET, Method::PUT, Method::POST] {
            prop_assert_eq!(self.client.can_pipeline(&method), self.may_follow(&method));
        }
        Ok(())
    }

    /// An honest server goes on to the end: everybody is answered, or the connection is over.
    fn finish(mut self) -> Result<(), TestCaseError> {
        for _ in 0..=self.asked.len() {
            for op in
                [Op::Drain(usize::MAX), Op::Answer(Answer::Length), Op::Feed(usize::MAX), Op::Poll]
            {
                self.apply(op)?;
            }
        }
        if self.closing && self.ends == self.asked.len() {
            prop_assert!(self.is_over(), "closed, and all are answered");
        }
        if !self.is_over() {
            // A body that ends with the connection ends now.
            for op in [Op::Eof, Op::Poll] {
                self.apply(op)?;
            }
        }
        prop_assert!(self.is_over());
        prop_assert_eq!(self.client.deadline(), None);
        prop_assert!(self.client.outbox().is_empty());
        if self.keeps && self.error.is_none() {
            prop_assert_eq!(self.ends, self.asked.len());
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_answered_in_turn_or_accounted_for(
        depth in 1u32..9,
        ops in vec(op(), 0..120),
    ) {
        let mut world = World::new(depth);
        for op in ops {
            world.apply(op)?;
        }
        world.finish()?;
    }
}

/// A connection whose window is open by so many, and nothing on its way.
fn open(depth: u32) -> World {
    let mut world = World::new(depth);
    let round = [Op::Drain(usize::MAX), Op::Answer(Answer::Empty), Op::Feed(usize::MAX), Op::Poll];
    for _ in 0..200 {
        while world.asked.len() == world.ends || world.may_follow(&Method::GET) {
            world.send(Method::GET, false).unwrap();
        }
        for op in round.clone() {
            world.apply(op).unwrap();
        }
    }
    while world.ends < world.asked.len() {
        for op in round.clone() {
            world.apply(op).unwrap();
        }
    }
    assert_eq!(world.window, depth);
    world
}

fn line(method: &Method) -> RequestLine<'_> {
    RequestLine { method, target: b"/", authority: b"a.test" }
}

const NONE: [(&str, &str); 0] = [];

#[test]
fn by_default_nothing_follows() {
    assert_eq!(ClientConfig::default().pipelining, 1);
    for depth in [0, 1] {
        let mut world = World::new(depth);
        for _ in 0..20 {
            world.send(Method::GET, false).unwrap();
            assert!(!world.client.can_pipeline(&Method::GET));
            let round = [Op::Drain(usize::MAX), Op::Answer(Answer::Empty), Op::Feed(usize::MAX)];
            for op in round.into_iter().chain([Op::Poll]) {
                world.apply(op).unwrap();
            }
        }
        assert_eq!(world.ends, 20);
    }
}

#[test]
fn what_may_not_follow_is_refused_and_changes_nothing() {
    let refused = |body, fields: &[(&str, &str)], method| {
        let mut world = open(8);
        world.send(Method::GET, false).unwrap();
        let before = world.client.outbox().len();
        let sent =
            world.client.send_request(world.now, line(&method), fields.iter().copied(), body);
        assert_eq!(sent.unwrap_err().kind, Kind::Usage(Misuse::OutOfTurn), "{method}");
        assert_eq!(world.client.outbox().len(), before);
        world.check().unwrap();
        assert!(world.client.can_pipeline(&Method::GET));
    };
    refused(BodySize::Empty, &[], Method::POST);
    refused(BodySize::Empty, &[], Method::CONNECT);
    refused(BodySize::Empty, &[], Method::from_bytes(b"PROPPATCH").unwrap());
    refused(BodySize::Exact(1), &[], Method::PUT);
    refused(BodySize::Unknown, &[], Method::PUT);
    let upgrade = [("connection", "upgrade"), ("upgrade", "chat")];
    refused(BodySize::Empty, &upgrade, Method::GET);
}

#[test]
fn nothing_follows_what_does_not_let_it() {
    type Leader = (Method, BodySize, &'static [(&'static str, &'static str)]);
    let leaders: [Leader; 6] = [
        (Method::POST, BodySize::Empty, &[]),
        (Method::PUT, BodySize::Exact(1), &[]),
        (Method::PUT, BodySize::Exact(1), &[("expect", "100-continue")]),
        (Method::GET, BodySize::Empty, &[("connection", "upgrade"), ("upgrade", "chat")]),
        (Method::GET, BodySize::Empty, &[("connection", "close")]),
        (Method::OPTIONS, BodySize::Empty, &[("expect", "100-continue")]),
    ];
    for (method, body, fields) in leaders {
        let mut world = open(8);
        let now = world.now;
        world.client.send_request(now, line(&method), fields.iter().copied(), body).unwrap();
        assert!(!world.client.can_pipeline(&Method::GET), "{method} {fields:?}");
        let sent = world.client.send_request(now, line(&Method::GET), NONE, BodySize::Empty);
        assert_eq!(sent.unwrap_err().kind, Kind::Usage(Misuse::OutOfTurn));
    }
}

#[test]
fn behind_a_body_that_is_sent_another_request_may_go() {
    let mut world = open(8);
    let now = world.now;
    let client = &mut world.client;
    client.send_request(now, line(&Method::PUT), NONE, BodySize::Exact(1)).unwrap();
    client.send_data(now, "x".into()).unwrap();
    assert!(!client.can_pipeline(&Method::GET));
    client.send_end(now, NONE).unwrap();
    assert!(client.can_pipeline(&Method::GET));
}

#[test]
fn an_answer_to_what_has_not_left_is_no_answer() {
    let mut world = open(8);
    world.send(Method::GET, false).unwrap();
    world.apply(Op::Drain(usize::MAX)).unwrap();
    world.send(Method::GET, false).unwrap();
    let two = b"HTTP/1.1 204 No Content\r\n\r\n".repeat(2);
    world.client.inbox().extend_from_slice(&two);
    let now = world.now;
    assert!(matches!(world.client.poll_event(now), Ok(Some(ClientEvent::Response { .. }))));
    let error = world.client.poll_event(now).unwrap_err();
    assert_eq!(error.kind, Kind::Peer(Violation::UnexpectedResponse));
    assert_eq!(error.delivery, Delivery::NotSent);
    assert_eq!(world.client.unanswered().count(), 1);
}

#[test]
fn what_has_not_left_stays_when_the_server_wants_no_more() {
    let mut world = open(8);
    for _ in 0..3 {
        world.send(Method::GET, false).unwrap();
    }
    let one_and_a_byte = world.client.outbox().len() / 3 + 1;
    world.apply(Op::Drain(one_and_a_byte)).unwrap();
    for op in [Op::Answer(Answer::Last), Op::Feed(usize::MAX), Op::Poll] {
        world.apply(op).unwrap();
    }
    assert!(world.client.outbox().is_empty());
    assert_eq!(world.client.status(), Status::Close(CloseReason::Done));
    let lost: Vec<_> = world.client.unanswered().map(|lost| lost.delivery).collect();
    assert_eq!(lost, [Delivery::MaybeProcessed, Delivery::NotSent]);
}

#[test]
fn an_answer_in_http_1_0_shuts_the_window() {
    let mut world = open(8);
    for answer in [Answer::Old, Answer::Old, Answer::Empty] {
        world.send(Method::GET, false).unwrap();
        assert_eq!(world.client.can_pipeline(&Method::GET), world.window > 1);
        let round = [Op::Drain(usize::MAX), Op::Answer(answer), Op::Feed(usize::MAX), Op::Poll];
        for op in round {
            world.apply(op).unwrap();
        }
        assert_eq!(world.window, if answer == Answer::Old { 1 } else { 2 });
    }
}

#[test]
fn more_answers_than_requests_are_an_error() {
    let mut world = open(8);
    world.send(Method::GET, false).unwrap();
    world.send(Method::GET, false).unwrap();
    world.apply(Op::Drain(usize::MAX)).unwrap();
    let three = b"HTTP/1.1 204 No Content\r\n\r\n".repeat(3);
    world.client.inbox().extend_from_slice(&three);
    let now = world.now;
    for _ in 0..2 {
        assert!(matches!(world.client.poll_event(now), Ok(Some(ClientEvent::Response { .. }))));
    }
    let error = world.client.poll_event(now).unwrap_err();
    assert_eq!(error.kind, Kind::Peer(Violation::UnexpectedResponse));
    assert_eq!(world.client.unanswered().count(), 0);
}

#[test]
fn a_switch_that_nobody_offered_is_an_error_in_a_pipeline_too() {
    let mut world = open(8);
    world.send(Method::GET, false).unwrap();
    world.send(Method::GET, false).unwrap();
    world.apply(Op::Drain(usize::MAX)).unwrap();
    let switch =
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";
    world.client.inbox().extend_from_slice(switch);
    let error = world.client.poll_event(world.now).unwrap_err();
    assert_eq!(error.kind, Kind::Peer(Violation::UnexpectedSwitch));
    let lost: Vec<_> = world.client.unanswered().map(|lost| lost.delivery).collect();
    assert_eq!(lost, [Delivery::MaybeProcessed; 2]);
}

#[test]
fn each_answer_has_its_own_time_from_when_its_turn_comes() {
    let config = ClientConfig {
        pipelining: 8,
        response_head: Some(Duration::from_secs(10)),
        ..ClientConfig::default()
    };
    let (mut client, answer) = (Client::new(Arc::new(config)), b"HTTP/1.1 204 No Content\r\n\r\n");
    let client = &mut client;
    let at = |s| Instant::ZERO + Duration::from_secs(s);
    let exchange = |client: &mut Client, now| {
        client.send_request(now, line(&Method::GET), NONE, BodySize::Empty).unwrap();
        let queued = client.outbox().len();
        client.outbox().advance(queued);
    };
    exchange(client, at(0));
    client.inbox().extend_from_slice(answer);
    while client.poll_event(at(0)).unwrap().is_some() {}
    exchange(client, at(1));
    exchange(client, at(1));
    client.inbox().extend_from_slice(answer);
    while client.poll_event(at(8)).unwrap().is_some() {}
    assert_eq!(client.deadline().unwrap().at, at(18));
    let error = client.poll_event(at(18)).unwrap_err();
    assert!(matches!(error.kind, Kind::Timeout(_)));
    assert_eq!(client.unanswered().map(|lost| lost.exchange).collect::<Vec<_>>(), [3]);
}
