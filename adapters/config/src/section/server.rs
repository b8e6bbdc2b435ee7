//! `[server]`, `[limits]`, `[timers]` and `[admin]`.

use serde::{Deserialize, Serialize};
use sinew_driver::RestServerConfig;

use crate::value::{OrNone, Parse, Span, Text};

/// Where to listen.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Server {
    pub(crate) listen: Option<Vec<Text<Place>>>,
    pub(crate) plaintext: Option<bool>,
}

/// What operators ask.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Admin {
    pub(crate) listen: Option<Vec<Text<Place>>>,
    pub(crate) public: bool,
    pub(crate) max_connections: Option<usize>,
}

/// `host:port`, or `unix:/path`.
#[derive(Clone, Debug)]
pub(crate) struct Place(pub(crate) String);

impl Parse for Place {
    const EXPECTED: &str = "a place such as \"127.0.0.1:8080\" or \"unix:/run/orders\"";

    fn parse(text: &str) -> Result<Self, Option<String>> {
        sinew_driver::server::check_place(text).map_err(|_| None)?;
        Ok(Self(text.to_owned()))
    }
}

/// Settings that have the names that they have in a [`RestServerConfig`].
macro_rules! settings {
    ($(#[$about:meta])* $section:ident { $($name:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct $section { $($name: Option<$type>,)* }

        impl $section {
            /// The names of its settings.
            pub(crate) const NAMES: &[&str] = &[$(stringify!($name)),*];

            /// Writes what the file says.
            pub(crate) fn apply(&self, config: &mut RestServerConfig) {
                $(if let Some(value) = self.$name.clone() {
                    config.$name = value.into();
                })*
            }

            /// Every setting as it is in force.
            pub(crate) fn of(config: &RestServerConfig) -> Self {
                Self { $($name: Some(config.$name.into()),)* }
            }
        }
    };
}

settings! {
    /// In bytes, or how many.
    Limits {
        max_connections: usize,
        max_connections_per_address: usize,
        max_request_size: u64,
        max_head_size: usize,
        max_head_fields: usize,
        max_target_size: usize,
        max_chunk_line: usize,
        max_chunk_extensions: usize,
        max_trailer_size: usize,
        max_trailer_fields: usize,
        max_pipelined: u32,
        min_body_rate: u32,
    }
}

settings! {
    /// How long things may take.
    Timers {
        first_byte_timeout: Span,
        head_timeout: Span,
        idle_timeout: Span,
        handler_timeout: OrNone<Span>,
        write_timeout: Span,
        body_rate_window: Span,
        linger: Span,
    }
}
