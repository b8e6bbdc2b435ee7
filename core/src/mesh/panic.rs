//! When too few endpoints are well, all of them are asked.

/// Whether what is known of the health of endpoints still says something.
///
/// While less than a part of them is well, in percent, all of them are asked: then more is wrong than the
/// endpoints, or those that are well are drowned by what the others cannot carry.
///
/// <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/panic_threshold>
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PanicThreshold {
    percent: u32,
    panics: bool,
}

impl PanicThreshold {
    /// Below `percent`, which is 100 at most; 0: never.
    pub const fn new(percent: u32) -> Self {
        Self { percent: if percent > 100 { 100 } else { percent }, panics: false }
    }

    /// So many of all are well. Whether that changes what is asked.
    #[must_use]
    pub fn note(&mut self, well: u32, all: u32) -> bool {
        let panics = u64::from(well) * 100 < u64::from(all) * u64::from(self.percent);
        panics != std::mem::replace(&mut self.panics, panics)
    }

    /// Whether all of them are asked.
    pub const fn is_panicking(&self) -> bool {
        self.panics
    }
}
