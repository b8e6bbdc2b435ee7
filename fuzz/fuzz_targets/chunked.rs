//! Chunked bodies, of requests and of responses: what the machines deliver is what the reference
//! reads, however the bytes are cut.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use sinew_conformance::laws::{check_requests, check_responses};
use sinew_core::http1::{ClientConfig, ServerConfig};
use sinew_fuzz::Choice;

const REQUEST: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

fuzz_target!(|body: &[u8]| {
    let choice = Choice::of(body);
    let request = [REQUEST, body].concat();
    if let Err(breach) = check_requests(&ServerConfig::default(), &choice.input(&request)) {
        panic!("request: {breach}\n{choice:?}");
    }
    let response = [RESPONSE, body].concat();
    let config = ClientConfig::default();
    if let Err(breach) = check_responses(&config, &Method::GET, &choice.input(&response)) {
        panic!("response: {breach}\n{choice:?}");
    }
});
