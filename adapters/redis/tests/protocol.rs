//! What a store may say, and what becomes of asks then.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod scripted;

use std::future::Future;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use scripted::{Heard, Scripted, Step};
use sinew_core::limit::{Answer, KeyHash, KeyHasher, Quota};
use sinew_core::resilience::Backoff;
use sinew_driver::LeaseStore as _;
use sinew_redis::{BadConfig, Code, Fault, Notice, RedisConfig, RedisStore};
use sinew_smol::SmolRuntime;
use smol::future::poll_once;

const GRANTED: Answer = Answer::Granted { tokens: 10, retry_after: Duration::ZERO };

/// What a store says first.
const IN: [Step; 2] = [Step::Hear(1), Step::Say(b"+PONG\r\n")];

/// A connection on which a store lets us in and then does this.
fn then(steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    IN.into_iter().chain(steps).collect()
}

/// One that grants an ask.
fn well() -> Vec<Step> {
    then([Step::Hear(1), Step::Say(b"*2\r\n:10\r\n:0\r\n"), Step::End])
}

struct Running {
    server: Scripted,
    store: Arc<RedisStore<SmolRuntime>>,
    notices: mpsc::Receiver<Notice>,
}

impl Running {
    fn new(scripts: Vec<Vec<Step>>, configure: impl FnOnce(&mut RedisConfig)) -> Self {
        let server = Scripted::start(scripts);
        let mut config = RedisConfig::from_url(&format!("redis://{}", server.address)).unwrap();
        // Long enough for any machine; who tests the time makes it short.
        config.reply_timeout = Duration::from_secs(60);
        config.connect_timeout = Duration::from_secs(60);
        config.backoff =
            Backoff { base: Duration::from_micros(1), cap: Duration::from_micros(100) };
        configure(&mut config);
        let (tell, notices) = mpsc::channel();
        let store = RedisStore::new(SmolRuntime, quota(), config).unwrap();
        let store = store.observe(move |notice| drop(tell.send(told(notice))));
        Self { server, store: Arc::new(store), notices }
    }

    fn take(&self) -> impl Future<Output = Answer> + use<> {
        let store = Arc::clone(&self.store);
        async move { store.take(client(), 10).await }
    }

    /// Asks until it is granted: what waits for the next connection fails.
    fn granted(&self) {
        while smol::block_on(self.take()) != GRANTED {
            std::thread::yield_now();
        }
    }

    /// The next notice that is not about a connection that is well.
    fn lost(&self) -> Notice {
        loop {
            match self.notices.recv().unwrap() {
                Notice::Connected => {}
                notice => return notice,
            }
        }
    }
}

/// A copy of a notice, without what cannot be copied.
fn told(notice: &Notice) -> Notice {
    match notice {
        Notice::Connected => Notice::Connected,
        Notice::Refused(why) => Notice::Refused(why.clone()),
        Notice::Lost(fault) => Notice::Lost(match fault {
            Fault::Connection(why) => {
                let why = sinew_driver::Error::new(why.kind().clone(), why.phase(), why.delivery());
                Fault::Connection(why)
            }
            Fault::Silent => Fault::Silent,
            Fault::Closed => Fault::Closed,
            Fault::ReadOnly => Fault::ReadOnly,
            Fault::Refused(why) => Fault::Refused(why.clone()),
            _ => Fault::Malformed,
        }),
        _ => unreachable!("a notice that this test does not know"),
    }
}

fn quota() -> Quota {
    Quota::new(100, Duration::from_secs(60), 20).unwrap()
}

fn client() -> KeyHash {
    KeyHasher::new([1; 16]).hash("ann")
}

