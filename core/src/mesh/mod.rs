//! Which of several endpoints a call is sent to.

mod balance;

pub use balance::{BadBalance, BalanceConfig, PeakEwma, PowerOfTwo};
