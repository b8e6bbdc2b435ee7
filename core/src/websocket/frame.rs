//! Frames: <https://www.rfc-editor.org/rfc/rfc6455#section-5.2>

use core::ops::Range;

use super::mask::Mask;
use crate::error::Violation;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xa,
}

impl Opcode {
    const fn of(byte: u8) -> Option<Self> {
        Some(match byte & 0x0f {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    pub(super) const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// Everything in front of a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) fin: bool,
    /// The message is compressed.
    pub(super) rsv1: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: Option<Mask>,
    /// Bytes of the payload.
    pub(super) len: u64,
}

/// What a header may be at this point of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// The peer is a client.
    pub(super) masked: bool,
    /// Messages may be compressed.
    pub(super) deflate: bool,
    /// A message is half there.
    pub(super) continuing: bool,
}

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV23: u8 = 0x30;
const MASKED: u8 = 0x80;

/// The length stands in the next two bytes, or eight.
const LENGTH_16: u8 = 0x7e;
const LENGTH_64: u8 = 0x7f;

/// Bytes of the payload of a control frame, at most.
pub(super) const CONTROL_MAX: usize = 125;

impl Header {
    /// Bytes of a header, at most.
    #[cfg(test)]
    const MAX: usize = 14;

    /// Reads a header, and tells how long it is; `None` where it is not all there. What is wrong is
    /// found at the first byte that shows it, however the bytes are cut.
    #[inline]
    pub(super) fn parse(bytes: &[u8], rules: Rules) -> Result<Option<(Self, usize)>, Violation> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        let opcode = Self::check_first(first, rules)?;
        let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
        // https://www.rfc-editor.org/rfc/rfc6455#section-5.1
        if (second & MASKED != 0) != rules.masked {
            return Err(Violation::Mask);
        }
        let short = second & !MASKED;
        // https://www.rfc-editor.org/rfc/rfc6455#section-5.5
        if opcode.is_control() && usize::from(short) > CONTROL_MAX {
            return Err(Violation::ControlFrame);
        }
        let (len, rest) = match short {
            LENGTH_16 => {
                let Some((len, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from(u16::from_be_bytes(*len)), rest)
            }
            LENGTH_64 => {
                let Some((len, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from_be_bytes(*len), rest)
            }
            len => (u64::from(len), rest),
        };
        let shortest = match len {
            0..=125 => short < LENGTH_16,
            126..=0xffff => short == LENGTH_16,
            _ => i64::try_from(len).is_ok(),
        };
        if !shortest {
            return Err(Violation::FrameLength);
        }
        let (mask, rest) = if rules.masked {
            let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (Some(Mask(*mask)), rest)
        } else {
            (None, rest)
        };
        let header = Self { fin: first & FIN != 0, rsv1: first & RSV1 != 0, opcode, mask, len };
        Ok(Some((header, bytes.len() - rest.len())))
    }

    /// Whether a frame that starts like this may be a control frame, and no other.
    pub(super) const fn starts_control(first: u8) -> bool {
        let ordinary = first & (FIN | RSV1 | RSV23) == FIN;
        ordinary && matches!(Opcode::of(first), Some(opcode) if opcode.is_control())
    }

    /// Reads the header of a message in one frame of less than 64 KiB, as most are: whether it is a
    /// text, the mask, and where its payload begins and ends. `None` for any other, and for one that
    /// breaks a rule.
    #[inline]
    pub(super) fn parse_plain(
        bytes: &[u8],
        masked: bool,
    ) -> Option<(bool, Option<Mask>, Range<usize>)> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        let text = first == FIN | Opcode::Text as u8;
        let short = second & !MASKED;
        if !text && first != FIN | Opcode::Binary as u8
            || (second & MASKED != 0) != masked
            || short == LENGTH_64
        {
            return None;
        }
        let (len, rest) = if short == LENGTH_16 {
            let (len, rest) = rest.split_first_chunk()?;
            (u16::from_be_bytes(*len), rest)
        } else {
            (u16::from(short), rest)
        };
        if short == LENGTH_16 && usize::from(len) <= CONTROL_MAX {
            return None;
        }
        let (mask, rest) = if masked {
            let (mask, rest) = rest.split_first_chunk()?;
            (Some(Mask(*mask)), rest)
        } else {
            (None, rest)
        };
        let start = bytes.len() - rest.len();
        Some((text, mask, start..start + usize::from(len)))
    }

    #[inline]
    fn check_first(first: u8, rules: Rules) -> Result<Opcode, Violation> {
        let opcode = Opcode::of(first).ok_or(Violation::Opcode)?;
        let starts = matches!(opcode, Opcode::Text | Opcode::Binary);
        // https://www.rfc-editor.org/rfc/rfc7692#section-6: on the first frame of a message only.
        if first & RSV23 != 0 || (first & RSV1 != 0 && !(rules.deflate && starts)) {
            return Err(Violation::ReservedBits);
        }
        if opcode.is_control() {
            return if first & FIN == 0 { Err(Violation::ControlFrame) } else { Ok(opcode) };
        }
        // https://www.rfc-editor.org/rfc/rfc6455#section-5.4
        if starts == rules.continuing {
            return Err(Violation::Continuation);
        }
        Ok(opcode)
    }

    /// Bytes of the header.
    #[inline]
    pub(super) const fn size(&self) -> usize {
        let length = match self.len {
            0..=125 => 0,
            126..=0xffff => 2,
            _ => 8,
        };
        2 + length + if self.mask.is_some() { 4 } else { 0 }
    }

    /// Writes the header to the start of `to`, which has room for its [`size`](Self::size).
    #[inline]
    pub(super) fn write(&self, to: &mut [u8]) {
        let fin = if self.fin { FIN } else { 0 };
        let rsv1 = if self.rsv1 { RSV1 } else { 0 };
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        to[0] = fin | rsv1 | self.opcode as u8;
        let at = match self.len {
            0..=125 => {
                to[1] = masked | self.len as u8;
                2
            }
            126..=0xffff => {
                to[1] = masked | LENGTH_16;
                to[2..4].copy_from_slice(&(self.len as u16).to_be_bytes());
                4
            }
            _ => {
                to[1] = masked | LENGTH_64;
                to[2..10].copy_from_slice(&self.len.to_be_bytes());
                10
            }
        };
        if let Some(Mask(mask)) = self.mask {
            to[at..at + 4].copy_from_slice(&mask);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Rules = Rules { masked: true, deflate: false, continuing: false };

    #[test]
    fn what_is_written_is_read() {
        for len in [0, 1, 125, 126, 65_535, 65_536, i64::MAX as u64] {
            for mask in [None, Some(Mask([1, 2, 3, 4]))] {
                let header = Header { fin: true, rsv1: true, opcode: Opcode::Text, mask, len };
                let mut bytes = [0; Header::MAX];
                let size = header.size();
                header.write(&mut bytes);
                let rules = Rules { masked: mask.is_some(), deflate: true, continuing: false };
                assert_eq!(Header::parse(&bytes[..size], rules), Ok(Some((header, size))));
                for cut in 0..size {
                    assert_eq!(Header::parse(&bytes[..cut], rules), Ok(None), "{len} at {cut}");
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_shows_at_the_first_byte_that_says_so() {
        let deflate = Rules { deflate: true, ..SERVER };
        let continuing = Rules { deflate: true, continuing: true, ..SERVER };
        for (bytes, rules, why) in [
            (&[0xc1][..], SERVER, Violation::ReservedBits),
            (&[0xa1], deflate, Violation::ReservedBits),
            (&[0x91], deflate, Violation::ReservedBits),
            (&[0xc9], deflate, Violation::ReservedBits),
            (&[0xc0], continuing, Violation::ReservedBits),
            (&[0x83], SERVER, Violation::Opcode),
            (&[0x8b], SERVER, Violation::Opcode),
            (&[0x09], SERVER, Violation::ControlFrame),
            (&[0x80], SERVER, Violation::Continuation),
            (&[0x81], continuing, Violation::Continuation),
            (&[0x81, 0x01], SERVER, Violation::Mask),
            (&[0x81, 0x81], Rules { masked: false, ..SERVER }, Violation::Mask),
            (&[0x89, 0xfe], SERVER, Violation::ControlFrame),
            (&[0x81, 0xfe, 0, 125], SERVER, Violation::FrameLength),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 255, 255], SERVER, Violation::FrameLength),
            (&[0x81, 0xff, 128, 0, 0, 0, 0, 0, 0, 0], SERVER, Violation::FrameLength),
        ] {
            assert_eq!(Header::parse(bytes, rules), Err(why), "{bytes:x?}");
            let before = Header::parse(&bytes[..bytes.len() - 1], rules);
            assert_eq!(before, Ok(None), "{bytes:x?}");
        }
        assert!(Header::parse(&[0xc1, 0x80, 1, 2, 3, 4], deflate).is_ok_and(|got| got.is_some()));
        assert!(
            Header::parse(&[0x00, 0x80, 1, 2, 3, 4], continuing).is_ok_and(|got| got.is_some())
        );
    }
}
