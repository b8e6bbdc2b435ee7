//! One of the servers, in a process of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use http::Method;
use sinew_core::limit::{AskOutcome, Quota, WithoutStore};
use sinew_core::observe::Event;
use sinew_driver::{Notice, Request, RestServer, RouteOptions, Runtime, SharedQuota, Threads};
use sinew_redis::RedisStore;

use super::redis::{Redis, Way, config};
use super::{SHARE, leases, quota};
use crate::transcript::Outcome;

/// The same at all replicas.
const SECRET: [u8; 16] = *b"the same for all";

/// A replica, seen from the process that started it.
pub(super) struct Replica {
    pub(super) address: String,
    pub(super) runtime: &'static str,
    pub(super) policy: &'static str,
    child: Child,
    /// Once it is closed, the replica ends.
    _stdin: ChildStdin,
    said: Receiver<String>,
}

impl Replica {
    pub(super) fn start(
        redis: &Redis,
        runtime: &'static str,
        way: Way,
        policy: &'static str,
    ) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--replica", runtime, policy, &redis.url(way)]).arg(redis.authority());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take().ok_or("no input")?;
        let stdout = BufReader::new(child.stdout.take().ok_or("no output")?);
        let (tell, said) = channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| tell.send(line))
        });
        let address = said.recv().map_err(|_| "a replica that does not start")?;
        Ok(Self { address, runtime, policy, child, _stdin: stdin, said })
    }

    /// What it has said of its store since the last time.
    pub(super) fn said(&self) -> Vec<String> {
        self.said.try_iter().collect()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a replica does: serves until its input ends. The first line that it prints is its address.
///
/// # Errors
///
/// Arguments that make no sense, and what a server fails with.
pub fn serve(runtime: &str, policy: &str, url: &str, authority: &str) -> Outcome {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    match runtime {
        "tokio" => {
            let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            threads.block_on(async {
                let runtime = sinew_tokio::TokioRuntime::default();
                bind(runtime, policy, url, authority).await?.serve().await;
                Ok(())
            })
        }
        "smol" => smol::block_on(async {
            bind(sinew_smol::SmolRuntime, policy, url, authority).await?.serve().await;
            Ok(())
        }),
        "async-std" => async_std::task::block_on(async {
            let runtime = sinew_async_std::AsyncStdRuntime::default();
            bind(runtime, policy, url, authority).await?.serve().await;
            Ok(())
        }),
        _ => Err("no such runtime".into()),
    }
}

/// A server that has said its address.
async fn bind<R: Runtime>(
    runtime: R,
    policy: &str,
    url: &str,
    authority: &str,
) -> Outcome<RestServer<R, Threads>> {
    let without_store = match policy {
        "closed" => WithoutStore::Closed,
        "local" => WithoutStore::Local(Quota::new(SHARE, Duration::from_secs(1), 10)?),
        "open" => WithoutStore::Open,
        _ => return Err("no such policy".into()),
    };
    let store = RedisStore::new(runtime.clone(), quota()?, config(url, authority)?)?
        .observe(|notice| say(&notice.to_string()));
    let shared = SharedQuota::new(store, SECRET).leases(leases(without_store));
    let granted = Arc::new(AtomicU64::new(0));
    let asked = Arc::new(AtomicU64::new(0));
    let (count_granted, count_asked) = (Arc::clone(&granted), Arc::clone(&asked));
    let free = RouteOptions::new().cost(0);
    let server = RestServer::<R, Threads>::builder_on(runtime)
        .listen("127.0.0.1:0")
        .allow_plaintext()
        .shared_quota(shared)
        .observe(move |_, notice| {
            if let Notice::Decided(Event::Asked(outcome)) = notice {
                count_asked.fetch_add(1, Ordering::Relaxed);
                if matches!(outcome, AskOutcome::Granted | AskOutcome::Short) {
                    count_granted.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
        .route(Method::GET, "/", async |_: Request| "in")
        .route_with(Method::GET, "/free", free.clone(), async |_: Request| "in")
        .route_with(Method::GET, "/asked", free, move |_: Request| {
            let counts = [&asked, &granted].map(|count| count.load(Ordering::Relaxed));
            std::future::ready(format!("{} {}", counts[0], counts[1]))
        })
        .bind()
        .await?;
    say(&server.local_addrs().first().ok_or("no address")?.to_string());
    Ok(server)
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody listens any more: the process ends soon.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
