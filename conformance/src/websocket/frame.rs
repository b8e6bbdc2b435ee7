//! Frames as the cases write them, and a reader of those that come back: slow, strict, and not the
//! machine's own.

use flate2::{Decompress, FlushDecompress};
use serde::Deserialize;

use crate::case::Octets;
use crate::websocket::case::{Answer, Sender};

/// What frames of clients are masked with.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// One frame, good or bad. Of `text` to `payload`, one is there.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// The payload of a text.
    #[serde(default)]
    text: Option<Octets>,
    /// The payload of a binary frame.
    #[serde(default)]
    binary: Option<Octets>,
    /// The payload of a continuation.
    #[serde(default)]
    continuation: Option<Octets>,
    /// The payload of a close frame, the code in its first two octets.
    #[serde(default)]
    close: Option<Octets>,
    /// The payload of a ping.
    #[serde(default)]
    ping: Option<Octets>,
    /// The payload of a pong.
    #[serde(default)]
    pong: Option<Octets>,
    /// Octets that are sent as they are: half a frame, or none.
    #[serde(default)]
    octets: Option<Octets>,
    /// The payload of a frame with another `opcode`.
    #[serde(default)]
    payload: Option<Octets>,
    #[serde(default)]
    opcode: Option<u8>,
    /// Whether it is the last of its message.
    #[serde(default = "yes")]
    fin: bool,
    /// The reserved bits: 4, 2, 1.
    #[serde(default)]
    rsv: u8,
    /// Whether it is masked, where that is not what its sender should do.
    #[serde(default)]
    masked: Option<bool>,
    /// The length in the header, where it is not that of the payload.
    #[serde(default)]
    announced: Option<u64>,
    /// Bytes of the length in the header, 2 or 8, where it needs fewer.
    #[serde(default)]
    length_bytes: Option<u8>,
    /// The payload, so many times over.
    #[serde(default = "one")]
    times: usize,
    /// The frame, so many times over.
    #[serde(default = "one")]
    repeat: usize,
}

const fn yes() -> bool {
    true
}

const fn one() -> usize {
    1
}

impl Frame {
    fn kinds(&self) -> [(Option<u8>, Option<&Octets>); 8] {
        [
            (Some(0), self.continuation.as_ref()),
            (Some(1), self.text.as_ref()),
            (Some(2), self.binary.as_ref()),
            (Some(8), self.close.as_ref()),
            (Some(9), self.ping.as_ref()),
            (Some(10), self.pong.as_ref()),
            (self.opcode, self.payload.as_ref()),
            (None, self.octets.as_ref()),
        ]
    }

    /// What the types cannot say.
    pub(super) fn check_sound(&self) -> Result<(), String> {
        let given = self.kinds().iter().filter(|(_, payload)| payload.is_some()).count();
        if given != 1 || self.opcode.is_some() != self.payload.is_some() {
            return Err("a frame has one payload, and an `opcode` with `payload`".to_owned());
        }
        if self.opcode.is_some_and(|opcode| opcode > 15) || self.rsv > 7 {
            return Err("`opcode` is at most 15, `rsv` at most 7".to_owned());
        }
        if self.length_bytes.is_some_and(|bytes| bytes != 2 && bytes != 8) {
            return Err("`length_bytes` is 2 or 8".to_owned());
        }
        Ok(())
    }

    /// Whether it starts a compressed message.
    pub fn is_compressed(&self) -> bool {
        self.rsv == 4
    }

    /// The frame on the wire; `masked`: its sender is a client.
    pub fn octets(&self, masked: bool) -> Vec<u8> {
        let kinds = self.kinds();
        let kind = kinds.iter().find_map(|(opcode, payload)| Some((*opcode, (*payload)?)));
        let Some((opcode, payload)) = kind else { return Vec::new() };
        let payload = payload.0.repeat(self.times);
        let Some(opcode) = opcode else { return payload };
        let masked = self.masked.unwrap_or(masked);
        let first = u8::from(self.fin) << 7 | self.rsv << 4 | opcode;
        let second = u8::from(masked) << 7;
        let len = self.announced.unwrap_or(payload.len() as u64);
        let mut frame = match (self.length_bytes, len) {
            (None, 0..=125) => vec![first, second | len as u8],
            (Some(2), _) | (None, 126..=0xffff) => {
                [&[first, second | 0x7e][..], &(len as u16).to_be_bytes()].concat()
            }
            _ => [&[first, second | 0x7f][..], &len.to_be_bytes()].concat(),
        };
        if masked {
            frame.extend(MASK);
            frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        } else {
            frame.extend(payload);
        }
        frame.repeat(self.repeat)
    }
}

/// A frame of a client: the ping behind a case, or its close frame.
pub fn control(opcode: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let payload = Some(Octets(payload.to_vec()));
    let frame = Frame {
        text: None,
        binary: None,
        continuation: None,
        close: None,
        ping: None,
        pong: None,
        octets: None,
        payload,
        opcode: Some(opcode),
        fin: true,
        rsv: 0,
        masked: None,
        announced: None,
        length_bytes: None,
        times: 1,
        repeat: 1,
    };
    frame.octets(masked)
}

