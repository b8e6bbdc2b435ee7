//! Connections that leave HTTP: what was sent early, both directions, the end, and what refuses.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::{join, try_join};
use http::{Method, StatusCode};
use sinew_driver::{
    Body, Error, ErrorKind, IntoResponse, Problem, Request, Response, Spawn, Upgraded,
};
use tokio::sync::{Semaphore, oneshot};

use super::app::{is_pattern, pattern, pieces};
use super::raw::raw;
use super::site::{CLIENT, Security, Site, client_of, ended};
use super::{each, pause, status_of};
use crate::rt;

const LARGE: u64 = 4 << 20;

const OFFER: &str = "GET /echo HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";

fn switch_to(protocol: &'static str) -> Response {
    Response::new(StatusCode::SWITCHING_PROTOCOLS).header("upgrade", protocol)
}

async fn echo(request: Request) -> Result<(), Problem> {
    let connection = request.upgrade(switch_to("echo")).await?;
    while let Some(bytes) = connection.read().await? {
        connection.write(bytes).await?;
    }
    Ok(())
}

/// Says something, and lets go of the connection at once.
async fn last_words(request: Request) -> Result<(), Problem> {
    let connection = request.upgrade(switch_to("echo")).await?;
    for piece in pieces(LARGE) {
        connection.write(piece).await?;
    }
    Ok(())
}

async fn panics(request: Request) -> Result<(), Problem> {
    let _connection = request.upgrade(switch_to("echo")).await?;
    panic!("a session that panics, on purpose")
}

async fn unread(request: Request) -> impl IntoResponse {
    match request.upgrade(switch_to("echo")).await {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::CONFLICT,
    }
}

async fn site_of(security: Security) -> Site {
    let builder = super::app::routes(rt::RestServer::builder().listen("127.0.0.1:0"))
        .route(Method::GET, "/echo", echo)
        .route(Method::GET, "/last-words", last_words)
        .route(Method::GET, "/session-panics", panics)
        .route(Method::GET, "/left", async |_: Request| switch_to("echo"))
        .route(Method::POST, "/unread", unread);
    Site::run(security, builder).await
}

async fn open(client: &rt::RestClient, path: &str) -> Upgraded {
    client.get(path).upgrade("echo").send().await.unwrap().upgrade().unwrap()
}

async fn gone(site: &Site) {
    while site.handle.connections() > 0 {
        pause().await;
    }
}

#[test]
fn bytes_go_both_ways_and_every_one_arrives() {
    each(async |security| {
        let site = site_of(security).await;
        let client = client_of(&site);
        let connection = open(&client, "/echo").await;
        let write = async {
            for piece in pieces(LARGE) {
                connection.write(piece).await?;
            }
            connection.shut().await
        };
        let read = async {
            let mut read = 0;
            while let Some(bytes) = connection.read().await? {
                assert!(is_pattern(read, &bytes), "at {read}");
                read += bytes.len() as u64;
            }
            Ok::<_, Error>(read)
        };
        let ((), read) = try_join(write, read).await.unwrap();
        assert_eq!(read, LARGE);
        assert_eq!(connection.read().await.unwrap(), None);
        assert!(connection.write("too late").await.is_err());
        gone(&site).await;
        assert_eq!((client.connections(), client.idle_connections()), (1, 0));
        drop(connection);
        assert_eq!(client.connections(), 0);
    });
}

#[test]
fn reader_and_writer_may_be_two_tasks() {
    each(async |security| {
        let site = site_of(security).await;
        let connection = Arc::new(open(&client_of(&site), "/echo").await);
        let (tell, told) = oneshot::channel();
        let writer = Arc::clone(&connection);
        rt::Runtime::default().spawn(async move {
            for piece in pieces(LARGE) {
                writer.write(piece).await.unwrap();
            }
            let _ = tell.send(writer.shut().await.is_ok());
        });
        let mut read = 0;
        while let Some(bytes) = connection.read().await.unwrap() {
            read += bytes.len() as u64;
        }
        assert_eq!(read, LARGE);
        assert!(told.await.unwrap());
    });
}

#[test]
fn what_came_with_the_request_is_not_lost() {
    each(async |security| {
        let site = site_of(security).await;
        raw(&site, |mut socket| {
            socket.send(format!("{OFFER}early words"));
            let answer = socket.answer().unwrap();
            assert_eq!(answer.status(), 101);
            assert_eq!(answer.field("upgrade"), Some("echo"));
            assert_eq!(answer.field("connection"), Some("upgrade"));
            assert_eq!(answer.field("content-length"), None);
            assert_eq!(socket.exactly(11), b"early words");
            socket.send(" and late ones");
            assert_eq!(socket.exactly(14), b" and late ones");
            socket.half_close();
            assert!(socket.is_closed());
        })
        .await;
        gone(&site).await;
    });
}

