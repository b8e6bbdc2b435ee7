//! Every state of a small admission, for every order of inputs: scripts are played from the start, as a
//! permit cannot be copied.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_macros,
    reason = "the size of the space is a result"
)]

use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};

use super::{Admission, AdmissionConfig, AdmissionEvent, Delay, Entry, Line, Permit, Shed, Ticket};
use crate::Machine;
use crate::limit::{ConcurrencyConfig, Load};
use crate::policy::Priority;
use crate::time::Instant;

/// Requests in all, places in the queue, and milliseconds that are looked at.
const REQUESTS: usize = 5;
const QUEUE: usize = 3;
const HORIZON: u64 = 4;
/// Those that come.
const CLASSES: [Priority; 3] = [Priority::Bulk, Priority::Normal, Priority::Critical];

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn config(places: u32) -> AdmissionConfig {
    AdmissionConfig {
        concurrency: ConcurrencyConfig {
            initial: places,
            max: places,
            ..ConcurrencyConfig::default()
        },
        shares: [30, 0, 20, 0, 50],
        queue: QUEUE,
        target: ms(1),
        interval: ms(2),
        patience: ms(4),
        ..AdmissionConfig::default()
    }
}

#[derive(Clone, Copy, Debug)]
enum Input {
    Arrive(Priority),
    Poll,
    Finish(usize),
    Abandon(usize),
    Tick,
}

/// A request: its number, its priority, and when it came.
type Request = (usize, Priority, Instant);

struct World {
    places: u32,
    admission: Admission<Request>,
    now: Instant,
    came: usize,
    waiting: Vec<(Request, Ticket)>,
    served: Vec<Permit>,
}

/// What tells two worlds apart.
type Key =
    (Instant, usize, [Line; Priority::ALL.len()], u64, Vec<(Priority, Instant)>, Vec<Priority>);

impl World {
    fn played(places: u32, script: &[Input]) -> Self {
        let admission = Admission::new(config(places)).unwrap();
        let now = Instant::ZERO;
        let mut world =
            Self { places, admission, now, came: 0, waiting: Vec::new(), served: Vec::new() };
        for input in script {
            world.play(*input);
        }
        world
    }

    fn inputs(&self) -> Vec<Input> {
        let mut inputs = vec![Input::Poll];
        if self.came < REQUESTS {
            inputs.extend(CLASSES.map(Input::Arrive));
        }
        if self.now < Instant::ZERO + ms(HORIZON) {
            inputs.push(Input::Tick);
        }
        inputs.extend((0..self.served.len()).map(Input::Finish));
        inputs.extend((0..self.waiting.len()).map(Input::Abandon));
        inputs
    }

    fn count(&self, priority: Priority) -> usize {
        self.waiting.iter().filter(|((_, of, _), _)| *of == priority).count()
    }

    fn gone(&mut self, request: Request) {
        let place = self.waiting.iter().position(|(waiting, _)| *waiting == request).unwrap();
        self.waiting.remove(place);
    }

    fn play(&mut self, input: Input) {
        let config = config(self.places);
        match input {
            Input::Arrive(priority) => {
                self.came += 1;
                let request = (self.came, priority, self.now);
                match self.admission.arrive(self.now, priority, request) {
                    Entry::Admitted(owner, permit) => {
                        assert!(owner == request && self.waiting.is_empty(), "overtaken");
                        self.served.push(permit);
                    }
                    Entry::Waiting { ticket, evicted } => {
                        if let Some(victim) = evicted {
                            let (_, class, _) = victim;
                            let waits = self.count(class);
                            assert!(class != priority && self.waiting.len() == QUEUE);
                            let sure = config.is_below_share(class, waits, QUEUE + 1);
                            assert!(!sure, "it was sure of its place");
                            self.gone(victim);
                        }
                        self.waiting.push((request, ticket));
                    }
                    Entry::Shed(owner, why) => {
                        assert!(owner == request && why == Shed::Full);
                        let waits = self.count(priority) + 1;
                        assert_eq!(self.waiting.len(), QUEUE);
                        let sure = config.is_below_share(priority, waits, QUEUE + 1);
                        assert!(!sure, "it was sure of a place");
                    }
                }
            }
            Input::Poll => self.poll(),
            Input::Finish(index) => {
                let permit = self.served.remove(index);
                self.admission.finish(self.now, permit, Load::Borne(Duration::ZERO));
            }
            Input::Abandon(index) => {
                let (request, ticket) = self.waiting.remove(index);
                assert_eq!(self.admission.abandon(ticket), Some(request));
                assert_eq!(self.admission.abandon(ticket), None);
            }
            Input::Tick => self.now = self.now + ms(1),
        }
    }

