//! The binding goes by tokio's clock, so that tests with a paused clock cost no time.

use std::time::Duration;

use sinew_tokio::{Runtime, TokioRuntime};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn a_paused_clock_jumps_to_the_next_timer() {
    let real = std::time::Instant::now();
    let runtime = TokioRuntime::default();
    let start = runtime.now();
    runtime.sleep_until(start + HOUR).await;
    let passed = runtime.now() - start;
    assert!(passed >= HOUR && passed < HOUR + Duration::from_secs(1), "{passed:?}");
    assert!(real.elapsed() < Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_stands_still() {
    let runtime = TokioRuntime::default();
    let start = runtime.now();
    tokio::task::yield_now().await;
    assert_eq!(runtime.now(), start);
    tokio::time::advance(HOUR).await;
    assert_eq!(runtime.now() - start, HOUR);
}
