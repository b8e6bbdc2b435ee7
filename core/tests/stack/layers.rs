//! Layers of an application's own.

use super::*;

/// Refuses whoever says so, and counts ends.
#[derive(Debug)]
struct Own;

#[derive(Clone, Debug, PartialEq)]
struct Note(&'static str);

impl Layer for Own {
    fn stage(&self) -> Stage {
        Stage::Application
    }

    fn on_head(&self, arrival: &Arrival<'_>, record: &mut Record) -> Decision {
        record.extensions.insert(Note("seen"));
        match arrival.head.header("x-full") {
            Some(_) => {
                record.retry_after = Some(Duration::from_secs(2));
                Decision::Refuse(Reason::Unavailable)
            }
            None => Decision::Continue,
        }
    }

    fn on_response(&self, record: &Record, response: &mut dyn ResponseHead) {
        assert_eq!(record.extensions.get(), Some(&Note("seen")));
        response.append(HeaderName::from_static("x-own"), "1".parse().unwrap());
    }

    fn on_end(&self, record: &Record, end: &End) {
        assert_eq!((record.context.priority, end.status), (Priority::High, Some(StatusCode::OK)));
    }
}

#[test]
fn an_application_adds_layers_of_its_own() {
    let layers: [(Mode, BoxLayer); 1] = [(Mode::Enforce, Box::new(Own))];
    let stack = Stack::new(layers).unwrap();
    let mut request = asked("GET", "x-full: yes\r\n");
    request.policy.priority = Priority::High;
    let (decision, record) = request.pass(&stack);
    assert_eq!(decision, Decision::Refuse(Reason::Unavailable));
    assert_eq!(record.refused, Some(enforced(Stage::Application, Reason::Unavailable)));
    assert_eq!(record.retry_after, Some(Duration::from_secs(2)));
    assert_eq!(field(&answered(&stack, &record, StatusCode::OK), "x-own"), Some("1"));
    stack.on_end(&record, &End::new(Instant::ZERO, Some(StatusCode::OK)));
}

/// Counts the requests that it was asked about and has not been told the end of.
struct Gauge(Arc<AtomicI64>);

impl Layer for Gauge {
    fn stage(&self) -> Stage {
        Stage::Application
    }

    fn on_head(&self, _: &Arrival<'_>, _: &mut Record) -> Decision {
        self.0.fetch_add(1, Ordering::Relaxed);
        Decision::Continue
    }

    fn on_end(&self, _: &Record, _: &End) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn the_end_is_told_to_those_who_were_asked() {
    let count = Arc::new(AtomicI64::new(0));
    for (fields, asked_for) in [("", 1), ("x-full: yes\r\n", 0)] {
        let gauge = Box::new(Gauge(Arc::clone(&count)));
        let layers: [(Mode, BoxLayer); 2] =
            [(Mode::Enforce, Box::new(Own)), (Mode::Enforce, gauge)];
        let stack = Stack::new(layers).unwrap();
        let mut request = asked("GET", fields);
        request.policy.priority = Priority::High;
        let (_, record) = request.pass(&stack);
        assert_eq!(count.load(Ordering::Relaxed), asked_for);
        stack.on_end(&record, &End::new(Instant::ZERO, Some(StatusCode::OK)));
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }
}

/// Adds its name to answers, and writes down which ends it is told.
struct Curious {
    name: &'static str,
    interest: Interest,
    told: Arc<Mutex<Vec<&'static str>>>,
}

impl Layer for Curious {
    fn stage(&self) -> Stage {
        Stage::Application
    }

    fn interest(&self) -> Interest {
        self.interest
    }

    fn on_head(&self, _: &Arrival<'_>, _: &mut Record) -> Decision {
        Decision::Continue
    }

    fn on_response(&self, _: &Record, response: &mut dyn ResponseHead) {
        response.append(HeaderName::from_static("x-seen"), HeaderValue::from_static(self.name));
    }

    fn on_end(&self, _: &Record, _: &End) {
        self.told.lock().unwrap().push(self.name);
    }
}

#[test]
fn a_layer_is_asked_and_told_what_concerns_it() {
    use Exchanges::{Every, None, Refused};
    let told = Arc::new(Mutex::new(Vec::new()));
    let curious = |name, interest| {
        let layer: BoxLayer = Box::new(Curious { name, interest, told: Arc::clone(&told) });
        layer
    };
    let kinds = [
        ("all", Interest::ALL),
        ("head", Interest::HEAD),
        ("refused answers", Interest { answers: Refused, ends: None }),
        ("refused ends", Interest { answers: None, ends: Refused }),
        ("answers", Interest { answers: Every, ends: None }),
    ];
    for (mode, fields, answers, ends) in [
        (Mode::Enforce, "", vec!["answers", "all"], vec!["all"]),
        (Mode::Shadow, "", vec![], vec!["all"]),
        (
            Mode::Enforce,
            "x-full: yes\r\n",
            vec!["answers", "refused answers", "all"],
            vec!["refused ends", "all"],
        ),
        (Mode::Shadow, "x-full: yes\r\n", vec![], vec!["refused ends", "all"]),
    ] {
        let own: (Mode, BoxLayer) = (Mode::Enforce, Box::new(Own));
        let layers = kinds.map(|(name, interest)| (mode, curious(name, interest)));
        let stack = Stack::new(layers.into_iter().chain([own])).unwrap();
        let mut request = asked("GET", fields);
        request.policy.priority = Priority::High;
        let (_, record) = request.pass(&stack);
        let answer = answered(&stack, &record, StatusCode::OK);
        let seen: Vec<_> = answer.headers().get_all("x-seen").iter().collect();
        assert_eq!(seen, answers, "{mode:?} {fields}");
        stack.on_end(&record, &End::new(Instant::ZERO, Some(StatusCode::OK)));
        assert_eq!(*told.lock().unwrap(), ends, "{mode:?} {fields}");
        told.lock().unwrap().clear();

        // Called again, it goes on behind those that were asked.
        for asked in 0..=answers.len() + 2 {
            let mut answer = http::Response::new(());
            stack.resume_response(&mut { asked }, &record, &mut answer);
            let rest = answer.headers().get_all("x-seen").iter().count();
            // The application's own layer is the first.
            assert_eq!(rest, (answers.len() + 1).saturating_sub(asked.max(1)), "{fields} {asked}");
        }
    }
}

/// A layer that is asked and told everything, whatever concerns it.
struct Greedy(BoxLayer);

impl Layer for Greedy {
    fn stage(&self) -> Stage {
        self.0.stage()
    }

    fn on_head(&self, arrival: &Arrival<'_>, record: &mut Record) -> Decision {
        self.0.on_head(arrival, record)
    }

    fn on_response(&self, record: &Record, response: &mut dyn ResponseHead) {
        self.0.on_response(record, response);
    }

    fn on_end(&self, record: &Record, end: &End) {
        self.0.on_end(record, end);
    }
}

/// Every layer of the library that needs no others.
fn every_layer() -> [BoxLayer; 9] {
    let share = |limiter| Single(Mutex::new(limiter));
    let limits = RateLimitConfig { client: Some(quota(60, 3)), ..RateLimitConfig::default() };
    [
        Box::new(Identify::default()),
        Box::new(cors()),
        Box::new(Deadlines::default()),
        Box::new(Shield::new(quota(60, 2), 64 << 10, [1; 16], share).unwrap()),
        Box::new(authentication()),
        Box::new(access()),
        Box::new(Classes::default()),
        Box::new(RateLimit::new(limits, [1; 16], [], share).unwrap()),
        Box::new(Validation),
    ]
}

#[test]
fn what_concerns_no_layer_would_change_nothing() {
    let enforced = |layer| (Mode::Enforce, layer);
    let stack = Stack::new(every_layer().map(enforced)).unwrap();
    let greedy = every_layer().map(|layer| -> BoxLayer { Box::new(Greedy(layer)) });
    let greedy = Stack::new(greedy.map(enforced)).unwrap();
    let (good, bad) = ("authorization: Bearer good\r\n", "authorization: Bearer bad\r\n");
    let page = "origin: https://app.test\r\n";
    let json = format!("{good}content-type: text/plain\r\n");
    let mut reasons = Vec::new();
    for (method, fields) in [
        ("GET", ""),
        ("GET", page),
        ("GET", good),
        ("POST", &json),
        ("PUT", good),
        ("GET", &json),
        ("GET", good),
        ("GET", good),
        ("GET", bad),
        ("GET", bad),
        ("GET", bad),
    ] {
        let mut request = asked(method, fields);
        request.has_body = fields == json;
        request.policy.expectation.content_types =
            [MediaRange::new("application/json").unwrap()].into();
        let ((decision, record), (other, seen)) = (request.pass(&stack), request.pass(&greedy));
        assert_eq!(decision, other, "{method} {fields}");
        let status = match decision {
            Decision::Refuse(reason) => reason.status(),
            _ => StatusCode::OK,
        };
        let (answer, full) = (answered(&stack, &record, status), answered(&greedy, &seen, status));
        assert_eq!(answer.headers(), full.headers(), "{method} {fields}");
        let end = End::new(Instant::from_nanos(5), Some(status));
        stack.on_end(&record, &end);
        greedy.on_end(&seen, &end);
        reasons.extend(record.refused.map(|refused| refused.reason));
    }
    // Each layer that says something of refusals had one.
    for reason in [
        Reason::Unauthenticated,
        Reason::InsufficientScope,
        Reason::UnsupportedMediaType,
        Reason::InvalidToken,
        Reason::RateLimited,
    ] {
        assert!(reasons.contains(&reason), "{reason:?} in {reasons:?}");
    }
}
