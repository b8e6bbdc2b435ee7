//! How far a request got that failed without an answer.

use std::error::Error;

use sinew_core::error::Delivery;

/// Reads the errors of a client. A function is one:
///
/// ```
/// use sinew_core::error::Delivery;
///
/// fn of_io(error: &(dyn std::error::Error + 'static)) -> Delivery {
///     match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
///         Some(std::io::ErrorKind::ConnectionRefused) => Delivery::NotSent,
///         _ => Delivery::MaybeProcessed,
///     }
/// }
/// ```
pub trait Deliveries: Clone + Send + Sync + 'static {
    /// How far the request got that failed like this. Whoever cannot tell says
    /// [`MaybeProcessed`](Delivery::MaybeProcessed): what it says less of is sent again whatever the method.
    fn delivery(&self, error: &(dyn Error + 'static)) -> Delivery;
}

impl<F> Deliveries for F
where
    F: Fn(&(dyn Error + 'static)) -> Delivery + Clone + Send + Sync + 'static,
{
    fn delivery(&self, error: &(dyn Error + 'static)) -> Delivery {
        self(error)
    }
}

/// Every request that failed may have been processed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UnknownDelivery;

impl Deliveries for UnknownDelivery {
    fn delivery(&self, _: &(dyn Error + 'static)) -> Delivery {
        Delivery::MaybeProcessed
    }
}
