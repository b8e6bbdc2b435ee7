//! One instance of a destination.

/// Where one instance of the destination is: a number that the embedder gives to its address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Endpoint(pub u64);

/// Where it runs: endpoints with the same number are near each other.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Zone(pub u32);

/// The share of an endpoint beside that of the others: 1 to 65,535, of which only the ratio counts.
/// Default 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Weight(u16);

impl Weight {
    /// What everyone has if nobody says anything else.
    pub const ONE: Self = Self(1);

    /// A share. 0 counts as 1: a source that gives nobody a share means an even one.
    /// <https://www.rfc-editor.org/rfc/rfc2782>
    pub const fn new(share: u16) -> Self {
        Self(if share == 0 { 1 } else { share })
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::ONE
    }
}

/// What a source of endpoints says of one instance. `metadata` is what only the embedder understands,
/// such as its address and the identity that it is expected to show.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Member<M = ()> {
    /// Which one.
    pub endpoint: Endpoint,
    /// Its share.
    pub weight: Weight,
    /// Where it runs.
    pub zone: Zone,
    /// Where it stands on a [ring](super::Ring): the same in every client that is to send a key to the
    /// same endpoint. Default: its number.
    pub hash: u64,
    /// Whatever else is known.
    pub metadata: M,
}

impl<M> Member<M> {
    /// One with an even share, in the zone where everyone is.
    pub fn new(endpoint: Endpoint, metadata: M) -> Self {
        let hash = endpoint.0;
        Self { endpoint, weight: Weight::ONE, zone: Zone::default(), hash, metadata }
    }
}

/// One of which nothing else is known.
impl From<Endpoint> for Member {
    fn from(endpoint: Endpoint) -> Self {
        Self::new(endpoint, ())
    }
}
