//! RESP2, as much of it as leases take: commands out, short replies in.
//!
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>

use bytes::{Buf as _, BytesMut};
use sinew_core::outbox::Outbox;

use crate::refusal::Refusal;

/// Bytes of a reply, at most. Those that are asked for have some tens.
pub(crate) const MAX_REPLY: usize = 1024;

/// What the server says to a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    /// A simple string, whatever it says.
    Done,
    /// Two integers: what the script gives.
    Pair(i64, i64),
    /// An error.
    Refused(Refusal),
}

/// Bytes that are none of the replies above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Malformed;

/// Queues a command.
pub(crate) fn put_command(outbox: &mut Outbox, words: &[&[u8]]) {
    let mut command = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        command.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        command.extend_from_slice(word);
        command.extend_from_slice(b"\r\n");
    }
    outbox.push(command.into());
}

/// Takes one reply from the front of what was read. `None`: it is not whole yet.
pub(crate) fn take_reply(inbox: &mut BytesMut) -> Result<Option<Reply>, Malformed> {
    // More than one reply may be there; none is longer than this.
    let window = inbox.get(..MAX_REPLY).unwrap_or(inbox);
    let mut lines = Lines { left: window, taken: 0 };
    match read_reply(&mut lines)? {
        Some(reply) => {
            let taken = lines.taken;
            inbox.advance(taken);
            Ok(Some(reply))
        }
        None if inbox.len() >= MAX_REPLY => Err(Malformed),
        None => Ok(None),
    }
}

fn read_reply(lines: &mut Lines<'_>) -> Result<Option<Reply>, Malformed> {
    let Some((kind, text)) = lines.next()? else { return Ok(None) };
    Ok(Some(match kind {
        b'+' => Reply::Done,
        b'-' => Reply::Refused(Refusal::read(text)),
        b'*' if text == b"2" => {
            let Some(first) = integer(lines.next()?)? else { return Ok(None) };
            let Some(second) = integer(lines.next()?)? else { return Ok(None) };
            Reply::Pair(first, second)
        }
        _ => return Err(Malformed),
    }))
}

fn integer(line: Option<(u8, &[u8])>) -> Result<Option<i64>, Malformed> {
    let Some((kind, text)) = line else { return Ok(None) };
    let number = core::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.filter(|_| kind == b':').map(Some).ok_or(Malformed)
}

/// Lines with their first byte apart.
struct Lines<'a> {
    left: &'a [u8],
    taken: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<Option<(u8, &'a [u8])>, Malformed> {
        // A reply that begins with anything else does not get better by waiting for its end.
        if self.left.first().is_some_and(|kind| !b"+-*:".contains(kind)) {
            return Err(Malformed);
        }
        let Some(end) = self.left.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
            return Ok(None);
        };
        let (line, rest) = self.left.split_at(end);
        let rest = match rest {
            [b'\r', b'\n', rest @ ..] => rest,
            [b'\r'] => return Ok(None),
            _ => return Err(Malformed),
        };
        let [kind, text @ ..] = line else { return Err(Malformed) };
        self.left = rest;
        self.taken += end + 2;
        Ok(Some((*kind, text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Code;

    fn all(bytes: &[u8]) -> Result<Vec<Reply>, Malformed> {
        let mut inbox = BytesMut::from(bytes);
        let mut replies = Vec::new();
        while let Some(reply) = take_reply(&mut inbox)? {
            replies.push(reply);
        }
        Ok(replies)
    }

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let mut outbox = Outbox::new();
        put_command(&mut outbox, &[b"SELECT", b"12"]);
        assert_eq!(outbox.chunk(), b"*2\r\n$6\r\nSELECT\r\n$2\r\n12\r\n");
    }

    #[test]
    fn replies_are_the_same_however_they_are_cut() {
        let bytes =
            b"+OK\r\n*2\r\n:10\r\n:-3\r\n-NOSCRIPT No matching script.\r\n*2\r\n:0\r\n:1\r\n";
        let whole = all(bytes).unwrap();
        assert_eq!(whole.len(), 4);
        assert_eq!(whole[1], Reply::Pair(10, -3));
        assert!(matches!(&whole[2], Reply::Refused(why) if why.code() == Code::NoScript));
        let mut inbox = BytesMut::new();
        let mut replies = Vec::new();
        for byte in bytes {
            inbox.extend_from_slice(&[*byte]);
            replies.extend(take_reply(&mut inbox).unwrap());
        }
        assert_eq!(replies, whole);
        assert!(inbox.is_empty());
    }

    #[test]
    fn what_nobody_asked_for_is_refused_as_soon_as_it_is_seen() {
        for bytes in [
            &b"HTTP"[..],
            b"$3\r\nabc\r\n",
            b"*3\r\n",
            b"*-1\r\n",
            b":1\r\n",
            b"*2\r\n+OK\r\n",
            b"*2\r\n:x\r\n",
            b"*2\r\n:99999999999999999999\r\n",
            b"+OK\n",
            b"+OK\rX",
            b"\r\n",
            b"*2\r\n\r\n",
        ] {
            assert_eq!(all(bytes), Err(Malformed), "{:?}", bytes.escape_ascii().to_string());
        }
    }

    #[test]
    fn a_reply_has_a_longest_length() {
        let mut long = vec![b'-'; MAX_REPLY - 1];
        assert_eq!(all(&long), Ok(vec![]));
        long.push(b'-');
        assert_eq!(all(&long), Err(Malformed));
        long.truncate(MAX_REPLY - 2);
        long.extend_from_slice(b"\r\n+OK\r\n");
        assert_eq!(all(&long).unwrap().len(), 2);
    }
}
