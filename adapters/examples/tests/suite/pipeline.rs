//! Calls that share connections, over real sockets.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use futures_util::future::{AbortHandle, abortable, join_all};
use http::Method;
use sinew_driver::Spawn;
use tokio::sync::oneshot;

use super::app::Item;
use super::site::{PATIENCE, Security, Site, client_tls};
use super::{each, run, settled};
use crate::rt;

/// A client with two connections at most, and up to sixteen calls on each.
fn sharing(site: &Site) -> rt::RestClient {
    let builder = rt::RestClient::builder(site.url()).pipelining(16).max_connections(2);
    let builder = builder.connect_timeout(PATIENCE);
    let builder = match site.security {
        Security::Plain => builder.allow_plaintext(),
        Security::Mutual => builder.tls(client_tls()),
    };
    builder.build().unwrap()
}

/// A test of the application and a client whose calls share connections.
fn shared(test: impl AsyncFn(&Site, &rt::RestClient)) {
    each(async |security| {
        let site = Site::start(security).await;
        let client = sharing(&site);
        test(&site, &client).await;
    });
}

async fn item(client: &rt::RestClient, id: u32) -> Item {
    client.get(&format!("/items/{id}")).send().await.unwrap().json().await.unwrap()
}

#[test]
fn a_request_is_there_before_the_one_ahead_of_it_is_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut block = [0; 4096];
        // The first answer proves the connection; the next comes when two more have asked.
        for due in [1, 2] {
            let mut received = Vec::new();
            while received.windows(4).filter(|end| end == b"\r\n\r\n").count() < due {
                let read = socket.read(&mut block).unwrap();
                assert!(read > 0, "nobody waits any more");
                received.extend_from_slice(&block[..read]);
            }
            socket.write_all(&b"HTTP/1.1 204 No Content\r\n\r\n".repeat(due)).unwrap();
        }
    });
    run(async {
        let builder = rt::RestClient::builder(url).allow_plaintext().connect_timeout(PATIENCE);
        let client = builder.pipelining(2).max_connections(1).build().unwrap();
        let calls = (0..3).map(|_| client.get("/").send());
        for answer in join_all(calls).await {
            assert_eq!(answer.unwrap().status(), 204);
        }
    });
    server.join().unwrap();
}

#[test]
fn calls_of_one_task_share() {
    shared(async |site, client| {
        let items = join_all((0..200).map(|id| item(client, id))).await;
        for (id, item) in (0..).zip(&items) {
            assert_eq!(item.id, id);
        }
        assert_eq!(items.len(), 200);
        assert!(site.handle.connections() <= 2);
        assert_eq!(client.connections(), client.idle_connections());
    });
}

#[test]
fn calls_of_many_tasks_share() {
    shared(async |site, client| {
        let calls = (0..200).map(|id| {
            let (tell, told) = oneshot::channel();
            let client = client.clone();
            rt::Runtime::default().spawn(async move {
                let _ = tell.send(item(&client, id).await);
            });
            told
        });
        for (id, told) in (0..).zip(calls.collect::<Vec<_>>()) {
            assert_eq!(told.await.unwrap().id, id);
        }
        assert!(site.handle.connections() <= 2);
    });
}

#[test]
fn large_and_small_answers_and_bodies_that_go_alone_share_the_connections() {
    shared(async |site, client| {
        let calls = (0..60).map(async |id: u32| match id % 6 {
            0 => {
                let path = format!("/download/{}", id * 10_000);
                let body = client.get(&path).send().await.unwrap().bytes().await.unwrap();
                assert_eq!(body.len(), id as usize * 10_000);
            }
            1 => {
                let sent = Item { id, name: "x".repeat(20_000) };
                let response = client.post("/items").json(&sent).send().await.unwrap();
                assert_eq!(response.json::<Item>().await.unwrap().id, id + 1);
            }
            2 => {
                let head = client.request(Method::HEAD, "/text").send().await.unwrap();
                assert_eq!(head.header("content-length").unwrap(), "11");
            }
            _ => assert_eq!(item(client, id).await.id, id),
        });
        join_all(calls).await;
        assert!(site.handle.connections() <= 2);
        assert_eq!(client.connections(), client.idle_connections());
    });
}

#[test]
fn calls_that_leave_take_nobody_with_them() {
    shared(async |site, client| {
        let mut leavers: Vec<AbortHandle> = Vec::new();
        let mut stayers = Vec::new();
        for id in 0..150 {
            let client = client.clone();
            if id % 3 == 0 {
                let path = ["/items/1", "/download/300000", "/text"][id as usize / 3 % 3];
                let call = async move { client.get(path).send().await.unwrap().bytes().await };
                let (call, leaver) = abortable(call);
                leavers.push(leaver);
                rt::Runtime::default().spawn(async move { drop(call.await) });
            } else {
                let (tell, told) = oneshot::channel();
                rt::Runtime::default().spawn(async move {
                    let _ = tell.send(item(&client, id).await);
                });
                stayers.push((id, told));
            }
            if id % 7 == 0 {
                leavers.drain(..).for_each(|leaver| leaver.abort());
                super::pause().await;
            }
        }
        leavers.iter().for_each(AbortHandle::abort);
        for (id, told) in stayers {
            assert_eq!(told.await.unwrap().id, id);
        }
        assert_eq!(item(client, 7).await.id, 7);
        let held = || (client.connections() - client.idle_connections()) as u64;
        // One more than is held, because a count that has settled is not 0.
        assert_eq!(settled(|| held() + 1).await, 1);
        assert!(settled(|| site.handle.connections() as u64).await <= 2);
    });
}
