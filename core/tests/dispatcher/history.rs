//! What is told of one call: each attempt, why it was made, and why there was no other.

use sinew_core::client::dispatcher::{
    CallHistory, Cause, Cut, Ended, Failure, Outcome, Refusal, Waited,
};
use sinew_core::error::{Fault, Phase};
use sinew_core::limit::ConcurrencyConfig;
use sinew_core::observe::Event;
use sinew_core::policy::Mode;
use sinew_core::resilience::{Backoff, BreakerConfig, BudgetConfig, Forced, NoRetry, RetryPolicy};

use super::hedging::hedging;
use super::*;

const FAILED: Failure =
    Failure { delivery: Delivery::MaybeProcessed, phase: Phase::ResponseHead, fault: Fault::Peer };

/// What a kept connection comes to that had ended.
const STALE: Failure = Failure { delivery: Delivery::NotSent, fault: Fault::Network, ..FAILED };

/// One call, and its history.
struct Told {
    bench: Bench,
    history: CallHistory,
}

const CALL: u64 = 1;

/// The least wait that there is, so that it is known.
fn policy() -> Policy {
    let backoff = Backoff { base: Duration::from_nanos(1), cap: Duration::from_nanos(1) };
    let retry = RetryPolicy { backoff, ..RetryPolicy::default() };
    let breaker = BreakerConfig { mode: Mode::Off, ..BreakerConfig::default() };
    Policy { retry, breaker, ..Policy::default() }
}

impl Told {
    fn start(bench: Bench, spec: CallSpec) -> Self {
        let history = CallHistory::new(CALL, bench.now);
        let mut told = Self { bench, history };
        while told.bench.dispatcher.poll_observed().is_some() {}
        told.bench.dispatcher.start(told.bench.now, spec);
        told.hear();
        told
    }

    #[expect(clippy::large_types_passed_by_value, reason = "once a test")]
    fn new(policy: Policy, endpoints: u64) -> Self {
        let bench = Bench::new(policy, endpoints);
        let spec = spec(&bench);
        Self::start(bench, spec)
    }

    fn hear(&mut self) {
        while let Some(event) = self.bench.dispatcher.poll_observed() {
            self.history.note(self.bench.now, &event);
        }
    }

    fn passes(&mut self, time: Duration) {
        self.bench.now = self.bench.now + time;
        self.bench.dispatcher.handle_timeout(self.bench.now);
        self.hear();
    }

    /// Opens what is to be opened, after 3 ms.
    fn connects(&mut self) {
        let connection = self.bench.dialled();
        self.passes(ms(3));
        self.bench.dispatcher.connected(self.bench.now, connection, 1);
        self.hear();
    }

    /// The call is answered after 2 ms, and asked to wait.
    fn answers(&mut self, status: u16, retry_after: Option<Duration>) -> HeadVerdict {
        let (exchange, _) = self.bench.sent(CALL);
        self.passes(ms(2));
        let status = StatusCode::from_u16(status).unwrap();
        let delivery = Delivery::of_answer(status, || retry_after.is_some());
        let facts = HeadFacts { status, delivery, retry_after, replay: Replay::Possible };
        let verdict = self.bench.dispatcher.head(self.bench.now, exchange, facts);
        self.bench.dispatcher.finished(self.bench.now, exchange, Reuse::Keep);
        self.hear();
        verdict
    }

    fn fails(&mut self, failure: Failure) {
        let (exchange, _) = self.bench.sent(CALL);
        self.fails_of(exchange, failure);
    }

    fn fails_of(&mut self, exchange: ExchangeId, failure: Failure) {
        let (now, dispatcher) = (self.bench.now, &mut self.bench.dispatcher);
        dispatcher.failed(now, exchange, failure, Replay::Possible, Reuse::Close);
        self.hear();
    }

    fn says(&self, lines: &[&str]) {
        let said = self.history.to_string();
        // Of the least backoff that there is, jitter leaves all or nothing.
        let said = said.replace("1.0ns later", "0.0ns later");
        assert_eq!(said.lines().collect::<Vec<_>>(), lines);
    }
}

fn spec(bench: &Bench) -> CallSpec {
    CallSpec::new(CALL, bench.now + ms(5_000), Safety::Safe)
}

