//! The retry budget, beside a slow reference.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use sinew_core::resilience::{BadBudget, Budget, BudgetConfig, BudgetReason, Outcome};

use crate::at;

fn budget() -> Budget {
    Budget::new(BudgetConfig::default()).unwrap()
}

#[test]
fn the_throttle_stops_at_half() {
    let mut budget = budget();
    for _ in 0..4 {
        budget.settle(Outcome::Failure);
        assert_eq!(budget.withdraw(at(0)), Ok(()));
    }
    budget.settle(Outcome::Limited);
    assert_eq!(
        (budget.millitokens(), budget.withdraw(at(0))),
        (5_000, Err(BudgetReason::Throttle))
    );
    budget.settle(Outcome::Success);
    assert_eq!((budget.millitokens(), budget.withdraw(at(0))), (5_100, Ok(())));
    for _ in 0..100 {
        budget.settle(Outcome::Success);
    }
    assert_eq!(budget.millitokens(), 10_000, "never more than it began with");
    for _ in 0..100 {
        budget.settle(Outcome::Failure);
    }
    assert_eq!(budget.millitokens(), 0);
}

#[test]
fn the_share_is_a_fifth_and_one_a_second() {
    let mut budget = budget();
    for _ in 0..100 {
        budget.call(at(0));
    }
    let taken = (0..100).take_while(|_| budget.withdraw(at(5_000)).is_ok()).count();
    assert_eq!((taken, budget.withdraw(at(5_000))), (30, Err(BudgetReason::Share)));
    // The calls are forgotten, the retries are not yet.
    assert_eq!(budget.remaining(at(10_000)), 0);
    assert_eq!(budget.remaining(at(15_000)), 10);
    assert_eq!(budget.remaining(at(u64::MAX / 1_000_000)), 10);
}

/// With every attempt failing, the calls of a client are sent once each, but for a burst of four.
#[test]
fn a_dead_destination_gets_no_storm() {
    for calls_a_second in [1_u64, 10, 100] {
        let mut budget = budget();
        let mut retries = 0;
        for call in 0..calls_a_second * 30 {
            let now = at(call * 1_000 / calls_a_second);
            budget.call(now);
            budget.settle(Outcome::Failure);
            while budget.withdraw(now).is_ok() {
                retries += 1;
                budget.settle(Outcome::Failure);
            }
        }
        assert_eq!(retries, 4, "{calls_a_second} a second");
    }
}

#[test]
fn senseless_budgets_are_refused() {
    let good = BudgetConfig::default();
    for (config, why) in [
        (BudgetConfig { percent: 0, ..good }, BadBudget::Percent),
        (BudgetConfig { percent: 101, ..good }, BadBudget::Percent),
        (BudgetConfig { per_second: 1_001, ..good }, BadBudget::PerSecond),
        (BudgetConfig { window: Duration::from_millis(999), ..good }, BadBudget::Window),
        (BudgetConfig { window: Duration::from_secs(601), ..good }, BadBudget::Window),
        (BudgetConfig { tokens: 1, ..good }, BadBudget::Tokens),
        (BudgetConfig { tokens: 1_001, ..good }, BadBudget::Tokens),
    ] {
        assert_eq!(Budget::new(config).err(), Some(why));
    }
}

proptest! {
    /// Beside one that keeps every call and retry with its time, and counts them each time.
    #[test]
    fn agrees_with_a_list(
        steps in vec((0u64..3_000, 0u8..4), 1..400),
        percent in 1u32..=100, per_second in 0u32..3,
    ) {
        let config = BudgetConfig { percent, per_second, ..BudgetConfig::default() };
        let mut budget = Budget::new(config).unwrap();
        let (mut calls, mut retries) = (Vec::new(), Vec::new());
        let (mut now, mut tokens) = (0, 100);
        for (passed, step) in steps {
            now += passed;
            // Whole seconds: those of this one and of the nine before.
            let recent = |times: &[u64]| {
                times.iter().filter(|time| now / 1_000 - **time / 1_000 < 10).count() as u32
            };
            match step {
                0 => {
                    budget.call(at(now));
                    calls.push(now);
                }
                1 => {
                    budget.settle(Outcome::Success);
                    tokens = (tokens + 1).min(100);
                }
                2 => {
                    budget.settle(Outcome::Failure);
                    tokens = (tokens - 10).max(0);
                }
                _ => {
                    let allowed = recent(&calls) * percent / 100 + per_second * 10;
                    let expected = if tokens <= 50 {
                        Err(BudgetReason::Throttle)
                    } else if recent(&retries) >= allowed {
                        Err(BudgetReason::Share)
                    } else {
                        retries.push(now);
                        Ok(())
                    };
                    prop_assert_eq!(budget.withdraw(at(now)), expected);
                }
            }
        }
    }
}
