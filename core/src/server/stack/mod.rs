//! What every request passes before a handler sees it, and every answer on its way out.
//!
//! | stage | layer | refuses with |
//! |---|---|---|
//! | [`Identify`](Stage::Identify) | [`Identify`]: names, trace, address | |
//! | [`Preflight`](Stage::Preflight) | [`Cors`](crate::security::Cors) | |
//! | [`Deadline`](Stage::Deadline) | [`Deadlines`]: who waits, and until when | 400, 504 |
//! | [`Shield`](Stage::Shield) | [`Shield`]: failed credentials by address | 429 |
//! | [`Authenticate`](Stage::Authenticate) | [`Authentication`] | 400, 401, 503 |
//! | [`Authorise`](Stage::Authorise) | [`Access`](crate::security::Access) | 401, 403 |
//! | [`Limit`](Stage::Limit) | [`Classes`]: how much it matters | |
//! | | [`RateLimit`]: quotas by client, route, and for all | 429 |
//! | | [`SharedLimit`]: a quota by client that replicas share | 429, 503 |
//! | [`Validate`](Stage::Validate) | [`Validation`]: what the route wants to be sent | 400, 415 |
//! | [`Application`](Stage::Application) | layers of the application | |
//! | [`Admit`](Stage::Admit) | no layer, but [`Admission`](crate::limit::Admission): can it be taken up now? | 503 |
//!
//! Errors and metrics have no stage: every refusal becomes a [problem](crate::problem), whoever
//! refuses, and every verdict an [event](crate::observe::Event), so neither can be passed by.

mod access;
mod arrival;
mod authentication;
mod classes;
mod cors;
mod deadlines;
mod identify;
mod rate_limit;
mod record;
mod shared_limit;
mod shield;
mod validation;

use core::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::Template;
use crate::head::Lines;
use crate::policy::{Mode, Refused, Stage};
use crate::reason::Reason;

pub use crate::origin::Scheme;
pub use arrival::{Arrival, Cost, Peer, RoutePolicy};
pub use authentication::Authentication;
pub use classes::{Classes, PriorityRule};
pub use deadlines::Deadlines;
pub use identify::Identify;
pub use rate_limit::{BadRateLimit, Buckets, ClientClass, LimitFields, RateLimit, RateLimitConfig};
pub use record::{End, Record, SpareRecord};
pub use shared_limit::{Lessor, SharedLimit};
pub use shield::Shield;
pub use validation::{BadMediaType, Expectation, MediaRange, Validation};

/// A policy of the server: looks at each request before its handler, and at each answer.
///
/// It is shared by all connections and has no state of its own, or guards it.
pub trait Layer {
    /// Where it stands.
    fn stage(&self) -> Stage;

    /// What concerns it, once it has seen a head. Asked once, when a stack is built: what concerns no
    /// layer costs nothing. By default all that comes.
    fn interest(&self) -> Interest {
        Interest::ALL
    }

    /// The routes are known, before any request comes: what depends on them can be looked up once.
    /// Whoever puts a stack together calls it.
    fn prepare(&mut self, templates: &[Template]) {
        let _ = templates;
    }

    /// A head is here; nothing of the body was read. What the layer found belongs into the record.
    fn on_head(&self, arrival: &Arrival<'_>, record: &mut Record) -> Decision;

    /// What belongs on an answer, whoever writes it. It is asked of answers that may never be sent,
    /// too, and more than once: it has no effect but on the answer.
    fn on_response(&self, record: &Record, response: &mut dyn ResponseHead) {
        let _ = (record, response);
    }

    /// The exchange is over. Told to those who were asked about its head.
    fn on_end(&self, record: &Record, end: &End) {
        let _ = (record, end);
    }

    /// What it found, in plain words, where there is more to say than the reason: for logs, and for
    /// those who write policies. No credential is in it.
    fn explain(&self, record: &Record) -> Option<String> {
        let _ = record;
        None
    }
}

/// What concerns a layer behind the head of a request; it is asked and told nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Interest {
    /// Answers that it may have something to add [to](Layer::on_response).
    pub answers: Exchanges,
    /// Ends that it wants to be [told](Layer::on_end).
    pub ends: Exchanges,
}

impl Interest {
    /// Every answer and every end.
    pub const ALL: Self = Self { answers: Exchanges::Every, ends: Exchanges::Every };

