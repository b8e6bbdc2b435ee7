//! The state of one HTTP/1.1 connection, and every transition in it.
//!
//! It knows requests and responses, not who sends them: both roles use it. The test at the end
//! walks the whole space.

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
            (Transition::Interim, Half::Body | Half::Done, Half::Idle) => self,
            (
                Transition::ResponseHead { body, switch, keep },
                Half::Body | Half::Done | Half::Broken,
                Half::Idle,
            ) => match (switch, self.switch) {
                (true, Switch::Offered) => {
                    Self { response: Half::Done, switch: Switch::Taken, keep: false, ..self }
                }
                (true, _) => return None,
                (false, _) => Self {
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
