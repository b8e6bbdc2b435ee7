//! The audit log of a server at work: every kind of event, whole files, and a disk that takes nothing.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderName, Method};
use sinew_auth::{ApiKeys, ChainHead, ChainVerdict, Crypto, verify_chain};
use sinew_core::limit::Quota;
use sinew_core::observe::Event;
use sinew_core::observe::audit::Kind;
use sinew_core::security::{KeyDigest, Principal, Routes, Rule, Subject, Who};
use sinew_core::server::RateLimitConfig;
use sinew_driver::{Audit, BoxError, Notice, Reloader, Request, SecurityPolicy, Spawn as _};
use sinew_examples::certs::Authority;
use sinew_tls::{ClientTls, Options, ServerTls};
use tokio::sync::oneshot;

use super::issuer::{Issuer, Key, good, verifier};
use super::raw::raw;
use super::site::{Builder, PATIENCE, Security, Site, client_of, client_with, pki, server_tls};
use super::{pause, run, status_of};
use crate::rt;

/// A server, and when it has ended with its log.
struct Audited {
    site: Site,
    reloader: Reloader<rt::Runtime, rt::Mode>,
    ended: oneshot::Receiver<()>,
}

impl Audited {
    async fn start(security: Security, builder: Builder) -> Self {
        let server = builder.listen("127.0.0.1:0").bind().await.unwrap();
        let reloader = server.reloader();
        let site = Site {
            addresses: server.local_addrs().to_vec(),
            operators: Vec::new(),
            handle: server.handle(),
            security,
        };
        let (end, ended) = oneshot::channel();
        rt::Runtime::default().spawn(async move {
            server.serve().await;
            let _ = end.send(());
        });
        Self { site, reloader, ended }
    }

    async fn end(self) {
        self.site.stop().await;
        self.ended.await.unwrap();
    }
}

/// All of a log that goes over several files, the oldest first; what is being rotated may be missing.
fn files(path: &Path) -> Vec<String> {
    let older = (1..).map_while(|n| fs::read_to_string(format!("{}.{n}", path.display())).ok());
    let mut files: Vec<_> = older.collect();
    files.reverse();
    files.extend(fs::read_to_string(path));
    files
}

/// Bytes of a file after which the next one begins.
const FULL: usize = 4_096;

