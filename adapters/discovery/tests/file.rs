//! A file, as it is written, replaced, broken and taken away.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::time::Duration;

use sinew_discovery::{EndpointSetConfig, FileSource, News, follow};
use sinew_smol::{RestClient, SmolRuntime};

/// Puts a file in place, whole.
fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

fn client() -> RestClient {
    RestClient::builder("http://a.test").allow_plaintext().build().unwrap()
}

/// Follows the file, and after each report does what `steps` says, until it says nothing more.
fn watch(
    path: &Path,
    client: &RestClient,
    mut step: impl FnMut(usize, &News) -> bool,
) -> Vec<String> {
    let source = FileSource::new(SmolRuntime, path).every(Duration::from_millis(1));
    let told = RefCell::new(Vec::new());
    let (done, over) = smol::channel::bounded::<()>(1);
    let report = |news: News| {
        let mut told = told.borrow_mut();
        told.push(news.to_string());
        if !step(told.len(), &news) {
            let _ = done.try_send(());
        }
    };
    let config = EndpointSetConfig::default();
    smol::block_on(smol::future::or(follow(&SmolRuntime, client, source, config, report), async {
        let _ = over.recv().await;
    }));
    told.into_inner()
}

#[test]
fn a_file_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list.json");
    let client = client();
    let path = path.as_path();
    let endpoints = || client.explain().endpoints.len();
    let told = watch(path, &client, |at, _| match at {
        1 => {
            put(path, r#"{"endpoints": ["10.0.0.1:80", {"address": "10.0.0.2:80", "weight": 3}]}"#);
            true
        }
        // The source is back: told after the list.
        2 => true,
        3 => {
            assert_eq!(endpoints(), 2);
            put(path, r#"{"endpoints": ["10.0.0.2:80", "10.0.0.3:80"]}"#);
            true
        }
        4 => {
            put(path, r#"{"endpoints": ["10.0.0.2:80", "#);
            true
        }
        5 => {
            assert_eq!(endpoints(), 2, "the last good list is kept");
            put(path, r#"{"endpoints": ["10.0.0.2:80", "10.0.0.3:80"]}"#);
            true
        }
        6 => {
            let known = r#"{"address": "10.0.0.3:80", "weight": 5, "zone": "b"}"#;
            put(path, &format!(r#"{{"endpoints": ["10.0.0.2:80", {known}]}}"#));
            true
        }
        _ => false,
    });
    assert!(told[0].contains("cannot be read") && told[0].contains("no list yet"), "{told:?}");
    assert_eq!(told[1], "2 endpoints +10.0.0.1:80 +10.0.0.2:80");
    assert!(told[2].starts_with("the source is back after "), "{told:?}");
    assert_eq!(told[3], "2 endpoints +10.0.0.3:80 -10.0.0.1:80 ~10.0.0.2:80");
    assert!(told[4].contains("no list") && told[4].contains("is kept"), "{told:?}");
    assert!(told[5].starts_with("the source is back after "), "{told:?}");
    assert_eq!(told[6], "2 endpoints ~10.0.0.3:80");
    let known = client.endpoints();
    let (_, third) = known.iter().find(|(_, one)| one.address == "10.0.0.3:80").unwrap();
    assert_eq!((third.weight, third.zone.as_str()), (5, "b"), "the client knows as well");
}

#[test]
fn what_is_no_list_is_refused() {
    for (text, why) in [
        ("[]", "no list"),
        (r#"{"endpoints": [3]}"#, "an address, or an object with one"),
        (r#"{"endpoints": []}"#, "a list without endpoints"),
        (r#"{"endpoints": ["a.test:1", "a.test:1"]}"#, "listed twice"),
        (r#"{"endpoints": ["not an address"]}"#, "no address of an endpoint"),
        (r#"{"endpoints": [{"address": "a.test:1", "wieght": 1}]}"#, "an address, or an object"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.json");
        put(&path, text);
        let told = watch(&path, &client(), |_, _| false);
        assert!(told[0].contains(why), "{text}: {told:?}");
    }
}

#[test]
fn a_file_above_4_mib_is_not_read_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list.json");
    put(&path, &" ".repeat(4 * 1024 * 1024 + 1));
    let told = watch(&path, &client(), |_, _| false);
    assert!(told[0].contains("above 4 MiB"), "{told:?}");
}
