//! A server that runs, and a client of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sinew_driver::{DrainReport, Notice, Runtime, ServerBuilder, ServerHandle, Threads};

use super::{Client, Outcome, Sim};

pub(crate) type Builder = ServerBuilder<Sim, Threads>;

pub(crate) struct Running {
    pub(crate) sim: Sim,
    pub(crate) client: Client,
    pub(crate) handle: ServerHandle<Sim>,
    pub(crate) notices: Arc<Mutex<Vec<Notice>>>,
    pub(crate) served: Outcome<()>,
}

pub(crate) fn serve(build: impl FnOnce(Builder, Sim) -> Builder) -> Running {
    let sim = Sim::new();
    let notices = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&notices);
    let builder = build(sim.server(), sim.clone())
        .observe(move |_, notice| sink.lock().unwrap().push(notice.clone()));
    let server = sim.block_on(builder.bind()).unwrap();
    let handle = server.handle();
    let served = sim.start(server.serve());
    let client = sim.connect();
    Running { sim, client, handle, notices, served }
}

impl Running {
    pub(crate) fn ask(&self, request: impl AsRef<[u8]>) -> String {
        self.client.send(request);
        self.sim.run();
        self.client.received()
    }

    pub(crate) fn noticed(&self, wanted: &Notice) -> bool {
        self.notices.lock().unwrap().contains(wanted)
    }

    pub(crate) fn stop(&self, deadline: Duration) -> Outcome<DrainReport> {
        let handle = self.handle.clone();
        let outcome = self.sim.start(async move { handle.stop(deadline).await });
        self.sim.run();
        outcome
    }
}

pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")
}

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A handler that waits.
pub(crate) async fn sleep(sim: Sim, time: Duration) -> &'static str {
    sim.sleep_until(sim.now() + time).await;
    "awake"
}
