//! Over sockets: the reference server through each adapter, and the targets of `sinew check`.

#![cfg(feature = "sockets")]
#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sinew_conformance::network::certificate::Issued;
use sinew_conformance::network::conversation::{Patience, Transport};
use sinew_conformance::reader::{self, Message};
use sinew_tls::rustls::pki_types::pem::PemObject;
use sinew_tls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sinew_tls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const RUNTIMES: [&str; 3] = ["tokio", "smol", "async-std"];

/// A running `sinew serve`, killed when the test is over.
struct Served {
    child: Child,
    said: BufReader<ChildStdout>,
    address: String,
}

impl Served {
    fn start(runtime: &str, more: &[&str]) -> Self {
        Self::start_with(runtime, more, Stdio::inherit())
    }

    fn start_with(runtime: &str, more: &[&str], errors: Stdio) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sinew"))
            .args(["serve", "--runtime", runtime, "--listen", "127.0.0.1:0"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let address = line(&mut said).strip_prefix("listening on ").unwrap().to_owned();
        Self { child, said, address }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).unwrap()
    }

    /// Sends the bytes of one request, shuts the writing side, and reads the response.
    fn ask(&self, request: &[u8]) -> Message {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        read_one(&mut stream)
    }

    fn get(&self, target: &str) -> Message {
        let head = format!("GET {target} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n");
        self.ask(head.as_bytes())
    }

