//! Bytes and connections of a whole server.

use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use sinew_core::limit::{Account, BadLedger, Ledger, LedgerConfig, OverCap, Owner, Stage};
use sinew_core::policy::Priority;
use sinew_core::server::{BadConnections, ConnectionRefused, Connections, ConnectionsConfig};

/// One percent of this is 100,000 bytes.
const CAP: u64 = 10_000_000;

fn ledger() -> Ledger {
    Ledger::new(LedgerConfig { cap: CAP, ..LedgerConfig::default() }).unwrap()
}

#[test]
fn each_stage_begins_at_its_share_and_ends_below_it() {
    let mut ledger = ledger();
    for (stage, percent) in Stage::ALL.into_iter().zip(LedgerConfig::default().stages) {
        let at = CAP / 100 * u64::from(percent);
        let short = at - ledger.used() - 1;
        assert_eq!(ledger.take(Owner::Inbox, short), Ok(None), "{stage:?}");
        assert_eq!(ledger.take(Owner::Outbox, 1), Ok(Some(stage)));
    }
    // 97 percent; the last one ends below 92, and with it the one that began at 94.
    assert_eq!(ledger.give(Owner::Inbox, CAP / 100 * 5), None);
    assert_eq!(ledger.give(Owner::Inbox, 1), Some(Stage::Shed(Priority::Normal)));
    assert_eq!(ledger.give(Owner::Inbox, CAP), Some(Stage::Calm), "no more than it holds");
    assert_eq!((ledger.used(), ledger.held(Owner::Outbox), ledger.peak()), (6, 6, CAP / 100 * 97));
}

#[test]
fn the_cap_is_never_passed() {
    let mut ledger = ledger();
    assert!(ledger.take(Owner::Queue, CAP).is_ok());
    let refused = OverCap { owner: Owner::Replay, left: 0 };
    assert_eq!(ledger.take(Owner::Replay, 1), Err(refused));
    assert_eq!(refused.to_string(), "0 bytes are left, too few for the replay");
    assert_eq!(ledger.take(Owner::Replay, u64::MAX), Err(refused));
    assert_eq!((ledger.used(), ledger.held(Owner::Replay)), (CAP, 0));
}

#[test]
fn stages_say_what_is_done() {
    for (stage, accepts, shed) in [
        (Stage::Calm, true, None),
        (Stage::ShortenIdle, true, None),
        (Stage::NoConnections, false, None),
        (Stage::Shed(Priority::Bulk), false, Some(Priority::Bulk)),
        (Stage::Shed(Priority::High), false, Some(Priority::High)),
    ] {
        assert_eq!(stage.accepts(), accepts, "{stage:?}");
        for priority in Priority::ALL {
            assert_eq!(stage.sheds(priority), shed.is_some_and(|up_to| priority <= up_to));
        }
    }
    assert!(
        Stage::ALL.is_sorted() && Stage::ALL.iter().all(|stage| !stage.sheds(Priority::Critical))
    );
}

#[test]
fn idle_times_shrink_with_what_is_left() {
    let mut ledger = ledger();
    let minute = Duration::from_secs(60);
    for (percent, expected) in [(69, 60), (70, 60), (80, 42), (90, 24), (100, 6)] {
        let _ = ledger.take(Owner::Inbox, CAP / 100 * percent - ledger.used());
        assert_eq!(ledger.idle(minute), Duration::from_secs(expected), "{percent} %");
    }
}

#[test]
fn who_takes_nothing_makes_room_while_nobody_is_let_in() {
    let mut ledger = ledger();
    let half_a_minute = Duration::from_secs(30);
    let percent = |percent: u64| CAP / 100 * percent;
    let mut accounts = [70, 8, 1, 0].map(|share| {
        let mut account = Account::new(Owner::Outbox);
        let _ = account.settle(&mut ledger, percent(share));
        account
    });
    // What others hold says nothing of what is an even share.
    let mut inbox = Account::new(Owner::Inbox);
    assert_eq!(ledger.stage(), Stage::ShortenIdle);
    for account in &accounts {
        assert_eq!(ledger.stall(half_a_minute, account), ledger.idle(half_a_minute));
    }
    assert_eq!(inbox.settle(&mut ledger, percent(1)), Ok(Some(Stage::NoConnections)));
    let limits = accounts.each_ref().map(|account| ledger.stall(half_a_minute, account).as_secs());
    assert_eq!(limits, [3, 6, 6, 6]);
    // The two that are left hold nearly the same.
    let [large, middle, small, _] = &mut accounts;
    let _ = large.settle(&mut ledger, 0);
    let _ = middle.settle(&mut ledger, percent(40));
    let _ = small.settle(&mut ledger, percent(41));
    assert_eq!(ledger.stage(), Stage::NoConnections);
    let limits = [middle, small].map(|account| ledger.stall(half_a_minute, account).as_secs());
    assert_eq!(limits, [6, 3]);
    // It is never longer than an idle connection would be kept.
    let most = ledger.left() / Account::STEP * Account::STEP;
    assert_eq!(inbox.settle(&mut ledger, most), Ok(Some(Stage::Shed(Priority::High))));
    let [.., nothing] = &accounts;
    assert_eq!(ledger.stall(half_a_minute, nothing), ledger.idle(half_a_minute));
    let _ = inbox.close(&mut ledger);
    let _ = accounts.map(|account| account.close(&mut ledger));
    assert_eq!(ledger.stall(half_a_minute, &Account::new(Owner::Outbox)), half_a_minute);
}

