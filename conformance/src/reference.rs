//! How messages are framed, read slowly from bytes that are all there: a second opinion.
//!
//! Written for clarity and from the RFC, with nothing of the machines in it. It has no limits, and
//! leaves to others what does not frame: targets, hosts, expectations, handshakes.

use http::Method;

use crate::transcript::{Lines, Message, Start};

/// The message at the start of some bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Framed<'a> {
    /// What there is of it; none without a whole head.
    pub message: Option<Message>,
    /// Why it is not complete, if it is not.
    pub stop: Option<Stop>,
    /// Whether another message may follow on the connection.
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-9.3>
    pub persists: bool,
    /// The bytes behind it.
    pub rest: &'a [u8],
}

/// Why a message is not complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The bytes end before it does.
    Unfinished,
    /// It is malformed, in these words.
    Refused(&'static str),
}

use Stop::{Refused, Unfinished};

/// Frames a request.
pub fn request(bytes: &[u8]) -> Framed<'_> {
    // https://www.rfc-editor.org/rfc/rfc9112#section-2.2: one empty line is ignored.
    let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    message(bytes, request_line, Folds::Refused, |head| {
        Ok(head.coding()?.unwrap_or(Framing::Length(0)))
    })
}

/// Frames a response to this method; with `eof`, nothing comes behind the bytes.
pub fn response<'a>(bytes: &'a [u8], method: &Method, eof: bool) -> Framed<'a> {
    message(bytes, status_line, Folds::Taken, |head| {
        // https://www.rfc-editor.org/rfc/rfc9112#section-6.3
        let Start::Response { status, .. } = head.start else { return Ok(Framing::Length(0)) };
        let tunnel = status == 101 || *method == Method::CONNECT && status / 100 == 2;
        let bodiless = *method == Method::HEAD || status / 100 == 1 || [204, 304].contains(&status);
        if tunnel || bodiless {
            return Ok(Framing::Length(0));
        }
        Ok(head.coding()?.unwrap_or(Framing::UntilClose { closed: eof }))
    })
}

/// Where a body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Framing {
    Length(u64),
    Chunked,
    UntilClose { closed: bool },
}

/// What becomes of a field line that begins with white space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Folds {
    Taken,
    Refused,
}

fn message(
    bytes: &[u8],
    first_line: impl Fn(&[u8]) -> Result<(Start, &'static str), Stop>,
    folds: Folds,
    framing: impl Fn(&Head) -> Result<Framing, Stop>,
) -> Framed<'_> {
    let nothing = |stop| Framed { message: None, stop: Some(stop), persists: false, rest: &[] };
    let (head, behind) = match head(bytes, first_line, folds) {
        Ok(read) => read,
        Err(stop) => return nothing(stop),
    };
    let framing = match framing(&head) {
        Ok(framing) => framing,
        Err(stop) => return nothing(stop),
    };
    let persists = head.persists() && !matches!(framing, Framing::UntilClose { .. });
    let mut message = Message {
        start: head.start,
        version: head.version,
        headers: head.fields,
        body: Vec::new(),
        trailers: None,
        complete: false,
    };
    let read = match framing {
        Framing::Length(length) => sized(behind, length, &mut message.body),
        Framing::Chunked => chunked(behind, &mut message),
        Framing::UntilClose { closed } => {
            message.body = behind.to_vec();
            if closed { Ok(&[][..]) } else { Err(Unfinished) }
        }
    };
    message.complete = read.is_ok();
    let (stop, rest) = match read {
        Ok(rest) => (None, rest),
        Err(stop) => (Some(stop), &[][..]),
    };
    Framed { message: Some(message), stop, persists, rest }
}

struct Head {
    start: Start,
    version: &'static str,
    fields: Lines,
    length: Option<u64>,
    chunked: bool,
}

impl Head {
    /// What the two fields that frame a body say, if they are there.
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-6.3>
    fn coding(&self) -> Result<Option<Framing>, Stop> {
        match (self.length, self.chunked) {
            (None, false) => Ok(None),
            (Some(length), false) => Ok(Some(Framing::Length(length))),
            (None, true) if self.version == "1.1" => Ok(Some(Framing::Chunked)),
            _ => Err(Refused("transfer-encoding beside a length, or in 1.0")),
        }
    }

    fn persists(&self) -> bool {
        let says = |wanted: &str| {
            let options =
                all(&self.fields, "connection").flat_map(|value| value.split(|b| *b == b','));
            options.map(trim).any(|option| option.eq_ignore_ascii_case(wanted.as_bytes()))
        };
        !says("close") && (self.version == "1.1" || says("keep-alive"))
    }
}

