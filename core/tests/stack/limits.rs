//! Quotas of clients, of routes and of all, shared ones, and the shield.

use super::*;

/// A limiter as a server shares it.
#[derive(Debug)]
pub(super) struct Single(pub(super) Mutex<RateLimiter>);

impl Buckets for Single {
    fn check(&self, now: Instant, cost: u32, charges: &[Charge]) -> Outcome {
        self.0.lock().unwrap().check(now, cost, charges)
    }

    fn peek(&self, now: Instant, cost: u32, charges: &[Charge]) -> Outcome {
        self.0.lock().unwrap().peek(now, cost, charges)
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.0.lock().unwrap().is_idle(now)
    }
}

fn limited(
    config: RateLimitConfig,
    routes: &[(u32, Option<Quota>)],
) -> Result<Stack, BadRateLimit> {
    let share = |limiter| Single(Mutex::new(limiter));
    let routes = routes.iter().map(|(cost, quota)| (Cost(*cost), *quota));
    let limit = RateLimit::new(config, [1; 16], routes, share)?;
    let layers: [BoxLayer; 3] =
        [Box::new(Identify::default()), Box::new(authentication()), Box::new(limit)];
    Ok(Stack::new(layers.map(|layer| (Mode::Enforce, layer))).unwrap())
}

pub(super) fn quota(count: u32, burst: u32) -> Quota {
    Quota::new(count, Duration::from_secs(60), burst).unwrap()
}

#[test]
fn clients_are_held_to_quotas_and_told() {
    let config = RateLimitConfig { client: Some(quota(60, 2)), ..RateLimitConfig::default() };
    for (fields, wanted) in [
        (
            LimitFields::Draft,
            [
                ("ratelimit-policy", Some("\"client\";q=60;w=60")),
                ("ratelimit", Some("\"client\";r=0;t=2")),
                ("x-ratelimit-limit", None),
            ],
        ),
        (
            LimitFields::Legacy,
            [
                ("x-ratelimit-limit", Some("60")),
                ("x-ratelimit-remaining", Some("0")),
                ("x-ratelimit-reset", Some("2")),
            ],
        ),
        (LimitFields::None, [("ratelimit", None), ("x-ratelimit-limit", None), ("x", None)]),
    ] {
        let stack = limited(RateLimitConfig { fields, ..config.clone() }, &[]).unwrap();
        let one = asked("GET", "");
        assert_eq!(one.pass(&stack).0, Decision::Continue);
        assert_eq!(one.pass(&stack).0, Decision::Continue);
        let (decision, record) = one.pass(&stack);
        assert_eq!(decision, Decision::Refuse(Reason::RateLimited));
        assert_eq!(record.retry_after, Some(Duration::from_secs(1)));
        let answer = answered(&stack, &record, StatusCode::TOO_MANY_REQUESTS);
        for (name, value) in wanted {
            assert_eq!(field(&answer, name), value, "{fields:?} {name}");
        }
        // A token makes another client of the same address, an invented name does not.
        assert_eq!(
            asked("GET", "authorization: Bearer good\r\n").pass(&stack).0,
            Decision::Continue
        );
        let poser = asked("GET", "x-client-id: other\r\nx-forwarded-for: 1.2.3.4\r\n");
        assert_eq!(poser.pass(&stack).0, Decision::Refuse(Reason::RateLimited));
    }
}

#[test]
fn classes_routes_and_costs_have_their_own() {
    let class = |name: &str, who, quota| ClientClass {
        name: name.to_owned(),
        who,
        roles: Vec::new(),
        quota,
    };
    let classes = vec![class("known", Who::Authenticated, None)];
    let config = RateLimitConfig {
        client: Some(quota(60, 4)),
        classes,
        global: Some(quota(60, 8)),
        ..RateLimitConfig::default()
    };
    let stack = limited(config.clone(), &[(1, Some(quota(60, 1)))]).unwrap();
    let mut costly = asked("GET", "");
    costly.policy.cost = Cost(3);
    assert_eq!(costly.pass(&stack).1.quota.unwrap().remaining, 1);
    assert_eq!(costly.pass(&stack).0, Decision::Refuse(Reason::RateLimited));
    // Who is known pays for all only, and for the route.
    let mut known = asked("GET", "authorization: Bearer good\r\n");
    assert_eq!(known.pass(&stack).1.quota.unwrap().quota, QuotaId(0));
    known.policy.quota = Some(quota(60, 1));
    assert_eq!(known.pass(&stack).0, Decision::Continue);
    assert_eq!(known.pass(&stack).0, Decision::Refuse(Reason::RateLimited));
    let mut invented = asked("BREW", "authorization: Bearer good\r\n");
    invented.policy.quota = known.policy.quota;
    assert_eq!(invented.pass(&stack).0, Decision::Refuse(Reason::RateLimited));
    known.route = Some(1);
    assert_eq!(known.pass(&stack).0, Decision::Continue, "another route");
    known.policy.quota = None;
    assert_eq!(known.pass(&stack).0, Decision::Continue);
    assert_eq!(known.pass(&stack).0, Decision::Continue);
    assert_eq!(known.pass(&stack).0, Decision::Refuse(Reason::RateLimited), "8 for all");

    // Nobody looks at a line again: what would end one, or a string in it, is refused here.
    for name in ["", "a\"b", "client", "a\\b", "a\rb", "a\nb", "a\tb", "a\x7fb", "gr\u{fc}n"] {
        let classes = vec![class(name, Who::Anyone, Some(quota(1, 1)))];
        let error = limited(RateLimitConfig { classes, ..config.clone() }, &[]).err();
        assert_eq!(error, Some(BadRateLimit::Name { class: 0, name: name.to_owned() }));
    }
    for (cost, own, name, burst) in
        [(9, None, "global", 8), (5, None, "client", 4), (2, Some(quota(60, 1)), "route", 1)]
    {
        let error = limited(config.clone(), &[(1, None), (cost, own)]).err();
        let (cost, quota) = (Cost(cost), name.to_owned());
        assert_eq!(
            error,
            Some(BadRateLimit::Cost { route: 1, cost, quota, burst }),
            "never let through"
        );
    }
    let classes =
        vec![class("a\"", Who::Anyone, None), class("client", Who::Anyone, Some(quota(1, 1)))];
    let all = RateLimitConfig { classes, bytes: 1, ..config };
    let problems = all.problems([(Cost(9), None)]);
    assert_eq!(problems.len(), 4, "each mistake is told: {problems:?}");
    let nothing = RateLimitConfig { client: None, global: None, classes: Vec::new(), ..config };
    assert_eq!(limited(nothing, &[]).err(), Some(BadRateLimit::Limiter(BadLimiter::NoQuota)));
}

