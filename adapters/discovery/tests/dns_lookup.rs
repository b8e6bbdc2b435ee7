//! The machine of a lookup, with scripted servers, in virtual time.

#![cfg(feature = "dns")]
#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use sinew_core::Machine as _;
use sinew_core::time::Instant;
use sinew_discovery::dns::{
    Answer, Kind, Lookup, LookupError, LookupEvent, MAX_ALIASES, MAX_STRAYS, ResolverConfig,
    Transport, Trouble, Try,
};
use support::wire::{A, AAAA, Reply, SRV, name};

/// A lookup, its clock, and what it asked last.
struct Bench {
    lookup: Lookup,
    now: Instant,
    last: Option<Try>,
}

fn servers(count: u8) -> ResolverConfig {
    let server = |last| SocketAddr::from(([10, 0, 0, last], 53));
    ResolverConfig { servers: (1..=count).map(server).collect(), ..ResolverConfig::default() }
}

impl Bench {
    fn new(config: &ResolverConfig, name: &str, kind: Kind) -> Self {
        let now = Instant::ZERO + Duration::from_secs(1);
        let lookup = Lookup::new(config, name.parse().unwrap(), kind, [7; 32], now);
        Self { lookup, now, last: None }
    }

    fn of_a(name: &str) -> Self {
        Self::new(&servers(2), name, Kind::A)
    }

    /// What it asks next.
    fn asks(&mut self) -> Try {
        match self.lookup.poll_event(self.now) {
            Ok(Some(LookupEvent::Ask(next))) => {
                assert!(self.lookup.deadline().unwrap().at > self.now);
                self.last = Some(next.clone());
                next
            }
            other => panic!("{other:?}"),
        }
    }

    fn is_quiet(&mut self) -> bool {
        matches!(self.lookup.poll_event(self.now), Ok(None))
    }

    fn answer(&mut self) -> Answer {
        match self.lookup.poll_event(self.now) {
            Ok(Some(LookupEvent::Answer(answer))) => {
                assert_eq!(self.lookup.deadline(), None);
                assert_eq!(self.lookup.poll_event(self.now), Ok(None), "an answer comes once");
                answer
            }
            other => panic!("{other:?}"),
        }
    }

    fn error(&mut self) -> LookupError {
        let error = self.lookup.poll_event(self.now).unwrap_err();
        assert_eq!(self.lookup.poll_event(self.now), Err(error.clone()), "sticky");
        assert_eq!(self.lookup.deadline(), None);
        error
    }