#[test]
fn a_script_is_named_by_its_hash_and_sent_in_full_where_it_is_not_known() {
    let script = vec![
        Step::Hear(3),
        Step::Say(b"+OK\r\n+OK\r\n+PONG\r\n"),
        Step::Hear(1),
        Step::Say(b"-NOSCRIPT No matching script. Please use EVAL.\r\n"),
        Step::Hear(1),
        Step::Say(b"*2\r\n:7\r\n:250000\r\n"),
        Step::Hear(1),
        Step::Say(b"*2\r\n:10\r\n:0\r\n"),
        Step::End,
    ];
    let running = Running::new(vec![script], |config| {
        config.user = Some("ann".to_owned());
        config.password = Some("secret".to_owned());
        config.database = 3;
        config.prefix = "limits:".to_owned();
    });
    let answer = smol::block_on(running.take());
    assert_eq!(answer, Answer::Granted { tokens: 7, retry_after: Duration::from_millis(250) });
    assert_eq!(smol::block_on(running.take()), GRANTED);
    let server = &running.server;
    assert_eq!(server.command(), ["AUTH", "ann", "secret"]);
    assert_eq!(server.command(), ["SELECT", "3"]);
    assert_eq!(server.command(), ["PING"]);
    let by_hash = server.command();
    let key = format!("limits:{:016x}", client().to_bits());
    assert_eq!(by_hash[0], "EVALSHA");
    assert_eq!(by_hash[2..], ["1", &key, "100", "60000000", "20", "10"]);
    let in_full = server.command();
    assert_eq!(in_full[0], "EVAL");
    assert!(in_full[1].contains("redis.call('TIME')"));
    assert_eq!(in_full[2..], by_hash[2..]);
    assert_eq!(server.command(), by_hash);
}

#[test]
fn a_store_that_does_not_let_us_in_is_asked_again_later() {
    let script = vec![Step::Hear(2), Step::Say(b"-WRONGPASS invalid\r\n"), Step::End];
    let well = vec![
        Step::Hear(2),
        Step::Say(b"+OK\r\n+PONG\r\n"),
        Step::Hear(1),
        Step::Say(b"*2\r\n:10\r\n:0\r\n"),
        Step::End,
    ];
    let running =
        Running::new(vec![script, well], |config| config.password = Some("secret".to_owned()));
    assert_eq!(smol::block_on(running.take()), Answer::Failed);
    let Notice::Lost(Fault::Refused(why)) = running.lost() else { panic!("not refused") };
    assert_eq!(why.code(), Code::Credentials);
    assert_eq!(running.server.command(), ["AUTH", "secret"]);
    running.granted();
}

