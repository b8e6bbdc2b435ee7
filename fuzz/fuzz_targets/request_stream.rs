//! Requests on a server machine: whatever comes, and however it is cut, the events, the errors and
//! the answers are the same, and a fatal error is answered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sinew_conformance::laws::check_requests;
use sinew_core::http1::ServerConfig;
use sinew_fuzz::Choice;

fuzz_target!(|bytes: &[u8]| {
    let choice = Choice::of(bytes);
    let mut config = ServerConfig::default();
    config.limits = choice.limits(config.limits);
    if let Err(breach) = check_requests(&config, &choice.input(bytes)) {
        panic!("{breach}\n{choice:?}");
    }
});
