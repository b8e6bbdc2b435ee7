//! The suite on tokio, thread-per-core: tasks that stay where they are.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod rt {
    pub(crate) use sinew_tokio::local::{RestClient, RestServer};
    pub(crate) use sinew_tokio::{Local as Mode, TokioLocal as Runtime};

    pub(crate) type Call = sinew_driver::Call<Runtime>;
    pub(crate) type ClientBuilder = sinew_driver::ClientBuilder<Runtime>;

    pub(crate) fn run<F: Future>(test: F) -> F::Output {
        let core = tokio::runtime::Builder::new_current_thread().enable_all().build();
        tokio::task::LocalSet::new().block_on(&core.expect("a runtime"), test)
    }
}

mod suite;
