//! The client's dispatcher: what a call costs, and how long calls wait for its lock.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use http::StatusCode;
use sinew_core::client::Dispatcher;
use sinew_core::client::dispatcher::{
    Action, CallSpec, ConnectionId, Endpoint, ExchangeId, HeadFacts, HeadVerdict, Policy, Reuse,
};
use sinew_core::error::Delivery;
use sinew_core::machine::Machine;
use sinew_core::resilience::{Replay, Safety};
use sinew_core::time::Instant;

use crate::Result;
use crate::cases::tick;

const THREADS: u64 = 16;
const CALLS_A_SECOND: u64 = 100_000;
const SECONDS: u64 = 5;

/// Calls one after the other to three endpoints, over connections that idle: start, send, head, end.
pub(crate) fn calls(calls: u64) -> Result<()> {
    calls_with(&Policy::default(), 3, calls)
}

/// The same, by another policy and to more of them.
pub(crate) fn calls_with(policy: &Policy, endpoints: u64, calls: u64) -> Result<()> {
    let mut dispatcher = connected(policy, endpoints)?;
    // Their slow start is over.
    let mut now = Instant::ZERO + Duration::from_secs(60);
    for token in 0..calls {
        let now = tick(&mut now);
        let exchange = start(&mut dispatcher, now, token)?;
        black_box(dispatcher.deadline());
        head(&mut dispatcher, now, exchange)?;
        finish(&mut dispatcher, now, exchange)?;
        black_box(dispatcher.deadline());
    }
    Ok(())
}

/// Threads share a dispatcher behind a lock, as a driver does: three sections a call. Prints how long
/// they wait for it.
pub(crate) fn lock() -> Result<ExitCode> {
    let dispatcher = Mutex::new(connected(&Policy::default(), THREADS)?);
    let origin = std::time::Instant::now();
    let now =
        || Instant::from_nanos(u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX));
    let pace = Duration::from_secs(1) * THREADS as u32 / CALLS_A_SECOND as u32;
    let worker = |thread: u64| -> std::result::Result<Vec<u64>, String> {
        let mut waits = Vec::new();
        let mut next = now() + pace / THREADS as u32 * thread as u32;
        for call in 0..CALLS_A_SECOND / THREADS * SECONDS {
            thread::sleep(next - now());
            next = next + pace;
            let mut locked = || {
                let asked = std::time::Instant::now();
                let guard = dispatcher.lock().unwrap_or_else(PoisonError::into_inner);
                waits.push(u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX));
                guard
            };
            let mut step = || -> Result<()> {
                let token = thread << 32 | call;
                let exchange = start(&mut locked(), now(), token)?;
                head(&mut locked(), now(), exchange)?;
                finish(&mut locked(), now(), exchange)
            };
            step().map_err(|error| error.to_string())?;
        }
        Ok(waits)
    };
    let mut waits = Vec::new();
    thread::scope(|scope| -> Result<()> {
        let worker = &worker;
        let workers: Vec<_> = (0..THREADS).map(|at| scope.spawn(move || worker(at))).collect();
        for worker in workers {
            waits.extend(worker.join().map_err(|_| "a thread failed")??);
        }
        Ok(())
    })?;
    let took = origin.elapsed();
    waits.sort_unstable();
    let calls = waits.len() as u64 / 3;
    println!(
        "{THREADS} threads, {} calls/s, three sections a call",
        calls * 1_000 / u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1)
    );
    for (name, permille) in [("p50", 500), ("p99", 990), ("p99.9", 999)] {
        let wait = waits.get(waits.len() * permille / 1_000).copied().unwrap_or_default();
        println!("{name:<6}{wait:>9} ns");
    }
    Ok(ExitCode::SUCCESS)
}

/// One with so many endpoints, and an idle connection to each.
fn connected(policy: &Policy, endpoints: u64) -> Result<Dispatcher> {
    let now = Instant::ZERO;
    let mut policy = *policy;
    policy.pool.warm = 1;
    // They are to be there for as long as it takes.
    policy.pool.idle = Duration::from_secs(3_600);
    policy.pool.max_age = Duration::from_secs(36_000);
    let mut dispatcher = Dispatcher::new(policy, 1)?;
    let endpoints: Vec<Endpoint> = (0..endpoints).map(Endpoint).collect();
    dispatcher.update_endpoints(now, 1, &endpoints);
    let mut dialled: Vec<ConnectionId> = Vec::new();
    while let Some(action) = dispatcher.poll_event(now)? {
        if let Action::Dial { connection, .. } = action {
            dialled.push(connection);
        }
    }
    for connection in dialled {
        dispatcher.connected(now, connection, 1);
    }
    Ok(dispatcher)
}

fn start(dispatcher: &mut Dispatcher, now: Instant, token: u64) -> Result<ExchangeId> {
    let spec = CallSpec::new(token, now + Duration::from_secs(30), Safety::Safe);
    dispatcher.start(now, black_box(spec));
    let mut sent = None;
    while let Some(action) = dispatcher.poll_event(now)? {
        match action {
            Action::Send { token: of, exchange, .. } if of == token => sent = Some(exchange),
            // Where all connections are busy for a moment.
            Action::Dial { connection, .. } => dispatcher.connected(now, connection, 1),
            other => return Err(format!("unexpected: {other:?}").into()),
        }
    }
    Ok(sent.ok_or("not sent")?)
}

fn head(dispatcher: &mut Dispatcher, now: Instant, exchange: ExchangeId) -> Result<()> {
    let facts = HeadFacts {
        status: StatusCode::OK,
        delivery: Delivery::Processed,
        retry_after: None,
        replay: Replay::Possible,
    };
    match dispatcher.head(now, black_box(exchange), facts) {
        HeadVerdict::Deliver => Ok(()),
        HeadVerdict::Discard => Err("an answer that nobody wants".into()),
    }
}

fn finish(dispatcher: &mut Dispatcher, now: Instant, exchange: ExchangeId) -> Result<()> {
    dispatcher.finished(now, exchange, Reuse::Keep);
    while let Some(action) = dispatcher.poll_event(now)? {
        black_box(action);
    }
    Ok(())
}
