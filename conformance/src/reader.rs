//! A plain reader of what the machines write: slow, strict, and not the machines' own parser.

use core::fmt;

/// A message read back from the bytes that a machine wrote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The first line.
    pub start: String,
    /// Fields, names in lower case.
    pub fields: Vec<(String, String)>,
    /// The bytes of the head, in lower case.
    pub head: String,
    /// The body as it stood on the wire.
    pub wire_body: Vec<u8>,
    /// The body, decoded.
    pub body: Vec<u8>,
    /// Trailers, names in lower case.
    pub trailers: Vec<(String, String)>,
    /// Whether it ends where the bytes end, and not by its own framing.
    pub open_ended: bool,
}

/// Why bytes are no message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Malformed(pub String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed output: {}", self.0)
    }
}

impl Message {
    /// The status of a response; 0 for a request.
    pub fn status(&self) -> u16 {
        let code = self.start.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
        code.and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// Whether this is a response before the final one.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status()) && self.status() != 101
    }

    /// The values of a field, joined.
    pub fn field(&self, name: &str) -> Option<String> {
        let values: Vec<&str> =
            self.fields.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// Whether it says that the connection ends behind it, in words or by its version.
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-9.3>
    pub fn says_close(&self) -> bool {
        let options = self.field("connection").unwrap_or_default().to_lowercase();
        let says = |wanted| options.split(',').any(|option| option.trim() == wanted);
        says("close") || self.start.starts_with("HTTP/1.0") && !says("keep-alive")
    }
}

/// Reads a stream of responses; `methods` are those of the requests that they answer, in order.
///
/// Stops behind a 101 or a 2xx to CONNECT: the rest is not HTTP. With `cut_off`, the stream may end
/// in the middle of a message, which is then not returned.
pub fn responses(
    mut bytes: &[u8],
    methods: &[String],
    cut_off: bool,
) -> Result<Vec<Message>, Malformed> {
    let mut messages: Vec<Message> = Vec::new();
    let mut finals = 0;
    while !bytes.is_empty() {
        let method = methods.get(finals).map_or("GET", String::as_str);
        match read_one(bytes, Some(method)) {
            Ok(Some((message, rest))) => {
                bytes = rest;
                let status = message.status();
                let left = status == 101 || method == "CONNECT" && (200..300).contains(&status);
                finals += usize::from(!message.is_interim());
                messages.push(message);
                if left {
                    break;
                }
            }
            Ok(None) if cut_off => break,
            Ok(None) => return Err(Malformed("the last message is not complete".to_owned())),
            Err(malformed) => return Err(malformed),
        }
    }
    Ok(messages)
}

/// Reads the response at the start of `bytes`, of whichever version; returns it with what follows.
/// `None`: it is not complete.
pub fn response<'a>(
    bytes: &'a [u8],
    method: &str,
) -> Result<Option<(Message, &'a [u8])>, Malformed> {
    read_one(bytes, Some(method))
}

/// Reads a stream of requests; with `cut_off` as in [`responses`].
pub fn requests(mut bytes: &[u8], cut_off: bool) -> Result<Vec<Message>, Malformed> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        match read_one(bytes, None)? {
            Some((message, rest)) => {
                bytes = rest;
                messages.push(message);
            }
            None if cut_off => break,
            None => return Err(Malformed("the last message is not complete".to_owned())),
        }
    }
    Ok(messages)
}

/// Reads one request.
pub fn request(bytes: &[u8]) -> Result<Message, Malformed> {
    let mut messages = requests(bytes, false)?;
    match (messages.pop(), messages.len()) {
        (Some(message), 0) => Ok(message),
        (_, more) => Err(Malformed(format!("{more} messages in front of the last"))),
    }
}

/// The message at the start of `bytes` and what follows; `None`: it is not complete.
fn read_one<'a>(
    bytes: &'a [u8],
    answers: Option<&str>,
) -> Result<Option<(Message, &'a [u8])>, Malformed> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let (head, body) = bytes.split_at(end + 4);
    let text = std::str::from_utf8(head).map_err(|_| Malformed("head is not ASCII".to_owned()))?;
    let mut lines = text[..end].split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    check_start(&start, answers.is_some())?;
    let fields = lines.map(field).collect::<Result<Vec<_>, _>>()?;
    let mut message = Message {
        start,
        fields,
        head: text.to_lowercase(),
        wire_body: Vec::new(),
        body: Vec::new(),
        trailers: Vec::new(),
        open_ended: false,
    };
    let length = message.field("content-length");
    let coding = message.field("transfer-encoding");
    let status = message.status();
    let bodiless = match answers {
        Some(method) => {
            method == "HEAD"
                || (100..200).contains(&status)
                || matches!(status, 204 | 304)
                || method == "CONNECT" && (200..300).contains(&status)
        }
        None => length.is_none() && coding.is_none(),
    };
    let used = match (length, coding) {
        (Some(_), Some(_)) => return Err(Malformed("two framings".to_owned())),
        _ if bodiless => 0,
        (Some(length), None) => {
            let n: usize = length.parse().map_err(|_| Malformed(format!("length {length}")))?;
            if body.len() < n {
                return Ok(None);
            }
            message.body = body[..n].to_vec();
            n
        }
        (None, Some(coding)) if coding == "chunked" => match chunked(body, &mut message)? {
            Some(used) => used,
            None => return Ok(None),
        },
        (None, Some(coding)) => return Err(Malformed(format!("coding {coding}"))),
        (None, None) => {
            message.open_ended = true;
            message.body = body.to_vec();
            body.len()
        }
    };
    message.wire_body = body[..used].to_vec();
    Ok(Some((message, &body[used..])))
}

