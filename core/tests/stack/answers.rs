//! What policies say of an answer, as lines and as fields.

use super::*;

/// An answer that has a place for lines.
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
        self.any(name, &mut |_| true)
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

/// What a client reads of an answer with these fields.
fn received(Answer { fields, lines }: &Answer) -> Vec<(String, Vec<u8>)> {
    let now = Instant::ZERO;
    let mut server = Server::new(Arc::new(ServerConfig::default()), now);
    server.inbox().extend_from_slice(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    server.poll_event(now).unwrap();
    let fields = fields.iter().map(|(name, value)| (name, value));
    let body = Bytes::from_static(b"a");
    server.send_whole(now, (StatusCode::OK, lines), fields, body).unwrap();
    let mut client = Client::new(Arc::new(ClientConfig::default()));
    let line = RequestLine { method: &Method::GET, target: b"/", authority: b"a" };
    client.send_request(now, line, NO_FIELDS, BodySize::Empty).unwrap();
    client.inbox().extend_from_slice(server.outbox().chunk());
    match client.poll_event(now) {
        Ok(Some(ClientEvent::Response { head, .. })) => {
            let own = |name: &str| name == "content-length";
            let fields = head.fields().iter().filter(|(name, _)| !own(name));
            fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn lines_say_what_fields_would_and_a_client_reads_them() {
    let origins = vec!["https://app.test".into(), "https://*.pages.test".into()];
    let open = CorsConfig {
        origins,
        credentials: true,
        private_network: true,
        expose: vec![HeaderName::from_static("x-total")],
        ..CorsConfig::default()
    };
    let preflight = "origin: https://a.pages.test\r\naccess-control-request-method: GET\r\n\
                     access-control-request-private-network: true\r\n";
    let draft = [
        ("ratelimit-policy", "\"a b!#~\";q=4000000000;w=60"),
        ("ratelimit", "\"a b!#~\";r=3999999999;t=1"),
    ];
    let legacy = [
        ("x-ratelimit-limit", "4000000000"),
        ("x-ratelimit-remaining", "3999999999"),
        ("x-ratelimit-reset", "1"),
    ];
    let shapes = [
        (LimitFields::Draft, &draft[..]),
        (LimitFields::Legacy, &legacy),
        (LimitFields::None, &[]),
    ];
    for (fields, wanted) in shapes {
        let share = |limiter| Single(Mutex::new(limiter));
        let class = ClientClass {
            name: "a b!#~".into(),
            who: Who::Authenticated,
            roles: Vec::new(),
            quota: Some(quota(4_000_000_000, 4_000_000_000)),
        };
        let client = Some(quota(7, 7));
        let config =
            RateLimitConfig { fields, client, classes: vec![class], ..RateLimitConfig::default() };
        // Two of a kind say it once.
        let layers: [BoxLayer; 6] = [
            Box::new(Identify::default()),
            Box::new(Identify::default()),
            Box::new(Cors::new(open.clone()).unwrap()),
            Box::new(Cors::new(open.clone()).unwrap()),
            Box::new(authentication()),
            Box::new(RateLimit::new(config, [1; 16], [], share).unwrap()),
        ];
        let stack = Stack::new(layers.map(|layer| (Mode::Enforce, layer))).unwrap();
        for given in [
            "",
            "x-request-id: 7b1f9f0e-5f8a.=@\r\n",
            "origin: https://app.test\r\n",
            "origin: https://a.pages.test\r\nauthorization: Bearer good\r\n",
            "origin: https://evil.test\r\n",
            preflight,
        ] {
            let method = if given == preflight { "OPTIONS" } else { "GET" };
            let (_, record) = asked(method, given).pass(&stack);
            let mut answer = Answer::default();
            answer.append(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            stack.on_response(&record, &mut answer);
            assert!(!answer.lines.is_empty());
            let mut read = received(&answer);

            let plain = http::Response::builder().header(CONTENT_TYPE, "text/plain");
            let mut plain = plain.body(()).unwrap();
            stack.on_response(&record, &mut plain);
            let fields = plain.headers().iter();
            let fields = fields.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
            let mut fields: Vec<_> = fields.collect();
            for list in [&mut read, &mut fields] {
                list.sort();
            }
            assert_eq!(read, fields, "{given}");
            let all = |name: &str| {
                let named = read.iter().filter(|(known, _)| known == name);
                named.map(|(_, value)| str::from_utf8(value).unwrap()).collect::<Vec<_>>()
            };
            assert_eq!(all("x-request-id").len(), 1, "{read:?}");
            assert!(all("access-control-allow-origin").len() <= 1, "{read:?}");
            if given.contains("authorization") {
                let told = |(name, value): &(&str, &str)| all(name) == [*value];
                assert!(wanted.iter().all(told), "{read:?}");
            }
        }
    }
}
