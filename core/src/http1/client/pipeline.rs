//! Requests sent behind the one that is being answered: which, how many, and what becomes of them.
//!
//! <https://www.rfc-editor.org/rfc/rfc9112#section-9.3.2>

use core::time::Duration;
use std::collections::VecDeque;

use http::{Method, Version};

use super::Client;
use crate::error::Delivery;
use crate::http1::framing::Asked;
use crate::http1::state::{Half, State, Transition};
use crate::observe;
use crate::time::Instant;

/// A request on its way whose final answer has not begun.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Unanswered {
    /// Its number on this connection, from 1.
    pub exchange: u64,
    /// How far it got.
    pub delivery: Delivery,
}

/// What a connection keeps that pipelines.
#[derive(Debug)]
pub(super) struct Pipeline {
    /// Whether the request that is being answered may be followed before its answer.
    leads: bool,
    /// How the request that is being answered was sent.
    front: Sent,
    /// Those that wait for their answer behind it.
    behind: VecDeque<Behind>,
    window: Window,
}

#[derive(Debug)]
struct Behind {
    asked: Asked,
    /// What the outbox will have drained when the first byte is on its way.
    sent_mark: u64,
    /// Whether another request may follow on the connection.
    keep: bool,
    sent: Sent,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Instant,
    /// Nothing else was on its way: the answer's time is the way there and back, and no queue.
    alone: bool,
    /// It took the last place of the window.
    filled: bool,
}

impl Pipeline {
    /// `depth` requests on their way at most; `None` where that leaves none to follow.
    pub(super) fn new(depth: u32) -> Option<Box<Self>> {
        let front = Sent { at: Instant::ZERO, alone: true, filled: true };
        let pipeline =
            Self { leads: false, front, behind: VecDeque::new(), window: Window::new(depth) };
        (depth > 1).then(|| Box::new(pipeline))
    }

    /// A request went out on an idle connection.
    pub(super) fn lead(&mut self, now: Instant, leads: bool) {
        self.leads = leads;
        self.front = Sent { at: now, alone: true, filled: self.window.size == 1 };
    }
}

impl Client {
    /// Whether [`send_request`](Self::send_request) takes a request of this method, without a body,
    /// behind those that are on their way. Never with [`ClientConfig::pipelining`] below 2.
    ///
    /// Only an idempotent one, only behind idempotent ones that are sent to their end and offered no
    /// change of protocol, and no more than the window holds: one on a fresh connection, until an
    /// answer in HTTP/1.1 that keeps the connection proves it; then one more for every window of
    /// answers that came about as fast as on an idle connection, and half as many when they come
    /// late.
    ///
    /// [`ClientConfig::pipelining`]: crate::http1::ClientConfig::pipelining
    pub fn can_pipeline(&self, method: &Method) -> bool {
        let Some(pipeline) = &self.pipeline else { return false };
        // https://www.rfc-editor.org/rfc/rfc9112#section-9.3.2: behind a request that must not be
        // repeated, once its final status is known.
        let leads = pipeline.leads || self.verdict.is_some();
        let goes_on = self.error.is_none() && self.closed.is_none() && !self.closing && !self.eof;
        let keeps = self.state.keep && pipeline.behind.back().is_none_or(|last| last.keep);
        // https://www.rfc-editor.org/rfc/rfc9110#section-9.2.2
        method.is_idempotent()
            && self.state.request == Half::Done
            && leads
            && goes_on
            && keeps
            && pipeline.behind.len() + 1 < pipeline.window.size as usize
            && !self.outbox.is_full()
    }

    /// How many requests more it takes now, of those that [may follow](Self::can_pipeline) others. One
    /// by one at least, an idle connection takes any request.
    pub fn room(&self) -> u32 {
        let window = self.pipeline.as_ref().map_or(1, |pipeline| pipeline.window.size);
        if self.reusable() {
            window
        } else if self.can_pipeline(&Method::GET) {
            let behind = self.pipeline.as_ref().map_or(0, |pipeline| pipeline.behind.len() as u32);
            window.saturating_sub(behind + 1)
        } else {
            0
        }
    }

    /// The number of the request sent last; the first one is 1.
    ///
    /// Answers come in the order of the requests, each to its end before the next one begins:
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-9.3.2>
    pub fn exchange(&self) -> u64 {
        self.exchange + self.pipeline.as_ref().map_or(0, |pipeline| pipeline.behind.len() as u64)
    }