fn all<'a>(fields: &'a Lines, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_slice())
}

/// The one value of a field, or none.
fn single<'a>(fields: &'a Lines, name: &'a str) -> Result<Option<&'a [u8]>, Stop> {
    let mut values = all(fields, name);
    let value = values.next();
    if values.next().is_none() { Ok(value) } else { Err(Refused("a framing field twice")) }
}

fn head(
    bytes: &[u8],
    first_line: impl Fn(&[u8]) -> Result<(Start, &'static str), Stop>,
    folds: Folds,
) -> Result<(Head, &[u8]), Stop> {
    let (first, rest) = line(bytes)?;
    let (start, version) = first_line(first)?;
    let (fields, rest) = fields(rest, folds)?;
    let length = single(&fields, "content-length")?.map(number).transpose()?;
    let chunked = match single(&fields, "transfer-encoding")? {
        None => false,
        Some(coding) if coding.eq_ignore_ascii_case(b"chunked") => true,
        Some(_) => return Err(Refused("transfer-encoding")),
    };
    Ok((Head { start, version, fields, length, chunked }, rest))
}

/// `method SP request-target SP HTTP-version`
/// <https://www.rfc-editor.org/rfc/rfc9112#section-3>
fn request_line(line: &[u8]) -> Result<(Start, &'static str), Stop> {
    let parts: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let [method, target, version] = parts[..] else { return Err(Refused("request line")) };
    if !is_token(method) || target.is_empty() {
        return Err(Refused("request line"));
    }
    let start = Start::Request { method: text(method), target: text(target), authority: None };
    Ok((start, http_version(version)?))
}

/// `HTTP-version SP status-code SP [ reason-phrase ]`, the last space being optional without a
/// reason. <https://www.rfc-editor.org/rfc/rfc9112#section-4>
fn status_line(line: &[u8]) -> Result<(Start, &'static str), Stop> {
    let mut parts = line.splitn(3, |b| *b == b' ');
    let version = http_version(parts.next().unwrap_or_default())?;
    let (code, reason) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] = code else { return Err(Refused("status")) };
    if !is_value(reason) {
        return Err(Refused("reason"));
    }
    let status = code.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
    Ok((Start::Response { status, reason: reason.to_vec() }, version))
}

/// A higher minor version is read as 1.1: <https://www.rfc-editor.org/rfc/rfc9110#section-2.5>
fn http_version(bytes: &[u8]) -> Result<&'static str, Stop> {
    match bytes {
        b"HTTP/1.0" => Ok("1.0"),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => Ok("1.1"),
        _ => Err(Refused("version")),
    }
}

/// Field lines up to the empty line. <https://www.rfc-editor.org/rfc/rfc9112#section-5>
fn fields(mut bytes: &[u8], folds: Folds) -> Result<(Lines, &[u8]), Stop> {
    let mut fields = Lines::new();
    loop {
        let (line, rest) = line(bytes)?;
        bytes = rest;
        if line.is_empty() {
            break;
        }
        if line[0] == b' ' || line[0] == b'\t' {
            unfold(&mut fields, line, folds)?;
        } else {
            fields.push(field(line)?);
        }
    }
    for (_, value) in &mut fields {
        *value = trim(value).to_vec();
    }
    Ok((fields, bytes))
}

/// A folded line goes on with the field before it, its CR LF being read as spaces.
/// <https://www.rfc-editor.org/rfc/rfc9112#section-5.2>
fn unfold(fields: &mut Lines, line: &[u8], folds: Folds) -> Result<(), Stop> {
    const DECIDE: [&str; 4] = ["connection", "content-length", "transfer-encoding", "upgrade"];
    match fields.last_mut() {
        Some((name, value)) if folds == Folds::Taken && !DECIDE.contains(&name.as_str()) => {
            if !is_value(line) {
                return Err(Refused("field value"));
            }
            value.extend_from_slice(b"  ");
            value.extend_from_slice(line);
            Ok(())
        }
        _ => Err(Refused("folded line")),
    }
}

/// `field-name ":" OWS field-value OWS`
fn field(line: &[u8]) -> Result<(String, Vec<u8>), Stop> {
    let colon = line.iter().position(|b| *b == b':').ok_or(Refused("no colon"))?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if !is_token(name) || !is_value(value) {
        return Err(Refused("field line"));
    }
    Ok((text(name).to_lowercase(), value.to_vec()))
}

/// A body of known length. <https://www.rfc-editor.org/rfc/rfc9112#section-6.2>
fn sized<'a>(bytes: &'a [u8], length: u64, body: &mut Vec<u8>) -> Result<&'a [u8], Stop> {
    let whole = usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length));
    let (data, rest) = whole.unwrap_or((bytes, &[]));
    body.extend_from_slice(data);
    if whole.is_some() { Ok(rest) } else { Err(Unfinished) }
}

