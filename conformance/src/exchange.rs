//! Scripted exchanges, and the two applications that play them over a [`Pair`](crate::pair::Pair).

use bytes::Bytes;
use core::time::Duration;
use http::{Method, StatusCode};
use sinew_core::error::Error;
use sinew_core::http1::{
    BodySize, Client, ClientEvent, NO_FIELDS, Rejected, RequestLine, Server, ServerEvent,
};
use sinew_core::machine::Wire;
use sinew_core::time::Instant;

use crate::end::{Activity, Application};
use crate::transcript::{Message, Start};

/// A body to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// None.
    Empty,
    /// Its length is announced.
    Exact(Vec<Bytes>),
    /// Its length is not known beforehand; it may have a trailer.
    Streamed(Vec<Bytes>, Option<Bytes>),
}

impl Body {
    /// All of it.
    pub fn bytes(&self) -> Vec<u8> {
        self.pieces().concat()
    }

    fn pieces(&self) -> &[Bytes] {
        match self {
            Self::Empty => &[],
            Self::Exact(pieces) | Self::Streamed(pieces, _) => pieces,
        }
    }

    fn size(&self) -> BodySize {
        match self {
            Self::Empty => BodySize::Empty,
            Self::Exact(pieces) => {
                BodySize::Exact(pieces.iter().map(|piece| piece.len() as u64).sum())
            }
            Self::Streamed(..) => BodySize::Unknown,
        }
    }

    fn trailers(&self) -> Vec<(&'static str, Bytes)> {
        match self {
            Self::Streamed(_, Some(value)) => vec![("x-trailer", value.clone())],
            _ => Vec::new(),
        }
    }
}

/// When a server answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Once the request is complete.
    AtTheEnd,
    /// At its head, while the body comes.
    AtOnce,
    /// At its head, and the body is of no interest.
    Discarding,
}

/// One exchange: what is asked, and what is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exchange {
    /// The method.
    pub method: Method,
    /// The request's body.
    pub request: Body,
    /// Whether the client asks with `Expect: 100-continue`.
    pub expects: bool,
    /// When the server answers.
    pub answer: Answer,
    /// How long the server thinks before it does.
    pub thinks: Duration,
    /// 103 responses before the final one.
    pub hints: u8,
    /// The final status.
    pub status: StatusCode,
    /// The response's body, as far as method and status let it have one.
    pub response: Body,
    /// How long the client sleeps after each piece of the response.
    pub rests: Duration,
}

/// The client: asks for one exchange after another, as early as the machine lets it, then closes.
#[derive(Debug)]
pub struct Asking {
    plan: Vec<Exchange>,
    /// What was received, one for each final response.
    pub answers: Vec<Message>,
    /// Requests that were sent.
    pub asked: usize,
    /// 103 responses that came.
    pub hints: usize,
    /// A verb that was refused although it was due.
    pub refused: Option<Error>,
    sending: Option<(usize, usize)>,
    sleeps_until: Instant,
    done: bool,
}

impl Asking {
    /// Asks for these exchanges.
    pub fn new(plan: Vec<Exchange>) -> Self {
        Self {
            plan,
            answers: Vec::new(),
            asked: 0,
            hints: 0,
            refused: None,
            sending: None,
            sleeps_until: Instant::ZERO,
            done: false,
        }
    }

    fn note(&mut self, error: Error) {
        if !error.is_fatal() {
            self.refused.get_or_insert(error);
        }
    }

    fn send_body(&mut self, client: &mut Client, now: Instant) -> Activity {
        let Some((index, at)) = self.sending else { return Activity::Idle };
        if !client.request_open() {
            self.sending = None;
            return Activity::Acted;
        }
        if !client.can_send() {
            // What `Expect` holds back is released by an event, not by a drained outbox.
            return if client.outbox().is_full() { Activity::Waits } else { Activity::Idle };
        }
        let body = &self.plan[index].request;
        let sent = match body.pieces().get(at) {
            Some(piece) => client.send_data(now, piece.clone()),
            None => client.send_end(now, body.trailers()).map_err(Rejected::Error),
        };
        self.sending = (at < body.pieces().len()).then_some((index, at + 1));
        if let Err(Rejected::Error(error)) = sent {
            self.note(error);
        }
        Activity::Acted
    }
}

impl Application<Client> for Asking {
    fn event(&mut self, _client: &mut Client, event: ClientEvent, now: Instant) {
        match event {
            ClientEvent::Informational(head) => {
                self.hints += usize::from(head.status() == StatusCode::EARLY_HINTS);
            }
            ClientEvent::Continue => {}
            ClientEvent::Response { head, body } => {
                let mut message = Message::from_response(&head);
                message.complete = body == BodySize::Empty;
                self.answers.push(message);
            }
            ClientEvent::Data(data) => {
                if let Some(message) = self.answers.last_mut() {
                    message.data(&data);
                }
                if let Some(exchange) = self.plan.get(self.answers.len().saturating_sub(1)) {
                    self.sleeps_until = now + exchange.rests;
                }
            }
            ClientEvent::End(trailers) => {
                if let Some(message) = self.answers.last_mut() {
                    message.end(trailers.as_ref());
                }
            }
        }
    }

