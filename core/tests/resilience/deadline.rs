//! Timeouts, and deadlines from hop to hop.

use std::time::Duration;

use proptest::prelude::*;
use sinew_core::error::Phase;
use sinew_core::resilience::{
    Arrival, BadDeadline, BadTimeout, BadTimeouts, DeadlineConfig, Departure, TimeoutField,
    Timeouts, Trust,
};

use crate::{at, ms};

#[test]
fn the_grammar_is_strict() {
    let reads = |field: TimeoutField, text: &str| field.parse(text.as_bytes()).ok();
    for (text, time) in [
        ("1H", Duration::from_secs(3_600)),
        ("2M", Duration::from_secs(120)),
        ("99999999S", Duration::from_secs(99_999_999)),
        ("300m", ms(300)),
        ("7u", Duration::from_micros(7)),
        ("00000007n", Duration::from_nanos(7)),
    ] {
        assert_eq!(reads(TimeoutField::Grpc, text), Some(time), "{text}");
    }
    for text in ["", "S", "1", "1s", "1h", "-1S", "+1S", " 1S", "1 S", "1.5S", "100000000S", "1SS"]
    {
        assert_eq!(reads(TimeoutField::Grpc, text), None, "{text}");
    }
    for field in [TimeoutField::Sinew, TimeoutField::Envoy] {
        assert_eq!(reads(field, "300"), Some(ms(300)));
        assert_eq!(reads(field, "9999999999"), Some(ms(9_999_999_999)));
        for text in ["", "-1", "+1", " 1", "1 ", "1.5", "0x1", "300ms", "10000000000"] {
            assert_eq!(reads(field, text), None, "{text}");
        }
    }
}

#[test]
fn only_trusted_peers_are_believed_and_only_so_far() {
    let config = DeadlineConfig::default();
    let arrive = |trust, name: &'static str, value: &'static str| {
        config.arrive(at(1_000), trust, |asked| (asked == name).then_some(value.as_bytes()))
    };
    for field in TimeoutField::ALL {
        let value = if field == TimeoutField::Grpc { "300m" } else { "300" };
        let found = arrive(Trust::Trusted, field.name(), value);
        assert_eq!(found, Ok(Arrival::Until(at(1_300))));
        assert_eq!(arrive(Trust::Untrusted, field.name(), value), Ok(Arrival::Unlimited));
        assert_eq!(arrive(Trust::Trusted, field.name(), "x"), Err(BadTimeout(field)));
        assert_eq!(arrive(Trust::Untrusted, field.name(), "x"), Ok(Arrival::Unlimited));
    }
    assert_eq!(arrive(Trust::Trusted, "grpc-timeout", "0S"), Ok(Arrival::Expired));
    assert_eq!(arrive(Trust::Trusted, "grpc-timeout", "9H"), Ok(Arrival::Until(at(301_000))));
    assert_eq!(arrive(Trust::Trusted, "timeout", "1"), Ok(Arrival::Unlimited));
    let several = |name: &str| match name {
        "grpc-timeout" => Some(&b"200m"[..]),
        "sinew-timeout-ms" => Some(&b"300"[..]),
        _ => None,
    };
    let found = config.arrive(at(0), Trust::Trusted, several);
    assert_eq!(found, Ok(Arrival::Until(at(200))));
}

#[test]
fn three_hops_see_what_is_left() {
    let config = DeadlineConfig { margin: ms(10), ..DeadlineConfig::default() };
    let mut deadline = at(300);
    for (now, told) in [(0, "290"), (100, "180"), (150, "120")] {
        let Departure::Field(field, value) = config.depart(at(now), deadline) else { panic!() };
        assert_eq!((field, value.as_str()), (TimeoutField::Sinew, told));
        let read = |name| (name == field.name()).then_some(value.as_str().as_bytes());
        let Ok(Arrival::Until(next)) = config.arrive(at(now), Trust::Trusted, read) else {
            panic!()
        };
        assert!(next < deadline);
        deadline = next;
    }
    // An attempt later than the first is told less; one that comes too late is not made.
    assert_eq!(config.depart(at(261), at(270)), Departure::Expired);
    assert_eq!(config.depart(at(400), at(270)), Departure::Expired);
    let silent = DeadlineConfig { emit: None, ..config };
    assert_eq!(silent.depart(at(0), at(270)), Departure::Silent);
    assert_eq!(silent.depart(at(270), at(270)), Departure::Expired);
}

proptest! {
    /// What is written is read again, never longer than it was.
    #[test]
    fn writing_never_adds_time(nanos: u64, which in 0usize..3) {
        let (field, time) = (TimeoutField::ALL[which], Duration::from_nanos(nanos));
        match field.write(time) {
            None => prop_assert!(time < ms(1)),
            Some(value) => {
                let read = field.parse(value.as_str().as_bytes()).unwrap();
                let longest = ms(9_999_999_999);
                prop_assert!(read <= time);
                let step = if time > ms(99_999_999) { Duration::from_secs(1) } else { ms(1) };
                prop_assert!(time.min(longest) < read + step);
            }
        }
    }

    #[test]
    fn any_bytes_are_a_timeout_or_not(bytes: Vec<u8>, which in 0usize..3) {
        let _ = TimeoutField::ALL[which].parse(&bytes);
    }
}

#[test]
fn phases_are_cut_by_what_is_left() {
    let timeouts = Timeouts::default();
    let left = Duration::from_millis(1_500);
    let within = |phase| timeouts.within(phase, left);
    assert_eq!(within(Phase::Connect), Some(ms(1_000)));
    for phase in [Phase::Tls, Phase::Resolve, Phase::Pool, Phase::RequestBody, Phase::ResponseHead]
    {
        assert_eq!(within(phase), Some(left), "{phase:?}");
    }
    for phase in [Phase::ResponseBody, Phase::Tunnel, Phase::Idle] {
        assert_eq!(within(phase), None, "{phase:?}");
    }
}

#[test]
fn senseless_times_are_refused() {
    let good = Timeouts::default();
    assert_eq!(good.check(), Ok(()));
    assert_eq!(Timeouts { call: ms(500), ..good }.check(), Ok(()), "the defaults are cut");
    assert_eq!(Timeouts { tls: Some(ms(0)), ..good }.check(), Err(BadTimeouts::Zero));
    assert_eq!(Timeouts { call: ms(0), ..good }.check(), Err(BadTimeouts::Zero));
    let long = Timeouts { head: Some(ms(30_001)), ..good };
    assert_eq!(long.check(), Err(BadTimeouts::AboveCall));
    let good = DeadlineConfig::default();
    assert_eq!(good.check(), Ok(()));
    assert_eq!(DeadlineConfig { max: ms(0), ..good }.check(), Err(BadDeadline::ZeroMax));
    assert_eq!(DeadlineConfig { margin: good.max, ..good }.check(), Err(BadDeadline::Margin));
}
