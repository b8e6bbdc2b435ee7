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