    fn act(&mut self, client: &mut Client, now: Instant) -> Activity {
        if self.sending.is_some() {
            return self.send_body(client, now);
        }
        let index = self.asked;
        let follows = self
            .plan
            .get(index)
            .is_some_and(|next| next.request == Body::Empty && client.can_pipeline(&next.method));
        if self.done || !(client.reusable() || follows) {
            return Activity::Idle;
        }
        let Some(exchange) = self.plan.get(index) else {
            self.done = true;
            client.close(now);
            return Activity::Acted;
        };
        let target = format!("/{index}");
        let line = RequestLine {
            method: &exchange.method,
            target: target.as_bytes(),
            authority: b"pair.test",
        };
        let size = exchange.request.size();
        let expects = exchange.expects && size != BodySize::Empty && size != BodySize::Exact(0);
        let fields = expects.then_some(("expect", "100-continue"));
        let sent = client.send_request(now, line, fields, size);
        self.asked += 1;
        self.sending =
            (size != BodySize::Empty && size != BodySize::Exact(0)).then_some((index, 0));
        if let Err(error) = sent {
            self.note(error);
        }
        Activity::Acted
    }

    fn wants_events(&self, now: Instant) -> bool {
        now >= self.sleeps_until
    }

    fn wakes_at(&self) -> Option<Instant> {
        (self.sleeps_until > Instant::ZERO).then_some(self.sleeps_until)
    }
}

/// The server: answers as the plan says; a target names its exchange.
#[derive(Debug)]
pub struct Serving {
    plan: Vec<Exchange>,
    /// What was received, one for each request.
    pub requests: Vec<Message>,
    /// A verb that was refused although it was due.
    pub refused: Option<Error>,
    thinking: Option<(usize, Instant)>,
    sending: Option<(usize, usize)>,
}

impl Serving {
    /// Answers by this plan.
    pub fn new(plan: Vec<Exchange>) -> Self {
        Self { plan, requests: Vec::new(), refused: None, thinking: None, sending: None }
    }

    /// The exchange that the last request belongs to.
    fn current(&self) -> Option<usize> {
        let Start::Request { target, .. } = &self.requests.last()?.start else { return None };
        let index = target.strip_prefix('/')?.parse().ok()?;
        (index < self.plan.len()).then_some(index)
    }

    fn think(&mut self, now: Instant) {
        self.thinking = self.current().map(|index| (index, now + self.plan[index].thinks));
    }

    fn note(&mut self, sent: Result<(), Error>) {
        if let Err(error) = sent
            && !error.is_fatal()
        {
            self.refused.get_or_insert(error);
        }
    }

    fn answer(&mut self, server: &mut Server, index: usize, now: Instant) {
        let exchange = self.plan[index].clone();
        if exchange.answer == Answer::Discarding && server.body_open() {
            server.discard_body(now);
        }
        for _ in 0..exchange.hints {
            let hints = [("link", "</style.css>")];
            let sent = server.send_informational(now, StatusCode::EARLY_HINTS, hints);
            self.note(sent);
        }
        let size = response_size(&exchange);
        let sent = server.send_response(now, exchange.status, NO_FIELDS, size);
        self.note(sent);
        self.sending = server.response_open().then_some((index, 0));
    }

    fn send_body(&mut self, server: &mut Server, now: Instant) -> Activity {
        let Some((index, at)) = self.sending else { return Activity::Idle };
        if !server.response_open() {
            self.sending = None;
            return Activity::Acted;
        }
        if !server.can_send() {
            return Activity::Waits;
        }
        let body = &self.plan[index].response;
        let sent = match body.pieces().get(at) {
            Some(piece) => server.send_data(now, piece.clone()),
            None => server.send_end(now, body.trailers()).map_err(Rejected::Error),
        };
        self.sending = (at < body.pieces().len()).then_some((index, at + 1));
        if let Err(Rejected::Error(error)) = sent {
            self.note(Err(error));
        }
        Activity::Acted
    }
}

/// The body that the machine is told of: none where the status has none.
fn response_size(exchange: &Exchange) -> BodySize {
    match exchange.status {
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => BodySize::Empty,
        _ => exchange.response.size(),
    }
}

impl Application<Server> for Serving {
    fn event(&mut self, server: &mut Server, event: ServerEvent, now: Instant) {
        match event {
            ServerEvent::Request { head, body } => {
                let mut message = Message::from_request(&head);
                message.complete = body == BodySize::Empty;
                self.requests.push(message);
                let answer = self.current().map(|index| self.plan[index].answer);
                let at_once = answer.is_some_and(|answer| answer != Answer::AtTheEnd);
                if server.awaits_continue() && answer != Some(Answer::Discarding) {
                    let sent = server.send_informational(now, StatusCode::CONTINUE, NO_FIELDS);
                    self.note(sent);
                }
                if at_once || body == BodySize::Empty {
                    self.think(now);
                }
            }
            ServerEvent::Data(data) => {
                if let Some(message) = self.requests.last_mut() {
                    message.data(&data);
                }
            }
            ServerEvent::End(trailers) => {
                if let Some(message) = self.requests.last_mut() {
                    message.end(trailers.as_ref());
                }
                if self.current().is_some_and(|i| self.plan[i].answer == Answer::AtTheEnd) {
                    self.think(now);
                }
            }
        }
    }

    fn act(&mut self, server: &mut Server, now: Instant) -> Activity {
        if let Some((index, at)) = self.thinking {
            if at > now {
                return Activity::Idle;
            }
            self.thinking = None;
            if server.awaits_response() {
                self.answer(server, index, now);
            }
            return Activity::Acted;
        }
        self.send_body(server, now)
    }

    fn wakes_at(&self) -> Option<Instant> {
        self.thinking.map(|(_, at)| at)
    }
}
