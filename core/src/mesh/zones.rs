//! Near ones first, as long as there are enough of them.

use crate::jitter::Jitter;
use crate::mesh::slow_start::ONE;

/// How much of the load stays in one's own zone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ZonePreference {
    /// All of it, while this part of its endpoints that is well, in percent, makes up for those that
    /// are not: at 140, up to two in seven may be missing. At least 100. Default 140.
    ///
    /// <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/overprovisioning>
    pub overprovision_percent: u16,
}

impl Default for ZonePreference {
    fn default() -> Self {
        Self { overprovision_percent: 140 }
    }
}

/// Where a call goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reach {
    /// To an endpoint of one's own zone.
    Local,
    /// To one of another.
    Remote,
}

impl ZonePreference {
    /// Where the next call goes, if `local` of the `locals` endpoints in one's own zone are well, and
    /// `remote` elsewhere. What one's own zone is too weak for spills over evenly.
    pub fn reach(&self, local: usize, locals: usize, remote: usize, jitter: &mut Jitter) -> Reach {
        if local == 0 {
            return Reach::Remote;
        }
        if remote == 0 {
            return Reach::Local;
        }
        let percent = u64::from(self.overprovision_percent.max(100));
        let stays = ONE * local as u64 * percent / (100 * locals.max(local) as u64);
        if stays >= ONE || jitter.below(ONE) < stays { Reach::Local } else { Reach::Remote }
    }
}
