//! The same key to the same endpoint, as far as its load allows.

use super::endpoint::{Endpoint, Weight};

/// How finely a ring is divided.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RingConfig {
    /// Points for a weight of 1; at least 1. More make shares more even. Default 100.
    pub points: u16,
    /// Points in all; what the weights ask for beyond is scaled down, to one an endpoint at least.
    /// Default 65,536.
    pub max_points: usize,
    /// An endpoint has at most this part of its even share of what is on its way, in percent; at least
    /// 100. What is above goes to the next one on the ring. Default 125.
    pub bound_percent: u16,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self { points: 100, max_points: 65_536, bound_percent: 125 }
    }
}

/// Consistent hashing: a key belongs to the endpoint whose point follows it on the ring, so that an
/// endpoint that comes or goes moves no keys but those that are its own.
///
/// <https://dl.acm.org/doi/10.1145/258533.258660>, with bounded loads: <https://arxiv.org/abs/1608.01350>
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ring {
    /// By hash: the points, each with the place of its endpoint.
    points: Vec<(u64, u32)>,
    bound_percent: u16,
}

impl Ring {
    /// The ring of these endpoints, each with a place, a number that the embedder gives.
    pub fn new(config: RingConfig, members: &[(u32, Endpoint, Weight)]) -> Self {
        let wanted = |weight: Weight| usize::from(weight.get()) * usize::from(config.points.max(1));
        let all: usize = members.iter().map(|(_, _, weight)| wanted(*weight)).sum();
        let most = config.max_points.max(members.len());
        let mut points = Vec::with_capacity(all.min(most));
        for (place, endpoint, weight) in members {
            let count = match wanted(*weight) {
                count if all <= most => count,
                count => (count * most / all).max(1),
            };
            let named = mix(endpoint.0);
            points.extend((0..count as u64).map(|point| (mix(named ^ mix(point)), *place)));
        }
        points.sort_unstable();
        Self { points, bound_percent: config.bound_percent.max(100) }
    }

    /// The place for a key: the first on the ring from there on that `fits`. `None`: nobody does.
    pub fn pick(&self, key: u64, fits: impl Fn(u32) -> bool) -> Option<u32> {
        let start = self.points.partition_point(|(point, _)| *point < mix(key));
        let (before, from) = self.points.split_at(start);
        let mut last = None;
        from.iter().chain(before).map(|(_, place)| *place).find(|place| {
            // Neighbours on the ring are often the same endpoint.
            let asked = last == Some(*place);
            last = Some(*place);
            !asked && fits(*place)
        })
    }

    /// Whether an endpoint may take one more, which has `own` of the `all` that are on their way, and
    /// `share` of the `shares`.
    pub fn is_within_bound(&self, own: u32, all: u32, share: u64, shares: u64) -> bool {
        // ceil(c * (m + 1) * w / W)
        let even =
            (u128::from(all) + 1) * u128::from(share.max(1)) * u128::from(self.bound_percent);
        let bound = even.div_ceil(u128::from(shares.max(1)) * 100);
        u128::from(own) < bound
    }
}

/// A key for a [ring](Ring) from what it is to stand for, such as the name of a user: the same in every
/// process and on every platform. Anyone can find others with the same key.
///
/// FNV-1a: <https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>
pub const fn hash_key(mut bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    while let [first, rest @ ..] = bytes {
        hash = (hash ^ *first as u64).wrapping_mul(0x0100_0000_01b3);
        bytes = rest;
    }
    hash
}

/// Spreads numbers that are close together over all there are.
///
/// The finalizer of `SplitMix64`: <https://doi.org/10.1145/2714064.2660195>
const fn mix(number: u64) -> u64 {
    crate::jitter::Jitter::new(number).draw()
}
