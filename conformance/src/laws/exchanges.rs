//! What holds of exchanges over a network, whatever the network does.

use core::time::Duration;
use std::sync::Arc;

use http::Method;
use sinew_core::error::Delivery;
use sinew_core::http1::{Client, ClientConfig, Server, ServerConfig};
use sinew_core::machine::CloseReason;
use sinew_core::time::Instant;

use super::ensure;
use crate::end::Breach;
use crate::exchange::{Answer, Asking, Body, Exchange, Serving};
use crate::pair::Pair;
use crate::transcript::{Lines, Message, Start};
use crate::weather::Weather;

/// A plan, and the network that it is carried out over.
#[derive(Clone, Debug)]
pub struct Scene {
    /// What is asked and answered, in order.
    pub plan: Vec<Exchange>,
    /// Requests on their way at most.
    pub depth: u32,
    /// Towards the server.
    pub up: Weather,
    /// Towards the client.
    pub down: Weather,
}

impl Scene {
    /// Whether no timer minds this weather.
    pub fn is_calm(&self) -> bool {
        let calm = |weather: &Weather| {
            let stalls = weather.stalls.iter().map(|(_, length)| *length);
            weather.cut.is_none() && stalls.sum::<Duration>() < Duration::from_secs(1)
        };
        calm(&self.up) && calm(&self.down)
    }
}

/// Laws 4, 6 and 8: nothing hangs, spins, leaks, is made up or is lost count of. And the point of it
/// all: in calm weather, what is sent arrives.
pub fn check_exchanges(scene: &Scene) -> Result<(), Breach> {
    let plan = &scene.plan;
    let client = ClientConfig { pipelining: scene.depth, ..ClientConfig::default() };
    let server = ServerConfig::default();
    let mut pair = Pair::new(
        (Client::new(Arc::new(client)), Asking::new(plan.clone())),
        (Server::new(Arc::new(server), Instant::ZERO), Serving::new(plan.clone())),
        scene.up.clone(),
        scene.down.clone(),
    );
    pair.run()?;
    let refused = (pair.client.app.refused, pair.server.app.refused);
    ensure(refused == (None, None), || format!("a due verb was refused: {refused:?}"))?;
    check_requests(&pair.server.app.requests, plan)?;
    check_answers(&pair.client.app.answers, plan)?;
    check_accounts(&pair)?;
    if scene.is_calm() { check_arrived(&pair, plan) } else { Ok(()) }
}

/// What may differ: nothing but that something is missing at the end.
fn check_requests(requests: &[Message], plan: &[Exchange]) -> Result<(), Breach> {
    for (i, got) in requests.iter().enumerate() {
        let altered = || format!("request {i} was altered: {got:?}");
        let (Start::Request { method, target, .. }, Some(wanted)) = (&got.start, plan.get(i))
        else {
            return Err(Breach(altered()));
        };
        let sent = wanted.request.bytes();
        let same = method == wanted.method.as_str() && *target == format!("/{i}");
        ensure(same && sent.starts_with(&got.body), altered)?;
        if got.complete && wanted.answer != Answer::Discarding {
            let whole = got.body.len() == sent.len() && got.trailers == trailers(&wanted.request);
            ensure(whole, || format!("request {i} is complete without all of it: {got:?}"))?;
        }
    }
    Ok(())
}

fn check_answers(answers: &[Message], plan: &[Exchange]) -> Result<(), Breach> {
    for (i, got) in answers.iter().enumerate() {
        let altered = || format!("response {i} was altered: {got:?}");
        let (Start::Response { status, .. }, Some(wanted)) = (&got.start, plan.get(i)) else {
            return Err(Breach(altered()));
        };
        if *status != wanted.status.as_u16() {
            // A machine's own answer to what the network made of the request.
            let own = *status >= 400 && got.headers.iter().any(|(_, value)| value == b"close");
            ensure(own, altered)?;
            continue;
        }
        let bodiless = wanted.method == Method::HEAD || [204, 304].contains(status);
        let (sent, trailers) = if bodiless {
            (Vec::new(), None)
        } else {
            (wanted.response.bytes(), trailers(&wanted.response))
        };
        ensure(sent.starts_with(&got.body), altered)?;
        if got.complete {
            let whole = got.body.len() == sent.len() && got.trailers == trailers;
            ensure(whole, || format!("response {i} is complete without all of it: {got:?}"))?;
        }
    }
    Ok(())
}

fn trailers(body: &Body) -> Option<Lines> {
    match body {
        Body::Streamed(_, Some(value)) => Some(vec![("x-trailer".to_owned(), value.to_vec())]),
        _ => None,
    }
}

/// Every request is answered or accounted for, and what is said not to have been sent never came.
fn check_accounts(pair: &Pair<Asking, Serving>) -> Result<(), Breach> {
    let (asked, answers) = (pair.client.app.asked, &pair.client.app.answers);
    let unanswered: Vec<_> = pair.client.wire.unanswered().collect();
    ensure(answers.len() + unanswered.len() == asked, || {
        format!("{asked} asked, {} answered, {} unanswered", answers.len(), unanswered.len())
    })?;
    for (index, lost) in (answers.len()..).zip(&unanswered) {
        let wanted = format!("/{index}");
        let came = pair.server.app.requests.iter().any(
            |request| matches!(&request.start, Start::Request { target, .. } if *target == wanted),
        );
        let right = match lost.delivery {
            Delivery::NotSent => !came,
            delivery => delivery == Delivery::MaybeProcessed,
        };
        let right = right && lost.exchange == index as u64 + 1;
        ensure(right, || format!("request {index}: {lost:?}, and whether it came: {came}"))?;
    }
    Ok(())
}

/// No timer fired: all that is certain arrived.
fn check_arrived(pair: &Pair<Asking, Serving>, plan: &[Exchange]) -> Result<(), Breach> {
    let certain = plan.iter().position(may_end).unwrap_or(plan.len());
    let (answers, requests) = (&pair.client.app.answers, &pair.server.app.requests);
    for (i, wanted) in plan[..certain].iter().enumerate() {
        let answered = answers.get(i).is_some_and(|answer| {
            let status = wanted.status.as_u16();
            answer.complete
                && matches!(answer.start, Start::Response { status: got, .. } if got == status)
        });
        let asked = requests.get(i).is_some_and(|request| request.complete);
        ensure(asked && answered, || format!("exchange {i} of {certain} is not whole"))?;
    }
    let hints: usize = plan[..certain].iter().map(|exchange| usize::from(exchange.hints)).sum();
    ensure(pair.client.app.hints >= hints, || "hints are missing".to_owned())?;
    if certain < plan.len() {
        return Ok(());
    }
    let errors = (pair.client.error, pair.server.error);
    ensure(errors == (None, None), || format!("errors at the end: {errors:?}"))?;
    let ends = (pair.client.over, pair.server.over);
    ensure(ends == (Some(CloseReason::Done), Some(CloseReason::PeerClosed)), || {
        format!("the end: {ends:?}")
    })
}

/// Exchanges behind this one may find the connection closed.
fn may_end(exchange: &Exchange) -> bool {
    let has_body =
        !exchange.request.bytes().is_empty() || matches!(exchange.request, Body::Streamed(..));
    exchange.answer != Answer::AtTheEnd && has_body
}
