//! `[shared_quota]`: what is refused, what is not shown, and a lease that a store grants.

#![cfg(feature = "redis")]
#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

#[path = "../../redis/tests/scripted/mod.rs"]
#[allow(dead_code, reason = "the tests of the store use more of it")]
mod scripted;

use std::fs;
use std::path::Path;

use http::Method;
use scripted::{Scripted, Step};
use sinew_config::{Config, Problems};
use sinew_core::limit::AskOutcome;
use sinew_core::observe::Event;
use sinew_driver::ServerBuilder;
use sinew_tokio::{Notice, Request, RestClient, RestServer, Threads, TokioRuntime};
use tokio::sync::mpsc;

const SECRET: &str = "000102030405060708090a0b0c0d0e0f";

fn program() -> ServerBuilder<TokioRuntime, Threads> {
    RestServer::builder().route(Method::GET, "/", async |_: Request| "hello")
}

/// A folder with a secret, a password, and what is neither.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("secret", SECRET), ("password", "p@ss"), ("short", "0001")] {
        fs::write(folder.path().join(name), format!("{text}\n")).unwrap();
    }
    folder
}

fn read(base: &Path, section: &str) -> Result<(), Problems> {
    let text = format!("[shared_quota]\n{section}");
    Config::parse("s.toml", base, text)?.apply(program()).map(drop)
}

#[test]
fn what_makes_no_sense_is_refused_at_its_key() {
    const GOOD: &str =
        "quota = { count = 1, period = \"1s\", burst = 1 }\nsecret_file = \"secret\"\n";
    let folder = folder();
    read(folder.path(), &format!("{GOOD}store = \"redis://10.0.0.7\"\n")).unwrap();
    for (section, problem) in [
        (String::new(), "s.toml:1:2: shared_quota: store says who counts"),
        (
            "store = \"redis://a.test\"\nsecret_file = \"secret\"\n".to_owned(),
            "s.toml:1:2: shared_quota: quota says how much each client has",
        ),
        (
            format!("{GOOD}stores = \"redis://a.test\"\n"),
            "s.toml:4:1: shared_quota.stores: \"stores\" is unknown; the nearest name is \"store\"",
        ),
        (
            format!("{GOOD}store = \"http://a.test\"\n"),
            "s.toml:4:1: shared_quota.store: the URL of the store: not redis://, rediss:// or unix:",
        ),
        (
            format!("{GOOD}store = \"redis://ann:hunter2@a.test\"\n"),
            "s.toml:4:1: shared_quota.store: no credentials stand in here: see user and password_file",
        ),
        (
            format!("{GOOD}store = \"rediss://a.test\"\n"),
            "s.toml:4:1: shared_quota.store: ca says which authorities a store of rediss:// is known by",
        ),
        (
            format!("{GOOD}store = \"redis://a.test\"\nca = [\"ca.pem\"]\n"),
            "s.toml:5:1: shared_quota.ca: the store is not asked over TLS: that is rediss://",
        ),
        (
            format!("{GOOD}store = \"redis://a.test\"\nuser = \"ann\"\n"),
            "s.toml:5:1: shared_quota.user: a user of the store without a password",
        ),
        (
            format!("{GOOD}store = \"redis://a.test\"\npassword_file = \"nowhere\"\n"),
            "s.toml:5:1: shared_quota.password_file: cannot read {base}/nowhere: entity not found",
        ),
        (
            format!("{GOOD}store = \"redis://a.test\"\npassword_env = \"SINEW_IS_NOT_SET\"\n"),
            "s.toml:5:1: shared_quota.password_env: SINEW_IS_NOT_SET is not set to text",
        ),
        (
            format!("{GOOD}store = \"redis://a.test\"\nsecret_env = \"SINEW_IS_NOT_SET\"\n"),
            "s.toml:1:2: shared_quota: one of secret_file and secret_env says what hides clients \
             from the store",
        ),
        (
            format!("{GOOD}store = \"redis://a.test\"\nconnect_timeout = \"0s\"\n"),
            "s.toml:5:1: shared_quota.connect_timeout: a store needs some time to connect and to \
             answer",
        ),
        (
            format!("{GOOD}store = \"redis://a.test\"\nreply_timeout = \"0s\"\n"),
            "s.toml:5:1: shared_quota.reply_timeout: a store needs some time to connect and to answer",
        ),
        (
            format!("{GOOD}store = \"redis://a.test\"\nwithout_store = \"half\"\n"),
            "s.toml:5:1: shared_quota.without_store: expected \"closed\", \"open\" or a quota",
        ),
        (
            format!(
                "{GOOD}store = \"redis://a.test\"\n\
                 without_store = {{ count = 0, period = \"1s\", burst = 1 }}\n"
            ),
            "s.toml:5:19: shared_quota.without_store.count: a quota of no requests lets \
             nothing through",
        ),
    ] {
        let problems = read(folder.path(), &section).unwrap_err().to_string();
        let problem = problem.replace("{base}", &folder.path().display().to_string());
        assert_eq!(problems.lines().next(), Some(&*problem), "{section}");
        assert!(!problems.contains("hunter2"), "{problems}");
    }
    for (setting, why) in [
        ("tokens = 0", ".tokens: "),
        ("lifetime = \"0s\"", ".lifetime: "),
        ("patience = \"0s\"", ".patience: "),
        ("pause = \"0s\"", ".pause: "),
        ("asks = 0", ".asks: "),
        ("clients = 0", ".clients: "),
        ("prefix = \"PREFIX\"", ".prefix: "),
    ] {
        let setting = setting.replace("PREFIX", &"p".repeat(257));
        let section = format!("{GOOD}store = \"unix:/run/redis.sock\"\n{setting}\n");
        let problems = read(folder.path(), &section).unwrap_err().to_string();
        assert!(problems.contains(&format!("s.toml:5:1: shared_quota{why}")), "{problems}");
    }
    let section = format!("{GOOD}store = \"redis://a.test\"\n").replace("secret\"", "short\"");
    let problems = read(folder.path(), &section).unwrap_err().to_string();
    assert!(problems.contains("shared_quota.secret_file: expected 16 bytes"), "{problems}");
}