    /// The requests whose final answer has not begun, the oldest first, and how far each got. When
    /// the connection is over these are the ones that get none.
    ///
    /// `NotSent`: no byte of it left the outbox. (A layer that encrypts takes bytes out of it before
    /// the socket does.)
    pub fn unanswered(&self) -> impl Iterator<Item = Unanswered> + '_ {
        let first = self.exchange;
        let awaited = self.state.request != Half::Idle && self.verdict.is_none();
        let front = awaited.then(|| Unanswered { exchange: first, delivery: self.delivery() });
        let behind = self.pipeline.iter().flat_map(|pipeline| &pipeline.behind);
        let behind = behind.zip(first + 1..).map(|(request, exchange)| {
            let begun = self.outbox.drained() > request.sent_mark;
            let delivery = if begun { Delivery::MaybeProcessed } else { Delivery::NotSent };
            Unanswered { exchange, delivery }
        });
        front.into_iter().chain(behind)
    }

    /// A request was written behind others; [`can_pipeline`](Self::can_pipeline) was asked before.
    #[inline(never)]
    pub(super) fn follow(&mut self, now: Instant, asked: Asked, sent_mark: u64, keep: bool) {
        if let Some(pipeline) = &mut self.pipeline {
            let filled = pipeline.behind.len() + 2 >= pipeline.window.size as usize;
            let sent = Sent { at: now, alone: false, filled };
            pipeline.behind.push_back(Behind { asked, sent_mark, keep, sent });
        }
        self.log.record(observe::Event::RequestStarted { exchange: self.exchange() });
        self.watch_writes(now);
    }

    /// Whether requests wait behind the one that is being answered.
    pub(super) fn is_followed(&self) -> bool {
        self.pipeline.as_ref().is_some_and(|pipeline| !pipeline.behind.is_empty())
    }

    /// Whether bytes came that cannot belong to the answer that is due: nothing of its request left.
    pub(super) fn is_premature(&self) -> bool {
        self.pipeline.is_some() && !self.inbox.is_empty() && self.outbox.drained() <= self.sent_mark
    }

    /// The head of a final answer came: what it says about the requests behind it.
    #[inline(never)]
    pub(super) fn judge_pipeline(&mut self, now: Instant, version: Version) {
        let last = self.exchange();
        let Some(pipeline) = &mut self.pipeline else { return };
        if !self.state.keep {
            if !pipeline.behind.is_empty() {
                // https://www.rfc-editor.org/rfc/rfc9112#section-9.6: what has not left stays here.
                self.outbox.clear();
            }
            return;
        }
        let before = pipeline.window.size;
        if version == Version::HTTP_11 {
            pipeline.window.answered(now, pipeline.front, self.exchange, last);
        } else {
            pipeline.window.size = 1;
        }
        let size = pipeline.window.size;
        if size != before {
            self.log.record(observe::Event::PipelineWindow { size });
        }
    }

    /// The connection is ready for the next exchange, which may be on its way already.
    #[inline(never)]
    pub(super) fn promote(&mut self, now: Instant) {
        let Some(pipeline) = &mut self.pipeline else { return };
        let Some(next) = pipeline.behind.pop_front() else { return };
        let keep = next.keep && !(self.closing && pipeline.behind.is_empty());
        pipeline.leads = true;
        pipeline.front = next.sent;
        let head = Transition::RequestHead { body: false, switch: false, keep };
        self.state = State::START.on(head).unwrap_or(State::START);
        self.begin(now, next.asked, next.sent_mark);
    }
}

/// How many requests may be on their way at once.
///
/// Enough to fill the time that an answer takes, and no more: the rest would wait at the server,
/// behind one another, for nothing. An answer's time is late when it is above twice the time on an
/// idle connection: half of it was a queue then.
#[derive(Debug)]
struct Window {
    size: u32,
    depth: u32,
    /// What an answer takes on an idle connection: the least seen, drawn up by requests sent alone.
    base: Option<Duration>,
    /// Answers in time since the window changed, of those that filled it.
    in_time: u32,
    /// The first exchange that was sent into the present window.
    judged_from: u64,
}