    fn post(&self, target: &str, body: &[u8]) -> Message {
        let length = body.len();
        let mut request = format!(
            "POST {target} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.ask(&request)
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    fn exit_code(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn read_one(stream: &mut impl Read) -> Message {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let mut messages = reader::responses(&bytes, &[], false).unwrap();
    assert_eq!(messages.len(), 1, "{}", bytes.escape_ascii());
    messages.remove(0)
}

#[test]
fn every_route_answers_on_every_runtime() {
    for runtime in RUNTIMES {
        let server = Served::start(runtime, &[]);
        assert_eq!(server.get("/plain").body, b"Hello, World!", "{runtime}");
        let json = server.get("/json");
        assert_eq!(json.field("content-type").as_deref(), Some("application/json"));
        assert_eq!(json.body, br#"{"message":"Hello, World!"}"#);
        let body = vec![b'e'; 300_000];
        assert_eq!(server.post("/echo", &body).body, body);
        let stream = server.get("/stream/200000");
        assert_eq!(stream.body.len(), 200_000);
        assert_eq!(stream.field("transfer-encoding").as_deref(), Some("chunked"));
        assert_eq!(server.get("/status/204").body, b"");
        let refusal = server.get("/status/418");
        assert_eq!(refusal.status(), 418);
        assert_eq!(refusal.body, br#"{"title":"I'm a teapot","status":418}"#);
        assert_eq!(server.get("/status/99").status(), 400);
        assert_eq!(server.get("/delay/20").body, b"Hello, World!");
        let headers = String::from_utf8(server.get("/headers").body).unwrap();
        assert!(headers.contains(r#"["host","a.test"]"#), "{headers}");
        assert_eq!(server.post("/sink", &body).body, br#"{"bytes":300000}"#);
        assert_eq!(server.get("/nothing").status(), 404);
        assert_eq!(server.post("/plain", b"").status(), 405);
    }
}

#[test]
fn a_signal_ends_it_when_what_runs_is_finished() {
    for (runtime, signal) in RUNTIMES.into_iter().zip(["-TERM", "-INT", "-TERM"]) {
        let server = Served::start(runtime, &[]);
        let mut slow = server.connect();
        slow.write_all(
            b"POST /sink HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n",
        )
        .unwrap();
        // The handler pulls: from here on the request is in flight.
        let mut interim = [0; 25];
        slow.read_exact(&mut interim).unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        server.signal(signal);
        slow.write_all(b"abcd").unwrap();
        slow.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_one(&mut slow).body, br#"{"bytes":4}"#, "{runtime}");
        assert_eq!(server.exit_code(), Some(0), "{runtime}");
    }
}

/// The first one waits for what runs, for an hour.
#[test]
fn a_second_signal_cuts_what_runs() {
    for runtime in RUNTIMES {
        let mut server = Served::start(runtime, &["--deadline", "3600"]);
        let mut slow = server.connect();
        slow.write_all(
            b"POST /sink HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n",
        )
        .unwrap();
        // The handler pulls, and waits for the body.
        let mut interim = [0; 25];
        slow.read_exact(&mut interim).unwrap();
        server.signal("-TERM");
        server.signal("-INT");
        let report = line(&mut server.said);
        assert!(
            report.starts_with("drained: 1 connection") && report.contains("1 cut_request"),
            "{report}"
        );
        assert!(
            slow.read(&mut interim).map_or(true, |bytes| bytes == 0),
            "{runtime}: it is answered"
        );
        assert_eq!(server.exit_code(), Some(0), "{runtime}");
    }
}

#[test]
fn a_hangup_brings_the_certificate_of_now_and_a_bad_file_keeps_what_is_in_force() {
    for runtime in RUNTIMES {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hangup-{runtime}"));
        std::fs::create_dir_all(&folder).unwrap();
        let put = |issued: &Issued| {
            std::fs::write(folder.join("cert.pem"), &issued.certificate).unwrap();
            std::fs::write(folder.join("key.pem"), &issued.key).unwrap();
        };
        let [before, after] = [(); 2].map(|()| Issued::generate().unwrap());
        put(&before);
        let tls = ["--tls", folder.to_str().unwrap()];
        let mut server = Served::start_with(runtime, &tls, Stdio::piped());
        let mut errors = BufReader::new(server.child.stderr.take().unwrap());
        let place = server.address.parse().unwrap();
        let is_shown = |issued: &Issued| {
            let client = Transport::trusting(&issued.authority).unwrap();
            client.connect(place, Patience::default()).is_ok()
        };
        assert!(is_shown(&before) && !is_shown(&after), "{runtime}");
        put(&after);
        server.signal("-HUP");
        assert_eq!(line(&mut server.said), "reloaded: 2", "{runtime}");
        assert!(is_shown(&after) && !is_shown(&before), "{runtime}");
        std::fs::write(folder.join("cert.pem"), "no certificate").unwrap();
        server.signal("-HUP");
        let refused = line(&mut errors);
        assert!(refused.starts_with("not reloaded: ") && refused.contains("hangup"), "{refused}");
        assert!(is_shown(&after), "{runtime}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn wrong_arguments_are_named() {
    let refusal = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_sinew")).arg("serve").args(arguments).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let address = refusal(&["--runtime", "tokio", "--listen", "nowhere"]);
    assert!(address.contains("nowhere"), "{address}");
    assert!(refusal(&["--runtime", "glib", "--listen", "127.0.0.1:0"]).contains("'glib'"));
    let tls = ["--runtime", "smol", "--listen", "127.0.0.1:0", "--tls", "/no/such/directory"];
    assert!(refusal(&tls).contains("/no/such/directory"));
}

#[test]
fn a_streamed_answer_asks_for_the_body_that_is_held_back() {
    for runtime in RUNTIMES {
        let server = Served::start(runtime, &[]);
        let mut stream = server.connect();
        stream
            .write_all(
                b"POST /echo HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\
                  expect: 100-continue\r\ncontent-length: 4\r\n\r\n",
            )
            .unwrap();
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n", "{runtime}");
        stream.write_all(b"abcd").unwrap();
        assert_eq!(read_one(&mut stream).body, b"abcd", "{runtime}");
    }
}

// ---- any server as a target ------------------------------------------------------------------

fn check(target: &str, more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sinew"));
    let output = command.args(["check", "--target", target]).args(more).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_reference_server_passes_and_is_recorded() {
    let server = Served::start("tokio", &[]);
    let json = Path::new(env!("CARGO_TARGET_TMPDIR")).join("served.jsonl");
    let (code, report) = check(&server.address, &["--json", json.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{report}");
    assert!(report.contains("needs limits of its own"), "{report}");
    let text = std::fs::read_to_string(&json).unwrap();
    let records = text.lines().map(|line| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        (record["id"].as_str().unwrap().to_owned(), record["verdict"].as_str().unwrap().to_owned())
    });
    let records: std::collections::BTreeMap<String, String> = records.collect();
    assert_eq!(records["request-line/get-min"], "pass");
    assert_eq!(records["target/nonuri-pipe"], "either-way");
    assert_eq!(records["limits/head"], "skip");
    std::fs::remove_file(json).unwrap();
}

#[test]
fn any_place_that_sends_back_what_it_is_sent_is_asked_the_websocket_cases() {
    for runtime in RUNTIMES {
        let server = Served::start(runtime, &[]);
        let (code, report) = check(&format!("ws://{}/ws", server.address), &[]);
        assert_eq!(code, Some(0), "{report}");
        assert_eq!(report.lines().last(), Some("163 passed, 0 failed, 62 left out"), "{report}");
        // There it is not spoken.
        let filter = ["--filter", "ws-handshake/plain"];
        let (code, report) = check(&format!("ws://{}/plain", server.address), &filter);
        assert_eq!(code, Some(1), "{report}");
        assert!(report.contains("status Some(200), expected one of [101]"), "{report}");
    }
}

#[test]
fn a_server_that_takes_everything_fails() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut piece = [0; 4096];
                while stream.read(&mut piece).is_ok_and(|n| n > 0) {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    if stream.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let quick = ["--filter", "host/twice", "--answer-timeout", "0.2"];
    let (code, report) = check(&address, &quick);
    assert_eq!(code, Some(1), "{report}");
    assert!(report.contains("status 200, expected one of [400]"), "{report}");
    assert!(report.contains("the connection goes on"), "{report}");
}

#[test]
fn another_machine_needs_leave() {
    let arguments = ["check", "--target", "192.0.2.1:80"];
    let output = Command::new(env!("CARGO_BIN_EXE_sinew")).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--i-may-test-this-host"), "{said}");
}

// ---- every adapter as a target ---------------------------------------------------------------

#[test]
fn the_adapters_pass_plain_and_over_tls() {
    for runtime in RUNTIMES {
        for subject in ["pipelining/", "r-poison/"] {
            let (code, report) = check(runtime, &["--filter", subject]);
            assert_eq!(code, Some(0), "{runtime}: {report}");
        }
    }
}

#[test]
fn an_adapter_that_differs_fails() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("differs.jsonl");
    let cases = [
        r#"{"id":"own/request","rfc":"r","side":"request","level":"MUST","input":"GET / HTTP/1.1\r\nHost: a\r\n\r\n","expect":{"outcome":"accept","target":"/other"},"why":"w"}"#,
        r#"{"id":"own/response","rfc":"r","side":"response","level":"MUST","input":"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok","expect":{"outcome":"accept","body":"no"},"why":"w"}"#,
        r#"{"id":"own/close","rfc":"r","side":"response","level":"MUST","input":"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok","expect":{"outcome":"accept","keep_alive":false},"why":"w"}"#,
    ];
    std::fs::write(&path, cases.join("\n")).unwrap();
    let (code, report) = check("smol", &["--cases", path.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{report}");
    assert!(report.ends_with("0 passed, 3 failed\n"), "{report}");
    assert!(report.contains("plain, whole: target"), "{report}");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_policy_is_asked_through_a_server() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cors.jsonl");
    let case = |request: &str, expect: &str| {
        format!(
            r#"{{"id":"cors/own","config":{{"origins":["https://a.test"],"methods":[],"headers":[],"expose":[],"credentials":false,"max_age":null}},"request":{request},"expect":{{{expect}}},"why":"w"}}"#
        )
    };
    let page = r#"{"method":"GET","target":"/deep/er","headers":[["origin","https://a.test"]]}"#;
    let kept = r#""route_headers":[["x-own","1"],["access-control-allow-origin","*"]]"#;
    for (last, request, expect) in [
        ("1 passed, 0 failed", page, &*format!(r#""kind":"actual","single":["x-own"],{kept}"#)),
        ("0 passed, 1 failed", page, r#""kind":"preflight""#),
        ("0 passed, 1 failed", page, r#""kind":"actual","handler_runs":false"#),
        ("0 passed, 1 failed", page, r#""kind":"actual","status":[204]"#),
        (
            "0 passed, 1 failed",
            page,
            r#""kind":"actual","auth_required_route":true,"status":[200]"#,
        ),
        ("0 passed, 1 failed", page, r#""kind":"actual","absent":["access-control-allow-origin"]"#),
        ("0 passed, 0 failed, 1 left out", "null", r#""kind":"build_error""#),
    ] {
        std::fs::write(&path, case(request, expect)).unwrap();
        let cases = ["--subject", "cors", "--cases", path.to_str().unwrap()];
        let (_, report) = check("smol", &cases);
        assert_eq!(report.lines().last(), Some(last), "{expect}: {report}");
    }
    std::fs::remove_file(path).unwrap();
}

// ---- TLS -------------------------------------------------------------------------------------

struct Leaf {
    chain: String,
    key: String,
}

/// A certificate authority and two leaves of it, a server's and a client's.
fn certificates() -> (String, Leaf, Leaf) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let leaf = |names: &[&str]| {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let params = CertificateParams::new(names).unwrap();
        Leaf { chain: params.signed_by(&key, &issuer).unwrap().pem(), key: key.serialize_pem() }
    };
    (ca, leaf(&["localhost", "127.0.0.1"]), leaf(&["client"]))
}

fn ask_with_tls(server: &Served, ca: &str, identity: Option<&Leaf>) -> std::io::Result<Vec<u8>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some(leaf) => {
            let chain = CertificateDer::from_pem_slice(leaf.chain.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
            config.with_client_auth_cert(vec![chain], key).unwrap()
        }
    };
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, server.connect());
    stream.write_all(b"GET /plain HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn provider() -> sinew_tls::rustls::crypto::CryptoProvider {
    sinew_tls::rustls::crypto::ring::default_provider()
}

#[test]
fn a_server_under_tls_is_asked_the_same() {
    let (ca, leaf, _) = certificates();
    let (other, ..) = certificates();
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("asked-under-tls");
    std::fs::create_dir_all(&dir).unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (ca, other) = (file("authority.pem", &ca), file("other.pem", &other));
    file("cert.pem", &leaf.chain);
    file("key.pem", &leaf.key);
    for (runtime, filter) in [("tokio", ""), ("smol", "smuggling/"), ("async-std", "smuggling/")] {
        let server = Served::start(runtime, &["--tls", dir.to_str().unwrap()]);
        let (code, report) = check(&server.address, &["--ca", &ca, "--filter", filter]);
        assert_eq!(code, Some(0), "{runtime}: {report}");
        let passed = report.lines().last().unwrap().split(' ').next().unwrap().parse::<u32>();
        assert_eq!(passed, Ok(if filter.is_empty() { 495 } else { 102 }), "{runtime}: {report}");
        // Whom it does not trust it does not ask.
        let (code, report) = check(&server.address, &["--ca", &other, "--filter", "host/twice"]);
        assert_ne!(code, Some(0), "{runtime}: {report}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn with_a_ca_it_asks_for_client_certificates() {
    let (ca, server_leaf, client_leaf) = certificates();
    let (other_ca, _, stranger) = certificates();
    for (runtime, mutual) in
        [("tokio", false), ("tokio", true), ("smol", true), ("async-std", true)]
    {
        let name = format!("tls-{runtime}-{mutual}");
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("cert.pem"), &server_leaf.chain).unwrap();
        std::fs::write(dir.join("key.pem"), &server_leaf.key).unwrap();
        if mutual {
            std::fs::write(dir.join("ca.pem"), &ca).unwrap();
        }
        let server = Served::start(runtime, &["--tls", dir.to_str().unwrap()]);
        let answered = |identity| {
            ask_with_tls(&server, &ca, identity).is_ok_and(|b| b.ends_with(b"Hello, World!"))
        };
        assert_eq!(answered(None), !mutual, "{runtime}");
        assert!(answered(Some(&client_leaf)), "{runtime}");
        assert_eq!(answered(Some(&stranger)), !mutual, "{runtime}");
        assert!(ask_with_tls(&server, &other_ca, None).is_err(), "{runtime}");
        drop(server);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