#[test]
fn the_first_attempt_does() {
    let mut told = Told::new(policy(), 1);
    told.connects();
    let _ = told.answers(200, None);
    told.says(&["attempt 1: endpoint 0, on a new connection after 3.0ms; 200 after 2.0ms"]);
    assert_eq!((told.history.outcome, told.history.no_retry), (Some(Outcome::Done), None));
    // Who comes next finds the connection open.
    let Told { mut bench, .. } = told;
    bench.actions();
    let spec = spec(&bench);
    let mut told = Told::start(bench, spec);
    let _ = told.answers(404, None);
    told.says(&["attempt 1: endpoint 0, on a kept connection; 404 after 2.0ms"]);
}

#[test]
fn an_endpoint_that_asks_for_a_wait_is_named_for_it() {
    let mut told = Told::new(policy(), 2);
    told.connects();
    assert_eq!(told.answers(503, Some(ms(1_000))), HeadVerdict::Discard);
    told.bench.quiet();
    told.passes(ms(1_000));
    told.connects();
    assert_eq!(told.answers(200, None), HeadVerdict::Deliver);
    let said = told.history.to_string();
    let lines: Vec<_> = said.lines().collect();
    let [first, second] = lines[..] else { panic!("{said}") };
    assert!(first.contains(") rather than endpoint "), "{first}");
    assert!(
        first.ends_with(", on a new connection after 3.0ms; 503 after 2.0ms, refused"),
        "{first}"
    );
    assert!(second.starts_with("attempt 2, 1.0s later as Retry-After asks: endpoint "), "{second}");
    assert!(second.ends_with(", on a new connection after 3.0ms; 200 after 2.0ms"), "{second}");
    let [first, second] = told.history.attempts[..] else { panic!() };
    assert_ne!(first.endpoint, second.endpoint);
}

#[test]
fn who_tries_no_further_says_why() {
    let mut told = Told::new(policy(), 1);
    told.connects();
    for _ in 0..2 {
        told.fails(FAILED);
        told.passes(ms(1));
        told.connects();
    }
    assert_eq!(told.answers(503, None), HeadVerdict::Deliver);
    let backoff = "0.0ns later by backoff: endpoint 0, on a new connection after 4.0ms";
    let failed = "failed in the response head after 0.0ns, the peer's fault, maybe processed";
    told.says(&[
        &format!("attempt 1: endpoint 0, on a new connection after 3.0ms; {failed}"),
        &format!("attempt 2, {backoff}; {failed}"),
        &format!("attempt 3, {backoff}; 503 after 2.0ms, maybe processed"),
        "no further attempt: attempts",
    ]);
}

#[test]
fn an_unsafe_call_is_not_made_twice() {
    let bench = Bench::new(policy(), 1);
    let spec = CallSpec { safety: Safety::Unsafe, ..spec(&bench) };
    let mut told = Told::start(bench, spec);
    told.connects();
    told.fails(FAILED);
    assert_eq!(told.history.no_retry, Some(NoRetry::NotRepeatable));
    assert_eq!(told.history.attempts[0].ended, Some(Ended::Failed(FAILED)));
    assert!(told.history.to_string().ends_with("no further attempt: not_repeatable\n"));
}

#[test]
fn a_budget_that_is_empty_is_named() {
    let budget = BudgetConfig { percent: 1, per_second: 0, ..BudgetConfig::default() };
    let mut told = Told::new(Policy { budget, ..policy() }, 1);
    told.connects();
    assert_eq!(told.answers(503, None), HeadVerdict::Deliver);
    let Some(NoRetry::Budget(why)) = told.history.no_retry else { panic!("{}", told.history) };
    told.says(&[
        "attempt 1: endpoint 0, on a new connection after 3.0ms; 503 after 2.0ms, maybe processed",
        &format!("no further attempt: {}", why.name()),
    ]);
}

#[test]
fn a_breaker_that_lets_nobody_through_is_named() {
    let mut bench = Bench::new(Policy { breaker: BreakerConfig::default(), ..policy() }, 1);
    bench.dispatcher.force_breaker(bench.now, Endpoint(0), Some(Forced::Open));
    let spec = spec(&bench);
    let told = Told::start(bench, spec);
    let Some(Outcome::Refused(Refusal::Breaker { why, .. })) = told.history.outcome else {
        panic!("{}", told.history)
    };
    told.says(&["not sent", &format!("refused: {}", why.name())]);
}

#[test]
fn a_hedge_says_after_what_it_was_sent() {
    let bench = hedging(PoolPolicy::default(), 1, 1);
    let spec = spec(&bench);
    let mut told = Told::start(bench, spec);
    let (first, _) = told.bench.sent(CALL);
    told.passes(ms(20));
    told.connects();
    assert_eq!(told.answers(200, None), HeadVerdict::Deliver);
    told.says(&[
        "attempt 1: endpoint 0, on a kept connection; overtaken after 25.0ms",
        "attempt 2, beside the first after 20.0ms: endpoint 0, on a new connection after 3.0ms; 200 after 2.0ms",
    ]);
    // The answer of the other one comes too late.
    assert_eq!(told.bench.head(first, 200), HeadVerdict::Discard);
}

