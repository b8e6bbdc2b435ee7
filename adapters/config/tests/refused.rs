//! What is refused: at which place, in which words.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

use http::Method;
use sinew_config::{Config, Problems};
use sinew_tokio::{Admin, Request, RestServer};

fn program() -> sinew_tokio::ServerBuilder<sinew_tokio::TokioRuntime, sinew_tokio::Threads> {
    RestServer::builder()
        .route(Method::GET, "/orders/{id}", async |_: Request| "an order")
        .route(Method::PUT, "/orders/{id}", async |_: Request| "taken")
        .route(Method::GET, "/health", async |_: Request| "healthy")
        .admin(Admin::new().metrics(async |_: Request| "up 1\n"))
}

fn read(text: &str) -> Result<(), Problems> {
    Config::parse("s.toml", "tests/data", text)?.apply(program()).map(|_| ())
}

/// Every line of it.
fn refused(text: &str) -> Vec<String> {
    let problems = read(text).unwrap_err();
    problems.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn unknown_names_are_told_with_their_places_and_the_nearest_name() {
    let text = "\
[timers]
idel_timeout = \"75s\"
head_timeout = \"1s\"

[limit]
max_head_size = 1

[[access.rule]]
name = \"a\"
role = [\"x\"]

[rate_limit]
client = { count = 1, period = \"1s\", brst = 1 }
";
    assert_eq!(
        refused(text),
        [
            "s.toml:2:1: timers.idel_timeout: \"idel_timeout\" is unknown; \
             the nearest name is \"idle_timeout\"",
            "s.toml:5:2: limit: \"limit\" is unknown; the nearest name is \"limits\"",
            "s.toml:10:1: access.rule.0.role: \"role\" is unknown; the nearest name is \"roles\"",
            "s.toml:13:1: rate_limit.client: missing field `burst`",
            "s.toml:13:38: rate_limit.client.brst: \"brst\" is unknown; \
             the nearest name is \"burst\"",
        ]
    );
}

#[test]
fn a_file_that_is_no_text_is_told_as_that() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"[server]\n# \xff\n").unwrap();
    let error = Config::from_file(file.path()).map(drop).unwrap_err();
    assert!(error.to_string().ends_with("not UTF-8 text"), "{error}");
}

#[cfg(not(feature = "redis"))]
#[test]
fn a_section_that_the_program_was_built_without_is_told_as_that() {
    assert_eq!(
        refused("[shared_quota]\nstore = \"redis://a.test\"\n"),
        [
            "s.toml:1:2: shared_quota: this program has no stores: sinew-config has the feature redis \
          for them"
        ]
    );
}

#[test]
fn wrong_types_are_told_all_at_once() {
    let text = "\
[server]
listen = [\"127.0.0.1:0\", \"nowhere\", 7]
plaintext = \"yes\"

[limits]
max_head_size = -1
max_pipelined = 4294967296

[timers]
head_timeout = 30
idle_timeout = \"1.5s\"
linger = \"1 s\"
handler_timeout = \"never\"

[cors]
methods = [\"GET\", \"BAD METHOD\"]
mode = \"on\"

[proxies]
networks = [\"10.0.0.1/8\"]
field = \"forwarded\"

[authentication]
[[authentication.api_key]]
label = \"a\"
sha256 = \"abc\"
";
    let time = "expected a time such as \"30s\": a whole number of us, ms, s, m, h or d";
    assert_eq!(
        refused(text),
        [
            "s.toml:2:26: server.listen.1: expected a place such as \"127.0.0.1:8080\" or \
             \"unix:/run/orders\"",
            "s.toml:2:37: server.listen.2: invalid type: integer `7`, expected a place such as \
             \"127.0.0.1:8080\" or \"unix:/run/orders\"",
            "s.toml:3:1: server.plaintext: expected a boolean, not text",
            "s.toml:6:1: limits.max_head_size: invalid value: integer `-1`, expected usize",
            "s.toml:7:1: limits.max_pipelined: invalid value: integer `4294967296`, expected u32",
            "s.toml:10:1: timers.head_timeout: invalid type: integer `30`, expected a time such as \
             \"30s\": a whole number of us, ms, s, m, h or d",
            &format!("s.toml:11:1: timers.idle_timeout: {time}"),
            &format!("s.toml:12:1: timers.linger: {time}"),
            &format!("s.toml:13:1: timers.handler_timeout: {time}"),
            "s.toml:16:19: cors.methods.1: expected a method such as \"GET\"",
            "s.toml:17:1: cors.mode: \"on\" is unknown; the nearest name is \"off\"",
            "s.toml:20:13: proxies.networks.0: the address has bits behind the prefix of the \
             network",
            "s.toml:26:1: authentication.api_key.0.sha256: expected a SHA-256 in 64 hexadecimal \
             digits",
        ]
    );
}

#[test]
fn syntax_is_told_with_its_place() {
    for (text, start) in [
        ("[server\nlisten = []\n", "s.toml:1:8: "),
        ("[limits]\nmax_head_size = \n", "s.toml:2:"),
        ("[limits]\nmax_head_size = 1\nmax_head_size = 2\n", "s.toml:3:1: "),
    ] {
        let lines = refused(text);
        assert!(lines[0].starts_with(start), "{lines:?}");
    }
}

/// One mistake each: the place, the setting, and a part of the words.
#[test]
fn what_makes_no_sense_is_told_at_its_key() {
    for (text, place, words) in [
        ("[server]\nlisten = []", "2:1: server.listen: ", "nowhere"),
        ("[limits]\nmax_connections = 0", "2:1: limits.max_connections: ", "nobody"),
        (
            "[limits]\nmax_connections_per_address = 0",
            "2:1: limits.max_connections_per_address: ",
            "nobody",
        ),
        ("[drain]\ndeadline = \"1s\"", "1:2: drain: ", "longer than the deadline"),
        (
            "[proxy_protocol]\nnetworks = []\nmax_header_size = 231",
            "3:1: proxy_protocol.max_header_size: ",
            "232",
        ),
        ("[limits]\nmax_head_size = 65_001", "2:1: limits.max_head_size: ", "65,000"),
        ("[limits]\nmax_head_size = 8_000", "1:2: limits.max_target_size: ", "above"),
        ("[limits]\nmax_chunk_line = 17", "2:1: limits.max_chunk_line: ", "18"),
        ("[timers]\n\nidle_timeout = \"0s\"", "3:1: timers.idle_timeout: ", "zero"),
        ("[timers]\nhandler_timeout = \"0ms\"", "2:1: timers.handler_timeout: ", "zero"),
        ("[tls]\nkey = \"k.pem\"", "1:2: tls.certificate: ", "certificate"),
        (
            "[tls]\ncertificate = \"nothing.pem\"\nkey = \"k.pem\"",
            "2:1: tls.certificate: ",
            "cannot read tests/data/nothing.pem",
        ),
        ("[admin]\nlisten = []", "2:1: admin.listen: ", "nowhere"),
        ("[admin]\nmax_connections = 0", "2:1: admin.max_connections: ", "nobody"),
        ("[admin]\npublic = true\nlisten = [\"[::1]:0\"]", "2:1: admin.public: ", "no listeners"),
        ("[cors]", "1:2: cors.origins: ", "without an origin"),
        (
            "[cors]\norigins = [\"https://a.test\", \"https://a.test/\"]",
            "2:30: cors.origins.1: ",
            "without a slash",
        ),
        (
            "[cors]\norigins = [\"*\"]\ncredentials = true",
            "3:1: cors.credentials: ",
            "exclude each other",
        ),
        (
            "[cors]\norigins = [\"*\", \"https://a.test\"]",
            "2:1: cors.origins: ",
            "beside what it includes",
        ),
        (
            "[cors]\norigins = [\"https://a.test\"]\nmethods = [\"PUT\", \"TRACE\"]",
            "3:19: cors.methods.1: ",
            "never sent",
        ),
        (
            "[cors]\norigins = [\"https://a.test\"]\nmax_age = \"1500ms\"",
            "3:1: cors.max_age: ",
            "whole seconds",
        ),
        (
            "[rate_limit]\nclient = { count = 5, period = \"1s\", burst = 0 }",
            "2:38: rate_limit.client.burst: ",
            "without a burst",
        ),
        (
            "[rate_limit.global]\ncount = 0\nperiod = \"1s\"\nburst = 1",
            "2:1: rate_limit.global.count: ",
            "no requests",
        ),
        (
            "[[rate_limit.class]]\nname = \"a\"\nquota = { count = 1, period = \"0s\", burst = 1 }",
            "3:22: rate_limit.class.0.quota.period: ",
            "microseconds",
        ),
        (
            "[[rate_limit.class]]\nname = \"a\"\nwho = \"anyone\"\nidentities = []\nquota = \"none\"",
            "4:1: rate_limit.class.0.identities: ",
            "exclude",
        ),
        ("[[access.rule]]\nwho = \"anyone\"", "1:1: access.rule.0.name: ", "no name"),
        (
            "[[access.rule]]\nname = \"a\"\n[[access.rule]]\nname = \"a\"",
            "4:1: access.rule.1.name: ",
            "another rule",
        ),
        (
            "[[access.rule]]\nname = \"a\"\nroutes = [\"/health\", \"/order/*\"]",
            "3:22: access.rule.0.routes.1: ",
            "route \"/order/*\" is unknown; the nearest name is \"/orders/{id}\"",
        ),
        (
            "[[access.rule]]\nname = \"a\"\nexcept = [\"/helth\"]",
            "3:11: access.rule.0.except.0: ",
            "\"/health\"",
        ),
        (
            "[[access.rule]]\nname = \"a\"\nroutes = [\"/health\"]\nexcept = [\"/health\"]",
            "4:1: access.rule.0.except: ",
            "exclude",
        ),
        (
            "[[access.rule]]\nname = \"a\"\nwho = \"anyone\"\nroles = [\"x\"]",
            "3:1: access.rule.0.who: ",
            "neither roles nor scopes",
        ),
        (
            "[[access.rule]]\nname = \"a\"\nidentities = []",
            "3:1: access.rule.0.identities: ",
            "nobody",
        ),
        (
            "[[access.rule]]\nname = \"a\"\nscopes = [\"a b\"]",
            "3:1: access.rule.0.scopes: ",
            "scope",
        ),
        (
            "[[route]]\ntemplate = \"/orders/{ID}\"",
            "2:1: route.0.template: ",
            "the nearest name is \"/orders/{id}\"",
        ),
        (
            "[[route]]\ntemplate = \"/health\"\nmethod = \"PUT\"",
            "3:1: route.0.method: ",
            "no such method",
        ),
        (
            "[[route]]\ntemplate = \"/health\"\nhandler_timeout = \"0s\"",
            "3:1: route.0.handler_timeout: ",
            "zero",
        ),
        (
            "[[route]]\ntemplate = \"/health\"\nquota = { count = 1, period = \"1s\", burst = 0 }",
            "3:37: route.0.quota.burst: ",
            "without a burst",
        ),
        (
            "[[route]]\ntemplate = \"/health\"\n[[route]]\ntemplate = \"/health\"",
            "3:1: route.1: ",
            "already",
        ),
        ("[authentication]\nrealm = \"\"", "2:1: authentication.realm: ", "realm"),
        (
            "[authentication]\napi_key_field = \"x-api-key\"",
            "2:1: authentication.api_key_field: ",
            "no api_key",
        ),
        (
            "[authentication]\napi_key_field = \"x-api-key\"\n[[authentication.api_key]]\nlabel = \"a\"",
            "3:1: authentication.api_key.0: ",
            "one of sha256, key_file and key_env",
        ),
        (
            "[authentication]\napi_key_field = \"k\"\n[[authentication.api_key]]\nlabel = \"a\"\n\
             key_file = \"good.key\"\nexpires = 2027-01-01",
            "6:1: authentication.api_key.0.expires: ",
            "an offset, such as 2027-01-01T00:00:00Z",
        ),
        (
            "[authentication]\napi_key_field = \"k\"\n[[authentication.api_key]]\nlabel = \"a\"\n\
             key_file = \"good.key\"\nexpires = 2027-01-01T00:00:00",
            "6:1: authentication.api_key.0.expires: ",
            "an offset",
        ),
        ("[authentication]\nmode = \"on\"", "2:1: authentication.mode: ", "\"off\""),
        ("[authentication]\nshield = \"dark\"", "2:1: authentication.shield: ", "unknown"),
        ("[validation]\nmode = \"shadows\"", "2:1: validation.mode: ", "\"shadow\""),
        (
            "[[rate_limit.class]]\nname = \"a\\\"b\"\nwho = \"anyone\"\nquota = \"none\"",
            "2:1: rate_limit.class.0.name: ",
            "names no class",
        ),
        (
            "[[rate_limit.class]]\nname = \"client\"\nwho = \"anyone\"\nquota = { count = 1, period = \"1s\", burst = 1 }",
            "2:1: rate_limit.class.0.name: ",
            "or two",
        ),
        ("[rate_limit]\nbytes = 100", "2:1: rate_limit.bytes: ", "16 KiB"),
        ("[rate_limit]\nclient = \"none\"", "1:2: rate_limit: ", "limits nothing"),
        (
            "[rate_limit]\n[[route]]\ntemplate = \"/orders/{id}\"\ncost = 21",
            "4:1: route.0.cost: ",
            "never gets through",
        ),
        (
            "[[route]]\ntemplate = \"/health\"\nquota = { count = 1, period = \"1s\", burst = 1 }",
            "3:1: route.0.quota: ",
            "give it [rate_limit], too",
        ),
        ("[decompression]\nmax_codings = 0", "2:1: decompression.max_codings: ", "unpacked"),
        ("[decompression]\nmax_ratio = 0", "2:1: decompression.max_ratio: ", "let through"),
        ("[compression]\nlevel = 10", "2:1: compression.level: ", "1 to 9"),
        ("[compression]\nmin_size = -1", "2:1: compression.min_size: ", "-1"),
        (
            "[[route]]\ntemplate = \"/health\"\ncompress = \"no\"",
            "3:1: route.0.compress: ",
            "a boolean",
        ),
        (
            "[authentication]\napi_key_field = \"x-api-key\"\n[[authentication.api_key]]\nlabel = \"a\"\n\
             key_env = \"SINEW_CONFIG_TEST_UNSET\"",
            "5:1: authentication.api_key.0.key_env: ",
            "not set",
        ),
        (
            "[authentication]\napi_key_field = \"x-api-key\"\n[[authentication.api_key]]\nlabel = \"a\"\n\
             key_file = \"short.key\"",
            "5:1: authentication.api_key.0.key_file: ",
            "too short",
        ),
        (
            "[[authentication.jwt]]\naudiences = [\"a\"]\njwks_file = \"keys.json\"",
            "1:1: authentication.jwt.0.issuer: ",
            "issuer",
        ),
        (
            "[[authentication.jwt]]\nissuer = \"i\"\naudiences = [\"a\"]\nleeway = \"10m\"\n\
             jwks_file = \"keys.json\"",
            "4:1: authentication.jwt.0.leeway: ",
            "5 minutes",
        ),
        (
            "[[authentication.jwt]]\nissuer = \"i\"\naudiences = [\"a\"]\nalgorithms = []\n\
             jwks_file = \"keys.json\"",
            "4:1: authentication.jwt.0.algorithms: ",
            "an algorithm that can be checked",
        ),
        (
            "[[authentication.jwt]]\nissuer = \"i\"\naudiences = [\"a\"]\njwks_file = \"short.key\"",
            "4:1: authentication.jwt.0.jwks_file: ",
            "JSON",
        ),
        (
            "[[authentication.jwt]]\nissuer = \"i\"\naudiences = [\"a\"]",
            "1:1: authentication.jwt.0: ",
            "one of jwks_file and jwks_url",
        ),
        (
            "[[authentication.jwt]]\nissuer = \"i\"\naudiences = [\"a\"]\n\
             jwks_url = \"http://login.test/keys\"",
            "4:1: authentication.jwt.0.jwks_url: ",
            "https alone",
        ),
        (
            "[[authentication.jwt]]\nissuer = \"i\"\naudiences = [\"a\"]\njwks_url = \"/keys\"",
            "4:1: authentication.jwt.0.jwks_url: ",
            "a URL such as",
        ),
        (
            "[[authentication.jwt]]\nissuer = \"i\"\naudiences = [\"a\"]\n\
             jwks_url = \"https://a:b@login.test/keys\"",
            "4:1: authentication.jwt.0.jwks_url: ",
            "no credentials",
        ),
        (
            "[[authentication.jwt]]\nissuer = \"i\"\naudiences = [\"a\"]\n\
             jwks_url = \"https://login.test/keys\"",
            "4:1: authentication.jwt.0.jwks_url: ",
            "jwks_ca says",
        ),
        (
            "[[authentication.jwt]]\nissuer = \"i\"\naudiences = [\"a\"]\n\
             jwks_url = \"https://login.test/keys\"\njwks_ca = [\"nothing.pem\"]",
            "5:12: authentication.jwt.0.jwks_ca.0: ",
            "cannot read tests/data/nothing.pem",
        ),
        (
            "[[authentication.jwt]]\nissuer = \"i\"\naudiences = [\"a\"]\n\
             jwks_url = \"https://login.test/keys\"\njwks_stale = \"1m\"",
            "5:1: authentication.jwt.0.jwks_stale: ",
            "stale before they are fetched",
        ),
        (
            "[[authentication.jwt]]\nissuer = \"i\"\naudiences = [\"a\"]\n\
             jwks_url = \"https://login.test/keys\"\njwks_refresh = \"0s\"",
            "5:1: authentication.jwt.0.jwks_refresh: ",
            "zero",
        ),
    ] {
        let lines = refused(text);
        let [line] = &lines[..] else { panic!("{text}\n{lines:?}") };
        assert!(line.starts_with(&format!("s.toml:{place}")), "{text}\n{line}");
        assert!(line.contains(words), "{text}\n{line}");
    }
}

#[test]
fn an_issuer_has_one_section() {
    let issuer =
        "[[authentication.jwt]]\nissuer = \"i\"\naudiences = [\"a\"]\njwks_file = \"keys.json\"\n";
    assert_eq!(read(issuer), Ok(()));
    let twice = refused(&issuer.repeat(2));
    assert_eq!(twice, ["s.toml:6:1: authentication.jwt.1.issuer: the issuer is there already"]);
}

#[test]
fn all_that_makes_no_sense_is_told_at_once_in_the_order_of_the_file() {
    let text = "\
[server]
plaintext = true

[tls]
linger = \"0s\"

[limits]
max_pipelined = 0

[cors]
origins = [\"null\"]

[[route]]
template = \"/nowhere\"
";
    let settings: Vec<String> =
        read(text).unwrap_err().iter().map(|problem| problem.setting.clone()).collect();
    assert_eq!(
        settings,
        [
            "server.plaintext",
            "tls.certificate",
            "tls.key",
            "tls.linger",
            "limits.max_pipelined",
            "cors.origins.0",
            "route.0.template",
        ]
    );
}

#[test]
fn times_have_one_grammar() {
    let with = |time: &str| read(&format!("[timers]\nlinger = \"{time}\""));
    for good in ["0s", "1us", "250ms", "30s", "5m", "2h", "7d", "007s", "18446744073s"] {
        assert_eq!(with(good), Ok(()), "{good}");
    }
    for bad in [
        "",
        "s",
        "30",
        "-1s",
        "+1s",
        "1.5s",
        "1e3s",
        " 1s",
        "1s ",
        "1 s",
        "1S",
        "1ns",
        "1min",
        "1m30s",
        "1_000s",
        "٣s",
        "none",
        "18446744074s",
        "999999999999999999999d",
        "213504d",
    ] {
        assert!(with(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_section_for_operators_needs_something_for_them() {
    let config = Config::parse("s.toml", "", "[admin]\n").unwrap();
    let problems = config.apply(RestServer::builder()).unwrap_err();
    assert_eq!(problems.to_string(), "s.toml:1:2: admin: the program has nothing for operators");
    let problems = Config::from_file("tests/data/nothing.toml").unwrap_err();
    assert!(problems.to_string().starts_with("tests/data/nothing.toml: cannot read"), "{problems}");
    let problem = problems.iter().next().unwrap();
    assert_eq!(problem.place, None);
}

#[test]
fn no_secret_is_shown() {
    let digest = "0123456789abcdef".repeat(4);
    let text = format!(
        "[authentication]\napi_key_field = \"x-api-key\"\n[[authentication.api_key]]\n\
         label = \"a\"\nsha256 = \"{digest}\"\n[[authentication.api_key]]\nlabel = \"b\"\n\
         key_file = \"good.key\"\n"
    );
    let config = Config::parse("s.toml", "tests/data", text.clone()).unwrap();
    let mut builder = config.apply(program()).unwrap();
    let in_force = config.in_force(builder.config_mut());
    let key = include_str!("data/good.key").trim();
    for shown in [format!("{config:?}"), format!("{builder:?}"), in_force] {
        assert!(!shown.contains(&digest) && !shown.contains(key), "{shown}");
        assert!(!shown.contains("[1, 35, 69"), "{shown}");
    }
    let twice = text.replace("key_file = \"good.key\"", &format!("sha256 = \"{digest}\""));
    for bad in [
        twice,
        text.replace(&digest, &digest[1..]),
        text.replace("sha256", "sha265"),
        text.replace("sha256", "roles"),
        text.replace('"', ""),
        text.replace("good.key", "short.key"),
    ] {
        let said = read(&bad).unwrap_err();
        for shown in [said.to_string(), format!("{said:?}")] {
            assert!(!shown.contains(&digest[1..]) && !shown.contains("short-secret"), "{shown}");
        }
    }
}
