//! A server that closes kept connections just when they may be used again: whoever repeats what is safe
//! to repeat sees no error, and what is not is never done twice.
//!
//! ```text
//! SINEW_STALE_CALLS=100000 cargo test --release -p sinew-examples --test smol stale -- --nocapture
//! ```

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use sinew_core::error::Delivery;
use sinew_core::policy::Mode;
use sinew_core::resilience::BreakerConfig;
use sinew_driver::Runtime;

use super::dice::Dice;
use crate::rt;

const SEED: u64 = 0x5eed_0017;
const CALLERS: u64 = 8;

/// A connection may be idle for less than this, at the server and at the callers alike.
const IDLE: Duration = Duration::from_micros(1500);

/// How many calls are made. The default keeps the suite short.
fn calls() -> u64 {
    std::env::var("SINEW_STALE_CALLS").ok().and_then(|calls| calls.parse().ok()).unwrap_or(2000)
}

/// A server that answers what it reads, and goes away when it has waited for long enough.
struct Fickle {
    address: SocketAddr,
    /// How often each request that is not safe to repeat was done.
    done: Mutex<BTreeMap<String, u32>>,
    connections: AtomicU64,
}

impl Fickle {
    fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (done, connections) = (Mutex::default(), AtomicU64::new(0));
        let site = Arc::new(Self { address, done, connections });
        let shared = Arc::clone(&site);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let number = shared.connections.fetch_add(1, Ordering::Relaxed);
                let (site, socket) = (Arc::clone(&shared), socket.unwrap());
                std::thread::spawn(move || site.serve(socket, Dice(SEED ^ number)));
            }
        });
        site
    }

    fn serve(&self, mut socket: TcpStream, mut dice: Dice) {
        socket.set_nodelay(true).unwrap();
        let mut held = Vec::new();
        let mut piece = [0; 4096];
        for exchange in 0.. {
            // The first request is on its way.
            let patience = if exchange == 0 { Duration::from_secs(5) } else { dice.within(IDLE) };
            socket.set_read_timeout(Some(patience.max(Duration::from_micros(1)))).unwrap();
            let head = loop {
                if let Some(end) = held.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                    let rest = held.split_off(end + 4);
                    break String::from_utf8(std::mem::replace(&mut held, rest)).unwrap();
                }
                match socket.read(&mut piece) {
                    Ok(0) => return,
                    Ok(read) => held.extend_from_slice(&piece[..read]),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // It was idle for too long, or its client has gone.
                    Err(_) => return,
                }
            };
            if let Some(name) = head.strip_prefix("POST ") {
                let name = name.split(' ').next().unwrap().to_owned();
                *self.done.lock().unwrap().entry(name).or_default() += 1;
                // Now and then it does what it is told, and cannot say so.
                if dice.roll(20) == 0 {
                    return;
                }
            }
            if socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err() {
                return;
            }
        }
    }
}

/// What became of the calls of one caller.
#[derive(Default)]
struct Tally {
    answered: u64,
    /// What must not be repeated, and may have been done.
    in_doubt: u64,
}

async fn caller(client: rt::RestClient, number: u64, calls: u64) -> Tally {
    let runtime = rt::Runtime::default();
    let mut dice = Dice(SEED.wrapping_add(number));
    let mut tally = Tally::default();
    for call in 0..calls {
        runtime.sleep_until(runtime.now() + dice.within(IDLE)).await;
        let repeatable = dice.roll(2) == 0;
        let asked =
            if repeatable { client.get("/") } else { client.post(&format!("/{number}/{call}")) };
        match asked.send().await {
            Ok(response) => {
                assert_eq!(response.status(), StatusCode::OK);
                assert_eq!(response.text().await.unwrap(), "ok");
                tally.answered += 1;
            }
            Err(error) => {
                assert!(!repeatable, "call {call} of {number}: {error}");
                assert_eq!(error.delivery(), Delivery::MaybeProcessed, "{error}");
                tally.in_doubt += 1;
            }
        }
    }
    tally
}

#[test]
fn connections_that_end_while_they_are_used_again_cost_no_call_and_double_none() {
    // As long as it takes: the number of calls is the user's.
    rt::run(async {
        let site = Fickle::start();
        let client = rt::RestClient::builder(format!("http://{}", site.address));
        // On a busy machine what ends in doubt may be most of it, and a breaker would open.
        let never = BreakerConfig { mode: Mode::Off, ..BreakerConfig::default() };
        let client = client.allow_plaintext().breaker(never).build().unwrap();
        let tallies =
            join_all((0..CALLERS).map(|number| caller(client.clone(), number, calls() / CALLERS)))
                .await;
        let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
        let (answered, in_doubt) = (sum(|tally| tally.answered), sum(|tally| tally.in_doubt));
        let done = site.done.lock().unwrap();
        let twice = done.values().filter(|times| **times > 1).count();
        println!(
            "{answered} answered, {in_doubt} in doubt, {twice} done twice, {} connections",
            site.connections.load(Ordering::Relaxed)
        );
        assert_eq!(answered + in_doubt, calls() / CALLERS * CALLERS);
        let connections = site.connections.load(Ordering::Relaxed);
        assert!(connections > CALLERS && in_doubt > 0, "nothing ended while it was used");
        assert_eq!(twice, 0);
    });
}
