//! Sections that need what this program was built without.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

/// `[shared_quota]`, which nobody can read.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) enum SharedQuota {}

impl<'de> Deserialize<'de> for SharedQuota {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom(
            "this program has no stores: sinew-config has the feature redis for them",
        ))
    }
}
