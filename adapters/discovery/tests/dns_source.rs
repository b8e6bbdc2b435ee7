//! Lists from the DNS, over sockets.

#![cfg(feature = "dns")]
#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use sinew_discovery::dns::{DnsTimes, MAX_INSTANCES, ResolverConfig};
use sinew_discovery::{DnsSource, ServiceEndpoint, Source as _, SourceError};
use sinew_smol::SmolRuntime;
use support::names::start;
use support::script::in_time;
use support::wire::{A, AAAA, Reply, SRV};

const PATIENT: Duration = Duration::from_secs(60);

fn asking(servers: Vec<SocketAddr>) -> ResolverConfig {
    ResolverConfig { servers, timeout: PATIENT, total: PATIENT, ..ResolverConfig::default() }
}

fn listed(source: &mut DnsSource<SmolRuntime>) -> Result<Vec<String>, SourceError> {
    let list: Vec<ServiceEndpoint> = smol::block_on(in_time(source.next()))?;
    Ok(list
        .into_iter()
        .map(|endpoint| format!("{} {}", endpoint.address, endpoint.weight))
        .collect())
}

fn host(config: ResolverConfig) -> DnsSource<SmolRuntime> {
    DnsSource::addresses(SmolRuntime, "web", 80).unwrap().servers(config)
}

/// Answers about names in lower case.
fn asked(query: &[u8]) -> (String, u16) {
    (Reply::asked(query).to_ascii_lowercase(), Reply::kind(query))
}

