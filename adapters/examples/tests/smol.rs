//! The suite on smol.

mod rt {
    pub(crate) use sinew_smol::{RestClient, RestServer, SmolRuntime as Runtime, Threads as Mode};

    pub(crate) type Call = sinew_driver::Call<Runtime>;
    pub(crate) type ClientBuilder = sinew_driver::ClientBuilder<Runtime>;

    pub(crate) fn run<F: Future>(test: F) -> F::Output {
        smol::block_on(test)
    }
}

mod suite;
