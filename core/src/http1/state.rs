//! The state of one HTTP/1.1 connection, and every transition in it.
//!
//! It knows requests and responses, not who sends them: both roles use it. The tests walk the whole
//! space and hold the table of the documentation to it.

/// How far one message of the current exchange got.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Half {
    /// Its head has not come.
    Idle,
    /// Its head has come, its body has not ended.
    Body,
    /// It is complete.
    Done,
    /// It was given up in the middle.
    Broken,
}

/// Whether the bytes behind this exchange belong to another protocol.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Switch {
    /// Nobody asked.
    No,
    /// The request offers it.
    Offered,
    /// The response took it.
    Taken,
}

/// The product state. `keep` only ever falls, until the next exchange.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct State {
    pub(crate) request: Half,
    pub(crate) response: Half,
    pub(crate) switch: Switch,
    /// Whether another exchange may follow on this connection.
    pub(crate) keep: bool,
}

/// What can happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Transition {
    /// The head of a request; `body` follows; it offers a `switch`; it wants to `keep` going.
    RequestHead { body: bool, switch: bool, keep: bool },
    /// The end of the request's body.
    RequestEnd,
    /// The rest of the request will never be looked at.
    RequestBroken,
    /// An interim response.
    Interim,
    /// The head of the final response.
    ResponseHead { body: bool, switch: bool, keep: bool },
    /// The end of the response's body.
    ResponseEnd,
    /// The response cannot be completed.
    ResponseBroken,
    /// No exchange after this one.
    Close,
}

/// What the whole exchange amounts to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// It goes on.
    Running,
    /// Complete, and another may follow.
    Next,
    /// Complete or given up, and nothing may follow.
    Over,
    /// Complete, and another protocol follows.
    Switched,
}

impl State {
    pub(crate) const START: Self =
        Self { request: Half::Idle, response: Half::Idle, switch: Switch::No, keep: true };

    /// The state after `transition`, or `None` where it cannot happen.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a few instructions where the transition is known")]
    pub(crate) const fn on(self, transition: Transition) -> Option<Self> {
        Some(match (transition, self.request, self.response) {
            (Transition::RequestHead { body, switch, keep }, Half::Idle, Half::Idle)
                if self.keep =>
            {
                Self {
                    request: if body { Half::Body } else { Half::Done },
                    switch: if switch { Switch::Offered } else { Switch::No },
                    keep,
                    ..self
                }
            }
            (Transition::RequestEnd, Half::Body, _) => Self { request: Half::Done, ..self },
            (Transition::RequestBroken, Half::Idle | Half::Body, _) => {
                Self { request: Half::Broken, keep: false, ..self }
            }
            (Transition::Interim, Half::Body | Half::Done | Half::Broken, Half::Idle) => self,
            (
                Transition::ResponseHead { body, switch, keep },
                Half::Body | Half::Done | Half::Broken,
                Half::Idle,
            ) => match (switch, self.switch, self.request) {
                // Nothing of the request may be left when the connection changes its protocol.
                (true, Switch::Offered, Half::Done) => {
                    Self { response: Half::Done, switch: Switch::Taken, keep: false, ..self }
                }
                (true, ..) => return None,
                (false, ..) => Self {
                    response: if body { Half::Body } else { Half::Done },
                    switch: Switch::No,
                    keep: self.keep && keep,
                    ..self
                },
            },
            (Transition::ResponseEnd, _, Half::Body) => Self { response: Half::Done, ..self },
            (Transition::ResponseBroken, _, Half::Idle | Half::Body) => {
                Self { response: Half::Broken, keep: false, ..self }
            }
            (Transition::Close, _, _) => Self { keep: false, ..self },
            _ => return None,
        })
    }