/// Says the same to everyone, and notes whom it was asked about.
struct Says(LeaseVerdict, Arc<Mutex<Vec<(u32, KeyHash)>>>);

impl Lessor for Says {
    fn check(&self, _: Instant, cost: u32, key: KeyHash, _: KeyGroup) -> LeaseVerdict {
        self.1.lock().unwrap().push((cost, key));
        self.0
    }
}

#[test]
fn a_shared_quota_refuses_what_is_spent_and_what_nobody_can_count() {
    let wait = Some(Duration::from_secs(3));
    let refused = |reason| LeaseVerdict::Refused { reason, retry_after: wait };
    let (limited, unavailable) = (Reason::RateLimited, Reason::Unavailable);
    for (verdict, reason) in [
        (LeaseVerdict::Allowed(Basis::Lease), None),
        (LeaseVerdict::Allowed(Basis::Uncounted), None),
        (refused(Shortage::Spent), Some(limited)),
        (refused(Shortage::Unanswered), Some(limited)),
        (refused(Shortage::Local), Some(limited)),
        (refused(Shortage::NoStore), Some(unavailable)),
        (refused(Shortage::NoRoom), Some(unavailable)),
    ] {
        let asked_about = Arc::default();
        let stack = |secret| {
            let limit = SharedLimit::new(Says(verdict, Arc::clone(&asked_about)), [secret; 16]);
            let layers: [BoxLayer; 2] = [Box::new(Identify::default()), Box::new(limit)];
            Stack::new(layers.map(|layer| (Mode::Enforce, layer))).unwrap()
        };
        let mut request = asked("GET", "");
        request.policy.cost = Cost(2);
        let (decision, record) = request.pass(&stack(1));
        assert_eq!(decision, reason.map_or(Decision::Continue, Decision::Refuse));
        assert_eq!(record.retry_after, reason.and(wait));
        assert!(events(&record, 7).contains(&Event::Lease { exchange: 7, verdict }));
        // Replicas know a client by the same name, if they have the same secret.
        let _ = (request.pass(&stack(1)), request.pass(&stack(2)));
        request.policy.cost = Cost(0);
        assert_eq!(request.pass(&stack(1)).0, Decision::Continue, "nothing is taken");
        let seen = asked_about.lock().unwrap();
        assert!(seen.iter().all(|(cost, _)| *cost == 2) && seen.len() == 3, "{seen:?}");
        assert!(seen[0] == seen[1] && seen[0] != seen[2], "{seen:?}");
    }
}

#[test]
fn too_many_bad_tokens_are_not_even_looked_at() {
    let share = |limiter| Single(Mutex::new(limiter));
    let shield = Shield::new(quota(60, 2), 64 << 10, [1; 16], share).unwrap();
    let layers: [BoxLayer; 3] =
        [Box::new(Identify::default()), Box::new(shield), Box::new(authentication())];
    let stack = Stack::new(layers.map(|layer| (Mode::Enforce, layer))).unwrap();
    let attempt = |token: &str, address: &str| {
        let mut request = asked("GET", &format!("authorization: Bearer {token}\r\n"));
        request.peer.address = Some(address.parse().unwrap());
        let (decision, record) = request.pass(&stack);
        stack.on_end(&record, &End::new(Instant::from_nanos(5), None));
        (decision, record.credential)
    };
    let bad = Decision::Refuse(Reason::InvalidToken);
    for _ in 0..5 {
        assert_eq!(attempt("good", "192.0.2.7").0, Decision::Continue, "good ones cost nothing");
    }
    assert_eq!(attempt("a", "192.0.2.7").0, bad);
    assert_eq!(attempt("b", "192.0.2.7").0, bad);
    assert_eq!(attempt("c", "192.0.2.7"), (Decision::Refuse(Reason::RateLimited), None));
    assert_eq!(attempt("c", "192.0.2.8").0, bad, "another address");
    // A household has one prefix.
    assert_eq!(attempt("a", "2001:db8::1").0, bad);
    assert_eq!(attempt("a", "2001:db8::2").0, bad);
    assert_eq!(attempt("a", "2001:db8::3").0, Decision::Refuse(Reason::RateLimited));
    let mut plain = asked("GET", "");
    plain.peer.address = Some("192.0.2.7".parse().unwrap());
    assert_eq!(plain.pass(&stack).0, Decision::Continue, "who brings no token fails no check");
}
