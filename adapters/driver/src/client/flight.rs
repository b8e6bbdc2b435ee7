//! A call on its way: what the dispatcher says to it is done, until the head of an answer is here.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use sinew_core::client::dispatcher::{
    CallId, CallSpec, ConnectionId, Cut, HeadFacts, HeadVerdict, Outcome,
};
use sinew_core::error::{Delivery, Phase};
use sinew_core::head::ResponseHead;
use sinew_core::http1::BodySize;
use sinew_core::resilience::{NoRetry, RetryAfter};
use sinew_core::time::Instant;
use smallvec::SmallVec;

use super::carrier::{Carrier, Whose};
use super::explained::Explaining;
use super::held::Held;
use super::hub::{Hub, Started};
use super::middleware::AttemptOutcome;
use super::outgoing::Outgoing;
use super::response::{ClientResponse, Source as _};
use super::seats::{Letter, Over, Ticket};
use super::table::Ride;
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;
use crate::trace::AttemptSpan;

/// A call on its way. Dropped, it gives up.
pub(super) struct Flight<R: Runtime> {
    hub: Arc<Hub<R>>,
    token: u64,
    call: CallId,
    /// Two attempts at most are on their way at once.
    attempts: SmallVec<[Attempt<R>; 2]>,
    letter: Option<Letter<R>>,
    deadline: Instant,
    /// How far it got, over the attempts that are over.
    earlier: Delivery,
    /// What the last attempt failed with.
    failed: Option<Error>,
    /// The dispatcher has nothing more to say to it.
    over: bool,
}

struct Attempt<R: Runtime> {
    ticket: Ticket,
    carrier: Carrier<R>,
    record: Record,
}

/// What is told of an attempt when it is over.
struct Record {
    attempt: u8,
    began: Instant,
    span: AttemptSpan,
}

impl<R: Runtime> Flight<R> {
    /// Makes a call, and waits for the head of its answer.
    pub(super) fn run(
        hub: &Arc<Hub<R>>,
        spec: CallSpec,
        request: &mut Outgoing,
    ) -> impl Future<Output = Result<ClientResponse, Error>> {
        let mut flight = None;
        poll_fn(move |cx| {
            let explaining = request.explaining.as_ref();
            let flight =
                flight.get_or_insert_with(|| Self::start(hub, spec, explaining, cx.waker()));
            flight.poll(cx, request)
        })
    }

