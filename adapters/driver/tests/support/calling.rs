//! A client under test, and the test as its server.

use std::time::Duration;

use futures_util::future::{AbortHandle, abortable};
use sinew_core::resilience::RetryPolicy;
use sinew_driver::client::{Call, ClientBuilder, ClientResponse};
use sinew_driver::{Error, RestClient};

use super::{Client as Server, Outcome, Sim};

pub(crate) type Answer = Result<ClientResponse, Error>;

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A client and the world that it is in.
pub(crate) struct Calling {
    pub(crate) sim: Sim,
    pub(crate) client: RestClient<Sim>,
}

/// No call is made again.
pub(crate) fn once() -> RetryPolicy {
    RetryPolicy { attempts: 1, ..RetryPolicy::default() }
}

/// A client of a scripted server. Unless it is told otherwise, it makes no call again.
pub(crate) fn calling(build: impl FnOnce(ClientBuilder<Sim>) -> ClientBuilder<Sim>) -> Calling {
    calling_at("http://192.0.2.1:80", build)
}

pub(crate) fn calling_at(
    base: &str,
    build: impl FnOnce(ClientBuilder<Sim>) -> ClientBuilder<Sim>,
) -> Calling {
    let sim = Sim::new();
    let builder = RestClient::builder(base).allow_plaintext().retry(once());
    let client = build(builder).build_on(sim.clone()).unwrap();
    Calling { sim, client }
}

impl Calling {
    /// Starts a call and runs it as far as it goes by itself.
    pub(crate) fn start(&self, call: Call<Sim>) -> Outcome<Answer> {
        let outcome = self.sim.start(call.send());
        self.sim.run();
        outcome
    }

    pub(crate) fn get(&self) -> Outcome<Answer> {
        self.start(self.client.get("/"))
    }

    /// A call that can be dropped on its way.
    pub(crate) fn get_abortable(&self) -> AbortHandle {
        let (call, handle) = abortable(self.client.get("/").send());
        self.sim.start(call);
        self.sim.run();
        handle
    }

    /// A GET over a new connection, answered like this.
    pub(crate) fn first(&self, answer: &str) -> (Server, ClientResponse) {
        let outcome = self.get();
        let server = self.sim.accepted();
        let response = self.answer(&server, &outcome, answer);
        (server, response)
    }

    /// A GET over this connection, answered like this.
    pub(crate) fn next(&self, server: &Server, answer: &str) -> ClientResponse {
        let outcome = self.get();
        self.answer(server, &outcome, answer)
    }

    /// The server has a request, says this, and the call has its answer.
    pub(crate) fn answer(
        &self,
        server: &Server,
        outcome: &Outcome<Answer>,
        answer: &str,
    ) -> ClientResponse {
        assert!(server.received().ends_with("\r\n\r\n"), "no request came");
        server.send(answer);
        self.sim.run();
        outcome.take().expect("no answer").unwrap()
    }

    /// All of a body.
    pub(crate) fn bytes(&self, response: ClientResponse) -> Result<Vec<u8>, Error> {
        self.sim.block_on(async move { Ok(response.bytes().await?.to_vec()) })
    }

    /// Connections open, and those of them that are kept.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.client.connections(), self.client.idle_connections())
    }
}

/// Why a call failed.
pub(crate) fn failed(outcome: &Outcome<Answer>) -> Error {
    outcome.take().expect("the call goes on").expect_err("the call succeeded")
}

pub(crate) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}