#[test]
fn what_a_handler_wrote_last_is_read_to_its_end() {
    each(async |security| {
        let site = site_of(security).await;
        let connection = open(&client_of(&site), "/last-words").await;
        let mut read = 0;
        while let Some(bytes) = connection.read().await.unwrap() {
            assert!(is_pattern(read, &bytes), "at {read}");
            read += bytes.len() as u64;
        }
        assert_eq!(read, LARGE);
        drop(connection);
        gone(&site).await;
    });
}

#[test]
fn connect_opens_a_tunnel_to_whom_it_names() {
    each(async |security| {
        let tunnel = async |request: Request| {
            let target = request.target().to_owned();
            let tunnel = request.upgrade(StatusCode::OK).await?;
            tunnel.write(format!("to {target}: ")).await?;
            while let Some(bytes) = tunnel.read().await? {
                tunnel.write(bytes).await?;
            }
            Ok::<_, Problem>(())
        };
        let builder = rt::RestServer::builder().listen("127.0.0.1:0").fallback(tunnel);
        let site = Site::run(security, builder).await;
        let call = client_of(&site).request(Method::CONNECT, "inner.test:443");
        let response = call.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let tunnel = response.upgrade().unwrap();
        tunnel.write("hello").await.unwrap();
        tunnel.shut().await.unwrap();
        let mut read = Vec::new();
        while let Some(bytes) = tunnel.read().await.unwrap() {
            read.extend_from_slice(&bytes);
        }
        assert_eq!(read, b"to inner.test:443: hello");
    });
}

#[test]
fn what_is_not_offered_is_not_switched_to() {
    each(async |security| {
        let site = site_of(security).await;
        let client = client_of(&site);
        // Nothing offered, something else offered: the handler's problem is a whole answer.
        assert_eq!(status_of(client.get("/echo")).await, 400);
        assert_eq!(status_of(client.get("/echo").upgrade("chat, echo/2")).await, 400);
        let refused = client.get("/text").upgrade("echo").send().await.unwrap().upgrade();
        assert_eq!(*refused.unwrap_err().kind(), ErrorKind::Status(StatusCode::OK));
        // A body that nobody read stands between.
        let call = client.post("/unread").upgrade("echo").body("unread");
        assert_eq!(status_of(call).await, 409);
        assert_eq!(site.handle.connections(), 1, "no refusal costs the connection");
        // An answer that leaves HTTP with nobody to take the connection.
        assert_eq!(status_of(client.get("/left").upgrade("echo")).await, 500);
    });
}

#[test]
fn http_1_0_cannot_be_left() {
    each(async |security| {
        let site = site_of(security).await;
        raw(&site, |mut socket| {
            socket.send(OFFER.replace("HTTP/1.1", "HTTP/1.0"));
            assert_eq!(socket.answer().unwrap().status(), 400);
            assert!(socket.is_closed());
        })
        .await;
    });
}

#[test]
fn each_side_knows_the_other() {
    each(async |security| {
        let builder = rt::RestServer::builder().listen("127.0.0.1:0").route(
            Method::GET,
            "/whoami",
            async |request: Request| {
                let connection = request.upgrade(switch_to("echo")).await?;
                let name = connection.identity().map(|identity| identity.name().to_owned());
                connection.write(name.unwrap_or_default()).await?;
                Ok::<_, Problem>(())
            },
        );
        let site = Site::run(security, builder).await;
        let connection = open(&client_of(&site), "/whoami").await;
        match security {
            Security::Plain => assert!(connection.identity().is_none()),
            Security::Mutual => {
                assert_eq!(connection.read().await.unwrap().unwrap(), CLIENT);
                let identity = connection.identity().unwrap();
                assert!(identity.dns_names().any(|name| name == "localhost"));
            }
        }
        assert_eq!(connection.read().await.unwrap(), None);
    });
}

#[test]
fn a_client_that_leaves_is_noticed_and_frees_everything() {
    each(async |security| {
        let site = site_of(security).await;
        let client = client_of(&site);
        for _ in 0..5 {
            let connection = open(&client, "/echo").await;
            connection.write("half a conversation").await.unwrap();
            drop(connection);
        }
        gone(&site).await;
        assert_eq!(client.connections(), 0);
    });
}

#[test]
fn a_session_that_panics_takes_nobody_along() {
    each(async |security| {
        let site = site_of(security).await;
        let client = client_of(&site);
        let connection = open(&client, "/session-panics").await;
        assert_eq!(connection.read().await.unwrap(), None);
        drop(connection);
        assert_eq!(status_of(client.get("/text")).await, 200);
    });
}

