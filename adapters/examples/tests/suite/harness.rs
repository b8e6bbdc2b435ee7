//! How the tests of the suite are run.

use std::time::Duration;

use futures_util::future::{self, Either};
use sinew_driver::Runtime;

use super::site::{self, BOTH, Security, Site};
use crate::rt;

/// Runs a test, as it is and under TLS.
pub(super) fn each(test: impl AsyncFn(Security)) {
    for security in BOTH {
        run(test(security));
    }
}

/// Runs a test of the application and a client of it, as it is and under TLS.
pub(super) fn both(test: impl AsyncFn(&Site, &rt::RestClient)) {
    each(async |security| {
        let site = Site::start(security).await;
        test(&site, &site::client_of(&site)).await;
    });
}

/// Lets the others go on before a condition is looked at again.
pub(super) async fn pause() {
    let runtime = rt::Runtime::default();
    runtime.sleep_until(runtime.now() + Duration::from_millis(1)).await;
}

/// What a count comes to when it has not moved for a while. (A count that moves on later is read
/// too low: an upper bound still holds.)
pub(super) async fn settled(count: impl Fn() -> u64) -> u64 {
    let (mut last, mut still) = (count(), 0);
    while still < 50 {
        pause().await;
        let now = count();
        still = if now == last && now > 0 { still + 1 } else { 0 };
        last = now;
    }
    last
}

/// The status of the answer to a call.
pub(super) async fn status_of(call: rt::Call) -> u16 {
    call.send().await.unwrap().status().as_u16()
}

/// Runs a test on the runtime. One that hangs fails instead: the limit is far more than any takes, on a
/// machine that has other things to do as well.
pub(super) fn run<F: Future>(test: F) -> F::Output {
    rt::run(async {
        let runtime = rt::Runtime::default();
        let limit = runtime.sleep_until(runtime.now() + Duration::from_secs(240));
        match future::select(std::pin::pin!(test), limit).await {
            Either::Left((output, _)) => output,
            Either::Right(_) => panic!("the test hangs"),
        }
    })
}
