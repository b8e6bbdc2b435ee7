//! `[validation]`

use serde::{Deserialize, Serialize};
use sinew_core::policy::Mode;

use super::ModeName;

/// Whether what routes want to be sent is asked for.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Validation {
    mode: ModeName,
}

impl Validation {
    pub(crate) fn mode(&self) -> Mode {
        self.mode.into()
    }
}
