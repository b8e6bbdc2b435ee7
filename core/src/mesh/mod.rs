//! Which of several endpoints a call is sent to.
//!
//! An [`EndpointSet`] keeps what a source of endpoints lists, [`Probes`] ask which of them are well,
//! [`Outliers`] find those that are worse than the others. Who is left is chosen from by
//! [`PowerOfTwo`] over [`PeakEwma`], in [`Turns`], or by a key on a [`Ring`]; [`SlowStart`] and
//! [`ZonePreference`] go with all of them. Each stands alone.

mod balance;
mod endpoint;
mod endpoint_set;
mod outlier;
mod probe;
mod ring;
mod slow_start;
mod turns;
mod zones;

pub use balance::{BadBalance, BalanceConfig, PeakEwma, PowerOfTwo};
pub use endpoint::{Endpoint, Member, Weight, Zone};
pub use endpoint_set::{BadList, Diff, EndpointSet, EndpointSetConfig, SourceEvent};
pub use outlier::{BadOutlier, Outlier, OutlierConfig, OutlierEvent, Outliers};
pub use probe::{BadProbe, ProbeConfig, ProbeEvent, ProbeRun, Probes};
pub use ring::{Ring, RingConfig};
pub use slow_start::SlowStart;
pub use turns::Turns;
pub use zones::{Reach, ZonePreference};
