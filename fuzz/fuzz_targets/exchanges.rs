//! A client machine and a server machine over a network that splits, stalls and cuts: nothing hangs,
//! spins, leaks, is made up or is lost count of.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sinew_conformance::laws::check_exchanges;

fuzz_target!(|bytes: &[u8]| {
    let scene = sinew_fuzz::scene(bytes);
    if let Err(breach) = check_exchanges(&scene) {
        panic!("{breach}\n{scene:#?}");
    }
});
