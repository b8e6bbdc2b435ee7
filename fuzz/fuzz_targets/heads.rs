//! Heads: what we take, httparse takes and reads the same, and the types of the `http` crate that a
//! head becomes say what it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sinew_conformance::laws::{check_request_head, check_response_head};

fuzz_target!(|bytes: &[u8]| {
    let response = bytes.starts_with(b"HTTP/");
    let checked = if response { check_response_head(bytes) } else { check_request_head(bytes) };
    if let Err(breach) = checked {
        panic!("{breach}");
    }
});