/// What overtook the first one was a failure, and it is that one that was not tried again.
#[test]
fn a_hedge_that_fails_says_why_nothing_follows() {
    let bench = hedging(PoolPolicy::default(), 1, 1);
    let retry = Some(RetryPolicy { attempts: 2, ..RetryPolicy::default() });
    let spec = CallSpec { retry, ..spec(&bench) };
    let mut told = Told::start(bench, spec);
    told.bench.sent(CALL);
    told.passes(ms(20));
    told.connects();
    assert_eq!(told.answers(503, None), HeadVerdict::Deliver);
    assert_eq!(told.history.no_retry, Some(NoRetry::Attempts));
    let first = told.history.attempts[0].ended;
    assert!(matches!(first, Some(Ended::Cut(Cut::HedgeLost))), "{}", told.history);
}

#[test]
fn a_deadline_says_where_it_came() {
    let mut told = Told::new(policy(), 1);
    told.connects();
    told.passes(ms(5_000));
    told.says(&[
        "attempt 1: endpoint 0, on a new connection after 3.0ms; cut by the deadline after 5.0s",
        "deadline exceeded in the response head",
    ]);
    // In a wait for a connection, nothing was sent.
    let bench = Bench::new(policy(), 1);
    let spec = CallSpec { deadline: bench.now + ms(100), ..spec(&bench) };
    let mut told = Told::start(bench, spec);
    told.passes(ms(100));
    told.says(&["not sent", "deadline exceeded in the wait for a connection"]);
}

/// The deadline is not blamed for a wait that has a time of its own.
#[test]
fn a_wait_for_a_connection_that_ends_is_not_the_deadline() {
    let bench = Bench::new(policy(), 1);
    let spec = CallSpec { pool_timeout: Some(ms(100)), ..spec(&bench) };
    let mut told = Told::start(bench, spec);
    told.passes(ms(100));
    told.says(&["not sent", "timed out in the wait for a connection"]);
}

/// Why the one that failed was not made again is told, and what became of the one beside it.
#[test]
fn a_deadline_is_told_behind_an_attempt_that_failed_before() {
    let bench = hedging(PoolPolicy::default(), 1, 1);
    let retry = Some(RetryPolicy { attempts: 2, ..RetryPolicy::default() });
    let spec = CallSpec { retry, ..spec(&bench) };
    let mut told = Told::start(bench, spec);
    let (first, _) = told.bench.sent(CALL);
    told.passes(ms(20));
    told.connects();
    told.fails_of(first, FAILED);
    told.passes(ms(5_000));
    let said = told.history.to_string();
    let lines: Vec<_> = said.lines().skip(2).collect();
    assert_eq!(
        lines,
        ["no further attempt: attempts", "deadline exceeded in the response head"],
        "{said}"
    );
}

#[test]
fn a_connection_that_could_not_be_opened_is_an_attempt_that_was_not_sent() {
    let mut told = Told::new(policy(), 1);
    let connection = told.bench.dialled();
    told.passes(ms(3));
    let failure =
        Failure { delivery: Delivery::NotSent, phase: Phase::Connect, fault: Fault::Network };
    told.bench.dispatcher.dial_failed(told.bench.now, connection, failure);
    told.hear();
    told.passes(ms(1));
    told.connects();
    let _ = told.answers(200, None);
    told.says(&[
        "attempt 1: endpoint 0, without a connection after 3.0ms; failed in the connect, \
         the network's fault, not sent",
        "attempt 2, 0.0ns later by backoff: endpoint 0, on a new connection after 4.0ms; 200 after 2.0ms",
    ]);
}

#[test]
fn a_kept_connection_that_had_ended_is_told_apart() {
    let mut told = Told::new(policy(), 1);
    told.connects();
    let _ = told.answers(200, None);
    told.bench.actions();
    let Told { bench, .. } = told;
    let spec = spec(&bench);
    let mut told = Told::start(bench, spec);
    told.fails(STALE);
    told.connects();
    let _ = told.answers(200, None);
    told.says(&[
        "attempt 1: endpoint 0, on a kept connection; the connection had ended, not sent",
        "attempt 1, at once: endpoint 0, on a new connection after 3.0ms; 200 after 2.0ms",
    ]);
}

