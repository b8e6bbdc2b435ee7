//! Whoever sends back what it is sent.

use core::time::Duration;

use sinew_core::time::Instant;
use sinew_core::websocket::deflate::DeflateConfig;
use sinew_core::websocket::{Config, Connection, Event, Limits, Message, Rejected};

use crate::end::{Activity, Application};

/// Bytes of a frame, and of a message: as much as the largest cases of the Autobahn testsuite need.
pub const LARGEST: usize = 16 << 20;

/// What an echo takes.
pub fn config() -> Config {
    let limits = Limits { frame: LARGEST, message: LARGEST, ..Limits::default() };
    Config { limits, close_handshake: Duration::from_secs(2), ..Config::default() }
}

/// Compression, as an echo offers it: of every message, so that every message is a test of it.
pub fn deflate() -> DeflateConfig {
    DeflateConfig { threshold: 0, ..DeflateConfig::default() }
}

/// Sends messages back.
#[derive(Debug, Default)]
pub struct Echo {
    /// Everything that it was told, if that is written down.
    pub log: Option<Vec<Event>>,
    /// It waits for room.
    waiting: Option<Message>,
}

impl Echo {
    /// One that writes down what it is told.
    pub fn logged() -> Self {
        Self { log: Some(Vec::new()), waiting: None }
    }
}

impl Application<Connection> for Echo {
    fn event(&mut self, connection: &mut Connection, event: Event, now: Instant) {
        if let Event::Message(message) = &event {
            self.waiting = Some(message.clone());
            self.act(connection, now);
        }
        if let Some(log) = &mut self.log {
            log.push(event);
        }
    }

    fn act(&mut self, connection: &mut Connection, now: Instant) -> Activity {
        let Some(message) = self.waiting.take() else { return Activity::Idle };
        match connection.send_message(now, message) {
            Ok(()) => Activity::Acted,
            Err(Rejected::Full(message)) => {
                self.waiting = Some(message);
                Activity::Waits
            }
            // It is closed: nobody waits for it any more.
            Err(Rejected::Error(_)) => Activity::Idle,
        }
    }

    fn wants_events(&self, _: Instant) -> bool {
        self.waiting.is_none()
    }
}
