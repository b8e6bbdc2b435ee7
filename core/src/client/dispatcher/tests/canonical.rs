//! The whole state of a dispatcher with one endpoint, as numbers that do not depend on when that is, on
//! how its calls and connections are called, or on what never decides anything.
//!
//! Left out: what is learnt about latencies (there is one endpoint to choose, and hedges wait for their
//! least delay), the windows of the breaker, the budget and the hedges (wide open), the limit of
//! attempts (fixed) and the generator (set before each input).

use super::super::slots::Slot;
use super::*;

/// Beyond every other time.
const NEVER: u64 = u64::MAX;

fn left(now: Instant, at: Instant) -> u64 {
    if at == Instant::MAX { NEVER } else { u64::try_from((at - now).as_nanos()).unwrap_or(NEVER) }
}

fn armed(alarms: &Alarms, now: Instant, whose: Whose, place: u32) -> u64 {
    alarms.armed(whose, place).map_or(NEVER, |at| left(now, at))
}

/// Both orders of two keys, or the one order of fewer.
fn orders(keys: Vec<Key>) -> Vec<Vec<Key>> {
    match keys[..] {
        [a, b] => vec![vec![a, b], vec![b, a]],
        _ => vec![keys],
    }
}

impl Dispatcher {
    pub(super) fn canonical(&self, now: Instant) -> Vec<u64> {
        let calls = orders(self.calls.iter().map(|(key, _)| key).collect());
        let slots = orders(self.slots.iter().map(|(key, _)| key).collect());
        let each = calls.iter().flat_map(|calls| slots.iter().map(move |slots| (calls, slots)));
        each.map(|(calls, slots)| self.in_order(now, calls, slots)).min().unwrap()
    }

    fn in_order(&self, now: Instant, calls: &[Key], slots: &[Key]) -> Vec<u64> {
        let mut out = Vec::with_capacity(96);
        let call_name = |key: Key| calls.iter().position(|call| *call == key).unwrap() as u64;
        let slot_name = |key: Key| slots.iter().position(|slot| *slot == key).unwrap() as u64;
        for key in calls {
            self.write_call(now, *key, &mut out);
        }
        out.push(100 + calls.len() as u64);
        for place in self.calls.free_places() {
            out.push(armed(&self.alarms, now, Whose::Calls, place));
        }
        let mut queue = self.queue.clone();
        while let Some((call, lane)) = queue.pop() {
            out.extend([200 + call_name(call), lane as u64]);
        }
        for key in slots {
            self.write_slot(now, *key, self.slots.get(*key).unwrap(), &mut out);
        }
        out.push(300 + slots.len() as u64);
        let place_name = |place: u32| slots.iter().position(|key| key.index() == place).unwrap();
        out.extend(self.slots.coming_places().into_iter().map(|place| place_name(place) as u64));
        for place in self.slots.free() {
            out.push(armed(&self.alarms, now, Whose::Connections, place));
        }
        let mut exchanges: Vec<[u64; 10]> = Vec::new();
        for (key, exchange) in self.exchanges.iter() {
            let waited_for = exchange.call.and_then(|call| Some((call, self.calls.get(call)?)));
            let lane = waited_for.and_then(|(_, call)| call.lane_of(key));
            let breaker = &self.instances.get(exchange.endpoint).unwrap().breaker;
            let worth = |permit: &Permit| 1 + breaker.worth(permit);
            let on_route = exchange.route.as_ref().map_or([0; 2], |on| {
                let breaker = &self.routes.get(on.key).unwrap().breaker;
                let worth = on.permit.as_ref().map_or(0, |permit| 1 + breaker.worth(permit));
                [1 + worth, u64::from(on.epoch == breaker.epoch())]
            });
            exchanges.push([
                slot_name(exchange.connection),
                waited_for.map_or(NEVER, |(call, _)| call_name(call)),
                lane.map_or(NEVER, |lane| lane as u64),
                left(now, exchange.by),
                exchange.permit.as_ref().map_or(0, worth),
                u64::from(exchange.place.is_some()),
                u64::from(exchange.epoch == Some(breaker.epoch())),
                u64::from(exchange.first_use),
                on_route[0],
                on_route[1],
            ]);
        }
        exchanges.sort_unstable();
        out.extend(exchanges.into_iter().flatten());
        for route in self.routes.iter() {
            out.extend(route.breaker.canonical(now));
        }
        for (key, instance) in self.instances.iter() {
            out.push(400 + u64::from(instance.ready_at.is_some()));
            out.push(left(now, instance.warm_after.unwrap_or(Instant::MAX)));
            out.push(armed(&self.alarms, now, Whose::Endpoints, timer_of(key)));
            out.extend(instance.breaker.canonical(now));
            for list in self.slots.lists(&instance.share) {
                out.push(500);
                out.extend(list.into_iter().map(|place| place_name(place) as u64));
            }
        }
        out
    }

    fn write_call(&self, now: Instant, key: Key, out: &mut Vec<u64>) {
        let call = self.calls.get(key).unwrap();
        let waits = call.lanes.iter().any(|lane| matches!(lane, Lane::Queued(_)));
        out.extend([
            call.spec.safety as u64,
            call.spec.sharing as u64,
            u64::from(call.route.is_some()),
            u64::from(call.attempts),
            u64::from(call.strikes),
            u64::from(call.delivered),
            left(now, call.deadline()),
            left(now, call.hedge_at.unwrap_or(Instant::MAX)),
            if waits { left(now, call.wait_until) } else { NEVER },
            armed(&self.alarms, now, Whose::Calls, key.index()),
        ]);
        for lane in call.lanes {
            out.push(match lane {
                Lane::Empty => 0,
                Lane::Queued(_) => 1,
                Lane::Sent(_) => 2,
                Lane::BackOff(until) => 3 + left(now, until),
            });
        }
    }

    fn write_slot(&self, now: Instant, key: Key, slot: &Slot, out: &mut Vec<u64>) {
        let breaker = &self.instances.get(slot.endpoint).unwrap().breaker;
        let waits = slot.state == State::Dialing || (slot.state == State::Open && slot.used == 0);
        out.extend([
            slot.state as u64,
            u64::from(slot.capacity),
            u64::from(slot.used),
            u64::from(slot.exclusive),
            u64::from(slot.forsaken),
            u64::from(slot.uses > 0),
            if waits { left(now, slot.idle_until) } else { NEVER },
            slot.permit.as_ref().map_or(0, |permit| 1 + breaker.worth(permit)),
            armed(&self.alarms, now, Whose::Connections, key.index()),
        ]);
    }
}
