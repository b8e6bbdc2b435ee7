//! tungstenite as the oracle, on frames of all kinds.

use proptest::prelude::*;
use sinew_core::websocket::Role;

use crate::laws::frames;
use crate::reference::compare;
use crate::told::{client, masked, server};

#[test]
fn every_close_code_is_judged_as_there_but_for_one() {
    for code in (0..=5000).filter(|code| *code != 1014) {
        compare(&server(), &masked(0x88, u16::to_be_bytes(code)));
    }
    assert_eq!(server().tell(masked(0x88, 1014u16.to_be_bytes())).error, None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_server_tells_what_tungstenite_tells(input in frames(Role::Client), frame in 125usize..400) {
        let mut setup = server();
        setup.config.limits.frame = frame;
        setup.config.limits.message = 400;
        compare(&setup, &input);
    }

    #[test]
    fn a_client_tells_what_tungstenite_tells(input in frames(Role::Server)) {
        compare(&client(), &input);
    }
}