#[test]
fn a_connection_may_outlive_its_handler() {
    each(async |security| {
        let builder = rt::RestServer::builder().listen("127.0.0.1:0").route(
            Method::GET,
            "/elsewhere",
            async |request: Request| {
                let connection = request.upgrade(switch_to("echo")).await?;
                rt::Runtime::default().spawn(async move {
                    while let Ok(Some(bytes)) = connection.read().await {
                        connection.write(bytes).await.unwrap();
                    }
                });
                Ok::<_, Problem>(())
            },
        );
        let site = Site::run(security, builder).await;
        let connection = open(&client_of(&site), "/elsewhere").await;
        for turn in 0..20 {
            let words = Bytes::from(format!("turn {turn}"));
            connection.write(words.clone()).await.unwrap();
            assert_eq!(connection.read().await.unwrap().unwrap(), words);
        }
        assert_eq!(site.handle.connections(), 1);
        drop(connection);
        gone(&site).await;
    });
}

#[test]
fn a_peer_that_does_not_read_stops_the_writer() {
    each(async |security| {
        let taken = Arc::new(Mutex::new(0));
        let stop = Arc::new(Semaphore::new(0));
        let (counter, stopping) = (Arc::clone(&taken), Arc::clone(&stop));
        let flood = move |request: Request| {
            let (counter, stopping) = (Arc::clone(&counter), Arc::clone(&stopping));
            async move {
                let connection = request.upgrade(switch_to("echo")).await?;
                while stopping.available_permits() == 0 {
                    connection.write(pattern(0, 32 * 1024)).await?;
                    *counter.lock().unwrap() += 32 * 1024_u64;
                }
                Ok::<_, Problem>(())
            }
        };
        let builder = rt::RestServer::builder().listen("127.0.0.1:0");
        let site = Site::run(security, builder.route(Method::GET, "/flood", flood)).await;
        let connection = open(&client_of(&site), "/flood").await;
        let held = super::settled(|| *taken.lock().unwrap()).await;
        // The buffers of two sockets, and ours.
        assert!(held < 32 << 20, "{held}");
        stop.add_permits(1);
        let mut read = 0;
        while let Some(bytes) = connection.read().await.unwrap() {
            read += bytes.len() as u64;
        }
        assert_eq!(read, *taken.lock().unwrap());
    });
}

/// A session that ends when it is told that the server leaves, and one that does not.
async fn stoppable(security: Security) -> (Site, rt::RestClient) {
    let polite = async |request: Request| {
        let away = request.going_away();
        let connection = request.upgrade(switch_to("echo")).await?;
        away.await;
        connection.write("goodbye").await?;
        Ok::<_, Problem>(())
    };
    let stubborn = async |request: Request| {
        let _connection = request.upgrade(switch_to("echo")).await?;
        std::future::pending::<Result<(), Problem>>().await
    };
    let builder = rt::RestServer::builder()
        .listen("127.0.0.1:0")
        .route(Method::GET, "/polite", polite)
        .route(Method::GET, "/stubborn", stubborn);
    let site = Site::run(security, builder).await;
    let client = client_of(&site);
    (site, client)
}

#[test]
fn sessions_are_drained() {
    each(async |security| {
        let (site, client) = stoppable(security).await;
        let connection = open(&client, "/polite").await;
        assert_eq!(site.handle.connections(), 1);
        let read = async {
            assert_eq!(connection.read().await.unwrap().unwrap(), "goodbye");
            assert_eq!(connection.read().await.unwrap(), None);
            connection.shut().await.unwrap();
        };
        let (report, ()) = join(site.stop(), read).await;
        assert_eq!(ended(&report), (0, 1, 0));
    });
}

#[test]
fn sessions_that_do_not_end_are_cut_at_the_deadline() {
    each(async |security| {
        let (site, client) = stoppable(security).await;
        let connection = open(&client, "/stubborn").await;
        let stop = site.handle.stop(std::time::Duration::from_millis(20));
        let (report, read) = join(stop, connection.read()).await;
        assert_eq!(ended(&report), (0, 0, 1));
        // A cut is told from an end, where the layer below can tell.
        assert_eq!(read.is_err(), security == Security::Mutual, "{read:?}");
        assert_eq!(site.handle.connections(), 0);
    });
}

#[test]
fn an_upgrade_behind_other_calls_uses_their_connection() {
    each(async |security| {
        let site = site_of(security).await;
        let client = client_of(&site);
        let response = client.post("/echo").body(Body::full("x")).send().await.unwrap();
        assert_eq!(response.bytes().await.unwrap(), "x");
        let connection = open(&client, "/echo").await;
        connection.write("y").await.unwrap();
        assert_eq!(connection.read().await.unwrap().unwrap(), "y");
        assert_eq!(site.handle.connections(), 1);
    });
}