#[test]
fn both_families_are_one_list() {
    let server = start(|query, reply| {
        Some(match asked(query).1 {
            A => reply.a("web", 60, [10, 0, 0, 2]).a("web", 60, [10, 0, 0, 1]),
            _ => {
                reply.record("web", AAAA, 60, &[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
            }
        })
    });
    let list = listed(&mut host(asking(vec![server]))).unwrap();
    assert_eq!(list, ["10.0.0.1:80 1", "10.0.0.2:80 1", "[fd00::1]:80 1"]);
}

#[test]
fn half_a_list_is_none() {
    let server = start(|query, reply| {
        Some(match asked(query).1 {
            A => reply.a("web", 60, [10, 0, 0, 2]),
            _ => reply.code(2),
        })
    });
    let why = listed(&mut host(asking(vec![server]))).unwrap_err().to_string();
    assert!(why.contains("SERVFAIL"), "{why}");
}

#[test]
fn a_name_is_searched_for() {
    let server = start(|query, reply| {
        let (name, kind) = asked(query);
        Some(match (name.as_str(), kind) {
            // It exists, and has nothing; the next one does not.
            ("web.empty.test.", _) => reply,
            ("web.mesh.test.", A) => reply.a("web.mesh.test", 60, [10, 0, 0, 1]),
            ("web.mesh.test.", _) => reply,
            ("web.broken.test.", _) => reply.code(2),
            _ => reply.code(3),
        })
    });
    let searching = |domains: &[&str]| ResolverConfig {
        search: domains.iter().map(|domain| domain.parse().unwrap()).collect(),
        ..asking(vec![server])
    };
    let list = listed(&mut host(searching(&["empty.test", "none.test", "mesh.test"]))).unwrap();
    assert_eq!(list, ["10.0.0.1:80 1"]);
    let list = listed(&mut host(searching(&["broken.test", "mesh.test"]))).unwrap();
    assert_eq!(list, ["10.0.0.1:80 1"]);
    let unknown = searching(&["broken.test", "empty.test", "none.test"]);
    let why = listed(&mut host(unknown)).unwrap_err().to_string();
    assert!(why.contains("SERVFAIL"), "{why}");
    let list = listed(&mut host(searching(&["empty.test", "none.test"]))).unwrap();
    assert!(list.is_empty(), "{list:?}");
    let why = listed(&mut host(searching(&["none.test"]))).unwrap_err().to_string();
    assert!(why.contains("NXDOMAIN"), "{why}");
}

#[test]
fn a_service_has_the_hosts_of_its_best_priority() {
    const NAME: &str = "_http._tcp.web.test";
    let server = start(|query, reply| {
        let (name, kind) = asked(query);
        Some(match (name.trim_end_matches('.'), kind) {
            (NAME, SRV) => reply
                .srv(NAME, 60, [0, 9, 80], "gone.test")
                .srv(NAME, 60, [1, 5, 8080], "one.test")
                .srv(NAME, 60, [1, 0, 8081], "two.test")
                .srv(NAME, 60, [2, 1, 9090], "spare.test")
                .srv(NAME, 60, [0, 1, 1], "."),
            ("one.test", A) => reply.a("one.test", 60, [10, 0, 0, 1]),
            ("two.test", A) => reply.a("two.test", 60, [10, 0, 0, 2]),
            ("one.test" | "two.test", _) => reply,
            ("gone.test", _) => reply.code(3),
            other => panic!("{other:?} is not needed"),
        })
    });
    let source = DnsSource::services(SmolRuntime, NAME).unwrap();
    let list = listed(&mut source.servers(asking(vec![server]))).unwrap();
    assert_eq!(list, ["10.0.0.1:8080 5", "10.0.0.2:8081 0"]);
}

#[test]
fn one_host_that_cannot_be_asked_for_ends_the_list_at_once() {
    const NAME: &str = "_http._tcp.web.test";
    let server = start(|query, reply| {
        let (name, _) = asked(query);
        match name.trim_end_matches('.') {
            NAME => Some(reply.srv(NAME, 60, [0, 1, 80], "silent.test").srv(
                NAME,
                60,
                [0, 1, 80],
                "z.test",
            )),
            "z.test" => Some(reply.code(2)),
            _ => None,
        }
    });
    let source = DnsSource::services(SmolRuntime, NAME).unwrap();
    let why = listed(&mut source.servers(asking(vec![server]))).unwrap_err().to_string();
    assert!(why.contains("z.test") && why.contains("SERVFAIL"), "{why}");
}

#[test]
fn a_list_has_no_more_instances_than_are_taken() {
    const NAME: &str = "_http._tcp.web.test";
    let server = start(|query, reply| {
        let (name, kind) = asked(query);
        let many = |reply: Reply, host: &str, net: u8| {
            (0..2_500u16).fold(reply, |reply, n| {
                let [high, low] = n.to_be_bytes();
                reply.a(host, 60, [10, net, high, low])
            })
        };
        Some(match (name.trim_end_matches('.'), kind) {
            (NAME, _) => {
                reply.srv(NAME, 60, [0, 1, 80], "b.test").srv(NAME, 60, [0, 1, 80], "a.test")
            }
            ("a.test", A) => many(reply, "a.test", 0),
            ("b.test", A) => many(reply, "b.test", 1),
            _ => reply,
        })
    });
    let source = DnsSource::services(SmolRuntime, NAME).unwrap();
    let list = listed(&mut source.servers(asking(vec![server]))).unwrap();
    assert_eq!(list.len(), MAX_INSTANCES);
    let of_a = list.iter().filter(|address| address.starts_with("10.0.")).count();
    assert_eq!(of_a, 2_500, "those with the lowest addresses");
}

#[test]
fn the_time_between_two_questions_may_be_as_long_as_can_be() {
    let server = start(|_, reply| Some(reply));
    let times = DnsTimes { least: Duration::MAX, most: Duration::MAX };
    assert!(listed(&mut host(asking(vec![server])).times(times)).unwrap().is_empty());
}

#[test]
fn what_does_not_fit_into_a_datagram_comes_over_tcp() {
    let server = start(|query, reply| {
        let many =
            |reply| (0..200).fold(reply, |reply: Reply, n| reply.a("web", 60, [10, 0, 0, n]));
        Some(if asked(query).1 == A { many(reply) } else { reply })
    });
    assert_eq!(listed(&mut host(asking(vec![server]))).unwrap().len(), 200);
}

#[test]
fn a_server_that_is_not_there_is_passed_over() {
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = start(|query, reply| {
        Some(if asked(query).1 == A { reply.a("web", 60, [10, 0, 0, 1]) } else { reply })
    });
    let list = listed(&mut host(asking(vec![nobody, server]))).unwrap();
    assert_eq!(list, ["10.0.0.1:80 1"]);
}

#[test]
fn it_is_asked_again_when_the_time_is_over_and_not_before() {
    let server = start(|query, reply| {
        Some(if asked(query).1 == A { reply.a("web", 1, [10, 0, 0, 1]) } else { reply })
    });
    let times = |least| DnsTimes { least, most: PATIENT };
    let mut soon = host(asking(vec![server])).times(times(Duration::from_millis(1)));
    let mut late = host(asking(vec![server])).times(times(Duration::from_secs(3_600)));
    for source in [&mut soon, &mut late] {
        listed(source).unwrap();
    }
    // What is asked for no sooner than in an hour does not come before what is good for a second.
    let first = smol::block_on(in_time(smol::future::or(
        async {
            late.next().await.unwrap();
            "late"
        },
        async {
            soon.next().await.unwrap();
            "soon"
        },
    )));
    assert_eq!(first, "soon");
}

#[test]
fn a_file_that_makes_no_sense_is_told() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "nameserver nobody\n").unwrap();
    let source = DnsSource::addresses(SmolRuntime, "web", 80).unwrap();
    let why = listed(&mut source.resolv_conf(file.path())).unwrap_err().to_string();
    assert!(why.contains("line 1: expected nameserver and an address"), "{why}");
    assert!(DnsSource::addresses(SmolRuntime, "10.0.0.1", 80).is_err(), "an address");
}