/// What takes the place of a stale attempt has the number of the hedge: each has its own end all the same.
#[test]
fn a_hedge_and_what_is_made_again_do_not_share_an_end() {
    let bench = hedging(PoolPolicy::default(), 1, 1);
    let spec = spec(&bench);
    let mut told = Told::start(bench, spec);
    let (first, _) = told.bench.sent(CALL);
    told.passes(ms(20));
    told.connects();
    let (hedge, _) = told.bench.sent(CALL);
    told.fails_of(first, STALE);
    told.connects();
    told.bench.sent(CALL);
    let numbers: Vec<u8> = told.history.attempts.iter().map(|one| one.attempt).collect();
    assert_eq!(numbers, [1, 2, 2]);
    assert_eq!(told.bench.head(hedge, 200), HeadVerdict::Deliver);
    told.hear();
    told.says(&[
        "attempt 1: endpoint 0, on a kept connection; the connection had ended, not sent",
        "attempt 2, beside the first after 20.0ms: endpoint 0, on a new connection after 3.0ms; 200 after 3.0ms",
        "attempt 2, at once: endpoint 0, on a new connection after 3.0ms; overtaken after 0.0ns",
    ]);
}

/// A hedge still waits for its connection when that of the first proves dead.
#[test]
fn two_attempts_that_wait_keep_their_causes() {
    let bench = hedging(PoolPolicy::default(), 1, 1);
    let spec = spec(&bench);
    let mut told = Told::start(bench, spec);
    let (first, _) = told.bench.sent(CALL);
    told.passes(ms(20));
    let dialled = told.bench.dialled();
    told.fails_of(first, STALE);
    let after = ms(20);
    assert_eq!(told.history.waiting.map(|one| one.cause), Some(Cause::Hedge { after }));
    assert_eq!(told.history.waiting_next.map(|one| one.cause), Some(Cause::Stale));
    let again = told.bench.dialled();
    for connection in [dialled, again] {
        told.bench.dispatcher.connected(told.bench.now, connection, 1);
        told.hear();
    }
    let causes: Vec<Cause> = told.history.attempts.iter().map(|one| one.cause).collect();
    assert_eq!(causes, [Cause::First, Cause::Hedge { after }, Cause::Stale]);
}

/// A call that a limit held says so only where that took longer than its connection did.
#[test]
fn a_limit_is_named_where_it_took_longest() {
    for (held, dials, waited_for) in
        [(1, 500, Waited::NewConnection), (500, 1, Waited::Limit(1)), (5, 0, Waited::Limit(1))]
    {
        let admission = ConcurrencyConfig {
            mode: Mode::Enforce,
            initial: 1,
            min: 1,
            max: 1,
            ..ConcurrencyConfig::default()
        };
        let mut bench = Bench::new(Policy { admission, ..policy() }, 1);
        bench.start(CALL + 1, Sharing::Shared);
        let connection = bench.dialled();
        bench.dispatcher.connected(bench.now, connection, 1);
        let (other, _) = bench.sent(CALL + 1);
        let spec = spec(&bench);
        let mut told = Told::start(bench, spec);
        assert_eq!(told.history.waiting.and_then(|one| one.limit), Some(1));
        told.passes(ms(held));
        // Its body is on its way: a place is free, and no connection.
        assert_eq!(told.bench.head(other, 200), HeadVerdict::Deliver);
        told.hear();
        let connection = told.bench.dialled();
        told.passes(ms(dials));
        told.bench.dispatcher.connected(told.bench.now, connection, 1);
        told.hear();
        let one = told.history.attempts[0];
        assert_eq!((one.waited, one.waited_for), (ms(held + dials), waited_for));
    }
}

#[test]
fn what_is_given_up_is_not_on_its_way() {
    let mut told = Told::new(policy(), 1);
    let mut waits = told.history.clone();
    waits.give_up();
    assert_eq!(waits.to_string(), "not sent\n");
    told.connects();
    let sent = "attempt 1: endpoint 0, on a new connection after 3.0ms; ";
    told.says(&[&format!("{sent}on its way")]);
    told.history.give_up();
    told.says(&[&format!("{sent}given up")]);
}

