//! Who watches how long the certificates of a server are still good.

use std::time::Duration;

use sinew_core::observe::Event;
use sinew_core::security::Expiry;

use super::background::Start;
use super::service::Notice;
use crate::runtime::Runtime;

/// The wall clock may be set: it is looked at this often.
const LOOK: Duration = Duration::from_secs(60 * 60);

/// Tells the observer what `not_after`, the end of the first certificate that runs out, means: at once,
/// and whenever that changes.
pub(super) fn watch<R: Runtime>(runtime: R, not_after: Duration) -> Start {
    Box::new(move |observer| {
        Box::pin(async move {
            let Some(observer) = observer else { return };
            let mut told = None;
            loop {
                let now = runtime.now();
                let unix = runtime.epoch().unix(now);
                let expiry = Expiry::at(unix, not_after);
                if told != Some(expiry) {
                    told = Some(expiry);
                    observer(
                        None,
                        &Notice::Decided(Event::CertificateExpiry { not_after, expiry }),
                    );
                }
                let Some(next) = Expiry::changes_in(unix, not_after) else { return };
                runtime.sleep_until(now + next.min(LOOK)).await;
            }
        })
    })
}
