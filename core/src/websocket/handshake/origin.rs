//! Which pages may open a socket: <https://www.rfc-editor.org/rfc/rfc6455#section-10.2>

use crate::head::{RequestHead, Single};
use crate::security::{Cors, CorsReason};

/// Which pages may open a socket. A browser lets any page do so, with the cookies of whoever looks
/// at it, and leaves it to the server to look at `Origin`; programs send none, and are let through.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Origins {
    /// Pages of this very server: the host and port of `Origin` are those of the request. The
    /// scheme is not compared, as it is not known behind a proxy that ends TLS.
    #[default]
    Same,
    /// These too: those that may read answers.
    Also(Cors),
    /// Any: for what is public anyway, or where no cookie and no network says who asks.
    Any,
}

impl Origins {
    /// Whether this request may open a socket.
    pub(super) fn allow(&self, head: &RequestHead) -> bool {
        if matches!(self, Self::Any) {
            return true;
        }
        let same = match head.fields().single("origin") {
            Single::Absent => return true,
            Single::Repeated => return false,
            Single::Once(origin) => is_same(origin, head.authority()),
        };
        same || match self {
            Self::Also(cors) => cors.check(head).reason() == CorsReason::Granted,
            Self::Same | Self::Any => false,
        }
    }
}

fn is_same(origin: &[u8], authority: Option<&str>) -> bool {
    let (Ok(origin), Some(authority)) = (core::str::from_utf8(origin), authority) else {
        return false;
    };
    let (page, default_port) = match origin.split_once("://") {
        Some(("http", page)) => (page, ":80"),
        Some(("https", page)) => (page, ":443"),
        _ => return false,
    };
    // A browser leaves the default port out on both sides, a program may write it.
    page.eq_ignore_ascii_case(authority.strip_suffix(default_port).unwrap_or(authority))
}
