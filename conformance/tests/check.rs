//! The command `sinew check`: what it prints, and its exit code.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

use std::path::PathBuf;
use std::process::{Command, Output};

fn sinew(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sinew")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A file of cases that is gone when the test is over.
struct File(PathBuf);

impl File {
    fn new(name: &str, content: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const GOOD: &str = r#"{"id":"own/get","cat":"own","rfc":"RFC9112 3","side":"request","level":"MUST","input":"GET / HTTP/1.1\r\nHost: a\r\n\r\n","expect":{"outcome":"accept","target":"/"},"why":"a request"}"#;

#[test]
fn the_last_line_counts() {
    let output = sinew(&["check", "--target", "core"]);
    let stdout = text(&output.stdout);
    assert_eq!(stdout.lines().last(), Some("631 passed, 0 failed"), "{stdout}");
    assert!(output.status.success());
}

#[test]
fn a_failure_shows_why_and_fails_the_run() {
    let file = File::new("wrong.jsonl", &GOOD.replace("\"/\"", "\"/other\""));
    let output = sinew(&["check", "--cases", file.path()]);
    let stdout = text(&output.stdout);
    assert!(stdout.contains("FAILED own/get (RFC9112 3): a request"), "{stdout}");
    assert!(stdout.contains("problem   target"), "{stdout}");
    assert_eq!(stdout.lines().last(), Some("0 passed, 1 failed"));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_bad_case_is_named_with_its_line() {
    let file = File::new("bad.jsonl", &format!("{GOOD}\n{{\"id\":\"own/x\"}}\n"));
    let output = sinew(&["check", "--cases", file.path()]);
    let stderr = text(&output.stderr);
    assert!(stderr.contains("bad.jsonl:2: missing field `cat`"), "{stderr}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_filter_that_matches_nothing_is_an_error() {
    let output = sinew(&["check", "--filter", "no such case"]);
    assert!(text(&output.stderr).contains("no case has \"no such case\" in its id"));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_subject_has_cases_of_its_own() {
    for (subject, cases) in [("http1", 552), ("cors", 79)] {
        let output = sinew(&["check", "--subject", subject]);
        let last = format!("{cases} passed, 0 failed");
        assert_eq!(text(&output.stdout).lines().last(), Some(&*last));
    }
    let output = sinew(&["check", "--subject", "weather"]);
    assert!(text(&output.stderr).contains("neither http1 nor cors"));
    let file = File::new("no-cors.jsonl", GOOD);
    let output = sinew(&["check", "--subject", "cors", "--cases", file.path()]);
    assert!(text(&output.stderr).contains("no case is about that subject"));
    assert_eq!(output.status.code(), Some(2));
}

/// Each word of an expectation finds what is not so.
#[test]
fn a_wrong_cors_case_fails() {
    let config = r#"{"origins":["https://a.test"],"methods":["PUT"],"headers":[],"expose":[],"credentials":false,"max_age":null}"#;
    let preflight = r#"{"method":"OPTIONS","target":"/","headers":[["origin","https://a.test"],["access-control-request-method","PUT"]]}"#;
    for (request, expect) in [
        ("null", r#""kind":"build_error""#),
        (preflight, r#""kind":"actual""#),
        (preflight, r#""kind":"preflight","handler_runs":true"#),
        (preflight, r#""kind":"preflight","status":[200]"#),
        (preflight, r#""kind":"preflight","headers":{"access-control-allow-origin":"*"}"#),
        (preflight, r#""kind":"preflight","absent":["access-control-allow-origin"]"#),
        (preflight, r#""kind":"preflight","single":["access-control-max-age"]"#),
        (preflight, r#""kind":"preflight","vary":["cookie"]"#),
        (preflight, r#""kind":"preflight","methods_include":["put"]"#),
        (preflight, r#""kind":"preflight","methods_exclude":["PUT"]"#),
        (preflight, r#""kind":"preflight","headers_include":["x-a"]"#),
    ] {
        let case = format!(
            r#"{{"id":"cors/x","config":{config},"request":{request},"expect":{{{expect}}},"why":"w"}}"#
        );
        let file = File::new("wrong-cors.jsonl", &case);
        let stdout = text(&sinew(&["check", "--cases", file.path()]).stdout);
        assert_eq!(stdout.lines().last(), Some("0 passed, 1 failed"), "{case}: {stdout}");
    }
}

#[test]
fn an_unknown_target_is_an_error() {
    let output = sinew(&["check", "--target", "moon"]);
    let stderr = text(&output.stderr);
    assert!(stderr.contains("'moon'") && stderr.contains("core"), "{stderr}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn another_seed_cuts_elsewhere_and_passes_too() {
    for seed in ["0", "7", "18446744073709551615"] {
        assert!(sinew(&["check", "--seed", seed]).status.success());
    }
}

/// A server of each adapter takes the requests, and its client the responses.
#[cfg(feature = "serve")]
#[test]
fn the_adapters_pass() {
    for target in ["tokio", "smol", "async-std"] {
        for tls in [&[][..], &["--tls"]] {
            let output = sinew(&[&["check", "--target", target], tls].concat());
            let stdout = text(&output.stdout);
            let last = stdout.lines().last();
            assert_eq!(
                last,
                Some("489 passed, 0 failed, 142 left out"),
                "{target} {tls:?} {stdout}"
            );
            assert!(output.status.success());
        }
    }
}

/// A server that takes whatever comes for a request, and keeps every connection.
fn careless() -> std::net::SocketAddr {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 16_384];
                while socket.read(&mut buffer).is_ok_and(|n| n > 0) {
                    let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                }
            });
        }
    });
    address
}

#[test]
fn any_server_can_be_checked_and_what_it_takes_shows() {
    let target = careless().to_string();
    let json = File::new("careless.json", "");
    let check = |filter| {
        let more = ["--filter", filter, "--json", json.path(), "--patience", "300"];
        let output = sinew(&[&["check", "--target", &target], &more[..]].concat());
        (output.status.code(), text(&output.stdout))
    };
    let (code, stdout) = check("request-line/get-min");
    assert_eq!((code, stdout.lines().last()), (Some(0), Some("1 passed, 0 failed")), "{stdout}");
    // No Host, and the connection goes on as if nothing were.
    let (code, stdout) = check("host/missing-absolute");
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.contains("outcome Accept, expected Reject"), "{stdout}");
    let lines = std::fs::read_to_string(json.path()).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.contains(r#""result":"failed""#)));
}

#[test]
fn what_a_foreign_server_cannot_be_asked_is_left_out_with_the_reason() {
    let target = careless().to_string();
    let output = sinew(&["check", "--target", &target, "--filter", "r-status/ok"]);
    let stdout = text(&output.stdout);
    assert!(stdout.contains("a response: it takes a client (1): r-status/ok"), "{stdout}");
    assert_eq!(stdout.lines().last(), Some("0 passed, 0 failed, 1 left out"));
}

#[test]
fn a_host_elsewhere_is_not_attacked_by_mistake() {
    // https://www.rfc-editor.org/rfc/rfc5737: nobody has this address.
    let output = sinew(&["check", "--target", "192.0.2.1:80"]);
    assert!(text(&output.stderr).contains("--i-may-test-this-host"));
    assert_eq!(output.status.code(), Some(2));
}