    /// What the exchange amounts to now.
    pub(crate) const fn outcome(self) -> Outcome {
        match (self.request, self.response) {
            (Half::Done, Half::Done) => match self.switch {
                Switch::Taken => Outcome::Switched,
                _ if self.keep => Outcome::Next,
                _ => Outcome::Over,
            },
            (Half::Broken, Half::Done) | (_, Half::Broken) => Outcome::Over,
            _ => Outcome::Running,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    const HALVES: [Half; 4] = [Half::Idle, Half::Body, Half::Done, Half::Broken];

    fn space() -> Vec<State> {
        let mut all = Vec::new();
        for request in HALVES {
            for response in HALVES {
                for switch in [Switch::No, Switch::Offered, Switch::Taken] {
                    for keep in [true, false] {
                        all.push(State { request, response, switch, keep });
                    }
                }
            }
        }
        all
    }

    /// Every transition, with a short name.
    fn transitions() -> Vec<(String, Transition)> {
        let mut all = Vec::new();
        for body in [false, true] {
            for switch in [false, true] {
                for keep in [true, false] {
                    let mut name = if body { "head, body" } else { "head" }.to_owned();
                    name += if switch { ", switch" } else { "" };
                    name += if keep { "" } else { ", last" };
                    let request = Transition::RequestHead { body, switch, keep };
                    let response = Transition::ResponseHead { body, switch, keep };
                    all.push((format!("request {name}"), request));
                    all.push((format!("response {name}"), response));
                }
            }
        }
        all.extend([
            ("request end".into(), Transition::RequestEnd),
            ("request broken".into(), Transition::RequestBroken),
            ("interim".into(), Transition::Interim),
            ("response end".into(), Transition::ResponseEnd),
            ("response broken".into(), Transition::ResponseBroken),
            ("close".into(), Transition::Close),
        ]);
        all
    }

    fn reachable() -> Vec<State> {
        let mut found = vec![State::START];
        let mut next = 0;
        while let Some(state) = found.get(next).copied() {
            next += 1;
            for (_, transition) in transitions() {
                if let Some(state) = state.on(transition)
                    && !found.contains(&state)
                {
                    found.push(state);
                }
            }
        }
        found
    }

    fn name(state: State) -> String {
        let switch = match state.switch {
            Switch::No => "",
            Switch::Offered => ", switch offered",
            Switch::Taken => ", switched",
        };
        let keep = if state.keep { "" } else { ", last" };
        format!("{:?} / {:?}{switch}{keep}", state.request, state.response)
    }

    /// The table of the documentation.
    fn table() -> String {
        let mut text =
            String::from("| request / response | outcome | leads on by |\n|---|---|---|\n");
        let mut states = reachable();
        states.sort_by_key(|state| space().iter().position(|known| known == state));
        for state in states {
            // A head has eight forms: those that lead on count once.
            let mut verbs: Vec<String> = Vec::new();
            for (verb, transition) in transitions() {
                let verb = verb.split(',').next().unwrap_or_default().to_owned();
                if state.on(transition).is_some() && !verbs.contains(&verb) {
                    verbs.push(verb);
                }
            }
            let (name, outcome) = (name(state), state.outcome());
            writeln!(text, "| {name} | {outcome:?} | {} |", verbs.join(", ")).unwrap();
        }
        text
    }

    #[test]
    fn the_documentation_shows_the_table() {
        assert_eq!(include_str!("state.md"), table(), "\n{}", table());
    }

    #[test]
    fn what_was_given_up_stays_given_up() {
        for state in reachable() {
            for (name, transition) in transitions() {
                let Some(after) = state.on(transition) else { continue };
                assert!(state.keep || !after.keep, "{name} brings {state:?} back");
                assert!(after.request != Half::Idle || state.request == Half::Idle, "{name}");
                assert!(after.response != Half::Idle || state.response == Half::Idle, "{name}");
                assert!(state.switch != Switch::Taken || after.switch == Switch::Taken, "{name}");
            }
        }
    }

    #[test]
    fn an_exchange_that_is_over_goes_nowhere() {
        for state in reachable() {
            if matches!(state.outcome(), Outcome::Next | Outcome::Switched) {
                for (name, transition) in transitions() {
                    let after = state.on(transition);
                    assert!(
                        after.is_none() || transition == Transition::Close,
                        "{name}: {state:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_protocol_is_switched_only_when_nothing_is_left_of_the_request() {
        for state in reachable() {
            if state.switch == Switch::Taken {
                assert_eq!((state.request, state.response), (Half::Done, Half::Done));
                assert_eq!(state.outcome(), Outcome::Switched);
            }
        }
    }

    #[test]
    fn every_state_that_can_be_reached_can_end() {
        for state in reachable() {
            let mut ends = vec![state];
            let mut next = 0;
            while let Some(at) = ends.get(next).copied() {
                next += 1;
                let on = transitions().into_iter().filter_map(|(_, transition)| at.on(transition));
                for after in on {
                    if !ends.contains(&after) {
                        ends.push(after);
                    }
                }
            }
            assert!(ends.iter().any(|end| end.outcome() != Outcome::Running), "{state:?}");
        }
    }
}
