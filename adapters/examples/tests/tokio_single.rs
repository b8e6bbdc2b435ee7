//! The suite on tokio with one thread.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod rt {
    pub(crate) use sinew_tokio::{
        RestClient, RestServer, Threads as Mode, TokioRuntime as Runtime,
    };

    pub(crate) type Call = sinew_driver::Call<Runtime>;
    pub(crate) type ClientBuilder = sinew_driver::ClientBuilder<Runtime>;

    pub(crate) fn run<F: Future>(test: F) -> F::Output {
        let single = tokio::runtime::Builder::new_current_thread().enable_all().build();
        single.expect("a runtime").block_on(test)
    }
}

mod suite;