/// Whoever counts attempts sees each one end.
#[test]
fn what_its_caller_gives_up_ends() {
    for heads in [false, true] {
        let mut bench = Bench::new(policy(), 1);
        let call = bench.start(CALL, Sharing::Shared);
        let mut history = CallHistory::new(CALL, bench.now);
        let connection = bench.dialled();
        bench.dispatcher.connected(bench.now, connection, 1);
        let (exchange, _) = bench.sent(CALL);
        if heads {
            assert_eq!(bench.head(exchange, 200), HeadVerdict::Deliver);
        }
        bench.now = bench.now + ms(2);
        bench.dispatcher.abandon(bench.now, call, Reuse::Close);
        bench.dispatcher.abandon(bench.now, call, Reuse::Close);
        let mut ends = 0;
        while let Some(event) = bench.dispatcher.poll_observed() {
            ends += u32::from(matches!(event, Event::AttemptEnded { .. }));
            history.note(bench.now, &event);
        }
        assert_eq!(ends, 1);
        let ended = history.attempts[0].ended;
        let answered = matches!(ended, Some(Ended::Answered { .. }));
        assert_eq!((answered, ended == Some(Ended::Abandoned)), (heads, !heads), "{history}");
    }
}

#[test]
fn an_answer_leaves_nothing_waiting() {
    let bench = hedging(PoolPolicy::default(), 1, 1);
    let spec = spec(&bench);
    let mut told = Told::start(bench, spec);
    let (first, _) = told.bench.sent(CALL);
    told.passes(ms(20));
    assert!(told.history.waiting.is_some(), "a hedge waits for its connection");
    assert_eq!(told.bench.head(first, 200), HeadVerdict::Deliver);
    told.hear();
    assert_eq!(told.history.waiting, None);
}

/// What leaves while the other attempt goes on is not taken for what comes next.
#[test]
fn a_hedge_that_was_never_sent_is_no_cause() {
    let pool = PoolPolicy { wait: Some(ms(5)), ..PoolPolicy::default() };
    let bench = hedging(pool, 1, 1);
    let spec = spec(&bench);
    let mut told = Told::start(bench, spec);
    let (first, _) = told.bench.sent(CALL);
    told.passes(ms(20));
    told.bench.dialled();
    told.passes(ms(5));
    told.fails_of(first, STALE);
    told.connects();
    let causes: Vec<Cause> = told.history.attempts.iter().map(|one| one.cause).collect();
    assert_eq!(causes, [Cause::First, Cause::Stale]);
}

/// Of two that wait, who came last leaves first.
#[test]
fn of_two_that_wait_the_last_one_leaves() {
    let bench = hedging(PoolPolicy::default(), 1, 1);
    let spec = spec(&bench);
    let mut told = Told::start(bench, spec);
    let (first, _) = told.bench.sent(CALL);
    told.passes(ms(20));
    told.bench.dialled();
    told.fails_of(first, STALE);
    let (hedge, again) = (told.history.waiting, told.history.waiting_next);
    assert!(hedge.is_some() && again.is_some());
    told.history.note(told.bench.now, &Event::AttemptDropped { token: CALL });
    assert_eq!((told.history.waiting, told.history.waiting_next), (hedge, None));
    told.history.note(told.bench.now, &Event::AttemptDropped { token: CALL });
    assert_eq!((told.history.waiting, told.history.waiting_next), (None, None));
}

#[test]
fn endpoints_have_the_names_that_they_are_given() {
    let mut told = Told::new(policy(), 1);
    told.connects();
    let _ = told.answers(200, None);
    let named = told.history.display_with(|Endpoint(number), f| write!(f, "host-{number}"));
    assert!(named.to_string().starts_with("attempt 1: host-0, "), "{named}");
}

/// Others of the same dispatcher are not its business, and what is lost is counted.
#[test]
fn it_keeps_to_its_own_call_and_to_its_bound() {
    let mut history = CallHistory::new(CALL, Instant::from_nanos(0));
    let before = history.clone();
    let sent = |token, attempt| {
        let (exchange, endpoint) = (ExchangeId::NONE, Endpoint(0));
        Event::AttemptSent { token, attempt, exchange, endpoint, first_use: true }
    };
    history.note(Instant::from_nanos(5), &sent(CALL + 1, 1));
    assert_eq!(history, before);
    for attempt in 1..=100 {
        history.note(Instant::from_nanos(5), &sent(CALL, attempt));
    }
    assert_eq!(history.attempts.len(), CallHistory::MAX_ATTEMPTS);
    // It is the last that decides.
    assert_eq!(history.attempts.last().map(|one| one.attempt), Some(100));
    assert_eq!(history.forgotten, 68);
    assert!(history.to_string().starts_with("68 attempts before were not kept\nattempt 69"));
    history.note(Instant::from_nanos(5), &Event::Lost(3));
    assert_eq!(history.lost, 3);
}
