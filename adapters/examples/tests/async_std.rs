//! The suite on async-std.

mod rt {
    pub(crate) use sinew_async_std::{
        AsyncStdRuntime as Runtime, RestClient, RestServer, Threads as Mode,
    };

    pub(crate) type Call = sinew_driver::Call<Runtime>;
    pub(crate) type ClientBuilder = sinew_driver::ClientBuilder<Runtime>;

    pub(crate) fn run<F: Future>(test: F) -> F::Output {
        async_std::task::block_on(test)
    }
}

mod suite;