    /// Answers what was asked last, as `say` wants.
    fn say(&mut self, say: impl FnOnce(Reply) -> Reply) {
        let last = self.last.clone().unwrap();
        match last.transport {
            Transport::Udp => {
                let reply = say(Reply::to(&last.bytes)).bytes();
                self.lookup.handle_datagram(self.now, last.number, &reply);
            }
            Transport::Tcp => {
                let reply = say(Reply::to(&last.bytes[2..])).bytes();
                // Byte by byte: a stream has no messages.
                for byte in (reply.len() as u16).to_be_bytes().iter().chain(&reply) {
                    self.lookup.handle_stream(self.now, last.number, &[*byte]);
                }
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

fn last_of(server: SocketAddr) -> u8 {
    match server.ip() {
        std::net::IpAddr::V4(address) => address.octets()[3],
        std::net::IpAddr::V6(_) => panic!("{server}"),
    }
}

#[test]
fn a_question_is_asked_and_answered() {
    let mut bench = Bench::of_a("Billing.mesh.test.");
    let asked = bench.asks();
    assert_eq!((asked.number, asked.transport), (1, Transport::Udp));
    // Recursion is desired; one question, and the size of datagrams behind it.
    assert_eq!(asked.bytes[2..12], [1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    assert_eq!(asked.bytes[asked.bytes.len() - 11..], [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    let name = Reply::asked(&asked.bytes);
    assert_eq!(name.to_ascii_lowercase(), "billing.mesh.test.");
    assert!(name.chars().any(|c| c.is_ascii_uppercase()) && name.contains(char::is_lowercase));
    bench.say(|reply| {
        reply
            .a("BILLING.mesh.test", 300, [10, 1, 0, 1])
            .a("billing.mesh.test", 60, [10, 1, 0, 2])
            .a("other.mesh.test", 1, [10, 1, 0, 3])
    });
    let answer = bench.answer();
    assert_eq!(answer.addresses.len(), 2, "what is said of other names does not count");
    assert_eq!(answer.ttl, Some(seconds(60)));
}

#[test]
fn ids_and_letters_differ_between_tries() {
    let mut bench = Bench::of_a("a-rather-long-name-with-letters.mesh.test");
    let first = bench.asks();
    bench.pass(seconds(5));
    let second = bench.asks();
    assert_ne!(first.bytes[..2], second.bytes[..2]);
    assert_ne!(Reply::asked(&first.bytes), Reply::asked(&second.bytes));
}

#[test]
fn what_does_not_answer_the_question_is_dropped() {
    let good = |reply: Reply| reply.a("a.mesh.test", 60, [10, 0, 0, 1]);
    let changes: [fn(Reply) -> Reply; 5] = [
        Reply::other_id,
        // Another name.
        |reply| reply.question(|question| question[1] = b'b'),
        // Another type.
        |reply| reply.question(|question| *question.iter_mut().rev().nth(2).unwrap() = 28),
        // No response; another opcode.
        |reply| reply.flags(0x0180),
        |reply| reply.flags(0x9180),
    ];
    for change in changes {
        let mut bench = Bench::of_a("a.mesh.test");
        bench.asks();
        bench.say(|reply| change(good(reply)));
        assert!(bench.is_quiet());
        bench.say(good);
        assert_eq!(bench.answer().addresses.len(), 1);
    }
}

#[test]
fn an_answer_to_the_try_before_is_dropped() {
    let mut bench = Bench::of_a("a.mesh.test");
    let first = bench.asks();
    bench.pass(seconds(5));
    bench.asks();
    let late = Reply::to(&first.bytes).a("a.mesh.test", 60, [10, 0, 0, 1]).bytes();
    bench.lookup.handle_datagram(bench.now, first.number, &late);
    bench.lookup.handle_failure(bench.now, first.number);
    assert!(bench.is_quiet());
}

#[test]
fn a_server_that_folds_case_is_asked_over_tcp() {
    let mut bench = Bench::of_a("billing.mesh.test");
    bench.asks();
    let fold = |reply: Reply| {
        reply.question(|question| question.make_ascii_lowercase()).a(
            "billing.mesh.test",
            60,
            [10, 0, 0, 1],
        )
    };
    bench.say(fold);
    let asked = bench.asks();
    assert_eq!((asked.transport, last_of(asked.server)), (Transport::Tcp, 1));
    bench.say(fold);
    assert_eq!(bench.answer().addresses.len(), 1);
}

#[test]
fn who_guesses_too_often_moves_the_question_to_tcp() {
    let mut bench = Bench::of_a("a.mesh.test");
    bench.asks();
    for _ in 1..MAX_STRAYS {
        bench.say(Reply::other_id);
        assert!(bench.is_quiet());
    }
    bench.say(Reply::other_id);
    assert_eq!(bench.asks().transport, Transport::Tcp);
}

#[test]
fn what_is_truncated_is_asked_over_tcp() {
    let mut bench = Bench::of_a("a.mesh.test");
    bench.asks();
    bench.say(|reply| reply.flags(0x8380).a("a.mesh.test", 60, [10, 0, 0, 1]));
    let asked = bench.asks();
    assert_eq!((asked.transport, last_of(asked.server)), (Transport::Tcp, 1));
    assert_eq!(
        usize::from(asked.bytes[0]) << 8 | usize::from(asked.bytes[1]),
        asked.bytes.len() - 2
    );
    bench.say(|reply| (0..100).fold(reply, |reply, n| reply.a("a.mesh.test", 60, [10, 0, 0, n])));
    assert_eq!(bench.answer().addresses.len(), 100);
}

#[test]
fn what_is_truncated_over_tcp_makes_no_sense() {
    let mut bench = Bench::new(&ResolverConfig { attempts: 1, ..servers(1) }, "a.test", Kind::A);
    bench.asks();
    bench.say(|reply| reply.flags(0x8380));
    bench.asks();
    bench.say(|reply| reply.flags(0x8380));
    assert!(matches!(bench.error(), LookupError::NoAnswer { trouble: Trouble::Malformed, .. }));
}

#[test]
fn servers_are_asked_in_turn_until_all_had_their_tries() {
    let mut bench = Bench::of_a("a.mesh.test");
    let mut asked = Vec::new();
    for _ in 0..4 {
        asked.push(last_of(bench.asks().server));
        bench.pass(seconds(5));
    }
    assert_eq!(asked, [1, 2, 1, 2]);
    let error = bench.error();
    assert_eq!(
        error.to_string(),
        "no answer about a.mesh.test: name server 10.0.0.2:53 does not answer"
    );
}

#[test]
fn a_lookup_ends_in_time_whatever_its_tries_would_take() {
    let config = ResolverConfig { attempts: 5, total: seconds(12), ..servers(3) };
    let mut bench = Bench::new(&config, "a.mesh.test", Kind::A);
    let mut tries = 0;
    while let Ok(Some(_)) = bench.lookup.poll_event(bench.now) {
        tries += 1;
        bench.now = bench.lookup.deadline().unwrap().at;
    }
    assert_eq!((tries, bench.now), (3, Instant::ZERO + seconds(13)));
    assert!(matches!(bench.error(), LookupError::NoAnswer { trouble: Trouble::Silent, .. }));
}

#[test]
fn one_that_fails_is_passed_over_at_once_and_blamed_at_the_end() {
    let mut bench = Bench::new(&ResolverConfig { attempts: 1, ..servers(3) }, "a.test", Kind::A);
    bench.asks();
    bench.say(|reply| reply.code(2));
    let second = bench.asks();
    bench.lookup.handle_failure(bench.now, second.number);
    bench.asks();
    bench.pass(seconds(5));
    assert_eq!(
        bench.error().to_string(),
        "no answer about a.test: name server 10.0.0.1:53 failed (SERVFAIL)"
    );
}

#[test]
fn no_such_name_and_nothing_under_it_are_told_apart() {
    let mut bench = Bench::of_a("a.mesh.test");
    bench.asks();
    bench.say(|reply| reply.code(3));
    assert_eq!(bench.error(), LookupError::NoSuchName("a.mesh.test".parse().unwrap()));

    let mut bench = Bench::of_a("a.mesh.test");
    bench.asks();
    bench.say(|reply| reply);
    assert_eq!(bench.answer(), Answer::default());
}

#[test]
fn an_empty_answer_of_one_who_asks_nobody_says_nothing() {
    let mut bench = Bench::of_a("a.mesh.test");
    bench.asks();
    bench.say(|reply| reply.flags(0x8100));
    assert_eq!(last_of(bench.asks().server), 2);
    // With authority it does.
    bench.say(|reply| reply.flags(0x8500));
    assert_eq!(bench.answer(), Answer::default());
}

#[test]
fn aliases_are_followed_and_the_shortest_time_counts() {
    let mut bench = Bench::of_a("a.mesh.test");
    bench.asks();
    bench.say(|reply| {
        reply.cname("b.mesh.test", 5, "c.mesh.test").a("c.mesh.test", 60, [10, 0, 0, 1]).cname(
            "a.mesh.test",
            600,
            "b.mesh.test",
        )
    });
    let answer = bench.answer();
    assert_eq!((answer.addresses.len(), answer.ttl), (1, Some(seconds(5))));
}

#[test]
fn an_alias_into_another_zone_is_asked_for() {
    let mut bench = Bench::of_a("a.mesh.test");
    bench.asks();
    bench.say(|reply| reply.flags(0x8500).cname("a.mesh.test", 600, "b.other.test"));
    let asked = bench.asks();
    assert_eq!(Reply::asked(&asked.bytes).to_ascii_lowercase(), "b.other.test.");
    bench.say(|reply| reply.a("b.other.test", 900, [10, 0, 0, 1]));
    assert_eq!(bench.answer().ttl, Some(seconds(600)));

    let mut bench = Bench::of_a("a.mesh.test");
    bench.asks();
    bench.say(|reply| reply.code(3).cname("a.mesh.test", 600, "b.other.test"));
    assert_eq!(bench.error(), LookupError::NoSuchName("b.other.test".parse().unwrap()));
}

#[test]
fn a_circle_of_aliases_ends() {
    let mut bench = Bench::of_a("a.test");
    bench.asks();
    bench.say(|reply| reply.cname("a.test", 1, "b.test").cname("b.test", 1, "a.test"));
    assert!(matches!(bench.error(), LookupError::Aliases(_)));

    // One at a time, too.
    let mut bench = Bench::of_a("a0.test");
    for step in 0..MAX_ALIASES {
        bench.asks();
        bench.say(|reply| reply.cname(&format!("a{step}.test"), 1, &format!("a{}.test", step + 1)));
    }
    bench.asks();
    bench.say(|reply| reply.cname(&format!("a{MAX_ALIASES}.test"), 1, "b.test"));
    assert_eq!(bench.error(), LookupError::Aliases("b.test".parse().unwrap()));
}

#[test]
fn a_server_that_does_not_know_the_size_of_datagrams_is_asked_without() {
    for header_only in [false, true] {
        let mut bench = Bench::of_a("a.mesh.test");
        bench.asks();
        bench.say(|reply| {
            let reply = reply.code(1);
            if header_only { reply.question(Vec::clear) } else { reply }
        });
        let asked = bench.asks();
        assert_eq!((asked.bytes[11], last_of(asked.server)), (0, 1));
        bench.say(|reply| reply.a("a.mesh.test", 60, [10, 0, 0, 1]));
        assert_eq!(bench.answer().addresses.len(), 1);
    }
}

#[test]
fn services_have_priority_weight_port_and_target() {
    let mut bench = Bench::new(&servers(1), "_http._tcp.billing.test", Kind::Srv);
    let asked = bench.asks();
    assert_eq!(Reply::kind(&asked.bytes), SRV);
    bench.say(|reply| {
        reply.srv("_http._tcp.billing.test", 30, [0, 5, 8080], "one.billing.test").srv(
            "_http._tcp.billing.test",
            60,
            [1, 0, 8081],
            ".",
        )
    });
    let answer = bench.answer();
    let [one, none] = answer.services.as_slice() else { panic!("{answer:?}") };
    assert_eq!((one.priority, one.weight, one.port), (0, 5, 8080));
    assert_eq!((one.target.as_str(), none.target.as_str()), ("one.billing.test", ""));
    assert_eq!(answer.ttl, Some(seconds(30)));
}

#[test]
fn ipv6_addresses_are_asked_for_by_their_own_type() {
    let mut bench = Bench::new(&servers(1), "a.test", Kind::Aaaa);
    assert_eq!(Reply::kind(&bench.asks().bytes), AAAA);
    bench.say(|reply| {
        let address = std::net::Ipv6Addr::LOCALHOST.octets();
        reply.a("a.test", 1, [10, 0, 0, 1]).record("a.test", AAAA, u32::MAX, &address)
    });
    let answer = bench.answer();
    assert_eq!(answer.addresses, [std::net::IpAddr::from(std::net::Ipv6Addr::LOCALHOST)]);
    assert_eq!(answer.ttl, Some(Duration::ZERO), "a time with its highest bit is none");
}

#[test]
fn what_makes_no_sense_moves_on() {
    let header = [0, 1, 0, 1, 0, 0, 0, 60];
    let record = |owner: &[u8], data: &[u8]| {
        let mut record = [owner, &header].concat();
        record.extend((data.len() as u16).to_be_bytes());
        record.extend(data);
        record
    };
    let cases = [
        // An address of three bytes; a name that is cut; a length beyond the end.
        record(&[0xc0, 12], &[1, 2, 3]),
        vec![3, b'a'],
        [&[0xc0, 12][..], &header, &[0, 9, 1]].concat(),
        // A pointer to itself, forward, and a label of an unknown kind.
        record(&[0xc0, 24], &[1, 2, 3, 4]),
        record(&[0xff, 0xff], &[1, 2, 3, 4]),
        record(&[0x80, 0], &[1, 2, 3, 4]),
    ];
    for case in cases {
        let mut bench = Bench::of_a("a.test");
        bench.asks();
        bench.say(|reply| reply.raw(&case));
        assert_eq!(last_of(bench.asks().server), 2, "{case:?}");
    }
    // A pointer back is how names are packed.
    let mut bench = Bench::of_a("a.test");
    bench.asks();
    bench.say(|reply| reply.raw(&record(&[0xc0, 12], &[1, 2, 3, 4])));
    assert_eq!(bench.answer().addresses.len(), 1);
}

#[test]
fn the_longest_name_is_asked_for_and_answered() {
    // 253 bytes as text, 255 on the wire.
    let name = [["a"; 63].concat(), ["b"; 63].concat(), ["c"; 63].concat(), ["d"; 61].concat()];
    let name = name.join(".");
    let mut bench = Bench::of_a(&name);
    let asked = bench.asks();
    assert_eq!(Reply::asked(&asked.bytes).to_ascii_lowercase(), format!("{name}."));
    bench.say(|reply| reply.a(&name, 60, [10, 0, 0, 1]));
    assert_eq!(bench.answer().addresses.len(), 1);
}

#[test]
fn only_the_answers_are_read_and_never_more_than_there_are() {
    // Behind the answers stands what is no record.
    let mut bench = Bench::of_a("a.test");
    let asked = bench.asks();
    let mut reply = Reply::to(&asked.bytes).a("a.test", 60, [10, 0, 0, 1]).bytes();
    reply[8..12].copy_from_slice(&[0xff; 4]);
    reply.extend([0x80; 9]);
    bench.lookup.handle_datagram(bench.now, asked.number, &reply);
    assert_eq!(bench.answer().addresses.len(), 1);

    // More answers than there are; one without data.
    for (answers, data) in [(2, &[10, 0, 0, 1][..]), (1, &[])] {
        let mut bench = Bench::of_a("a.test");
        let asked = bench.asks();
        let mut reply = Reply::to(&asked.bytes).record("a.test", A, 60, data).bytes();
        reply[7] = answers;
        bench.lookup.handle_datagram(bench.now, asked.number, &reply);
        assert_eq!(last_of(bench.asks().server), 2, "{data:?}");
    }

    // Of questions there is one.
    let mut bench = Bench::of_a("a.test");
    let asked = bench.asks();
    let mut reply = Reply::to(&asked.bytes).a("a.test", 60, [10, 0, 0, 1]).bytes();
    reply[4..6].copy_from_slice(&[0xff; 2]);
    bench.lookup.handle_datagram(bench.now, asked.number, &reply);
    assert!(bench.is_quiet());
}

#[test]
fn records_that_nobody_asked_for_are_passed_over() {
    let mut bench = Bench::of_a("a.test");
    bench.asks();
    bench.say(|reply| {
        // A text, a signature, a type without a name, and an address of another class.
        let chaos = [&name("a.test")[..], &[0, 1, 0, 3, 0, 0, 0, 1, 0, 4, 10, 0, 0, 9]].concat();
        reply
            .record("a.test", 16, 1, b"\x03abc")
            .record("a.test", 46, 1, &[0; 30])
            .record("a.test", 65_280, 1, &[1])
            .raw(&chaos)
            .a("a.test", 60, [10, 0, 0, 1])
    });
    let answer = bench.answer();
    assert_eq!((answer.addresses.len(), answer.ttl), (1, Some(seconds(60))));
}

#[test]
fn without_servers_there_is_nobody_to_ask() {
    let mut bench = Bench::new(&servers(0), "a.test", Kind::A);
    assert_eq!(bench.error(), LookupError::NoServers);
}

proptest::proptest! {
    /// Whatever a server says: a next try, an answer or a reason, and never a timer that is left behind.
    #[test]
    fn no_answer_leaves_it_without_a_next_step(
        flags in 0x8000..=u16::MAX,
        records in proptest::collection::vec(proptest::collection::vec(0..=u8::MAX, 0..40), 0..6),
    ) {
        let mut bench = Bench::of_a("a.test");
        for _ in 0..64 {
            match bench.lookup.poll_event(bench.now) {
                Ok(Some(LookupEvent::Ask(next))) => bench.last = Some(next),
                Ok(Some(LookupEvent::Answer(_))) | Err(_) => return Ok(()),
                Ok(None) => bench.now = bench.lookup.deadline().unwrap().at,
            }
            bench.say(|reply| {
                // One that is well in front, so that the others are looked at.
                let reply = reply.flags(flags).cname("a.test", 9, "b.test");
                records.iter().fold(reply, |reply, record| reply.raw(record))
            });
            if let Some(next) = bench.lookup.deadline() {
                proptest::prop_assert!(next.at > bench.now);
            }
        }
        proptest::prop_assert!(false, "it never ends");
    }
}