    fn poll(&mut self) {
        let limit = self.places as usize;
        let config = config(self.places);
        let running = |world: &Self, class| world.admission.running(class);
        let sure: Vec<_> = CLASSES
            .into_iter()
            .filter(|class| self.count(*class) > 0)
            .filter(|class| config.is_below_share(*class, running(self, *class), limit))
            .collect();
        let Ok(event) = self.admission.poll_event(self.now);
        match event {
            Some(AdmissionEvent::Admitted(request, permit)) => {
                let (_, class, _) = request;
                let highest = self.waiting.iter().map(|((_, class, _), _)| *class).max().unwrap();
                assert!(sure.contains(&class) || (sure.is_empty() && class == highest));
                self.gone(request);
                self.served.push(permit);
            }
            Some(AdmissionEvent::Shed(request, why)) => {
                let (_, class, since) = request;
                let waited = self.now - since;
                assert!(why == Shed::Late && waited >= config.target);
                assert!(waited >= config.patience || self.count(class) > 1, "the last one");
                self.gone(request);
            }
            None => {
                let free = self.served.len() < limit;
                assert!(!free || self.waiting.is_empty(), "a place is held back");
                assert!(
                    self.waiting.iter().all(|((.., since), _)| self.now < *since + config.patience)
                );
                let due = self.admission.deadline();
                assert_eq!(due.is_some(), !self.waiting.is_empty());
                assert!(due.is_none_or(|due| due.at > self.now), "a hot loop");
            }
        }
    }

    fn check(&self) {
        assert!(self.served.len() <= self.places as usize && self.waiting.len() <= QUEUE);
        assert_eq!(self.admission.queue.len(), self.waiting.len());
        for class in Priority::ALL {
            assert_eq!(self.admission.waiting(class), self.count(class));
            let served = self.served.iter().filter(|permit| permit.priority == class).count();
            assert_eq!(self.admission.running(class), served);
        }
    }

    fn key(&self) -> Key {
        let admission = &self.admission;
        let mut queue = admission.queue.clone();
        let waiting = core::iter::from_fn(|| queue.pop());
        let waiting = waiting.map(|waiting| (waiting.priority, waiting.since)).collect();
        let served = self.served.iter().map(|permit| permit.priority).collect();
        (self.now, self.came, admission.lines, admission.turn, waiting, served)
    }

    /// Whatever happened: once nobody comes any more and everything is answered, nothing is left.
    fn run_down(mut self) {
        while !self.waiting.is_empty() || !self.served.is_empty() {
            while let Some(permit) = self.served.pop() {
                self.admission.release(permit);
            }
            self.poll();
        }
        self.check();
        assert_eq!(self.admission.places.in_flight(), 0);
        let crowded = |line: &Line| matches!(line.delay, Delay::Short(_) | Delay::Long(_));
        assert!(!self.admission.lines.iter().any(crowded));
    }
}

#[test]
fn no_order_of_inputs_breaks_a_promise() {
    for places in [1, 2] {
        let mut seen = BTreeSet::new();
        let mut queue = VecDeque::from([Vec::new()]);
        let mut inputs = 0_u64;
        while let Some(script) = queue.pop_front() {
            for input in World::played(places, &script).inputs() {
                inputs += 1;
                let mut script = script.clone();
                script.push(input);
                let world = World::played(places, &script);
                world.check();
                if seen.insert(world.key()) {
                    world.run_down();
                    queue.push_back(script);
                }
            }
        }
        println!("{places} places: {} states, {inputs} inputs", seen.len());
    }
}
