//! Which of several endpoints a call is sent to.
//!
//! An [`EndpointSet`] keeps what a source of endpoints lists, [`Probes`] ask which of them are well,
//! [`Outliers`] find those that are worse than the others. Who is left is chosen from by
//! [`PowerOfTwo`] over [`PeakEwma`], in [`Turns`], or by a key on a [`Ring`]; [`SlowStart`],
//! [`ZonePreference`] and [`PanicThreshold`] go with all of them. Each stands alone; the client's
//! [`Dispatcher`](crate::client::Dispatcher) composes them.

mod balance;
mod balance_policy;
mod endpoint;
mod endpoint_set;
mod outlier;
mod panic;
mod probe;
mod ring;
mod slow_start;
mod turns;
mod zones;

pub use balance::{BadBalance, BalanceConfig, Choice, PeakEwma, PowerOfTwo};
pub use balance_policy::{Algorithm, BadBalancePolicy, BalancePolicy};
pub use endpoint::{Endpoint, Member, Weight, Zone};
pub use endpoint_set::{BadList, Diff, EndpointSet, EndpointSetConfig, SourceEvent};
pub use outlier::{BadOutlier, Outlier, OutlierConfig, OutlierEvent, Outliers};
pub use panic::PanicThreshold;
pub use probe::{BadProbe, ProbeConfig, ProbeEvent, ProbeRun, Probes};
pub use ring::{Ring, RingConfig, hash_key};
pub use slow_start::SlowStart;
pub use turns::Turns;
pub use zones::{Reach, ZonePreference};
