//! The one task of a client: it opens connections, closes those that nobody uses, listens to those
//! that are kept, and tells calls that their time is over. It ends with the client.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use sinew_core::client::dispatcher::ConnectionId;

use super::dial::open;
use super::hub::{Dial, Hub, Probe};
use crate::drive::Alarm;
use crate::runtime::Runtime;

/// Looks after the client until its last clone, and the last answer of it, are gone.
///
/// It exists before it is polled: dropped unpolled, by a runtime that ends, it is gone for the hub, too.
pub(super) fn run<R: Runtime>(hub: Weak<Hub<R>>) -> impl Future<Output = ()> + Send {
    let mut keeper = Keeper { hub, alarm: Alarm::new() };
    async move { poll_fn(|cx| keeper.poll(cx)).await }
}

struct Keeper<R: Runtime> {
    hub: Weak<Hub<R>>,
    alarm: Alarm<R>,
}

impl<R: Runtime> Keeper<R> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(hub) = self.hub.upgrade() else { return Poll::Ready(()) };
            // First the waker, then the look: what comes between the two is not missed.
            hub.bells.wait(cx.waker());
            let (dials, probes, deadline) = hub.keep();
            for dial in dials {
                hub.spawn(Box::pin(connect(Arc::downgrade(&hub), dial)));
            }
            for probe in probes {
                hub.spawn(Box::pin(ask(Arc::downgrade(&hub), hub.runtime.clone(), probe)));
            }
            if self.alarm.arm(cx, &hub.runtime, hub.runtime.now(), deadline).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

/// A runtime that ends takes its tasks along; the client may live on, in another one.
impl<R: Runtime> Drop for Keeper<R> {
    fn drop(&mut self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.keeper_ended();
        }
    }
}

/// Opens a connection, unless it is not wanted any more.
async fn connect<R: Runtime>(hub: Weak<Hub<R>>, dial: Dial) {
    let Some(known) = hub.upgrade() else { return };
    let runtime = known.runtime.clone();
    drop(known);
    let connection = dial.connection;
    let reached = |phase| {
        if let Some(hub) = hub.upgrade() {
            hub.dial_reached(connection, phase);
        }
    };
    let opening = pin!(open(&runtime, &dial.plan, &dial.instance, dial.by, reached));
    let opened = while_wanted(&hub, connection, opening).await;
    if let Some(opened) = opened
        && let Some(hub) = hub.upgrade()
    {
        hub.dialled(connection, opened);
    }
}

/// Asks an endpoint how it is. That ends by its time, whatever becomes of the client.
async fn ask<R: Runtime>(hub: Weak<Hub<R>>, runtime: R, probe: Probe) {
    let Probe { run, instance, plan, by } = probe;
    let Some(check) = &plan.check else { return };
    let is_well = check.run(&runtime, &plan, &instance, by).await.unwrap_or(false);
    if let Some(hub) = hub.upgrade() {
        hub.probed(run, is_well);
    }
}

/// The outcome of opening a connection; `None` where nobody wants it any more.
async fn while_wanted<R: Runtime, F: Future>(
    hub: &Weak<Hub<R>>,
    connection: ConnectionId,
    mut opening: Pin<&mut F>,
) -> Option<F::Output> {
    poll_fn(|cx| {
        let wanted = hub.upgrade().is_some_and(|hub| hub.is_dialing(connection, cx.waker()));
        if wanted { opening.as_mut().poll(cx).map(Some) } else { Poll::Ready(None) }
    })
    .await
}
