//! The suite on smol.

mod rt {
    pub(crate) use sinew_smol::{RestServer, Threads as Mode, SmolRuntime as Runtime};

    pub(crate) fn run<F: Future>(test: F) -> F::Output {
        smol::block_on(test)
    }
}

mod suite;