/// Who is let in by a token, which addresses ask too often, and what else there is to write down.
#[test]
fn each_of_the_ten_kinds_is_written_into_one_chain_over_many_files() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let key = Key::new("1");
        let issuer = Issuer::start(Security::Plain, &[key.jwk()]).await;
        let quota = Quota::new(1, Duration::from_secs(3_600), 3).unwrap();
        let build = |open: &str| {
            let rule = Rule::allow("all", Who::Authenticated, Routes::Of(vec![open.into()]));
            rt::RestServer::builder()
                .security(SecurityPolicy::new().jwt(verifier(), issuer.endpoint()).rule(rule))
                .rate_limit(RateLimitConfig { client: Some(quota), ..RateLimitConfig::default() })
                .audit(Audit::file(&path).chained(true).rotate_at(FULL as u64).keep(1_000))
                .route(Method::GET, "/in", async |_: Request| "in")
                .route(Method::GET, "/out", async |_: Request| "never")
        };
        let first = build("/in").tls(server_tls(&pki().server));
        let audited = Audited::start(Security::Mutual, first).await;
        let client = client_of(&audited.site);
        let token = key.token(&good());
        let ask = async |path: &str, token: &str| status_of(client.get(path).bearer(token)).await;
        while ask("/in", &token).await != 200 {
            // The keys are on their way.
            pause().await;
        }
        assert_eq!(ask("/out", &token).await, 403);
        let bare = Options { handshake_timeout: PATIENCE, ..Options::CLIENT };
        let bare = ClientTls::builder().ca_pem(pki().authority.pem()).unwrap().options(bare);
        let nobody = client_with(&audited.site.url(), bare.build().unwrap());
        assert!(nobody.get("/in").send().await.is_err());
        while ask("/in", &token).await != 429 {}
        // Too many that are not good, from one address.
        while ask("/in", "guessed.by.somebody").await == 401 {}
        while files(&path).concat().len() < FULL {
            pause().await;
        }
        let other = Authority::mint("another authority").unwrap();
        let next = other.server(&["localhost", "127.0.0.1"]).unwrap();
        let builder = ServerTls::builder().certificate_pem(&next.chain, &next.key).unwrap();
        let tls = builder.client_ca_pem(pki().authority.pem()).unwrap().build().unwrap();
        let next = || Ok::<_, BoxError>(build("/out").tls(tls));
        assert_eq!(audited.reloader.reload(next).await.unwrap(), 2);
        assert!(audited.reloader.reload(|| Err::<Builder, _>("a broken file")).await.is_err());
        audited.end().await;
        // A busy disk may take longer than servers wait.
        while !files(&path).concat().contains("reload refused") {
            pause().await;
        }
        let files = files(&path);
        assert!(files.len() > 1, "it was rotated");
        let crypto = Crypto::built_in().unwrap();
        let mut head = ChainHead::GENESIS;
        for file in &files {
            match verify_chain(&crypto, file.as_bytes(), head).unwrap() {
                ChainVerdict::Intact { head: last, .. } => head = last,
                broken @ ChainVerdict::Broken { .. } => panic!("{broken:?}: {file}"),
            }
        }
        let all = files.concat();
        for (n, line) in (1..).zip(all.lines()) {
            assert!(line.starts_with(&format!("{{\"seq\":{n},\"time\":\"2")), "{line}");
        }
        for [kind, part] in [
            ["auth_success", r#""subject":"ann""#],
            ["auth_failure", r#""reason":"invalid_token""#],
            ["auth_failure", r#""peer":"127.0.0.1","details":{"certificate":"none"}"#],
            ["access_granted", r#""why":"allowed by rule \"all\"","method":"GET","route":"/in""#],
            ["access_denied", r#""reason":"forbidden""#],
            ["rate_limit_breach", r#""reason":"rate_limited""#],
            ["suspicious_activity", r#""reason":"rate_limited""#],
            ["config_change", r#""details":{"what":"started"}"#],
            ["config_change", r#""details":{"what":"reloaded","epoch":2}"#],
            ["config_change", r#""details":{"what":"reload refused","why":""#],
            ["cert_rotation", r#""details":{"epoch":2,"not_after":"#],
            ["key_rotation", r#""details":{"keys":1}"#],
            ["policy_change", r#""details":{"epoch":2}"#],
        ] {
            let kind = format!(r#""kind":"{kind}""#);
            let is_told = |line: &str| line.contains(&kind) && line.contains(part);
            assert!(all.lines().any(is_told), "{kind} {part}: {all}");
        }
        let names: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        let of =
            |line: &str| line.split(r#""kind":""#).nth(1)?.split('"').next().map(str::to_owned);
        assert!(all.lines().filter_map(of).all(|kind| names.contains(&*kind)));
        assert!(!all.contains(&token) && !all.contains("guessed"), "{all}");
    });
}

const KEY: &str = "a-key-of-some-robot-or-other";

/// A server whose every good request is two records, and how many it lost.
async fn recording(audit: Audit) -> (Audited, Arc<AtomicU64>, Arc<AtomicU64>) {
    let (lost, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (losing, failing) = (Arc::clone(&lost), Arc::clone(&failed));
    let mut keys = ApiKeys::new(Crypto::built_in().unwrap());
    let subject = Subject::ApiKey { label: "robot".into(), digest: KeyDigest([7; 32]) };
    let robot = Principal { subject, roles: [].into(), scopes: [].into(), expires: None };
    keys.insert(KEY, Arc::new(robot)).unwrap();
    let policy = SecurityPolicy::new()
        .tokens(keys)
        .api_key(HeaderName::from_static("x-api-key"))
        .rule(Rule::allow("all", Who::Authenticated, Routes::Every));
    let builder = rt::RestServer::builder()
        .allow_plaintext()
        .security(policy)
        .audit(audit)
        .route(Method::GET, "/", async |_: Request| "in")
        .observe(move |_, notice| match notice {
            Notice::Decided(Event::AuditLost(records)) => {
                losing.fetch_add(*records, Ordering::SeqCst);
            }
            Notice::AuditFailed(_) => {
                failing.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        });
    (Audited::start(Security::Plain, builder).await, lost, failed)
}

/// So many requests on one connection, each of which is answered.
async fn all_are_answered(site: &Site, requests: usize) {
    const WINDOW: usize = 16;
    raw(site, move |mut socket| {
        let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n");
        for _ in 0..requests / WINDOW {
            socket.send(request.repeat(WINDOW));
            for _ in 0..WINDOW {
                assert_eq!(socket.answer().unwrap().status(), 200);
            }
        }
    })
    .await;
}

#[test]
fn a_pipe_that_nobody_reads_harms_no_request() {
    /// Two records each.
    const REQUESTS: usize = 50_000;
    run(async {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let (audited, lost, _) = recording(Audit::to(writer)).await;
        all_are_answered(&audited.site, REQUESTS).await;
        assert!(lost.load(Ordering::SeqCst) > REQUESTS as u64, "most do not fit");
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            reader.read_to_string(&mut log).map(|_| log)
        });
        audited.end().await;
        let log = log.join().unwrap().unwrap();
        let lost = lost.load(Ordering::SeqCst);
        let gaps = log.lines().filter(|line| line.contains(r#""kind":"lost""#));
        let number = |line: &str, name: &str| -> u64 {
            let (_, rest) = line.split_once(name).unwrap();
            rest.split([',', '}']).next().unwrap().parse().unwrap()
        };
        let told = gaps.map(|gap| number(gap, r#""last":"#) - number(gap, r#""first":"#) + 1);
        assert_eq!(told.sum::<u64>(), lost, "what is missing is told in its place");
        let records = log.lines().filter(|line| !line.contains(r#""kind":"lost""#)).count() as u64;
        // And that it was started.
        assert_eq!(records + lost, 2 * REQUESTS as u64 + 1);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_harms_no_request() {
    run(async {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (audited, lost, failed) = recording(Audit::to(full)).await;
        // More than the queue holds.
        all_are_answered(&audited.site, 8_000).await;
        assert!(lost.load(Ordering::SeqCst) > 0);
        while failed.load(Ordering::SeqCst) == 0 {
            pause().await;
        }
        audited.end().await;
    });
}
