//! The tests that every runtime passes. Each test file of this folder's parent names one runtime in
//! its module `rt` and includes these.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(
    clippy::clone_on_copy,
    clippy::default_constructed_unit_structs,
    reason = "runtimes differ in that"
)]

mod app;
mod raw;
mod site;
mod sockets;
mod wire;

use std::time::Duration;

use futures_util::future::{self, Either};
use sinew_driver::Runtime;

use self::site::{BOTH, Security};
use crate::rt;

/// Runs a test, as it is and under TLS.
fn each(test: impl AsyncFn(Security)) {
    for security in BOTH {
        run(test(security));
    }
}

/// Runs a test on the runtime. One that hangs fails instead.
fn run<F: Future>(test: F) -> F::Output {
    rt::run(async {
        let runtime = rt::Runtime::default();
        let limit = runtime.sleep_until(runtime.now() + Duration::from_secs(30));
        match future::select(std::pin::pin!(test), limit).await {
            Either::Left((output, _)) => output,
            Either::Right(_) => panic!("the test hangs"),
        }
    })
}
