//! Listeners that go from one server to the next, while clients go on.

use std::path::Path;
use std::time::Duration;

use futures_util::future::{Either, join, select};
use http::Method;
use sinew_core::server::DrainConfig;
use sinew_core::server::drain::Phase;
use sinew_driver::Request;

use super::site::{Builder, Security, Site, client_for, client_of, client_to};
use super::{each, pause};
use crate::rt;

/// A server that says which one it is.
fn numbered(folder: &Path, number: &'static str) -> Builder {
    let mut builder = rt::RestServer::builder()
        .listen("127.0.0.1:0")
        .listen(format!("unix:{}", folder.join("http").display()))
        .handover(folder.join("handover"))
        .route(Method::GET, "/", move |_: Request| std::future::ready(number));
    let time = Duration::from_millis(100);
    builder.config_mut().drain = DrainConfig { notify: time, late: time, ..DrainConfig::default() };
    builder
}

/// The first of them, once it offers what it has.
async fn first(security: Security, folder: &Path) -> Site {
    let site = Site::run(security, numbered(folder, "0")).await;
    while !folder.join("handover").exists() {
        pause().await;
    }
    site
}

#[test]
fn a_successor_serves_before_the_server_before_it_leaves() {
    each(async |security| {
        let folder = tempfile::tempdir().unwrap();
        let mut site = first(security, folder.path()).await;
        let client = client_of(&site);
        for number in ["1", "2", "3"] {
            let next = Site::run(security, numbered(folder.path(), number)).await;
            assert_eq!(next.addresses, site.addresses, "the very same socket");
            let mut left = Box::pin(site.handle.drained());
            // Kept connections and new ones, without a retry: whoever is asked answers.
            let report = loop {
                let fresh = client_for(security, &site.url());
                let asked = Box::pin(join(client.get("/").send(), fresh.get("/").send()));
                match select(left, asked).await {
                    Either::Left((report, asked)) => {
                        asked.await.0.unwrap();
                        break report;
                    }
                    Either::Right(((kept, fresh), still)) => {
                        for answer in [kept, fresh] {
                            assert_eq!(answer.unwrap().status(), 200);
                        }
                        left = still;
                    }
                }
            };
            assert_eq!(report.lost(), 0, "{report}");
            assert_eq!(client.get("/").send().await.unwrap().text().await.unwrap(), number);
            let file = client_to(&format!("unix:{}", folder.path().join("http").display()));
            assert_eq!(file.get("/").send().await.unwrap().text().await.unwrap(), number);
            site = next;
        }
        assert!(folder.path().join("http").exists(), "it is the last one's");
        site.handle.advance(Phase::Force);
        site.handle.drained().await;
        while folder.path().join("handover").exists() || folder.path().join("http").exists() {
            pause().await;
        }
    });
}

#[test]
fn a_successor_that_never_serves_changes_nothing() {
    each(async |security| {
        let folder = tempfile::tempdir().unwrap();
        let site = first(security, folder.path()).await;
        let builder = numbered(folder.path(), "1");
        let builder = match security {
            Security::Plain => builder.allow_plaintext(),
            Security::Mutual => builder.tls(super::site::server_tls(&super::site::pki().server)),
        };
        let next = builder.bind().await.unwrap();
        assert_eq!(next.local_addrs(), site.addresses);
        drop(next);
        let client = client_of(&site);
        assert_eq!(client.get("/").send().await.unwrap().text().await.unwrap(), "0");
        assert_eq!(site.handle.phase(), Phase::Serving);
        // And the one after it gets its turn.
        let next = Site::run(security, numbered(folder.path(), "2")).await;
        site.handle.drained().await;
        assert_eq!(client.get("/").send().await.unwrap().text().await.unwrap(), "2");
        assert!(folder.path().join("http").exists(), "it is the last one's");
        next.stop().await;
    });
}
