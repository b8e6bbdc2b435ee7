//! Driving a server's way out by the clock of its runtime.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::control::{Control, Wait, wake};
use super::report::DrainReport;
use crate::drive::Alarm;
use crate::runtime::Runtime;

/// Drives the machine by the clock of a runtime, until nothing is left.
pub(super) struct Pacer<R: Runtime> {
    runtime: R,
    control: Arc<Control>,
    wait: Wait,
    alarm: Alarm<R>,
    role: Role,
}

/// On whose behalf the machine is driven.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// Of the server, which heeds the phases.
    Server,
    /// Of somebody who waits for it: only while nobody serves.
    Waiter,
}

impl<R: Runtime> Pacer<R> {
    pub(super) fn new(runtime: R, control: &Arc<Control>, role: Role) -> Self {
        if role == Role::Server {
            control.lock().served = true;
        }
        let (wait, alarm) = (control.wait(), Alarm::new());
        Self { runtime, control: Arc::clone(control), wait, alarm, role }
    }

    /// Ready when nothing is left. Pending, what it decided is to be obeyed before it is polled again.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<DrainReport> {
        loop {
            if let Poll::Ready(report) = self.wait.poll_over(cx) {
                return Poll::Ready(report);
            }
            if self.role == Role::Waiter && self.control.lock().served {
                return Poll::Pending;
            }
            let now = self.runtime.now();
            let deadline = self.control.drive(now).filter(|at| *at > now);
            if self.alarm.arm(cx, &self.runtime, now, deadline).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl<R: Runtime> Drop for Pacer<R> {
    fn drop(&mut self) {
        if self.role == Role::Server {
            let mut state = self.control.lock();
            state.served = false;
            let woken = std::mem::take(&mut state.waiting);
            drop(state);
            wake(woken);
        }
    }
}
