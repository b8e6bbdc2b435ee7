//! A server with every policy, in memory: token, access, CORS, quotas, route, events.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use sinew_core::head::Lines;
use sinew_core::http1::{Server, ServerConfig, ServerEvent};
use sinew_core::limit::{Charge, Outcome, Quota, RateLimiter};
use sinew_core::machine::{Machine, Seen, Step, Wire};
use sinew_core::policy::Mode;
use sinew_core::security::{
    Access, Challenge, Cors, CorsConfig, Credential, Principal, Routes, Rule, Subject, Thumbprint,
    TokenError, TokenValidator, Who,
};
use sinew_core::server::{
    Arrival, Authentication, BoxLayer, Buckets, Decision, End, Found, Identify, Peer, RateLimit,
    RateLimitConfig, Record, ResponseHead, RoutePolicy, RouterBuilder, Shield, SpareRecord, Stack,
    Template, Validation,
};
use sinew_core::time::{Epoch, Instant};

use crate::Result;
use crate::cases::{drain, tick};
use crate::traffic::{HELLO, REQUEST};

const TEXT_PLAIN: HeaderValue = HeaderValue::from_static("text/plain");

/// Finds every token good: what a signature costs is the business of whoever checks it.
struct Anyone(Arc<Principal>);

impl TokenValidator for Anyone {
    fn validate(
        &self,
        credential: Credential<'_>,
        _: Option<&Thumbprint>,
        _: Duration,
    ) -> core::result::Result<Arc<Principal>, TokenError> {
        black_box(credential);
        Ok(Arc::clone(&self.0))
    }
}

/// As the driver guards it.
struct Guarded(Mutex<RateLimiter>);

impl Buckets for Guarded {
    fn check(&self, now: Instant, cost: u32, charges: &[Charge]) -> Outcome {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).check(now, cost, charges)
    }

    fn peek(&self, now: Instant, cost: u32, charges: &[Charge]) -> Outcome {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).peek(now, cost, charges)
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_idle(now)
    }
}

/// The head of an answer. It is used again, so that it allocates nothing.
#[derive(Default)]
struct Answer {
    fields: Vec<(HeaderName, HeaderValue)>,
    lines: Lines,
}

impl ResponseHead for Answer {
    fn status(&self) -> StatusCode {
        StatusCode::OK
    }

    fn contains(&self, name: &HeaderName) -> bool {
        self.fields.iter().any(|(known, _)| known == name)
    }

    fn any(&self, name: &HeaderName, test: &mut dyn FnMut(&HeaderValue) -> bool) -> bool {
        self.fields.iter().any(|(known, value)| known == name && test(value))
    }

    fn retain(&mut self, keep: &dyn Fn(&HeaderName) -> bool) {
        self.fields.retain(|(name, _)| keep(name));
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.fields.push((name, value));
    }

    fn lines(&mut self) -> Option<&mut Lines> {
        Some(&mut self.lines)
    }
}

fn stack(templates: &[&str]) -> Result<Stack> {
    let share = |limiter| Guarded(Mutex::new(limiter));
    let minute = Duration::from_secs(60);
    let validator = Anyone(Arc::new(Principal {
        subject: Subject::Token { issuer: "https://issuer.test".into(), subject: "ann".into() },
        roles: Box::new([]),
        scopes: Box::new(["read".into()]),
        expires: None,
    }));
    let read = Rule {
        scopes: vec!["read".into()],
        ..Rule::allow("read", Who::Authenticated, Routes::Every)
    };
    let cors = CorsConfig { origins: vec!["https://app.test".into()], ..CorsConfig::default() };
    let limits = RateLimitConfig {
        client: Some(Quota::new(1_000_000, Duration::from_secs(1), 1_000_000)?),
        ..RateLimitConfig::default()
    };
    let layers: [BoxLayer; 7] = [
        Box::new(Identify::default()),
        Box::new(Cors::new(cors)?),
        Box::new(Shield::new(Quota::new(50, minute, 50)?, 1 << 20, [1; 16], share)?),
        Box::new(Authentication::new(Challenge::new("bench")?).validator(validator)),
        Box::new(Access::new(vec![read], templates.iter().copied())?),
        Box::new(RateLimit::new(limits, [2; 16], [], share)?),
        Box::new(Validation),
    ];
    Ok(Stack::new(layers.map(|layer| (Mode::Enforce, layer)))?)
}

/// Requests one after another; each is answered with 200 and 13 bytes.
pub(crate) fn server(requests: u64) -> Result<()> {
    let mut now = Instant::ZERO;
    let epoch = Epoch::new(Duration::from_secs(1_795_413_600));
    let config = ServerConfig { epoch: Some(epoch), observe: true, ..ServerConfig::default() };
    let mut server = Server::new(Arc::new(config), now);
    let mut router = RouterBuilder::new();
    router.route(Method::GET, "/plain", RoutePolicy::default())?;
    let router = router.build();
    let templates: Vec<&str> = router.templates().iter().map(Template::as_str).collect();
    let stack = stack(&templates)?;
    let peer = Peer { address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), ..Peer::default() };
    let mut answer = Answer::default();
    let mut spare = None;
    let mut answered = 0;
    while answered < requests {
        let now = tick(&mut now);
        server.inbox().extend_from_slice(black_box(REQUEST));
        let mut seen = Seen::default();
        loop {
            match server.step(seen) {
                Step::Poll => match server.poll_event(now) {
                    Ok(Some(ServerEvent::Request { head, .. })) => {
                        let Found::Route { value, template, .. } =
                            router.find(head.method(), head.path_bytes())?
                        else {
                            return Err("no route".into());
                        };
                        let arrival = Arrival {
                            now,
                            unix: epoch.unix(now),
                            number: u128::from(answered) << 64 | 7,
                            head: &head,
                            has_body: false,
                            route: Some(template),
                            fallback: false,
                            policy: value,
                            peer: &peer,
                        };
                        let mut shared = match spare.take() {
                            Some(spare) => SpareRecord::begin(spare, &arrival),
                            None => Arc::new(Record::new(&arrival)),
                        };
                        let record = Arc::get_mut(&mut shared).ok_or("somebody has the record")?;
                        let decision = stack.on_head(&arrival, record);
                        if decision != Decision::Continue {
                            return Err(format!("{decision:?}").into());
                        }
                        record.each_event(answered, |event| {
                            black_box(&event);
                        });
                        answer.append(CONTENT_TYPE, TEXT_PLAIN);
                        stack.on_response(record, &mut answer);
                        let fields = answer.fields.iter().map(|(name, value)| (name, value));
                        let body = Bytes::from_static(HELLO);
                        let line = (StatusCode::OK, &answer.lines);
                        server.send_whole(now, line, fields, body)?;
                        // Nothing of the head is held when the next one comes.
                        answer.fields.clear();
                        answer.lines.clear();
                        stack.on_end(record, &End::new(now, Some(StatusCode::OK)));
                        spare = SpareRecord::of(&mut shared);
                        answered += 1;
                    }
                    Ok(Some(_)) => return Err("a body that nobody sent".into()),
                    Err(error) => return Err(error.into()),
                    Ok(None) => {
                        while let Some(event) = server.poll_observed() {
                            black_box(&event);
                        }
                        seen.drained = true;
                    }
                },
                Step::Write => drain(&mut server, &mut seen),
                Step::Read => seen.read_blocked = true,
                Step::Wait(deadline) => {
                    black_box(deadline);
                    break;
                }
                Step::HalfClose | Step::Close(_) => return Err("the server closed".into()),
            }
        }
    }
    Ok(())
}
