//! A service with several endpoints: what is said of them, and how they are asked whether they are well,
//! in virtual time.

use std::time::Duration;

use sinew_core::client::dispatcher::Refusal;
use sinew_core::mesh::{Algorithm, BalancePolicy, OutlierConfig, ProbeConfig, RingConfig};
use sinew_driver::client::ClientBuilder;
use sinew_driver::{ActiveChecks, ErrorKind, RestClient, ServiceEndpoint};

use crate::support::calling::{Calling, OK, calling, failed};
use crate::support::{Client, Sim, Site};

const ONE: &str = "192.0.2.1:80";
const TWO: &str = "192.0.2.2:80";
const SICK: &str = "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n";

fn balanced(algorithm: Algorithm) -> BalancePolicy {
    BalancePolicy { algorithm, panic_percent: 0, ..BalancePolicy::default() }
}

/// Two endpoints that take turns.
fn two(build: impl FnOnce(ClientBuilder<Sim>) -> ClientBuilder<Sim>) -> Calling {
    calling(|builder| build(builder.endpoints([ONE, TWO]).balance(balanced(Algorithm::RoundRobin))))
}

fn checked(checks: ActiveChecks) -> Calling {
    let timing = ProbeConfig { timeout: Duration::from_secs(1), ..ProbeConfig::default() };
    two(|builder| builder.health_checks(checks.timing(timing)))
}

/// Answers everything that came on new connections, by what it asks for. What was asked.
fn answer(world: &Calling, answer: impl Fn(&str) -> &'static str) -> Vec<String> {
    let mut asked = Vec::new();
    while let Some(server) = world.sim.try_accepted() {
        let request = server.received();
        let line = request.lines().next().unwrap_or_default().to_owned();
        server.send(answer(&line));
        world.sim.run();
        asked.push(line);
    }
    asked.sort_unstable();
    asked
}

fn down(world: &Calling) -> Vec<bool> {
    world.client.explain().endpoints.iter().map(|endpoint| endpoint.down).collect()
}

#[test]
fn endpoints_are_asked_from_the_first_call_on() {
    let world = checked(ActiveChecks::http("/well"));
    world.sim.advance(Duration::from_secs(60));
    assert!(world.sim.dials().is_empty(), "nobody is asked before there is a call");
    let outcome = world.get();
    let asked = answer(&world, |line| if line.starts_with("GET /well") { SICK } else { OK });
    assert_eq!(asked, ["GET / HTTP/1.1", "GET /well HTTP/1.1", "GET /well HTTP/1.1"]);
    assert_eq!(outcome.take().unwrap().unwrap().status(), 200);
    assert_eq!(down(&world), [true, true]);
    let refused = failed(&world.get());
    assert!(matches!(refused.kind(), ErrorKind::Refused(Refusal::NoHealthyEndpoint)), "{refused}");
    // Two successes for up.
    let mut asked = 0;
    while asked < 4 {
        world.sim.advance(Duration::from_millis(100));
        asked += answer(&world, |_| OK).len();
    }
    assert_eq!(down(&world), [false, false]);
    // Connections of checks are not kept, and count nowhere.
    assert!(world.client.connections() <= 1);
}

#[test]
fn who_takes_no_connection_is_down() {
    let world = checked(ActiveChecks::connect());
    world.sim.site(ONE, Site::Refusing);
    world.get();
    answer(&world, |_| OK);
    assert_eq!(down(&world), [true, false]);
}

#[test]
fn who_does_not_answer_in_time_is_down() {
    let world = checked(ActiveChecks::http("/well"));
    let outcome = world.get();
    let mut kept: Vec<Client> = Vec::new();
    while let Some(server) = world.sim.try_accepted() {
        if server.received().starts_with("GET / ") {
            server.send(OK);
            world.sim.run();
        }
        kept.push(server);
    }
    assert!(outcome.take().unwrap().is_ok());
    assert_eq!(down(&world), [false, false]);
    world.sim.advance(Duration::from_secs(1));
    assert_eq!(down(&world), [true, true]);
    let open = kept.iter().filter(|server| !server.is_closed()).count();
    assert!(open <= 1, "checks that are over are closed");
}

