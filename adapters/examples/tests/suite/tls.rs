//! Who gets in, who does not, and what either side is told.

use sinew_core::error::{Delivery, Phase};
use sinew_driver::{Error, ErrorKind};
use sinew_examples::certs::{Authority, Identity, Validity};
use sinew_tls::{ClientTls, Options, Reason, ServerTls, Side};

use super::raw::{Raw, blocking};
use super::run;
use super::site::{
    CLIENT, PATIENCE, Pki, Security, Site, client_tls, client_with, pki, server_tls,
};
use crate::rt;

async fn site_with(tls: ServerTls) -> Site {
    let builder = super::app::routes(rt::RestServer::builder()).tls(tls).listen("127.0.0.1:0");
    Site::bound(Security::Mutual, builder).await
}

fn tls_of(authority: &Authority, identity: Option<&Identity>) -> ClientTls {
    let patient = Options { handshake_timeout: PATIENCE, ..Options::CLIENT };
    let mut builder = ClientTls::builder().ca_pem(authority.pem()).unwrap().options(patient);
    if let Some(identity) = identity {
        builder = builder.identity_pem(&identity.chain, &identity.key).unwrap();
    }
    builder.build().unwrap()
}

async fn refused(site: &Site, tls: ClientTls) -> Error {
    let error = client_with(&site.url(), tls).get("/text").send().await.unwrap_err();
    assert_eq!(error.delivery(), Delivery::NotSent, "{error:?}");
    assert_eq!(error.phase(), Phase::Tls, "{error:?}");
    error
}

fn reason(error: &Error) -> (Reason, Side) {
    match error.kind() {
        ErrorKind::Tls(failure) => (failure.reason, failure.by),
        other => panic!("not TLS: {other:?}"),
    }
}

#[test]
fn a_client_without_a_certificate() {
    run(async {
        let site = Site::start(Security::Mutual).await;
        let error = refused(&site, tls_of(&pki().authority, None)).await;
        assert_eq!(reason(&error), (Reason::NoClientCertificate, Side::Peer));
    });
}

#[test]
fn a_client_of_a_foreign_authority() {
    run(async {
        let site = Site::start(Security::Mutual).await;
        let foreign = Authority::mint("foreign authority").unwrap().client(CLIENT).unwrap();
        let error = refused(&site, tls_of(&pki().authority, Some(&foreign))).await;
        assert_eq!(reason(&error), (Reason::UnknownCa, Side::Peer));
    });
}

#[test]
fn a_client_whose_certificate_has_expired() {
    run(async {
        let site = Site::start(Security::Mutual).await;
        let expired = pki().authority.client_valid(CLIENT, Validity::Expired).unwrap();
        let error = refused(&site, tls_of(&pki().authority, Some(&expired))).await;
        assert_eq!(reason(&error), (Reason::Expired, Side::Peer));
    });
}

#[test]
fn a_client_that_shows_a_server_certificate() {
    run(async {
        let site = Site::start(Security::Mutual).await;
        let error = refused(&site, tls_of(&pki().authority, Some(&pki().server))).await;
        assert_eq!(reason(&error).1, Side::Peer);
    });
}

#[test]
fn a_server_of_a_foreign_authority() {
    run(async {
        let site = Site::start(Security::Mutual).await;
        let foreign = Authority::mint("foreign authority").unwrap();
        let error = refused(&site, tls_of(&foreign, Some(&pki().client))).await;
        assert_eq!(reason(&error), (Reason::UnknownCa, Side::Local));
    });
}

#[test]
fn a_server_with_another_name() {
    run(async {
        let other = pki().authority.server(&["elsewhere.test"]).unwrap();
        let site = site_with(server_tls(&other)).await;
        let error = refused(&site, client_tls()).await;
        assert_eq!(reason(&error), (Reason::NameMismatch, Side::Local));
    });
}

#[test]
fn a_server_whose_certificate_has_expired() {
    run(async {
        let Pki { authority, .. } = pki();
        let expired = authority.server_valid(&["127.0.0.1"], Validity::Expired).unwrap();
        let site = site_with(server_tls(&expired)).await;
        let error = refused(&site, client_tls()).await;
        assert_eq!(reason(&error), (Reason::Expired, Side::Local));
    });
}

#[test]
fn a_plaintext_client_at_a_tls_port() {
    run(async {
        let site = Site::start(Security::Mutual).await;
        let url = format!("http://{}", site.address());
        assert!(super::site::client_to(&url).get("/text").send().await.is_err());
        let address = site.address();
        blocking(move || {
            let mut socket = Raw::connect(address, Security::Plain);
            socket.send("GET /text HTTP/1.1\r\nhost: a\r\n\r\n");
            // A fatal alert at most, and the end.
            let rest = socket.rest();
            assert!(rest.is_empty() || rest[0] == 21, "{}", rest.escape_ascii());
        })
        .await;
    });
}

#[test]
fn a_tls_client_at_a_plaintext_port() {
    run(async {
        let site = Site::start(Security::Plain).await;
        let url = format!("https://{}", site.address());
        let error = client_with(&url, client_tls()).get("/text").send().await.unwrap_err();
        assert_eq!(reason(&error), (Reason::NotTls, Side::Local));
        assert_eq!(error.delivery(), Delivery::NotSent);
    });
}

#[test]
fn refused_clients_leave_the_server_as_it_was() {
    run(async {
        let site = Site::start(Security::Mutual).await;
        for _ in 0..20 {
            refused(&site, tls_of(&pki().authority, None)).await;
        }
        let client = client_with(&site.url(), client_tls());
        assert_eq!(client.get("/peer").send().await.unwrap().text().await.unwrap(), CLIENT);
        let report = site.stop().await;
        assert_eq!(report.lost(), 0);
    });
}
