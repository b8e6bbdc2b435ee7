//! `resolv.conf`, and names.

#![cfg(feature = "dns")]
#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

use std::time::Duration;

use sinew_discovery::dns::{BadName, BadResolvConf, Name, ResolverConfig};

fn parsed(text: &str) -> ResolverConfig {
    ResolverConfig::parse(text).unwrap()
}

fn candidates(text: &str, name: &str) -> Vec<String> {
    parsed(text).candidates(name).unwrap().iter().map(Name::to_string).collect()
}

#[test]
fn the_file_of_the_system_is_read() {
    let config = parsed(
        "# made by hand\n; too\nnameserver 10.0.0.2\nnameserver fd00::2\nsearch a.test  b.test\n\
         options ndots:5 timeout:2 attempts:3 rotate edns0\nsortlist 10.0.0.0\n",
    );
    let servers: Vec<_> = config.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["10.0.0.2:53", "[fd00::2]:53"]);
    assert_eq!((config.ndots, config.attempts), (5, 3));
    assert_eq!(config.timeout, Duration::from_secs(2));
    assert_eq!(config.search.len(), 2);
}

#[test]
fn what_is_not_said_is_as_everywhere() {
    assert_eq!(parsed(""), ResolverConfig::default());
    assert_eq!(parsed("").servers, ["127.0.0.1:53".parse().unwrap()]);
    assert_eq!(parsed("search a.test\ndomain b.test\n").search.len(), 1, "the last one counts");
    assert_eq!(parsed("search .\n").search.len(), 0);
}

#[test]
fn numbers_stay_within_the_bounds_of_the_manual() {
    let config = parsed("options ndots:99 timeout:99 attempts:99");
    assert_eq!((config.ndots, config.attempts), (15, 5));
    assert_eq!(config.timeout, Duration::from_secs(30));
    let config = parsed("options timeout:0 attempts:0");
    assert_eq!((config.timeout, config.attempts), (Duration::from_secs(1), 1));
    let four = "nameserver 10.0.0.1\n".repeat(4);
    assert_eq!(parsed(&four).servers.len(), 3);
}

#[test]
fn a_mistake_is_told_with_its_line() {
    for (text, told) in [
        ("\nnameserver\n", "line 2: expected nameserver and an address"),
        ("nameserver fe80::1%eth0", "without interface or port"),
        ("nameserver dns.test", "line 1: expected nameserver and an address"),
        ("search a..test", "line 1: expected domains to search"),
        ("options ndots:many", "line 1: expected a number"),
    ] {
        let why = ResolverConfig::parse(text).unwrap_err().to_string();
        assert!(why.contains(told), "{text}: {why}");
    }
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), "\n".repeat(64 * 1024 + 1)).unwrap();
    assert!(matches!(ResolverConfig::read(path.path()), Err(BadResolvConf::TooLarge)));
    let why = ResolverConfig::read("/nowhere/resolv.conf").unwrap_err().to_string();
    assert!(why.contains("cannot be read"), "{why}");
}

#[test]
fn a_server_behind_an_interface_is_skipped_where_there_is_another() {
    let config = parsed("nameserver fe80::1%eth0\nnameserver 10.0.0.2\n");
    assert_eq!(config.servers, ["10.0.0.2:53".parse().unwrap()]);
}

#[test]
fn names_with_few_dots_are_searched_for_first() {
    let text = "search mesh.test test\noptions ndots:2";
    assert_eq!(candidates(text, "a"), ["a.mesh.test", "a.test", "a"]);
    assert_eq!(candidates(text, "a.b.c"), ["a.b.c", "a.b.c.mesh.test", "a.b.c.test"]);
    assert_eq!(candidates(text, "a."), ["a"]);
    let long = vec!["x".repeat(62); 4].join(".");
    assert_eq!(candidates(text, &long), [long.as_str()], "what gets too long is left out");
}

#[test]
fn names_are_checked() {
    let name = |text: &str| text.parse::<Name>();
    assert_eq!(name("_http._TCP.Mesh.test.").unwrap().as_str(), "_http._tcp.mesh.test");
    for (text, why) in [
        ("", BadName::EmptyLabel),
        (".", BadName::EmptyLabel),
        ("a..b", BadName::EmptyLabel),
        ("a b", BadName::Character),
        ("bücher.test", BadName::Character),
        ("10.0.0.1", BadName::Address),
        ("fd00::1", BadName::Character),
    ] {
        assert_eq!(name(text), Err(why), "{text}");
    }
    assert_eq!(name(&"a".repeat(64)), Err(BadName::TooLong));
    assert_eq!(name(&vec!["a".repeat(63); 4].join(".")), Err(BadName::TooLong));
    assert!(name(&"a".repeat(63)).is_ok());
}