/// A chunked body. <https://www.rfc-editor.org/rfc/rfc9112#section-7.1>
fn chunked<'a>(mut bytes: &'a [u8], message: &mut Message) -> Result<&'a [u8], Stop> {
    loop {
        let (line, rest) = line(bytes)?;
        let size = chunk_size(line)?;
        if size == 0 {
            return trailers(rest, message);
        }
        let rest = sized(rest, size, &mut message.body)?;
        bytes = match rest {
            [b'\r', b'\n', rest @ ..] => rest,
            [] | [b'\r'] => return Err(Unfinished),
            _ => return Err(Refused("end of a chunk")),
        };
    }
}

/// `chunk-size [ chunk-ext ]`, without white space.
fn chunk_size(line: &[u8]) -> Result<u64, Stop> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    if digits > 16 || !is_extensions(&line[digits..]) {
        return Err(Refused("chunk size"));
    }
    u64::from_str_radix(&text(&line[..digits]), 16).map_err(|_| Refused("chunk size"))
}

/// `*( ";" token [ "=" ( token / quoted-string ) ] )`
/// <https://www.rfc-editor.org/rfc/rfc9112#section-7.1.1>
fn is_extensions(bytes: &[u8]) -> bool {
    let [b';', rest @ ..] = bytes else { return bytes.is_empty() };
    let name = token_len(rest);
    let rest = &rest[name..];
    if name == 0 {
        return false;
    }
    match rest {
        [b'=', b'"', quoted @ ..] => match quoted_len(quoted) {
            Some(len) => is_extensions(&quoted[len..]),
            None => false,
        },
        [b'=', value @ ..] => match token_len(value) {
            0 => false,
            len => is_extensions(&value[len..]),
        },
        _ => is_extensions(rest),
    }
}

/// The length of a quoted string behind its opening quote, the closing one included.
/// <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.4>
fn quoted_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match &bytes[at..] {
            [b'"', ..] => return Some(at + 1),
            [b'\\', escaped, ..] if is_value(&[*escaped]) => at += 2,
            [byte, ..] if *byte != b'\\' && is_value(&[*byte]) => at += 1,
            _ => return None,
        }
    }
}

/// The trailer section; what must not stand there is left out.
/// <https://www.rfc-editor.org/rfc/rfc9110#section-6.5.1>
fn trailers<'a>(bytes: &'a [u8], message: &mut Message) -> Result<&'a [u8], Stop> {
    const FORBIDDEN: &str = "age authorization cache-control connection content-encoding \
        content-length content-range content-type cookie date expect expires host keep-alive \
        location max-forwards pragma proxy-authenticate proxy-authorization range retry-after \
        set-cookie te trailer transfer-encoding upgrade";
    let (mut lines, rest) = fields(bytes, Folds::Refused)?;
    lines.retain(|(name, _)| !FORBIDDEN.split(' ').any(|forbidden| forbidden == name));
    message.trailers = (!lines.is_empty()).then_some(lines);
    Ok(rest)
}

/// A line, and what follows its CR LF. Neither a CR nor a LF stands alone.
/// <https://www.rfc-editor.org/rfc/rfc9112#section-2.2>
fn line(bytes: &[u8]) -> Result<(&[u8], &[u8]), Stop> {
    let feed = bytes.iter().position(|b| *b == b'\n').ok_or(Unfinished)?;
    match bytes[..feed].strip_suffix(b"\r") {
        Some(line) if !line.contains(&b'\r') => Ok((line, &bytes[feed + 1..])),
        _ => Err(Refused("line end")),
    }
}

/// `1*DIGIT`, within 64 bits.
fn number(digits: &[u8]) -> Result<u64, Stop> {
    let all = digits.iter().all(u8::is_ascii_digit);
    text(digits).parse().ok().filter(|_| all).ok_or(Refused("number"))
}

/// <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2>
fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && token_len(bytes) == bytes.len()
}

fn token_len(bytes: &[u8]) -> usize {
    let stands = |b: &&u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    bytes.iter().take_while(stands).count()
}

/// No control but the tab. <https://www.rfc-editor.org/rfc/rfc9110#section-5.5>
fn is_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| *b == b'\t' || *b >= b' ' && *b != 0x7f)
}

fn trim(bytes: &[u8]) -> &[u8] {
    let blank = |b: &u8| *b == b' ' || *b == b'\t';
    let start = bytes.iter().position(|b| !blank(b)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|b| !blank(b)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

/// One character an octet.
fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|b| char::from(*b)).collect()
}