#[test]
fn what_is_no_answer_ends_the_connection_and_another_one_is_opened() {
    type Why = fn(&Fault) -> bool;
    let malformed: Why = |fault| matches!(fault, Fault::Malformed);
    let closed: Why = |fault| matches!(fault, Fault::Closed);
    let read_only: Why = |fault| matches!(fault, Fault::ReadOnly);
    let cases: [(&'static [u8], Why); 11] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", malformed),
        (b":10\r\n", malformed),
        (b"+OK\r\n", malformed),
        (b"$-1\r\n", malformed),
        // More than was asked for, and less than nothing.
        (b"*2\r\n:11\r\n:0\r\n", malformed),
        (b"*2\r\n:-1\r\n:0\r\n", malformed),
        (b"*2\r\n:10\r\n:-1\r\n", malformed),
        // Half an answer, and none.
        (b"*2\r\n:10\r\n:", closed),
        (b"", closed),
        (b"-READONLY You can't write against a read only replica.\r\n", read_only),
        // The same of Redis 5 and 6.
        (
            b"-ERR Error running script (call to f_bead): @user_script:39: @user_script: 39: \
              -READONLY You can't write against a read only replica.\r\n",
            read_only,
        ),
    ];
    for (bytes, why) in cases {
        let script = then([Step::Hear(1), Step::Say(bytes)]);
        let running = Running::new(vec![script, well()], |_| {});
        let shown = bytes.escape_ascii();
        assert_eq!(smol::block_on(running.take()), Answer::Failed, "{shown}");
        match running.lost() {
            Notice::Lost(fault) => assert!(why(&fault), "{shown}: {fault}"),
            notice => panic!("{shown}: {notice}"),
        }
        running.granted();
    }
}

#[test]
fn an_answer_that_nobody_asked_for_ends_the_connection() {
    // The ask may be sent before it is given up: then the first answer is that to it.
    let script = then([Step::Say(b"*2\r\n:10\r\n:0\r\n*2\r\n:10\r\n:0\r\n"), Step::End]);
    let running = Running::new(vec![script, well()], |_| {});
    let _ = smol::block_on(poll_once(running.take()));
    assert!(matches!(running.lost(), Notice::Lost(Fault::Malformed)));
    running.granted();
}

#[test]
fn a_silent_store_is_given_up() {
    let script = then([Step::Hear(1), Step::End]);
    let running = Running::new(vec![script, well()], |config| {
        config.reply_timeout = Duration::from_millis(50);
    });
    // A busy machine may make the second connection silent, too: then the port is closed.
    assert_eq!(smol::block_on(running.take()), Answer::Failed);
    assert!(matches!(running.lost(), Notice::Lost(Fault::Silent)));
}

#[test]
fn a_store_that_refuses_an_ask_keeps_its_connection() {
    for (bytes, code) in [
        (&b"-LOADING Redis is loading the dataset in memory\r\n"[..], Code::Loading),
        (b"-BUSY Redis is busy running a script.\r\n", Code::Busy),
        (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", Code::OutOfMemory),
        (
            b"-ERR Error running script (call to f_bead): @user_script:39: @user_script: 39: \
              -OOM command not allowed when used memory > 'maxmemory'.\r\n",
            Code::OutOfMemory,
        ),
        (b"-NOPERM this user has no permissions\r\n", Code::Permission),
        (b"-MASTERDOWN Link with MASTER is down\r\n", Code::MasterDown),
        (b"-MISCONF Errors writing to the AOF file\r\n", Code::CannotSave),
        (b"-MOVED 3999 127.0.0.1:6381\r\n", Code::Cluster),
        (b"-ERR value is not an integer\r\n", Code::Other),
        (b"-ERR value is out of range: -5 is too small\r\n", Code::Other),
    ] {
        let script = then([
            Step::Hear(1),
            Step::Say(bytes),
            Step::Hear(1),
            Step::Say(b"*2\r\n:10\r\n:0\r\n"),
            Step::End,
        ]);
        let running = Running::new(vec![script], |_| {});
        assert_eq!(smol::block_on(running.take()), Answer::Failed);
        match running.lost() {
            Notice::Refused(why) => assert_eq!(why.code(), code),
            notice => panic!("{notice}"),
        }
        assert_eq!(smol::block_on(running.take()), GRANTED);
    }
}

#[test]
fn a_store_that_knows_no_script_at_all_is_not_asked_for_ever() {
    let no = b"-NOSCRIPT No matching script.\r\n";
    let script = then([Step::Hear(1), Step::Say(no), Step::Hear(1), Step::Say(no), Step::End]);
    let running = Running::new(vec![script], |_| {});
    assert_eq!(smol::block_on(running.take()), Answer::Failed);
    assert!(matches!(running.lost(), Notice::Refused(why) if why.code() == Code::NoScript));
}

#[test]
fn answers_go_to_who_asked_and_no_more_asks_wait_than_may() {
    let script = then([
        Step::Hear(2),
        Step::Wait,
        Step::Say(b"*2\r\n:1\r\n:0\r\n*2\r\n:2\r\n:0\r\n"),
        Step::Hear(1),
        Step::Say(b"*2\r\n:3\r\n:0\r\n"),
        Step::End,
    ]);
    let running = Running::new(vec![script], |config| config.pending = 2);
    smol::block_on(async {
        let (mut first, mut second) = (Box::pin(running.take()), Box::pin(running.take()));
        assert_eq!(poll_once(&mut first).await, None);
        assert_eq!(poll_once(&mut second).await, None);
        assert_eq!(running.take().await, Answer::Failed, "two wait");
        for _ in 0..3 {
            running.server.command();
        }
        // Given up: its answer comes all the same, and is nobody's.
        drop(first);
        assert_eq!(running.take().await, Answer::Failed, "two were sent");
        running.server.go();
        assert_eq!(second.await, Answer::Granted { tokens: 2, retry_after: Duration::ZERO });
        let third = running.take().await;
        assert_eq!(third, Answer::Granted { tokens: 3, retry_after: Duration::ZERO });
    });
}

#[test]
fn an_ask_that_is_dropped_before_it_is_sent_is_not_sent() {
    let script = vec![
        Step::Hear(1),
        Step::Wait,
        Step::Say(b"+PONG\r\n"),
        Step::Hear(1),
        Step::Say(b"*2\r\n:10\r\n:0\r\n"),
        Step::End,
    ];
    let running = Running::new(vec![script], |_| {});
    let store = Arc::clone(&running.store);
    let other = KeyHasher::new([1; 16]).hash("bob");
    assert_eq!(smol::block_on(poll_once(async move { store.take(other, 1).await })), None);
    running.server.command();
    running.server.go();
    assert_eq!(smol::block_on(running.take()), GRANTED);
    assert!(running.server.command()[3].ends_with(&format!("{:016x}", client().to_bits())));
}

#[test]
fn who_observes_late_is_told_what_comes() {
    let script = then([Step::Hear(1), Step::Say(b"*2\r\n:10\r\n:0\r\n"), Step::Wait]);
    let Running { server, store, .. } = Running::new(vec![script], |_| {});
    assert_eq!(smol::block_on(store.take(client(), 10)), GRANTED);
    let (tell, notices) = mpsc::channel();
    let store = Arc::into_inner(store).unwrap();
    let _store = store.observe(move |notice| drop(tell.send(told(notice))));
    server.go();
    assert!(matches!(notices.recv().unwrap(), Notice::Lost(Fault::Closed)));
}

#[test]
fn a_store_that_is_dropped_hangs_up() {
    let running = Running::new(vec![well()], |_| {});
    running.granted();
    let Running { server, store, .. } = running;
    drop(store);
    server.command();
    server.command();
    assert!(matches!(server.heard(), Heard::End));
}

#[test]
fn a_store_that_is_not_there_fails_asks_until_it_is() {
    let running = Running::new(vec![then([])], |_| {});
    // It hangs up, and then the port is closed.
    let _ = smol::block_on(running.take());
    let refused = || matches!(running.lost(), Notice::Lost(Fault::Connection(_)));
    while !refused() {}
    assert_eq!(smol::block_on(running.take()), Answer::Failed);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |url: &str, quota: Quota, configure: fn(&mut RedisConfig)| {
        let mut config = RedisConfig::from_url(url).unwrap();
        configure(&mut config);
        RedisStore::new(SmolRuntime, quota, config).unwrap_err()
    };
    let plain = "redis://127.0.0.1";
    assert_eq!(refused("rediss://127.0.0.1", quota(), |_| {}), BadConfig::Tls);
    assert_eq!(refused(plain, quota(), |config| config.pending = 0), BadConfig::Pending);
    assert_eq!(
        refused(plain, quota(), |config| config.prefix = "x".repeat(257)),
        BadConfig::Prefix
    );
    assert_eq!(refused(plain, quota(), |config| config.user = Some("ann".into())), BadConfig::User);
    assert_eq!(refused(plain, quota(), |c| c.reply_timeout = Duration::ZERO), BadConfig::Time);
    assert_eq!(refused(plain, quota(), |c| c.connect_timeout = Duration::ZERO), BadConfig::Time);
    let no_backoff = refused(plain, quota(), |config| config.backoff.base = Duration::ZERO);
    assert!(matches!(no_backoff, BadConfig::Backoff(_)));
    let year = Duration::from_secs(365 * 86_400);
    let large = Quota::new(1, year, 1_000).unwrap();
    assert_eq!(refused(plain, large, |_| {}), BadConfig::Quota);
}