    fn start(
        hub: &Arc<Hub<R>>,
        spec: CallSpec,
        explaining: Option<&Explaining>,
        waker: &Waker,
    ) -> Self {
        let Started { token, call, letter } = hub.start(spec, explaining, waker);
        Self {
            hub: Arc::clone(hub),
            token,
            call,
            attempts: SmallVec::new(),
            letter,
            deadline: spec.deadline,
            earlier: Delivery::NotSent,
            failed: None,
            over: false,
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut Outgoing,
    ) -> Poll<Result<ClientResponse, Error>> {
        loop {
            if let Some(letter) = self.letter.take()
                && let Some(error) = self.read(cx, letter, request)
            {
                return Poll::Ready(Err(error));
            }
            let mut at = 0;
            while let Some(attempt) = self.attempts.get_mut(at) {
                match attempt.carrier.poll_head(cx) {
                    Poll::Pending => at += 1,
                    Poll::Ready(Ok((answer, body))) => {
                        let attempt = self.attempts.swap_remove(at);
                        if let Some(answer) = self.judge(attempt, answer, body, request) {
                            return Poll::Ready(Ok(answer));
                        }
                    }
                    Poll::Ready(Err(error)) => {
                        let Attempt { ticket, mut carrier, record } = self.attempts.swap_remove(at);
                        carrier.recover(request);
                        self.fail(ticket, &record, error, request);
                    }
                }
            }
            self.letter = self.hub.next_letter(self.token, cx.waker());
            if self.letter.is_none() {
                return Poll::Pending;
            }
        }
    }

    /// Does what the dispatcher says; why the call ends, if it does.
    fn read(
        &mut self,
        cx: &mut Context<'_>,
        letter: Letter<R>,
        request: &mut Outgoing,
    ) -> Option<Error> {
        match letter {
            Letter::Send(ticket, ride) => {
                let attempt = ticket.attempt;
                let (span, began) = (request.begin(attempt), self.hub.runtime.now());
                let record = Record { attempt, began, span };
                let sent = match ride {
                    Ride::Alone(conn) => Carrier::send(cx, conn, ticket, request),
                    Ride::Shared(lane) => Carrier::board(&self.hub, lane, ticket, request),
                };
                match sent {
                    Ok(carrier) => self.attempts.push(Attempt { ticket, carrier, record }),
                    Err(error) => self.fail(ticket, &record, error, request),
                }
            }
            Letter::Cut(connection, why) => self.cut(connection, why, request),
            Letter::Over(over) => {
                self.over = true;
                self.hub.leave(self.token);
                return Some(self.ended(*over));
            }
            Letter::Stop => {
                let stopped = Error::new(ErrorKind::Stopped, Phase::Idle, Delivery::NotSent);
                let reached =
                    self.attempts.iter().map(|attempt| attempt.carrier.timed_out(Whose::Call));
                let reached = reached.map(|late| late.delivery()).max();
                return Some(stopped.after(self.earlier.max(reached.unwrap_or(Delivery::NotSent))));
            }
        }
        None
    }

    /// Asks what becomes of an answer.
    fn judge(
        &mut self,
        mut attempt: Attempt<R>,
        answer: ClientResponse,
        body: BodySize,
        request: &mut Outgoing,
    ) -> Option<ClientResponse> {
        let (ticket, head) = (attempt.ticket, answer.head());
        let status = head.status();
        let facts = HeadFacts {
            status,
            delivery: head.delivery(),
            retry_after: self.retry_after(head),
            replay: attempt.carrier.replay(request),
        };
        let verdict = self.hub.head(ticket, facts);
        match verdict {
            HeadVerdict::Deliver => attempt.carrier.forget_sent(),
            HeadVerdict::Discard => attempt.carrier.recover(request),
        }
        let mut held = Held::new(&self.hub, ticket, attempt.carrier);
        let delivered = match verdict {
            HeadVerdict::Deliver => {
                self.over = true;
                let body_by = request.body_timeout.map(|time| self.hub.runtime.now() + time);
                held.delivered(self.deadline, body_by);
                Some(held.respond(answer, body).after(ticket.attempt))
            }
            HeadVerdict::Discard => {
                self.earlier = self.earlier.max(facts.delivery);
                match body {
                    BodySize::Empty => held.complete(),
                    _ => held.leave(),
                }
                None
            }
        };
        self.told(&attempt.record, AttemptOutcome::Answered(status), request);
        if self.over && !self.attempts.is_empty() {
            // What the dispatcher says of them is not read any more.
            for lost in std::mem::take(&mut self.attempts) {
                self.told(&lost.record, AttemptOutcome::Overtaken, request);
            }
        }
        delivered
    }

    fn retry_after(&self, head: &ResponseHead) -> Option<std::time::Duration> {
        // It says when to try again: after a good answer nobody does.
        if head.status().is_success() {
            return None;
        }
        let value = head.header("retry-after")?;
        let (now, epoch) = (self.hub.runtime.now(), self.hub.runtime.epoch());
        Some(RetryAfter::parse(value, now, &epoch)?.wait(now, &epoch))
    }

    fn fail(&mut self, ticket: Ticket, record: &Record, error: Error, request: &Outgoing) {
        self.hub.failed(ticket, error.failure(), request.replay());
        self.told(record, AttemptOutcome::Failed(&error), request);
        self.note(error);
    }

    /// Tells what came of an attempt, once everything is done about it: whoever hears it may panic.
    fn told(&self, record: &Record, outcome: AttemptOutcome<'_>, request: &Outgoing) {
        match outcome {
            AttemptOutcome::Answered(status) => record.span.answered(status),
            AttemptOutcome::Failed(error) => {
                record.span.failed(error);
                if let Some(explaining) = &request.explaining {
                    explaining.failed(record.attempt, error);
                }
            }
            AttemptOutcome::Overtaken => record.span.overtaken(),
        }
        request.ended(record.attempt, self.hub.runtime.now() - record.began, outcome);
    }

    /// The dispatcher gave an attempt up.
    fn cut(&mut self, connection: ConnectionId, why: Cut, request: &mut Outgoing) {
        let cut = |attempt: &Attempt<R>| attempt.ticket.connection == connection;
        let Some(at) = self.attempts.iter().position(cut) else { return };
        let Attempt { mut carrier, record, .. } = self.attempts.swap_remove(at);
        carrier.recover(request);
        let whose = match why {
            Cut::Deadline => Whose::Call,
            Cut::AttemptTimeout => Whose::Phase,
            Cut::HedgeLost => return self.told(&record, AttemptOutcome::Overtaken, request),
        };
        let late = carrier.timed_out(whose);
        self.told(&record, AttemptOutcome::Failed(&late), request);
        self.note(late);
    }

    fn note(&mut self, error: Error) {
        let error = error.after(self.earlier);
        self.earlier = self.earlier.max(error.delivery());
        self.failed = Some(error);
    }

    /// Why the call ends without an answer.
    fn ended(&mut self, over: Over) -> Error {
        let Over { outcome, delivery, attempts, not_connected, dialing } = over;
        let last = self.failed.take();
        let error = match (outcome, not_connected, last) {
            (Outcome::Failed { .. }, Some(error), _) => error.after(delivery),
            (Outcome::Failed { .. }, None, Some(error)) => error,
            (Outcome::TimedOut(Phase::ResponseHead), _, Some(error))
                if *error.kind() == ErrorKind::Deadline =>
            {
                error
            }
            (Outcome::TimedOut(phase), _, last) => {
                let phase = match phase {
                    Phase::Pool => dialing.unwrap_or(phase),
                    phase => phase,
                };
                behind(Error::new(ErrorKind::Deadline, phase, delivery), last)
            }
            (Outcome::PoolTimeout, _, last) => {
                let phase = dialing.unwrap_or(Phase::Pool);
                behind(Error::new(ErrorKind::Timeout, phase, delivery), last)
            }
            (Outcome::Refused(refusal), _, last) => {
                behind(Error::new(ErrorKind::Refused(refusal), Phase::Pool, delivery), last)
            }
            (Outcome::Failed { failure, .. }, None, None) => {
                Error::new(ErrorKind::Gone, failure.phase, delivery)
            }
            (Outcome::Done, ..) => Error::new(ErrorKind::Gone, Phase::ResponseHead, delivery),
        };
        let why = match outcome {
            Outcome::Failed { why, .. } => Some(why),
            Outcome::TimedOut(_) if attempts > 0 => Some(NoRetry::Deadline),
            _ => None,
        };
        error.of_call(attempts, why)
    }
}

/// An error, and what the last attempt failed with.
fn behind(error: Error, last: Option<Error>) -> Error {
    match last {
        Some(last) => error.with_source(last),
        None => error,
    }
}

impl<R: Runtime> Drop for Flight<R> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let attempts = std::mem::take(&mut self.attempts);
        let sent: SmallVec<[Ticket; 2]> = attempts.iter().map(|attempt| attempt.ticket).collect();
        drop(attempts);
        self.hub.abandon(self.token, self.call, &sent);
    }
}
