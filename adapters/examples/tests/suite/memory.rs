//! The bytes of the whole server: what clients that read nothing can take, and what that does to others.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use sinew_core::limit::{LedgerConfig, Owner, Stage};
use sinew_core::observe::Event;
use sinew_core::policy::Priority;
use sinew_driver::{Notice, Request, RouteOptions};

use super::app::pattern_body;
use super::raw::{Raw, blocking};
use super::site::{Builder, Site, client_of, config};
use super::{each, pause, status_of};
use crate::rt;

/// More than the kernel takes off our hands for one connection.
const LARGE: usize = 32 << 20;

/// For answers in pieces, and for one whole answer.
const CAP: u64 = 16 << 20;
const ROOMY: u64 = 40 << 20;

type Told = Arc<Mutex<Vec<Event>>>;

/// A server with this much memory.
fn builder(cap: u64, stages: [u8; 6]) -> (Builder, Told) {
    let told = Told::default();
    let events = Arc::clone(&told);
    let memory = LedgerConfig { cap, stages, ..LedgerConfig::default() };
    let builder = rt::RestServer::builder()
        .config(config(|config| config.max_connections = 2_000))
        .listen("127.0.0.1:0")
        .memory(memory)
        .route_with(
            Method::GET,
            "/pieces",
            RouteOptions::new().priority(Priority::Critical),
            async |_: Request| pattern_body(1 << 30),
        )
        .route_with(
            Method::GET,
            "/whole",
            RouteOptions::new().priority(Priority::Bulk),
            async |_: Request| Bytes::from(vec![7; LARGE]),
        )
        .route(Method::GET, "/small", async |_: Request| "small")
        .observe(move |_, notice| {
            if let Notice::Decided(event) = notice {
                events.lock().unwrap().push(*event);
            }
        });
    (builder, told)
}

/// Connections that asked for something small, and read it.
async fn connected(site: &Site, connections: usize) -> Vec<Raw> {
    let (address, security) = (site.address(), site.security);
    blocking(move || {
        let connect = |_| {
            let mut socket = Raw::connect(address, security);
            socket.send("GET /small HTTP/1.1\r\nhost: a\r\n\r\n");
            assert_eq!(socket.answer().unwrap().status(), 200);
            socket
        };
        (0..connections).map(connect).collect()
    })
    .await
}

/// Connections that asked for this and read nothing.
async fn stalled(site: &Site, path: &'static str, connections: usize) -> Vec<Raw> {
    let mut sockets = connected(site, connections).await;
    blocking(move || {
        for socket in &mut sockets {
            socket.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
        }
        sockets
    })
    .await
}

/// How much of `/pieces` somebody has who connects now and reads 1 MiB of it. `None`: they were refused.
async fn read_by_a_newcomer(site: &Site) -> Option<usize> {
    let newcomer = client_of(site);
    let mut response = newcomer.get("/pieces").send().await.ok()?;
    if response.status() != 200 {
        return None;
    }
    let mut read = 0;
    while read < 1 << 20 {
        read += response.chunk().await.ok()??.len();
    }
    Some(read)
}

/// What is held, once that does not change for a while.
async fn settled(site: &Site) -> u64 {
    let (mut last, mut still) = (0, 0);
    while still < 50 {
        pause().await;
        let used = site.handle.memory().used;
        still = if used == last { still + 1 } else { 0 };
        last = used;
    }
    last
}

/// Most of it goes to those who came first, a piece at least to each of the others; what is left serves
/// everyone else.
#[test]
fn clients_that_read_nothing_leave_the_others_alone() {
    each(async |security| {
        let (builder, _) = builder(CAP, [70, 95, 96, 97, 98, 99]);
        let site = Site::run(security, builder).await;
        let others = client_of(&site);
        let taken = stalled(&site, "/pieces", 200).await;
        // How much each of them has waiting here, and how much in the kernel, is not the same in every run.
        while site.handle.memory().used < CAP / 2 {
            pause().await;
        }
        settled(&site).await;
        let report = site.handle.memory();
        assert!(report.peak <= CAP, "{report:?}");
        assert_eq!(report.by_owner.iter().sum::<u64>(), report.used);
        for _ in 0..20 {
            // What the kernel holds for those who read nothing goes on growing, and so does for a moment
            // what is held for them here. At the cap others wait until those are cut.
            while !others.get("/small").send().await.is_ok_and(|answer| answer.status() == 200) {
                pause().await;
            }
        }
        // Also who is new, and reads what it asked for.
        while read_by_a_newcomer(&site).await.is_none() {
            pause().await;
        }
        drop((taken, others));
        while site.handle.memory().used > 0 {
            pause().await;
        }
    });
}

#[test]
fn nobody_takes_more_than_there_is_and_who_waits_for_room_goes_on() {
    each(async |security| {
        let (builder, _) = builder(1 << 20, [97, 100, 100, 100, 100, 100]);
        let site = Site::run(security, builder).await;
        let mut late = connected(&site, 1).await;
        let taken = stalled(&site, "/pieces", 100).await;
        while site.handle.memory().used < (1 << 20) / 100 * 97 {
            pause().await;
        }
        let late = blocking(move || {
            late[0].send("GET /pieces HTTP/1.1\r\nhost: a\r\n\r\n");
            late
        });
        let mut late = late.await;
        settled(&site).await;
        let report = site.handle.memory();
        assert!(report.peak <= 1 << 20, "{report:?}");
        assert!(report.by_owner[Owner::Outbox as usize] > 900_000, "{report:?}");
        drop(taken);
        let head = blocking(move || late.remove(0).exactly(1 << 20).starts_with(b"HTTP/1.1 200"));
        assert!(head.await);
    });
}