/// Reads what a recipient sends back.
#[derive(Debug)]
pub struct Reader {
    from: Sender,
    /// Unpacks, where compression was agreed on.
    inflate: Option<Decompress>,
    /// The message that is put together: its opcode, whether it is compressed, and its payload.
    message: Option<(u8, bool, Vec<u8>)>,
    /// Messages and pongs.
    pub answers: Vec<Answer>,
    /// The code of the close frame, 1005 where it has none.
    pub close: Option<u16>,
}

impl Reader {
    /// Of what comes from there; `deflate`: messages may be compressed.
    pub fn new(from: Sender, deflate: bool) -> Self {
        let inflate = deflate.then(|| Decompress::new(false));
        Self { from, inflate, message: None, answers: Vec::new(), close: None }
    }

    /// Takes all whole frames off the front. `Err`: what is wrong with one.
    pub fn read(&mut self, bytes: &mut Vec<u8>) -> Result<(), String> {
        while let Some((first, payload, size)) = self.split(bytes)? {
            bytes.drain(..size);
            if self.close.is_some() {
                return Err("a frame behind the close frame".to_owned());
            }
            self.frame(first, payload)?;
        }
        Ok(())
    }

    fn split(&self, bytes: &[u8]) -> Result<Option<(u8, Vec<u8>, usize)>, String> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let masked = second & 0x80 != 0;
        // https://www.rfc-editor.org/rfc/rfc6455#section-5.1
        if masked != (self.from == Sender::Client) {
            return Err(format!("whether a frame is masked: {masked}"));
        }
        let wide = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some((length, rest)) = rest.split_at_checked(wide) else { return Ok(None) };
        let length = match wide {
            0 => u64::from(second & 0x7f),
            _ => length.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        let least = [0, 126, 0x1_0000][usize::from(wide > 0) + usize::from(wide > 2)];
        if length < least {
            return Err(format!("the length {length} stands in {wide} bytes"));
        }
        let length = usize::try_from(length).map_err(|e| e.to_string())?;
        let mask = if masked { 4 } else { 0 };
        let Some((mask, rest)) = rest.split_at_checked(mask) else { return Ok(None) };
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let size = bytes.len() - rest.len() + length;
        let payload = match mask {
            [] => payload.to_vec(),
            mask => {
                payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
            }
        };
        Ok(Some((*first, payload, size)))
    }

    fn frame(&mut self, first: u8, payload: Vec<u8>) -> Result<(), String> {
        let (fin, rsv, opcode) = (first & 0x80 != 0, first >> 4 & 7, first & 0x0f);
        if opcode >= 8 && (!fin || payload.len() > 125) {
            return Err("a control frame is too long, or not the last of its message".to_owned());
        }
        let compressed = rsv == 4 && self.inflate.is_some() && matches!(opcode, 1 | 2);
        if rsv != 0 && !compressed {
            return Err(format!("reserved bits {rsv} with opcode {opcode}"));
        }
        match (opcode, &mut self.message) {
            (0, Some((_, _, all))) => all.extend(payload),
            (1 | 2, message @ None) => *message = Some((opcode, compressed, payload)),
            (8, _) => return self.closing(&payload),
            (9, _) => return Ok(()),
            (10, _) => {
                self.answers.push(Answer::Pong(Octets(payload)));
                return Ok(());
            }
            _ => return Err(format!("opcode {opcode} out of place")),
        }
        if !fin {
            return Ok(());
        }
        let Some((opcode, compressed, payload)) = self.message.take() else { return Ok(()) };
        let payload = Octets(if compressed { self.unpack(payload)? } else { payload });
        self.answers.push(match opcode {
            1 if core::str::from_utf8(&payload.0).is_err() => {
                return Err("a text that is not UTF-8".to_owned());
            }
            1 => Answer::Text(payload),
            _ => Answer::Binary(payload),
        });
        Ok(())
    }

    fn closing(&mut self, payload: &[u8]) -> Result<(), String> {
        self.close = Some(match payload {
            [] => 1005,
            [high, low, ..] => u16::from_be_bytes([*high, *low]),
            [_] => return Err("a close frame with half a code".to_owned()),
        });
        // https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1
        match self.close {
            Some(1005) if !payload.is_empty() => Err("the code 1005 was sent".to_owned()),
            Some(code @ (1004 | 1006 | 1015)) => Err(format!("the code {code} was sent")),
            _ => Ok(()),
        }
    }

    fn unpack(&mut self, mut packed: Vec<u8>) -> Result<Vec<u8>, String> {
        let Some(inflate) = &mut self.inflate else { return Ok(packed) };
        // https://www.rfc-editor.org/rfc/rfc7692#section-7.2.2
        packed.extend([0, 0, 0xff, 0xff]);
        let mut out = Vec::new();
        let mut rest = &packed[..];
        while !rest.is_empty() {
            out.reserve(64 * 1024);
            let before = inflate.total_in();
            inflate
                .decompress_vec(rest, &mut out, FlushDecompress::Sync)
                .map_err(|e| format!("a message does not unpack: {e}"))?;
            let read = usize::try_from(inflate.total_in() - before).map_err(|e| e.to_string())?;
            if read == 0 && out.len() < out.capacity() {
                return Err("a message does not unpack to its end".to_owned());
            }
            rest = &rest[read..];
        }
        Ok(out)
    }
}