#[test]
fn an_endpoint_that_fails_is_ejected() {
    let outliers = OutlierConfig { consecutive: 2, ..OutlierConfig::default() };
    let world = two(|builder| builder.outlier_detection(outliers));
    world.sim.site(ONE, Site::Refusing);
    let outcomes: Vec<_> = (0..10).map(|_| world.get()).collect();
    answer(&world, |_| OK);
    drop(outcomes);
    let ejected: Vec<bool> =
        world.client.explain().endpoints.iter().map(|endpoint| endpoint.ejected).collect();
    assert_eq!(ejected, [true, false]);
    world.sim.advance(Duration::from_secs(30));
    assert!(world.client.explain().endpoints.iter().all(|endpoint| !endpoint.ejected));
}

#[test]
fn what_was_said_of_an_endpoint_comes_back() {
    let world = calling(|builder| builder.zone("here"));
    let known = world.client.endpoints();
    assert_eq!(known[0].1.address, ONE);
    let near = ServiceEndpoint::new(ONE).weight(3).zone("here").metadata("version", "7");
    let far = ServiceEndpoint::new("192.0.2.9").zone("there");
    world.client.update_endpoints([near.clone(), far.clone()]).unwrap();
    let known = world.client.endpoints();
    assert_eq!(known.iter().map(|(_, one)| one.clone()).collect::<Vec<_>>(), [near, far]);
    assert_eq!(known.iter().map(|(number, _)| number.0).collect::<Vec<_>>(), [0, 1]);
    let explained = world.client.explain().endpoints;
    assert_eq!(explained[0].weight.get(), 3);
    assert_ne!(explained[0].zone, explained[1].zone);
    let (server, response) = world.first(OK);
    drop(response);
    for _ in 0..10 {
        drop(world.next(&server, OK));
    }
    assert!(world.sim.dials().iter().all(|dial| dial.1 == ONE), "one's own zone comes first");
}

#[test]
fn a_key_leads_to_the_same_endpoint_in_every_client() {
    let all = ["192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80", "192.0.2.4:80"];
    let ring = balanced(Algorithm::RingHash(RingConfig::default()));
    let place = |addresses: &[&str], user: &str| {
        let world = calling(|builder| builder.endpoints(addresses).balance(ring));
        let outcome = world.start(world.client.get("/").hash_key(user));
        answer(&world, |_| OK);
        drop(outcome);
        world.sim.dials()[0].1.clone()
    };
    let reversed: Vec<&str> = all.iter().rev().copied().collect();
    let users = (0..20).map(|user| format!("user {user}"));
    let places: Vec<_> = users
        .map(|user| {
            let there = place(&all, &user);
            assert_eq!(there, place(&reversed, &user), "{user}");
            there
        })
        .collect();
    assert!(places.iter().any(|place| *place != places[0]), "{places:?}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let build = |build: fn(ClientBuilder<Sim>) -> ClientBuilder<Sim>| {
        let builder = RestClient::builder("http://192.0.2.1").allow_plaintext();
        build(builder).build_on(Sim::new()).map(drop).unwrap_err().to_string()
    };
    let none = "in the clear nobody shows who they are";
    let named = ServiceEndpoint::new(ONE).identity("spiffe://acme.test/a");
    let world = calling(|builder| builder);
    let refused = world.client.update_endpoints([named]).unwrap_err().to_string();
    assert!(refused.starts_with(none), "{refused}");
    let bad = ServiceEndpoint::new(ONE).identity("spiffe://");
    assert!(world.client.update_endpoints([bad]).is_err());
    assert!(build(|builder| builder.health_checks(ActiveChecks::tls())).contains("https"));
    assert!(build(|builder| builder.health_checks(ActiveChecks::http("well"))).contains("slash"));
    assert!(
        build(|builder| {
            let zero = ProbeConfig { interval: Duration::ZERO, ..ProbeConfig::default() };
            builder.health_checks(ActiveChecks::connect().timing(zero))
        })
        .contains("probe")
    );
    assert!(
        build(|builder| {
            let never = OutlierConfig { consecutive: 0, ..OutlierConfig::default() };
            builder.outlier_detection(never)
        })
        .contains("failure")
    );
    assert!(
        build(|builder| {
            let all = BalancePolicy { panic_percent: 101, ..BalancePolicy::default() };
            builder.balance(all)
        })
        .contains("percent")
    );
}
