//! Who looks after the requests that wait for too long.

use std::sync::Weak;
use std::task::Context;

use super::gate::Gate;
use crate::drive::Alarm;
use crate::runtime::Runtime;

/// Keeps the time of all gates that somebody may wait at: the one that is in force, and those before it
/// for as long as a connection goes by them. Part of the server's own task, whatever is reloaded.
pub(super) struct Keeper<R: Runtime> {
    runtime: R,
    gates: Vec<Weak<Gate>>,
    alarm: Alarm<R>,
}

impl<R: Runtime> Keeper<R> {
    pub(super) fn new(runtime: R) -> Self {
        Self { runtime, gates: Vec::new(), alarm: Alarm::new() }
    }

    /// Does what is due; the task is woken when something else is. `new`: gates that came into force.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, new: Vec<Weak<Gate>>) {
        for gate in new {
            if !self.gates.iter().any(|known| known.ptr_eq(&gate)) {
                self.gates.push(gate);
            }
        }
        loop {
            let now = self.runtime.now();
            let mut deadline = None;
            self.gates.retain(|gate| {
                let Some(gate) = gate.upgrade() else { return false };
                if let Some(due) = gate.keep_time(now, cx.waker()) {
                    deadline = Some(deadline.map_or(due, |at| due.min(at)));
                }
                true
            });
            if self.alarm.arm(cx, &self.runtime, now, deadline).is_pending() {
                return;
            }
        }
    }
}