    /// The head, and nothing behind it.
    pub const HEAD: Self = Self { answers: Exchanges::None, ends: Exchanges::None };
}

/// Exchanges of a kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Exchanges {
    /// None.
    None,
    /// Those that were [refused](Record::refused), by whichever layer, or would have been.
    Refused,
    /// Every one.
    Every,
}

/// A layer that connections on several threads share.
pub type BoxLayer = Box<dyn Layer + Send + Sync>;

/// What a layer makes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[must_use]
pub enum Decision {
    /// The next one has a look.
    Continue,
    /// Done: this status, without a body.
    Answer(StatusCode),
    /// Refused.
    Refuse(Reason),
}

/// The head of an answer that layers may change.
pub trait ResponseHead {
    /// The status; 500 where it is not known yet, because the connection may have to answer by
    /// itself.
    fn status(&self) -> StatusCode;

    /// Whether there is such a field.
    fn contains(&self, name: &HeaderName) -> bool;

    /// Whether some value of this field passes a test; it sees the values in order, up to that one.
    fn any(&self, name: &HeaderName, test: &mut dyn FnMut(&HeaderValue) -> bool) -> bool;

    /// Removes every field whose name is not to be kept.
    fn retain(&mut self, keep: &dyn Fn(&HeaderName) -> bool);

    /// Adds a field line.
    fn append(&mut self, name: HeaderName, value: HeaderValue);

    /// Where layers write whole lines that nobody looks for later on: they are no fields to the other
    /// methods, and go out behind those. `None`: lines are [appended](Self::append) like the others.
    fn lines(&mut self) -> Option<&mut Lines> {
        None
    }
}

/// Writes lines that belong on an answer.
#[inline]
fn write_lines(response: &mut dyn ResponseHead, write: impl FnOnce(&mut Lines)) {
    match response.lines() {
        Some(lines) => write(lines),
        None => append_lines(response, write),
    }
}

/// Apart, so that answers with a place for lines do not pay for it.
#[inline(never)]
fn append_lines(response: &mut dyn ResponseHead, write: impl FnOnce(&mut Lines)) {
    let mut lines = Lines::new();
    write(&mut lines);
    for (name, value) in lines.iter() {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_bytes(value))
        {
            response.append(name, value);
        }
    }
}

impl<B> ResponseHead for http::Response<B> {
    fn status(&self) -> StatusCode {
        self.status()
    }

    fn contains(&self, name: &HeaderName) -> bool {
        self.headers().contains_key(name)
    }

    fn any(&self, name: &HeaderName, test: &mut dyn FnMut(&HeaderValue) -> bool) -> bool {
        self.headers().get_all(name).iter().any(test)
    }

    fn retain(&mut self, keep: &dyn Fn(&HeaderName) -> bool) {
        let fields = self.headers_mut();
        while let Some(name) = fields.keys().find(|name| !keep(name)).cloned() {
            fields.remove(name);
        }
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        HeaderMap::append(self.headers_mut(), name, value);
    }
}

/// The layers of a server, in order.
pub struct Stack {
    layers: Box<[Entry]>,
    answers: Concerned,
    ends: Concerned,
}

/// The places of the layers that an exchange concerns once more, the last one first.
struct Concerned {
    every: Box<[usize]>,
    refused: Box<[usize]>,
}

impl Concerned {
    /// `by`: which exchanges concern a layer.
    fn new(layers: &[Entry], by: impl Fn(&Entry) -> Exchanges) -> Self {
        let least = |kind: Exchanges| {
            let all = layers.iter().enumerate().rev();
            all.filter(|(_, entry)| by(entry) >= kind).map(|(place, _)| place).collect()
        };
        Self { every: least(Exchanges::Every), refused: least(Exchanges::Refused) }
    }

    #[inline]
    fn by(&self, record: &Record) -> &[usize] {
        if record.refused.is_some() { &self.refused } else { &self.every }
    }
}

struct Entry {
    stage: Stage,
    mode: Mode,
    layer: BoxLayer,
}

impl Entry {
    /// Asks a layer whose word does not count.
    #[cold]
    fn try_out(&self, arrival: &Arrival<'_>, record: &mut Record) {
        let retry_after = record.retry_after;
        let decision = self.layer.on_head(arrival, record);
        record.retry_after = retry_after;
        let _ = self.note(decision, record);
    }

