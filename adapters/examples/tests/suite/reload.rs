//! A client whose trust is replaced while it is at work.

use std::io::Read;
use std::net::TcpListener;
use std::pin::pin;

use futures_util::future::{self, Either};
use http::{Method, StatusCode};
use sinew_core::client::redirect::{Reach, RedirectPolicy};
use sinew_core::error::{Delivery, Phase};
use sinew_driver::{ErrorKind, Request, Response};
use sinew_examples::certs::Authority;
use sinew_tls::{ClientTls, Reason, ServerTls, Side};

use super::app::{self, is_pattern};
use super::raw::blocking;
use super::site::{Builder, PATIENCE, Security, Site, client_with, pki};
use super::{pause, run, status_of};
use crate::rt;

/// A server that asks nobody for a certificate: its clients may resume sessions.
async fn open_site(builder: Builder) -> Site {
    let identity = &pki().server;
    let tls = ServerTls::builder().certificate_pem(&identity.chain, &identity.key).unwrap();
    Site::bound(Security::Mutual, builder.tls(tls.build().unwrap()).listen("127.0.0.1:0")).await
}

fn trusting(authority: &Authority) -> ClientTls {
    let builder = ClientTls::builder().ca_pem(authority.pem()).unwrap();
    let patient = sinew_tls::Options { handshake_timeout: PATIENCE, ..sinew_tls::Options::CLIENT };
    builder.options(patient).build().unwrap()
}

async fn is_refused(client: &rt::RestClient, path: &str) {
    let error = client.get(path).send().await.unwrap_err();
    let ErrorKind::Tls(failure) = error.kind() else { panic!("not TLS: {error:?}") };
    assert_eq!((failure.reason, failure.by), (Reason::UnknownCa, Side::Local));
    assert_eq!((error.phase(), error.delivery()), (Phase::Tls, Delivery::NotSent));
}

#[test]
fn whom_a_client_does_not_trust_any_more_it_does_not_talk_to() {
    run(async {
        let site = open_site(app::routes(rt::RestServer::builder())).await;
        let client = client_with(&site.url(), trusting(&pki().authority));
        let mut running = client.get("/download/3000000").send().await.unwrap();
        assert_eq!(status_of(client.get("/text")).await, 200);
        assert_eq!((client.connections(), client.idle_connections()), (2, 1));

        // There is a session that could be resumed, and it would show no certificate.
        client.reload_tls(&trusting(&Authority::mint("another authority").unwrap()));
        assert_eq!((client.connections(), client.idle_connections()), (1, 0));
        is_refused(&client, "/text").await;
        let mut bytes = 0;
        while let Some(piece) = running.chunk().await.unwrap() {
            assert!(is_pattern(bytes, &piece));
            bytes += piece.len() as u64;
        }
        assert_eq!(bytes, 3_000_000, "what is on its way goes on");
        assert_eq!(client.connections(), 0);
        is_refused(&client, "/text").await;

        client.reload_tls(&trusting(&pki().authority));
        assert_eq!(status_of(client.get("/text")).await, 200);
        while site.handle.connections() > 1 {
            pause().await;
        }
    });
}

#[test]
fn what_it_was_sent_to_by_a_redirect_is_not_trusted_either() {
    run(async {
        let target = open_site(app::routes(rt::RestServer::builder())).await;
        let place = format!("{}/text", target.url());
        let away = move |_: Request| {
            let answer = Response::new(StatusCode::FOUND).header("location", &place);
            future::ready(answer)
        };
        let builder = rt::RestServer::builder().route(Method::GET, "/away", away);
        let site = Site::run(Security::Plain, builder.listen("127.0.0.1:0")).await;
        let builder = rt::RestClient::builder(site.url()).allow_plaintext();
        let redirects = RedirectPolicy { reach: Reach::Anywhere, ..RedirectPolicy::default() };
        let client = builder.tls(trusting(&pki().authority)).redirects(redirects).build().unwrap();
        assert_eq!(status_of(client.get("/away")).await, 200);
        client.reload_tls(&trusting(&Authority::mint("another authority").unwrap()));
        is_refused(&client, "/away").await;
        // Nothing was wrong with a connection that is in the clear.
        assert_eq!(client.connections(), 1);
    });
}

#[test]
fn a_connection_that_is_being_opened_begins_anew() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let tls = trusting(&pki().authority);
        let client = client_with(&url, tls.clone());
        let listener = std::sync::Arc::new(listener);
        let accept = || {
            let listener = std::sync::Arc::clone(&listener);
            blocking(move || listener.accept().unwrap().0)
        };
        let reloaded = async {
            let mut first = accept().await;
            client.reload_tls(&tls);
            let second = accept().await;
            // Nobody answers its handshake, so that it would go on for long.
            blocking(move || first.read_to_end(&mut Vec::new())).await.unwrap();
            second
        };
        match future::select(pin!(reloaded), pin!(client.get("/").send())).await {
            Either::Left(_) => {}
            Either::Right((answer, _)) => panic!("the call waits on: {answer:?}"),
        }
    });
}
