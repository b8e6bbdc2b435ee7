//! tungstenite's `WebSocketContext` as the oracle: what it takes we take, and tell the same.
//!
//! Where the two differ, and why:
//!
//! - A length in more bytes than it needs is refused here, as RFC 6455 5.2 demands, and read there.
//! - A text that is not UTF-8 is refused here at the byte that shows it, and there at the end of its
//!   frame, or not at all if that never comes.
//! - Close codes of the registry are taken here: 1014 is, which there counts as one of nobody.
//! - After an error nothing is read here, and a code is sent; there reading goes on, in silence.
//! - The limit of a frame is that of a data frame here; there control frames have it too.
//! - What is wrong with a header shows here at once, there once the frame is complete.
//! - What comes behind a close frame is thrown away here; there it is an error of a client.
//! - The words of a close frame go back there, and do not here.

use std::io::{self, Read, Write};

use sinew_core::error::{Kind, Violation};
use sinew_core::websocket::{CloseCode, Event, Message, Role};
use tungstenite::protocol::{Role as TheirRole, WebSocketConfig, WebSocketContext};

use crate::told::{Setup, Told, sent_frames};

/// Memory for a socket.
struct Pipe<'a> {
    input: &'a [u8],
    output: Vec<u8>,
}

impl Read for Pipe<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            self.input.read(to)
        }
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What both tell, in one spelling.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Said {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16, String),
}

/// What was said, whether it ended in an error, and the frames that were written.
type Account = (Vec<Said>, bool, Vec<(u8, Vec<u8>)>);

fn ours(told: &Told) -> Account {
    let said = told.events.iter().map(|event| match event {
        Event::Message(Message::Text(text)) => Said::Text(text.as_bytes().to_vec()),
        Event::Message(Message::Binary(bytes)) => Said::Binary(bytes.to_vec()),
        Event::Ping(payload) => Said::Ping(payload.to_vec()),
        Event::Pong(payload) => Said::Pong(payload.to_vec()),
        Event::Closed(closed) => Said::Close(closed.code.as_u16(), closed.reason.to_string()),
    });
    (said.collect(), told.error.is_some(), without_words(&told.written))
}

fn theirs(setup: &Setup, input: &[u8]) -> Account {
    let role = match setup.role {
        Role::Client => TheirRole::Client,
        Role::Server => TheirRole::Server,
    };
    let limits = setup.config.limits;
    let config = WebSocketConfig::default()
        .max_frame_size(Some(limits.frame))
        .max_message_size(Some(limits.message));
    let mut context = WebSocketContext::new(role, Some(config));
    let mut pipe = Pipe { input, output: Vec::new() };
    let mut said = Vec::new();
    let failed = loop {
        match context.read(&mut pipe) {
            Ok(tungstenite::Message::Text(text)) => said.push(Said::Text(text.as_bytes().to_vec())),
            Ok(tungstenite::Message::Binary(bytes)) => said.push(Said::Binary(bytes.to_vec())),
            Ok(tungstenite::Message::Ping(payload)) => said.push(Said::Ping(payload.to_vec())),
            Ok(tungstenite::Message::Pong(payload)) => said.push(Said::Pong(payload.to_vec())),
            // How they say that a code must not be sent.
            Ok(tungstenite::Message::Close(Some(frame)))
                if frame.reason == "Protocol violation" =>
            {
                break true;
            }
            Ok(tungstenite::Message::Close(frame)) => {
                said.push(match frame {
                    Some(frame) => Said::Close(frame.code.into(), frame.reason.to_string()),
                    None => Said::Close(CloseCode::NO_STATUS.as_u16(), String::new()),
                });
                break false;
            }
            Ok(tungstenite::Message::Frame(_)) => {}
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                break false;
            }
            Err(_) => break true,
        }
    };
    let _ = context.flush(&mut pipe);
    (said, failed, without_words(&pipe.output))
}

fn without_words(written: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = sent_frames(written);
    for (opcode, payload) in &mut frames {
        if *opcode == 8 {
            payload.truncate(2);
        }
    }
    frames
}

/// Both are fed the same.
///
/// # Panics
///
/// Where they differ, and not as said above.
pub(crate) fn compare(setup: &Setup, input: &[u8]) {
    let told = setup.run([input], false);
    let (we_said, we_failed, mut we_wrote) = ours(&told);
    let (they_said, they_failed, they_wrote) = theirs(setup, input);
    // Of a control frame, the length needs no more bytes.
    if let Some(Kind::Peer(Violation::FrameLength | Violation::ControlFrame)) = told.kind() {
        assert_eq!(they_said[..we_said.len()], we_said);
        return;
    }
    if let Some(Said::Close(1014, _)) = we_said.last() {
        return;
    }
    assert_eq!(they_said, we_said, "{told:?}");
    if !we_failed {
        assert_eq!((they_failed, they_wrote), (false, we_wrote));
        return;
    }
    // They say nothing, or nearly; we say why.
    assert_eq!(we_wrote.pop().map(|(opcode, _)| opcode), Some(8));
    assert_eq!(they_wrote.iter().filter(|(opcode, _)| *opcode != 8).count(), we_wrote.len());
    // Where the frame is not all there, they have not looked at it yet.
    if !they_failed {
        assert!(theirs(setup, &[input, &vec![0; 300_000]].concat()).1, "{told:?}");
    }
}
