//! Messages to send: what one machine agrees to, the other reads as it was meant.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sinew_conformance::laws::check_sending;
use sinew_conformance::seed::spec;
use sinew_fuzz::Choice;

fuzz_target!(|bytes: &[u8]| {
    let (side, spec) = spec(bytes);
    if let Err(breach) = check_sending(side, &spec, Choice::of(bytes).seed()) {
        panic!("{breach}");
    }
});