/// What schedulers add to the time of an answer: nobody queues for that.
const SLACK: Duration = Duration::from_millis(1);

/// By what part of the difference a request sent alone draws the base up.
const DRAW: u32 = 8;

impl Window {
    /// A window opens at one, so that nothing is pipelined on a connection that has not answered.
    fn new(depth: u32) -> Self {
        Self { size: 1, depth, base: None, in_time: 0, judged_from: 0 }
    }

    /// `exchange` was answered while `last` was the last one sent.
    fn answered(&mut self, now: Instant, sent: Sent, exchange: u64, last: u64) {
        let time = now.saturating_since(sent.at);
        let base = match self.base {
            Some(base) if time < base => time,
            Some(base) if sent.alone => base.saturating_add(time.saturating_sub(base) / DRAW),
            Some(base) => base,
            None => time,
        };
        self.base = Some(base);
        if exchange < self.judged_from {
            return;
        }
        if time > base.saturating_mul(2).saturating_add(SLACK) {
            self.size = (self.size / 2).max(1);
            self.in_time = 0;
            self.judged_from = last + 1;
        } else if sent.filled {
            self.in_time += 1;
            if self.in_time >= self.size {
                self.size = (self.size + 1).min(self.depth);
                self.in_time = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that takes `service` for each request, one after the other, `way` away there and
    /// back, and a client that keeps the window full: the window after so many answers.
    fn steady(window: &mut Window, way: u64, service: u64, answers: u64) -> u32 {
        let micros = |n| Instant::ZERO + Duration::from_micros(n);
        let mut on_their_way: VecDeque<(u64, u64, Sent)> = VecDeque::new();
        let (mut now, mut free, mut last) = (0, 0, window.judged_from);
        for _ in 0..answers {
            while on_their_way.len() < window.size as usize {
                last += 1;
                let sent = Sent {
                    at: micros(now),
                    alone: on_their_way.is_empty(),
                    filled: on_their_way.len() + 1 == window.size as usize,
                };
                free = (now + way / 2).max(free) + service;
                on_their_way.push_back((last, free + way / 2, sent));
            }
            let (exchange, at, sent) = on_their_way.pop_front().unwrap();
            now = now.max(at);
            window.answered(micros(now), sent, exchange, last);
        }
        window.size
    }

    #[test]
    fn a_long_way_opens_the_window_to_the_depth() {
        assert_eq!(steady(&mut Window::new(16), 40_000, 1, 200), 16);
        assert_eq!(steady(&mut Window::new(3), 40_000, 1, 200), 3);
    }

    #[test]
    fn the_window_fills_the_way_and_does_not_queue_far_beyond() {
        // 40 ms there and back at 5 ms each: nine fill it.
        let mut window = Window::new(64);
        steady(&mut window, 40_000, 5_000, 500);
        for _ in 0..200 {
            let size = steady(&mut window, 40_000, 5_000, 1);
            assert!((9..=19).contains(&size), "{size}");
        }
    }

    #[test]
    fn a_server_that_gets_slower_is_asked_less_and_one_that_recovers_more() {
        let mut window = Window::new(16);
        assert_eq!(steady(&mut window, 40_000, 100, 300), 16);
        assert!(steady(&mut window, 40_000, 50_000, 100) <= 4);
        assert_eq!(steady(&mut window, 40_000, 100, 600), 16);
    }

    #[test]
    fn a_way_that_became_longer_is_learned() {
        let mut window = Window::new(16);
        steady(&mut window, 10_000, 1, 200);
        assert_eq!(steady(&mut window, 100_000, 1, 1000), 16);
    }

    #[test]
    fn only_a_full_window_grows_and_one_late_flight_halves_it_once() {
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let sent = |ms| Sent { at: at(ms), alone: false, filled: false };
        let mut window =
            Window { size: 8, base: Some(Duration::from_millis(10)), ..Window::new(8) };
        for exchange in 1..100 {
            window.answered(at(10), sent(0), exchange, exchange);
        }
        assert_eq!((window.size, window.in_time), (8, 0));
        for exchange in 100..108 {
            window.answered(at(22), sent(0), exchange, 107);
        }
        assert_eq!(window.size, 4);
        window.answered(at(21), sent(0), 108, 108);
        assert_eq!(window.size, 4, "twice the base and a millisecond is in time");
    }
}
