//! The suite on smol.

mod rt {
    pub(crate) use sinew_smol::SmolRuntime as Runtime;

    pub(crate) fn run<F: Future>(test: F) -> F::Output {
        smol::block_on(test)
    }
}

mod suite;
