//! Endpoints that are asked for a handshake of TLS: which are well, and which are not.

use std::time::Duration;

use sinew_core::mesh::{BalancePolicy, ProbeConfig};
use sinew_driver::{ActiveChecks, ServiceEndpoint};
use sinew_examples::certs::{Authority, Validity};
use sinew_tls::{ClientTls, ServerTls};

use super::app;
use super::site::{PATIENCE, Security, Site, client_tls, pki, server_tls};
use super::{pause, run, status_of};
use crate::rt;

/// One result says something. No check is over before it says it, on a machine that has other things to do.
const ONCE: ProbeConfig = ProbeConfig {
    mode: sinew_core::policy::Mode::Enforce,
    interval: Duration::from_secs(30),
    timeout: PATIENCE,
    down_after: 1,
    up_after: 1,
};

async fn site_with(tls: ServerTls) -> Site {
    let builder = app::routes(rt::RestServer::builder()).tls(tls).listen("127.0.0.1:0");
    Site::bound(Security::Mutual, builder).await
}

/// A client of whoever is `localhost`, at these places.
fn client_of(
    endpoints: impl IntoIterator<Item = ServiceEndpoint>,
    tls: ClientTls,
    timing: ProbeConfig,
) -> rt::RestClient {
    // Calls go to who is well, even if that is one of many.
    let balance = BalancePolicy { panic_percent: 0, ..BalancePolicy::default() };
    let builder = rt::RestClient::builder("https://localhost").endpoints(endpoints).tls(tls);
    let builder = builder.connect_timeout(PATIENCE).balance(balance);
    builder.health_checks(ActiveChecks::tls().timing(timing)).build().unwrap()
}

fn at(site: &Site) -> ServiceEndpoint {
    ServiceEndpoint::new(site.address().to_string())
}

fn down(client: &rt::RestClient) -> Vec<bool> {
    client.explain().endpoints.iter().map(|endpoint| endpoint.down).collect()
}

#[test]
fn who_completes_no_handshake_as_who_it_should_be_is_down() {
    run(async {
        let authority = &pki().authority;
        let (good, other) =
            (Site::start(Security::Mutual).await, Site::start(Security::Mutual).await);
        let elsewhere = server_tls(&authority.server(&["elsewhere.test"]).unwrap());
        let elsewhere = site_with(elsewhere).await;
        let expired = authority.server_valid(&["localhost"], Validity::Expired).unwrap();
        let expired = site_with(server_tls(&expired)).await;
        let foreign = Authority::mint("foreign authority").unwrap();
        let foreign = site_with(server_tls(&foreign.server(&["localhost"]).unwrap())).await;
        let plain = Site::start(Security::Plain).await;
        let endpoints = [
            at(&good),
            // The certificate is good, and not that of whom is expected there.
            at(&other).identity("spiffe://acme.test/ns/pay"),
            at(&elsewhere),
            at(&expired),
            at(&foreign),
            at(&plain),
        ];
        let client = client_of(endpoints, client_tls(), ONCE);
        // The first call is what checks begin with; it may go anywhere.
        let _ = client.get("/text").send().await;
        while down(&client) != [false, true, true, true, true, true] {
            pause().await;
        }
        for _ in 0..8 {
            assert_eq!(status_of(client.get("/text")).await, 200);
        }
    });
}

#[test]
fn who_completes_a_handshake_is_up_again() {
    run(async {
        let site = Site::start(Security::Mutual).await;
        let often = ProbeConfig {
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(800),
            ..ONCE
        };
        let foreign = Authority::mint("foreign authority").unwrap();
        let nobody = ClientTls::builder().ca_pem(foreign.pem()).unwrap();
        let nobody = nobody.identity_pem(&pki().client.chain, &pki().client.key).unwrap();
        let client = client_of([at(&site)], nobody.build().unwrap(), often);
        let _ = client.get("/text").send().await;
        while down(&client) != [true] {
            pause().await;
        }
        client.reload_tls(&client_tls());
        while down(&client) != [false] {
            pause().await;
        }
        // On a machine that has other things to do, a check may be too late once more.
        while client.get("/text").send().await.is_err() {
            pause().await;
        }
    });
}
