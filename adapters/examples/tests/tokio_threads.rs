//! The suite on tokio with several worker threads.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod rt {
    pub(crate) use sinew_tokio::{
        RestClient, RestServer, Threads as Mode, TokioRuntime as Runtime,
    };

    pub(crate) type Call = sinew_driver::Call<Runtime>;
    pub(crate) type ClientBuilder = sinew_driver::ClientBuilder<Runtime>;

    pub(crate) fn run<F: Future>(test: F) -> F::Output {
        let threads =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        threads.expect("a runtime").block_on(test)
    }
}

mod suite;