#[test]
fn senseless_ledgers_are_refused() {
    let bad = |config: LedgerConfig| Ledger::new(config).err();
    let sound = LedgerConfig::default();
    assert_eq!(bad(LedgerConfig { cap: (1 << 20) - 1, ..sound }), Some(BadLedger::Cap));
    assert_eq!(bad(LedgerConfig { cap: u64::MAX, ..sound }), Some(BadLedger::Cap));
    for stages in [[0, 1, 2, 3, 4, 5], [70, 60, 80, 85, 90, 95], [70, 80, 85, 90, 95, 101]] {
        assert_eq!(bad(LedgerConfig { stages, ..sound }), Some(BadLedger::Stages), "{stages:?}");
    }
    assert_eq!(bad(LedgerConfig { relief: 70, ..sound }), Some(BadLedger::Relief));
    assert_eq!(bad(LedgerConfig { relief: 69, ..sound }), None);
}

proptest! {
    /// The books add up, whatever is done; the stage is one that the bytes allow; nothing is left in the end.
    #[test]
    fn books_add_up(script in prop::collection::vec((0..6_usize, 0..4_000_000_u64), 0..200)) {
        let mut ledger = ledger();
        let mut accounts: Vec<_> = Owner::ALL.into_iter().map(|owner| (Account::new(owner), 0)).collect();
        let mut stage = Stage::Calm;
        for (which, held) in script {
            let Some((account, last)) = accounts.get_mut(which) else {
                let (account, _) = std::mem::replace(&mut accounts[0], (Account::new(Owner::Inbox), 0));
                stage = account.close(&mut ledger).unwrap_or(stage);
                continue;
            };
            if account.is_due(held) {
                let before = ledger.clone();
                match account.settle(&mut ledger, held) {
                    Ok(changed) => {
                        prop_assert!(changed.is_none_or(|now| now != stage));
                        stage = changed.unwrap_or(stage);
                        *last = held;
                    }
                    Err(OverCap { left, .. }) => {
                        prop_assert_eq!(&before, &ledger);
                        prop_assert!(left < held.div_ceil(Account::STEP) * Account::STEP - account.booked());
                    }
                }
            } else {
                *last = held;
            }
            let covers = |(account, held): &(Account, u64)| {
                account.booked() >= *held && account.booked() - held < 2 * Account::STEP
            };
            prop_assert!(accounts.iter().all(covers));
            let booked: u64 = accounts.iter().map(|(account, _)| account.booked()).sum();
            prop_assert_eq!(booked, ledger.used());
            prop_assert!(ledger.used() <= CAP && ledger.peak() >= ledger.used());
            prop_assert_eq!(ledger.stage(), stage);
            let reached = |used: u64| {
                let shares = Stage::ALL.into_iter().zip(LedgerConfig::default().stages);
                let reached = shares.filter(|(_, share)| used >= CAP / 100 * u64::from(*share));
                reached.map(|(stage, _)| stage).max().unwrap_or_default()
            };
            prop_assert!((reached(ledger.used())..=reached(ledger.used() + CAP / 20)).contains(&stage));
        }
        for (account, _) in accounts {
            let _ = account.close(&mut ledger);
        }
        prop_assert_eq!((ledger.used(), ledger.stage()), (0, Stage::Calm));
        prop_assert!(Owner::ALL.iter().all(|owner| ledger.held(*owner) == 0));
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn connections(total: usize, per_address: usize) -> Connections {
    let unlimited = vec!["10.0.0.0/8".parse().unwrap()];
    Connections::new(ConnectionsConfig { total, per_address, unlimited }).unwrap()
}

#[test]
fn an_address_has_its_share_of_connections() {
    let mut connections = connections(7, 2);
    let mut places = Vec::new();
    for (address, expected) in [
        (Some(ip("192.0.2.1")), Ok(())),
        (Some(ip("::ffff:192.0.2.1")), Ok(())),
        (Some(ip("192.0.2.1")), Err(ConnectionRefused::Address)),
        (Some(ip("2001:db8::1")), Ok(())),
        (Some(ip("2001:db8::ffff:1")), Ok(())),
        (Some(ip("2001:db8::2")), Err(ConnectionRefused::Address)),
        (Some(ip("10.0.0.1")), Ok(())),
        (Some(ip("10.0.0.1")), Ok(())),
        (Some(ip("10.0.0.1")), Ok(())),
        (Some(ip("2001:db8:0:1::2")), Err(ConnectionRefused::Total)),
        (None, Err(ConnectionRefused::Total)),
    ] {
        let admitted = connections.admit(address, Stage::ShortenIdle);
        assert_eq!(admitted.as_ref().map(|_| ()).map_err(|why| *why), expected, "{address:?}");
        places.extend(admitted);
    }
    assert_eq!((connections.total(), connections.addresses()), (7, 2));
    assert!(!connections.has_room(Stage::Calm));
    connections.leave(places.remove(0));
    assert!(connections.has_room(Stage::Calm) && !connections.has_room(Stage::NoConnections));
    let refused = connections.admit(Some(ip("192.0.2.1")), Stage::Shed(Priority::Bulk));
    assert_eq!(refused, Err(ConnectionRefused::Pressure));
    places.extend(connections.admit(Some(ip("192.0.2.1")), Stage::Calm));
    for place in places {
        connections.leave(place);
    }
    assert_eq!((connections.total(), connections.addresses()), (0, 0));
}

#[test]
fn senseless_caps_are_refused() {
    let bad = |total, per_address| {
        let config = ConnectionsConfig { total, per_address, unlimited: Vec::new() };
        Connections::new(config).err()
    };
    assert_eq!(bad(0, 0), Some(BadConnections::Zero));
    assert_eq!(bad(1, 0), Some(BadConnections::Zero));
    assert_eq!(bad(1, 2), Some(BadConnections::PerAddress));
    assert_eq!(bad(2, 2), None);
}
