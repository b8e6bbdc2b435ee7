//! From a source to a client.

use std::fmt;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use sinew_core::Machine as _;
use sinew_core::mesh::{Endpoint, EndpointSet, EndpointSetConfig, SourceEvent};
use sinew_core::time::Instant;
use sinew_driver::{RestClient, Runtime, ServiceEndpoint};

use crate::member::member_of;
use crate::source::{Source, SourceError};

/// What is told of a service.
#[derive(Debug)]
#[non_exhaustive]
pub enum News {
    /// The list changed. Connections to instances that are gone finish what they carry.
    Changed {
        /// Addresses that were not there before.
        added: Vec<String>,
        /// Addresses that are there no more.
        removed: Vec<String>,
        /// Addresses of which something else is said now: their weight, their zone, who answers there.
        changed: Vec<String>,
        /// Instances in the list.
        total: usize,
    },
    /// There is no new list, for the first time since there was one. The last good one is kept.
    Failed {
        /// Why.
        why: SourceError,
        /// How old the last good list is; `None`: there never was one.
        age: Option<Duration>,
    },
    /// The source is back, after so long.
    Back(Duration),
    /// The last good list is too old. The client has no endpoints until there is a new one.
    Expired,
}

/// Tells `client` of every list of `source`, and `report` of what is worth knowing. Never ends: who
/// drops it, or the task that it runs in, leaves the client with the endpoints of the last list.
pub async fn follow<R: Runtime, S: Source>(
    runtime: &R,
    client: &RestClient<R>,
    mut source: S,
    config: EndpointSetConfig,
    mut report: impl FnMut(News),
) {
    let mut set = EndpointSet::<ServiceEndpoint>::new(config);
    loop {
        match next(runtime, &mut source, &set).await {
            Some(Ok(list)) => take(runtime, client, &mut set, list, &mut report),
            Some(Err(why)) => {
                let (now, known) = (runtime.now(), set.is_down());
                set.handle_failure(now);
                if !known {
                    report(News::Failed { why, age: set.age(now) });
                }
            }
            None => {}
        }
        while let Ok(Some(event)) = set.poll_event(runtime.now()) {
            match event {
                // Told with its reason.
                SourceEvent::Down => {}
                SourceEvent::Up { after } => report(News::Back(after)),
                // One that came while it expired is in force already.
                SourceEvent::Expired if set.members().len() > 0 => {}
                SourceEvent::Expired => {
                    client.forget_endpoints();
                    report(News::Expired);
                }
            }
        }
    }
}

/// What the source says next; `None`: the set has something to do before.
async fn next<R: Runtime, S: Source>(
    runtime: &R,
    source: &mut S,
    set: &EndpointSet<ServiceEndpoint>,
) -> Option<Result<Vec<ServiceEndpoint>, SourceError>> {
    let mut listed = pin!(source.next());
    let at = set.deadline().map_or(Instant::MAX, |deadline| deadline.at);
    let mut alarm = (at < Instant::MAX).then(|| runtime.sleep_until(at));
    poll_fn(|cx| {
        if let Poll::Ready(listed) = listed.as_mut().poll(cx) {
            return Poll::Ready(Some(listed));
        }
        match &mut alarm {
            Some(alarm) => std::pin::Pin::new(alarm).poll(cx).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}

fn take<R: Runtime>(
    runtime: &R,
    client: &RestClient<R>,
    set: &mut EndpointSet<ServiceEndpoint>,
    list: Vec<ServiceEndpoint>,
    report: &mut impl FnMut(News),
) {
    let (now, known) = (runtime.now(), set.is_down());
    // A list that the client does not take must not be thought to be its list.
    let mut next = set.clone();
    let taken = next.handle_list(now, list.into_iter().map(member_of));
    let told = match taken {
        Ok(diff) if diff.is_empty() => Ok(diff),
        Ok(diff) => {
            let endpoints = next.members().map(|member| member.metadata.clone());
            client.update_endpoints(endpoints).map(|()| diff).map_err(SourceError::of_list)
        }
        Err(why) => Err(SourceError::of_list(why)),
    };
    let diff = match told {
        Ok(diff) => diff,
        Err(why) => {
            set.handle_failure(now);
            if !known {
                report(News::Failed { why, age: set.age(now) });
            }
            return;
        }
    };
    let named = |set: &EndpointSet<ServiceEndpoint>, endpoints: &[Endpoint]| {
        let members = endpoints.iter().filter_map(|endpoint| set.get(*endpoint));
        let mut addresses: Vec<_> = members.map(|member| member.metadata.address.clone()).collect();
        addresses.sort_unstable();
        addresses
    };
    let (added, removed) = (named(&next, &diff.added), named(set, &diff.removed));
    let changed = named(&next, &diff.changed);
    let total = next.members().len();
    *set = next;
    if !diff.is_empty() {
        report(News::Changed { added, removed, changed, total });
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { added, removed, changed, total } => {
                write!(f, "{total} endpoints")?;
                added.iter().try_for_each(|address| write!(f, " +{address}"))?;
                removed.iter().try_for_each(|address| write!(f, " -{address}"))?;
                changed.iter().try_for_each(|address| write!(f, " ~{address}"))
            }
            Self::Failed { why, age: Some(age) } => {
                write!(f, "{why}; the list of {} s ago is kept", age.as_secs())
            }
            Self::Failed { why, age: None } => write!(f, "{why}; there is no list yet"),
            Self::Back(after) => write!(f, "the source is back after {} s", after.as_secs()),
            Self::Expired => f.write_str("the last list is too old: no endpoints"),
        }
    }
}