    /// Hands the decision back.
    #[cold]
    fn note(&self, decision: Decision, record: &mut Record) -> Decision {
        if let Decision::Refuse(reason) = decision {
            record.refuse(Refused { stage: self.stage, reason, mode: self.mode });
        }
        decision
    }
}

/// A layer stands behind one of a later stage.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct OutOfOrder {
    /// The stage of the layer in front.
    pub front: Stage,
    /// The stage of the layer behind it.
    pub behind: Stage,
}

impl Stack {
    /// Checks the order. A layer that is [off](Mode::Off) is left out.
    ///
    /// # Errors
    ///
    /// When a stage comes after a later one; several layers of one stage are fine.
    pub fn new(layers: impl IntoIterator<Item = (Mode, BoxLayer)>) -> Result<Self, OutOfOrder> {
        let entries = layers
            .into_iter()
            .filter(|(mode, _)| mode.asks())
            .map(|(mode, layer)| Entry { stage: layer.stage(), mode, layer });
        let layers: Box<[Entry]> = entries.collect();
        for pair in layers.windows(2) {
            if let [front, behind] = pair
                && front.stage > behind.stage
            {
                return Err(OutOfOrder { front: front.stage, behind: behind.stage });
            }
        }
        let answers = Concerned::new(&layers, |entry| {
            // Those that are only tried add nothing.
            if entry.mode.obeys() { entry.layer.interest().answers } else { Exchanges::None }
        });
        let ends = Concerned::new(&layers, |entry| entry.layer.interest().ends);
        Ok(Self { layers, answers, ends })
    }

    /// Whether there is no layer.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Asks the layers in order, until one of them does not let the request go on. What they found
    /// is in the record, which was new, even if one of them panics.
    pub fn on_head(&self, arrival: &Arrival<'_>, record: &mut Record) -> Decision {
        for entry in &self.layers {
            record.asked += 1;
            if !entry.mode.obeys() {
                entry.try_out(arrival, record);
                continue;
            }
            let decision = entry.layer.on_head(arrival, record);
            if decision != Decision::Continue {
                return entry.note(decision, record);
            }
        }
        Decision::Continue
    }

    /// Lets the layers see an answer, and add to it what belongs on it; not those that are only
    /// tried.
    #[inline]
    pub fn on_response(&self, record: &Record, response: &mut dyn ResponseHead) {
        self.resume_response(&mut 0, record, response);
    }

    /// The same, for whoever catches panics. `asked` counts the layers that were asked, the one that
    /// panicked among them: called again with it, the next ones have their say.
    #[inline]
    pub fn resume_response(
        &self,
        asked: &mut usize,
        record: &Record,
        response: &mut dyn ResponseHead,
    ) {
        let left = self.answers.by(record).get(*asked..).unwrap_or_default();
        for entry in left.iter().filter_map(|place| self.layers.get(*place)) {
            *asked += 1;
            entry.layer.on_response(record, response);
        }
    }

    /// Whether some layer is [told](Self::on_end) of the end of this exchange: where none is, nobody
    /// needs to know when that was.
    #[inline]
    pub fn awaits_end(&self, record: &Record) -> bool {
        self.ends.by(record).iter().any(|place| *place < record.asked)
    }

    /// Tells the layers that were asked that the exchange is over.
    #[inline]
    pub fn on_end(&self, record: &Record, end: &End) {
        let concerned = self.ends.by(record).iter().filter(|place| **place < record.asked);
        for entry in concerned.filter_map(|place| self.layers.get(*place)) {
            entry.layer.on_end(record, end);
        }
    }

    /// Why the request was refused, or would have been, in plain words; of one that was not, which
    /// rule let it in. `None` where the reason says all there is.
    ///
    /// It names rules, and says what is wrong with a token: not for everybody's eyes.
    pub fn explain(&self, record: &Record) -> Option<String> {
        let stage = record.refused.map_or(Stage::Authorise, |refused| refused.stage);
        let mut asked = self.layers.iter().filter(|entry| entry.stage == stage);
        asked.find_map(|entry| entry.layer.explain(record))
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.layers.iter().map(|entry| (entry.stage, entry.mode))).finish()
    }
}

impl fmt::Display for OutOfOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (front, behind) = (self.front.name(), self.behind.name());
        write!(f, "a layer of the stage {behind:?} stands behind one of the stage {front:?}")
    }
}

impl core::error::Error for OutOfOrder {}