#[test]
fn an_answer_that_does_not_fit_is_not_sent() {
    each(async |security| {
        let (builder, _) = builder(ROOMY, [100; 6]);
        let site = Site::run(security, builder).await;
        let taken = stalled(&site, "/whole", 1).await;
        while site.handle.memory().used < (LARGE / 4) as u64 {
            pause().await;
        }
        let client = client_of(&site);
        let answer = client.get("/whole").send().await.unwrap();
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.header("retry-after"), None, "the handler has run");
        let document = answer.text().await.unwrap();
        assert!(document.contains(r#""reason":"insufficient_memory""#), "{document}");
        assert!(site.handle.memory().peak <= ROOMY);
        assert_eq!(status_of(client.get("/small")).await, 200);
        drop(taken);
    });
}

#[test]
fn each_stage_is_told_and_does_what_it_says() {
    each(async |security| {
        // One answer is enough for the first three.
        let (builder, told) = builder(ROOMY, [10, 12, 14, 98, 99, 100]);
        let site = Site::run(security, builder).await;
        let client = client_of(&site);
        assert_eq!(status_of(client.get("/small")).await, 200);
        let taken = stalled(&site, "/whole", 1).await;
        while site.handle.memory().stage != Stage::Shed(Priority::Bulk) {
            pause().await;
        }
        // On the connection that there is, what matters least is turned away, and all else is not.
        let refused = client.get("/whole").send().await.unwrap();
        assert_eq!(
            (refused.status().as_u16(), refused.header("retry-after").is_some()),
            (503, true)
        );
        assert!(refused.text().await.unwrap().contains("overloaded"));
        assert_eq!(status_of(client.get("/small")).await, 200);
        // A new one waits until there is memory again.
        let address = site.address();
        let newcomer = async {
            let answer = blocking(move || {
                let mut socket = Raw::connect(address, security);
                socket.send("GET /small HTTP/1.1\r\nhost: a\r\n\r\n");
                socket.answer().unwrap().status()
            });
            answer.await
        };
        let relief = async {
            let before = site.handle.connections();
            settled(&site).await;
            assert_eq!(site.handle.connections(), before, "nobody is accepted");
            drop(taken);
        };
        let (status, ()) = futures_util::future::join(newcomer, relief).await;
        assert_eq!(status, 200);
        let stages = || -> Vec<Stage> {
            let told = told.lock().unwrap();
            let stage = |event: &Event| match event {
                Event::Pressure(stage) => Some(*stage),
                _ => None,
            };
            told.iter().filter_map(stage).collect()
        };
        while stages().last() != Some(&Stage::Calm) {
            pause().await;
        }
        assert_eq!(stages().first(), Some(&Stage::Shed(Priority::Bulk)), "{:?}", stages());
    });
}

#[test]
fn under_pressure_nobody_holds_memory_for_nothing() {
    each(async |security| {
        // A tenth of these is what is left once nearly nothing is.
        let (mut builder, told) = builder(ROOMY, [10, 100, 100, 100, 100, 100]);
        let config = builder.config_mut();
        config.idle_timeout = Duration::from_secs(600);
        config.write_timeout = Duration::from_secs(2);
        let site = Site::run(security, builder).await;
        let _taken = stalled(&site, "/whole", 1).await;
        // Far from the write timeout of calm days, they are cut, and what they held is free.
        while site.handle.memory().peak < ROOMY / 2 || site.handle.memory().used > 0 {
            pause().await;
        }
        assert_eq!(status_of(client_of(&site).get("/small")).await, 200);
        let is_cut = |event: &Event| matches!(event, Event::Reclaimed { .. });
        while !told.lock().unwrap().iter().any(is_cut) {
            pause().await;
        }
    });
}

/// Nobody is let in, until who takes nothing is cut: long before its time on other days.
#[test]
fn newcomers_do_not_wait_for_clients_that_read_nothing() {
    each(async |security| {
        let (mut builder, told) = builder(ROOMY, [10, 12, 100, 100, 100, 100]);
        builder.config_mut().write_timeout = Duration::from_secs(5);
        let site = Site::run(security, builder).await;
        let _taken = stalled(&site, "/whole", 1).await;
        let is_full = |event: &Event| *event == Event::Pressure(Stage::NoConnections);
        while !told.lock().unwrap().iter().any(is_full) {
            pause().await;
        }
        assert_eq!(status_of(client_of(&site).get("/small")).await, 200);
        let told = told.lock().unwrap();
        let place = |wanted: fn(&Event) -> bool| told.iter().position(wanted).unwrap();
        let cut = place(|event| matches!(event, Event::Reclaimed { .. }));
        assert!(place(is_full) < cut);
    });
}