fn check_start(start: &str, is_response: bool) -> Result<(), Malformed> {
    let visible = start.bytes().all(|b| (0x20..0x7f).contains(&b));
    let shaped = if is_response {
        let code =
            ["HTTP/1.1 ", "HTTP/1.0 "].iter().find_map(|version| start.strip_prefix(version));
        code.is_some_and(|rest| {
            rest.len() >= 4
                && rest.as_bytes()[..3].iter().all(u8::is_ascii_digit)
                && rest.as_bytes()[3] == b' '
        })
    } else {
        let parts: Vec<&str> = start.split(' ').collect();
        parts.len() == 3 && parts.iter().all(|part| !part.is_empty()) && parts[2] == "HTTP/1.1"
    };
    if visible && shaped { Ok(()) } else { Err(Malformed(format!("first line {start:?}"))) }
}

fn field(line: &str) -> Result<(String, String), Malformed> {
    let bad = || Malformed(format!("field line {line:?}"));
    let (name, value) = line.split_once(':').ok_or_else(bad)?;
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let clean = value.bytes().all(|b| b == b'\t' || (0x20..0x7f).contains(&b) || b >= 0x80);
    if name.is_empty() || !name.bytes().all(token) || !clean {
        return Err(bad());
    }
    Ok((name.to_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
}

/// Decodes a chunked body into the message; how many bytes it took, or `None`: not complete.
fn chunked(mut bytes: &[u8], message: &mut Message) -> Result<Option<usize>, Malformed> {
    let whole = bytes.len();
    loop {
        let Some(end) = find(bytes, b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&bytes[..end]).ok();
        let size = size.filter(|s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_hexdigit()));
        let size = size.and_then(|s| usize::from_str_radix(s, 16).ok());
        let size = size.ok_or_else(|| Malformed("chunk size".to_owned()))?;
        bytes = &bytes[end + 2..];
        if size == 0 {
            break;
        }
        let Some((data, rest)) = bytes.split_at_checked(size) else { return Ok(None) };
        message.body.extend_from_slice(data);
        bytes = match rest {
            [b'\r', b'\n', rest @ ..] => rest,
            [] | [b'\r'] => return Ok(None),
            _ => return Err(Malformed("end of a chunk".to_owned())),
        };
    }
    loop {
        let Some(end) = find(bytes, b"\r\n") else { return Ok(None) };
        let line = std::str::from_utf8(&bytes[..end]).map_err(|e| Malformed(e.to_string()))?;
        bytes = &bytes[end + 2..];
        if line.is_empty() {
            return Ok(Some(whole - bytes.len()));
        }
        message.trailers.push(field(line)?);
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_stream() {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\n\
            HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok\
            HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-t: v\r\n\r\n\
            HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n";
        let methods = ["GET", "POST", "HEAD"].map(str::to_owned);
        let messages = responses(bytes, &methods, false).unwrap();
        let statuses: Vec<u16> = messages.iter().map(Message::status).collect();
        assert_eq!(statuses, [100, 200, 200, 200]);
        assert_eq!(messages[2].body, b"hi");
        assert_eq!(messages[2].trailers, [("x-t".to_owned(), "v".to_owned())]);
        assert_eq!(messages[3].body, b"");
    }

    #[test]
    fn an_answer_says_close_in_words_or_by_its_version() {
        for (bytes, closes) in [
            (&b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"[..], false),
            (b"HTTP/1.1 200 OK\r\nConnection: x,Close\r\ncontent-length: 0\r\n\r\n", true),
            (b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", true),
            (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n", false),
        ] {
            let answers = responses(bytes, &[], false).unwrap();
            assert_eq!(answers[0].says_close(), closes, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn refuses_what_is_cut_off_or_split() {
        assert!(responses(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok", &[], false).is_err());
        assert!(responses(b"HTTP/1.1 200 O\nK\r\n\r\n", &[], false).is_err());
        assert!(responses(b"HTTP/1.1 200 OK\r\na b: c\r\n\r\n", &[], false).is_err());
        assert!(request(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n").is_err());
    }
}