#[tokio::test]
async fn a_store_grants_what_clients_get_and_no_secret_is_shown() {
    let folder = folder();
    let store = Scripted::start([vec![
        Step::Hear(3),
        Step::Say(b"+OK\r\n+OK\r\n+PONG\r\n"),
        Step::Hear(1),
        // Two tokens, and the next one in an hour.
        Step::Say(b"*2\r\n:2\r\n:3600000000\r\n"),
        Step::End,
    ]]);
    let text = format!(
        "server = {{ listen = [\"127.0.0.1:0\"], plaintext = true }}\n\
         [shared_quota]\n\
         store = \"redis://{}/3\"\n\
         user = \"ann\"\n\
         password_file = \"password\"\n\
         secret_file = \"secret\"\n\
         prefix = \"limits:\"\n\
         quota = {{ count = 2, period = \"1h\", burst = 20 }}\n\
         tokens = 7\n\
         ahead = 1\n\
         lifetime = \"1h\"\n\
         patience = \"60s\"\n\
         connect_timeout = \"60s\"\n\
         reply_timeout = \"60s\"\n",
        store.address
    );
    let config = Config::parse("s.toml", folder.path(), text).unwrap();
    let (tell, mut told) = mpsc::unbounded_channel();
    let program = program().observe(move |_, notice| {
        if let Notice::Decided(Event::Asked(outcome)) = notice {
            let _ = tell.send(*outcome);
        }
    });
    let mut builder = config.apply(program).unwrap();
    let shown = format!("{config:?}\n{}", config.in_force(builder.config_mut()));
    assert!(shown.contains("password_file") && shown.contains("limits:"), "{shown}");
    assert!(!shown.contains("p@ss") && !shown.contains(SECRET), "{shown}");

    let server = builder.bind().await.unwrap();
    let url = format!("http://{}", server.local_addrs()[0]);
    tokio::spawn(server.serve());
    let client = RestClient::builder(url).allow_plaintext().build().unwrap();
    let status = async || client.get("/").no_retry().send().await.unwrap().status().as_u16();
    // One ahead of the store, which counts it, one of the lease, and no more.
    assert_eq!(status().await, 200);
    assert_eq!(told.recv().await, Some(AskOutcome::Short));
    assert_eq!((status().await, status().await), (200, 429));
    assert_eq!(store.command(), ["AUTH", "ann", "p@ss"]);
    assert_eq!(store.command(), ["SELECT", "3"]);
    assert_eq!(store.command(), ["PING"]);
    let asked = store.command();
    assert!(asked[3].starts_with("limits:"), "{asked:?}");
    assert_eq!(asked[4..7], ["2", "3600000000", "20"]);
    // With what the client is ahead.
    assert!(["7", "8"].contains(&&*asked[7]), "{asked:?}");
}
