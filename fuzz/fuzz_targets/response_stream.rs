//! Responses on a client machine: whatever comes, and however it is cut, the events and the errors
//! are the same.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use sinew_conformance::laws::check_responses;
use sinew_core::http1::ClientConfig;
use sinew_fuzz::Choice;

fuzz_target!(|bytes: &[u8]| {
    let choice = Choice::of(bytes);
    let mut config = ClientConfig::default();
    config.limits = choice.limits(config.limits);
    let method = choice.pick(&[Method::GET, Method::GET, Method::HEAD, Method::CONNECT]);
    if let Err(breach) = check_responses(&config, method, &choice.input(bytes)) {
        panic!("{breach}\n{choice:?}");
    }
});
