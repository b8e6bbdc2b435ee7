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

const GOOD: &str = r#"{"id":"own/get","rfc":"RFC9112 3","side":"request","level":"MUST","input":"GET / HTTP/1.1\r\nHost: a\r\n\r\n","expect":{"outcome":"accept","target":"/"},"why":"a request"}"#;

#[test]
fn the_last_line_counts() {
    let output = sinew(&["check", "--target", "core"]);
    let stdout = text(&output.stdout);
    assert_eq!(stdout.lines().last(), Some("1101 passed, 0 failed"), "{stdout}");
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
    assert!(stderr.contains("bad.jsonl:2: missing field `rfc`"), "{stderr}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_filter_that_matches_nothing_is_an_error() {
    let output = sinew(&["check", "--filter", "no such case"]);
    assert!(text(&output.stderr).contains("no case has \"no such case\" in its id"));
    assert_eq!(output.status.code(), Some(2));
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

#[test]
fn a_subject_has_cases_of_its_own() {
    for (subject, cases) in [("http1", 795), ("cors", 81)] {
        let output = sinew(&["check", "--subject", subject]);
        let last = format!("{cases} passed, 0 failed");
        assert_eq!(text(&output.stdout).lines().last(), Some(&*last));
    }
    let output = sinew(&["check", "--subject", "weather"]);
    assert!(text(&output.stderr).contains("neither http1, cors nor websocket"));
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
