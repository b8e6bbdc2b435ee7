//! The audit log: what is in it, and that nobody waits for it.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::{fs, thread};

use http::Method;
use sinew_auth::{ChainBreak, ChainHead, ChainVerdict, Crypto, verify_chain};
use sinew_core::observe::Event;
use sinew_core::security::{Routes, Rule, Who};
use sinew_driver::{Audit, Notice, Request, RestServer, SecurityPolicy, ServerBuilder, Threads};

use crate::support::Sim;
use crate::support::running::{Running, get, seconds, serve};

/// Everything that was written, once the disk is there.
#[derive(Clone, Default)]
struct Disk(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    is_there: bool,
    fails: usize,
    written: String,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (state, changed) = &*self.0;
        let mut state = changed.wait_while(state.lock().unwrap(), |state| !state.is_there).unwrap();
        if state.fails > 0 {
            state.fails -= 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.written += std::str::from_utf8(bytes).unwrap();
        changed.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk {
    fn there() -> Self {
        let disk = Self::default();
        disk.0.0.lock().unwrap().is_there = true;
        disk
    }

    fn comes(&self) {
        self.0.0.lock().unwrap().is_there = true;
        self.0.1.notify_all();
    }

    /// Waits until something is in it.
    fn with(&self, text: &str) -> String {
        let (state, changed) = &*self.0;
        let state = state.lock().unwrap();
        changed.wait_while(state, |state| !state.written.contains(text)).unwrap().written.clone()
    }
}

fn guarded<R: sinew_driver::Runtime>(
    builder: ServerBuilder<R, Threads>,
) -> ServerBuilder<R, Threads> {
    let all = Rule::allow("all", Who::Anyone, Routes::Of(vec!["/".into()]));
    builder
        .security(SecurityPolicy::new().rule(all))
        .route(Method::GET, "/", async |_: Request| "in")
        .route(Method::GET, "/secret", async |_: Request| "never")
}

fn audited(disk: &Disk) -> Running {
    serve(|builder, _| guarded(builder).audit(Audit::to(disk.clone())))
}

impl Running {
    /// Until the server, and with it the writer, has come to its end.
    fn end(self) {
        let _stopped = self.stop(seconds(1));
        // A connection that lingers is cut.
        self.sim.advance(seconds(1));
        loop {
            self.sim.run();
            if self.served.take().is_some() {
                return;
            }
            thread::yield_now();
        }
    }

    fn lost(&self) -> u64 {
        let notices = self.notices.lock().unwrap();
        let lost = notices.iter().filter_map(|notice| match notice {
            Notice::Decided(Event::AuditLost(lost)) => Some(*lost),
            _ => None,
        });
        lost.sum()
    }
}

#[test]
fn a_decision_is_a_line() {
    let disk = Disk::there();
    let running = audited(&disk);
    assert!(running.ask(get("/")).starts_with("HTTP/1.1 200"));
    assert!(running.ask("BREW /secret HTTP/1.1\r\nhost: x\r\n\r\n").starts_with("HTTP/1.1 401"));
    assert!(running.ask(get("/secret")).starts_with("HTTP/1.1 401"));
    let smuggled =
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n";
    assert!(running.ask(smuggled).starts_with("HTTP/1.1 400"));
    running.end();
    let written = disk.0.0.lock().unwrap().written.clone();
    let lines: Vec<&str> = written.lines().collect();
    let wanted = [
        (r#""kind":"config_change""#, r#""details":{"what":"started"}"#),
        (
            r#""kind":"access_granted""#,
            r#""client":"192.0.2.1","details":{"verdict":"allowed","why":"allowed by rule \"all\"","method":"GET","route":"/"}"#,
        ),
        (r#""kind":"access_denied""#, r#""verdict":"no_rule","reason":"unauthenticated""#),
        (r#""kind":"suspicious_activity""#, r#""details":{"reason":"malformed_request"}"#),
    ];
    let mut at = 0;
    for (kind, details) in wanted {
        let found = lines.iter().skip(at).position(|line| line.contains(kind));
        at += found.unwrap_or_else(|| panic!("{kind} is missing: {written}"));
        assert!(lines[at].contains(details), "{details}: {}", lines[at]);
        assert!(lines[at].contains(r#""time":"1994-11-06T08:49:3"#), "{}", lines[at]);
    }
    assert!(!written.contains("BREW"), "what a client made up stays out: {written}");
}

#[test]
fn a_blocked_disk_harms_no_request() {
    const REQUESTS: u64 = 100_000;
    let disk = Disk::default();
    let running = audited(&disk);
    for _ in 0..REQUESTS / 10 {
        let answers = running.ask(get("/").repeat(10));
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 10, "{answers}");
    }
    let lost = running.lost();
    assert!(lost > REQUESTS / 2, "{lost} do not fit");
    disk.comes();
    // Where some are lost stands in the log, too; then it goes on.
    disk.with(r#""kind":"lost""#);
    assert!(running.ask(get("/")).starts_with("HTTP/1.1 200"));
    assert_eq!(running.lost(), lost);
    running.end();
    let written = disk.0.0.lock().unwrap().written.clone();
    let granted = written.matches(r#""kind":"access_granted""#).count() as u64;
    assert_eq!(granted + lost, REQUESTS + 1);
    let gaps = written.lines().filter(|line| line.contains(r#""kind":"lost""#));
    let number = |line: &str, name: &str| -> u64 {
        let (_, rest) = line.split_once(name).unwrap();
        rest.split([',', '}']).next().unwrap().parse().unwrap()
    };
    let told: u64 =
        gaps.map(|gap| number(gap, r#""last":"#) - number(gap, r#""first":"#) + 1).sum();
    assert_eq!(told, lost);
}

#[test]
fn what_could_not_be_written_is_written_later() {
    let disk = Disk::there();
    disk.0.0.lock().unwrap().fails = 1;
    let running = audited(&disk);
    assert!(running.ask(get("/")).starts_with("HTTP/1.1 200"));
    let written = disk.with("access_granted");
    assert_eq!(written.matches("started").count(), 1, "{written}");
    assert!(running.noticed(&Notice::AuditFailed(io::ErrorKind::StorageFull)));
    running.end();
}

/// A server with a log in this file is started, asked once and stopped.
fn run_with(audit: Audit) {
    let running = serve(|builder, _| guarded(builder).audit(audit));
    assert!(running.ask(get("/")).starts_with("HTTP/1.1 200"));
    running.end();
}

fn verify(text: &str, after: ChainHead) -> ChainVerdict {
    verify_chain(&Crypto::built_in().unwrap(), text.as_bytes(), after).unwrap()
}

#[test]
fn a_chain_goes_on_in_the_next_run_and_the_next_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let audit = || Audit::file(&path).chained(true);
    run_with(audit());
    run_with(audit());
    let whole = fs::read_to_string(&path).unwrap();
    let ChainVerdict::Intact { lines: 4, head } = verify(&whole, ChainHead::GENESIS) else {
        panic!("{whole}");
    };
    let fewer: String = whole
        .lines()
        .filter(|line| !line.contains(r#""seq":2"#))
        .fold(String::new(), |text, line| text + line + "\n");
    let verdict = verify(&fewer, ChainHead::GENESIS);
    assert_eq!(verdict, ChainVerdict::Broken { line: 2, why: ChainBreak::OutOfPlace });
    // Every line is one too many.
    run_with(audit().rotate_at(1).keep(2));
    let read = |n: u32| fs::read_to_string(format!("{}.{n}", path.display()));
    let last = fs::read_to_string(&path).unwrap();
    assert!(read(3).is_err(), "two are kept");
    match verify(&read(1).unwrap(), head) {
        ChainVerdict::Intact { lines: 1, head } => {
            assert!(matches!(verify(&last, head), ChainVerdict::Intact { lines: 1, .. }));
        }
        // Both lines came in one go.
        _ => assert!(matches!(verify(&last, head), ChainVerdict::Intact { lines: 2, .. })),
    }
}

#[test]
fn a_file_with_a_broken_end_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    fs::write(&path, "{\"seq\":1").unwrap();
    run_with(Audit::file(&path).chained(true));
    let aside = fs::read_to_string(dir.path().join("audit.log.1")).unwrap();
    assert_eq!(aside, "{\"seq\":1");
    let text = fs::read_to_string(&path).unwrap();
    assert!(matches!(verify(&text, ChainHead::GENESIS), ChainVerdict::Intact { lines: 3, .. }));
    assert!(text.starts_with("{\"seq\":1,") && text.contains("broken end"), "{text}");
}

#[test]
fn senseless_logs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (audit, why) in [
        (Audit::file(dir.path()), "it is no file"),
        (Audit::file(dir.path().join("none/audit.log")), "cannot write"),
        (Audit::file(dir.path().join("a")).queue(0), "queue is 0"),
        (Audit::file(dir.path().join("a")).rotate_at(0), "rotate_at is 0"),
    ] {
        let sim = Sim::new();
        let builder = RestServer::<Sim, Threads>::builder_on(sim.clone()).allow_plaintext();
        let bound = sim.block_on(builder.listen("127.0.0.1:0").audit(audit).bind());
        let error = bound.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}
