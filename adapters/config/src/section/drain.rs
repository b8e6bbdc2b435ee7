//! `[drain]`

use serde::{Deserialize, Serialize};
use sinew_core::server::DrainConfig;

use crate::value::Span;

/// How the server leaves. What is not said is as the profile has it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Drain {
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Profile>,
    propagation: Option<Span>,
    notify: Option<Span>,
    late: Option<Span>,
    deadline: Option<Span>,
    force: Option<Span>,
}

/// Where it runs.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Profile {
    Default,
    Kubernetes,
}

impl Drain {
    /// Writes what the file says.
    pub(crate) fn apply(&self, drain: &mut DrainConfig) {
        match self.profile {
            None => {}
            Some(Profile::Default) => *drain = DrainConfig::default(),
            Some(Profile::Kubernetes) => *drain = DrainConfig::kubernetes(),
        }
        let times = [
            (&self.propagation, &mut drain.propagation),
            (&self.notify, &mut drain.notify),
            (&self.late, &mut drain.late),
            (&self.deadline, &mut drain.deadline),
            (&self.force, &mut drain.force),
        ];
        for (said, time) in times {
            if let Some(said) = said {
                *time = said.clone().into();
            }
        }
    }

    /// Every setting as it is in force.
    pub(crate) fn of(drain: DrainConfig) -> Self {
        Self {
            profile: None,
            propagation: Some(drain.propagation.into()),
            notify: Some(drain.notify.into()),
            late: Some(drain.late.into()),
            deadline: Some(drain.deadline.into()),
            force: Some(drain.force.into()),
        }
    }
}
