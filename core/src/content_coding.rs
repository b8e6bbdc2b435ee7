//! Content codings: what is done to a body that came with some, and which one an answer gets. <https://www.rfc-editor.org/rfc/rfc9110#section-8.4>
//!
//! What is decided here, whoever moves the bytes carries out: no codec is in this crate.
//!
//! # Secrets
//!
//! Compression tells whoever can watch the length of an answer how much it repeats itself. An answer
//! that has a secret in it, and beside it something that the watcher chose, gives the secret away bit
//! by bit ([BREACH](https://www.breachattack.com)), TLS or not. Leave compression off for such routes.

use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, VARY,
};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::head::Fields;
use crate::reason::Reason;
use crate::server::ResponseHead;

/// A content coding. In the order in which they are preferred where a client has no preference.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Coding {
    /// `gzip`, also known as `x-gzip`: RFC 1952.
    Gzip,
    /// `deflate`: the zlib format of RFC 1950. Deflate data without its wrapper is not taken for it.
    Deflate,
}

/// The codings that are known here, as `Accept-Encoding` says it.
pub const KNOWN: HeaderValue = HeaderValue::from_static("gzip, deflate");

impl Coding {
    /// Every coding.
    pub const ALL: [Self; 2] = [Self::Gzip, Self::Deflate];

    /// Its registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// <https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1>: names compare case-insensitively.
    fn named(name: &[u8]) -> Option<Self> {
        // https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1.3
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL.into_iter().find(|known| name.eq_ignore_ascii_case(known.name().as_bytes()))
    }
}

/// How bodies are unpacked: those of requests, where the body limit of the route holds for what comes
/// out, and those of answers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Decompression {
    /// Codings on top of one another, at most: each multiplies what a small body can grow to.
    /// Default 1.
    pub max_codings: usize,
    /// How many times its size a body may grow to, once it is larger than [`FREE`]. Default 100.
    pub max_ratio: u32,
}

/// Bytes that a body may unpack to, whatever it was before: small bodies may repeat themselves as
/// they like.
pub const FREE: u64 = 64 * 1024;

/// Members of one gzip body, at most: each is a stream of its own, and costs one.
/// <https://www.rfc-editor.org/rfc/rfc1952#section-2.2>
pub const MEMBERS: u32 = 64;

impl Default for Decompression {
    fn default() -> Self {
        Self { max_codings: 1, max_ratio: 100 }
    }
}

impl Decompression {
    /// The codings of a body, in the order in which they were applied.
    ///
    /// # Errors
    ///
    /// [`Reason::UnsupportedMediaType`] for an unknown one, and for too many: the answer says what is
    /// [`KNOWN`]. <https://www.rfc-editor.org/rfc/rfc9110#section-15.5.16>
    pub fn admit(&self, fields: &Fields) -> Result<Vec<Coding>, Reason> {
        let mut codings = Vec::new();
        for name in fields.get_all("content-encoding").flat_map(elements) {
            if name.eq_ignore_ascii_case(b"identity") {
                continue;
            }
            let known = Coding::named(name).filter(|_| codings.len() < self.max_codings);
            codings.push(known.ok_or(Reason::UnsupportedMediaType)?);
        }
        Ok(codings)
    }

    /// Whether a body of `packed` bytes so far may have grown to `unpacked`.
    pub const fn tolerates(&self, packed: u64, unpacked: u64) -> bool {
        unpacked <= FREE || unpacked <= packed.saturating_mul(self.max_ratio as u64)
    }
}

/// Which answers are compressed.
///
/// It has to be worth it: a type that is text, at least [`min_size`](Self::min_size) bytes, no
/// coding yet, the whole of it (no range), none that somebody computed a digest of, and none that
/// says `no-transform`. Event streams stay as they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Compression {
    /// Bytes from which on an answer is compressed; one of unknown length always is. Default 1,024.
    pub min_size: u64,
    /// How hard it is tried, from 1, the fastest, to 9. Default 6.
    pub level: u8,
}

impl Default for Compression {
    fn default() -> Self {
        Self { min_size: 1024, level: 6 }
    }
}

/// What a client says of codings.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Preference {
    /// It likes an answer best as it is.
    Identity,
    /// It likes this coding best.
    Coded(Coding),
    /// The same, and does not take an answer as it is.
    Only(Coding),
}

impl Preference {
    /// What `Accept-Encoding` says. Elements that are malformed count for nothing.
    ///
    /// Where nothing that is offered is acceptable, not even the answer as it is, that is sent all the
    /// same: <https://www.rfc-editor.org/rfc/rfc9110#section-12.4.1>
    pub fn of(fields: &Fields) -> Self {
        let mut wanted = Weights::default();
        for element in fields.get_all("accept-encoding").flat_map(elements) {
            let (name, parameters) = split(element, b';');
            let Some(weight) = weight(parameters) else { continue };
            let slot = if name == b"*" {
                &mut wanted.others
            } else if name.eq_ignore_ascii_case(b"identity") {
                &mut wanted.identity
            } else {
                match Coding::named(name) {
                    Some(Coding::Gzip) => &mut wanted.gzip,
                    Some(Coding::Deflate) => &mut wanted.deflate,
                    None => continue,
                }
            };
            slot.get_or_insert(weight);
        }
        wanted.preference()
    }
}

/// Weights in thousandths.
#[derive(Default)]
struct Weights {
    gzip: Option<u16>,
    deflate: Option<u16>,
    identity: Option<u16>,
    /// `*`
    others: Option<u16>,
}

impl Weights {
    fn preference(&self) -> Preference {
        // https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3
        let weight = |coding| {
            let own = match coding {
                Coding::Gzip => self.gzip,
                Coding::Deflate => self.deflate,
            };
            own.or(self.others).unwrap_or(0)
        };
        let mut best = Coding::Gzip;
        for coding in Coding::ALL {
            if weight(coding) > weight(best) {
                best = coding;
            }
        }
        // Not mentioned, it is acceptable, and comes last.
        let identity = self.identity.or(self.others);
        match (weight(best), identity) {
            (0, _) => Preference::Identity,
            (_, Some(0)) => Preference::Only(best),
            (coded, Some(plain)) if plain > coded => Preference::Identity,
            _ => Preference::Coded(best),
        }
    }
}

impl Compression {
    /// Chooses the coding of an answer whose body has `size` bytes, where that is known, and writes
    /// into its head what belongs there: `Content-Encoding`, `Vary`, a weak `ETag`.
    pub fn choose(
        &self,
        preference: Preference,
        size: Option<u64>,
        head: &mut dyn ResponseHead,
    ) -> Option<Coding> {
        let (coding, forced) = match preference {
            Preference::Identity => (None, false),
            Preference::Coded(coding) => (Some(coding), false),
            Preference::Only(coding) => (Some(coding), true),
        };
        // https://www.rfc-editor.org/rfc/rfc9110#section-15.4.5: as the answer that it stands for.
        if head.status() == StatusCode::NOT_MODIFIED {
            if coding.is_some() {
                weaken(head);
            }
            vary(head);
            return None;
        }
        let large = size.is_none_or(|size| size >= self.min_size || (forced && size > 0));
        if !large || !is_worth_it(head) {
            return None;
        }
        vary(head);
        let coding = coding?;
        head.append(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        weaken(head);
        // Ranges and length are those of what is not sent.
        head.retain(&|name| *name != ACCEPT_RANGES && *name != CONTENT_LENGTH);
        Some(coding)
    }
}

/// Digests of what would be changed: <https://www.rfc-editor.org/rfc/rfc9530>
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

fn is_worth_it(head: &dyn ResponseHead) -> bool {
    let has_body = match head.status() {
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::PARTIAL_CONTENT => false,
        status => !status.is_informational(),
    };
    // https://www.rfc-editor.org/rfc/rfc9111#section-5.2.2.6
    let frozen = |value: &HeaderValue| {
        elements(value.as_bytes()).any(|element| element.eq_ignore_ascii_case(b"no-transform"))
    };
    has_body
        && head.any(&CONTENT_TYPE, &mut |value| is_text(value.as_bytes()))
        && !head.contains(&CONTENT_ENCODING)
        && !head.contains(&CONTENT_RANGE)
        && !head.any(&CACHE_CONTROL, &mut |value| frozen(value))
        && !DIGESTS.iter().any(|digest| head.contains(digest))
}

/// Whether a media type is one that compresses well: text, in the widest sense. An event stream must
/// not wait for more of itself.
fn is_text(content_type: &[u8]) -> bool {
    const KINDS: [&str; 6] = ["json", "xml", "javascript", "wasm", "x-ndjson", "graphql"];
    let essence = split(content_type, b';').0.to_ascii_lowercase();
    let (kind, subtype) = split(&essence, b'/');
    match kind {
        b"text" => subtype != b"event-stream",
        b"application" | b"image" | b"model" => {
            let suffix = subtype.rsplit(|byte| *byte == b'+').next().unwrap_or_default();
            KINDS.iter().any(|known| suffix == known.as_bytes())
        }
        _ => false,
    }
}

/// The answer depends on `Accept-Encoding`.
fn vary(head: &mut dyn ResponseHead) {
    let said = head.any(&VARY, &mut |value| {
        elements(value.as_bytes())
            .any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding"))
    });
    if !said {
        head.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// The bytes are no longer those of the validator, what they say is.
/// <https://www.rfc-editor.org/rfc/rfc9110#section-8.8.1>
fn weaken(head: &mut dyn ResponseHead) {
    let mut strong = None;
    head.any(&ETAG, &mut |value| {
        if !value.as_bytes().starts_with(b"W/") {
            strong = Some(value.clone());
        }
        true
    });
    let Some(strong) = strong else { return };
    head.retain(&|name| *name != ETAG);
    if let Ok(weak) = HeaderValue::from_bytes(&[b"W/", strong.as_bytes()].concat()) {
        head.append(ETAG, weak);
    }
}

/// The elements of a list, without the empty ones:
/// <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.1.2>
fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// What stands in front of the separator, and what behind.
fn split(text: &[u8], separator: u8) -> (&[u8], &[u8]) {
    let at = text.iter().position(|byte| *byte == separator);
    let (front, behind) = text.split_at(at.unwrap_or(text.len()));
    (front.trim_ascii(), behind.get(1..).unwrap_or_default().trim_ascii())
}

/// `q=…` in thousandths; 1 where nothing is said; `None` where it is malformed.
/// <https://www.rfc-editor.org/rfc/rfc9110#section-12.4.2>
fn weight(parameters: &[u8]) -> Option<u16> {
    if parameters.is_empty() {
        return Some(1000);
    }
    let value = parameters.strip_prefix(b"q=").or_else(|| parameters.strip_prefix(b"Q="))?;
    let (whole, rest) = value.split_first()?;
    let thousandths = match rest {
        [] => 0,
        [b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => {
            let padded = digits.iter().map(|digit| digit - b'0').chain([0; 3]).take(3);
            padded.fold(0, |value, digit| value * 10 + u16::from(digit))
        }
        _ => return None,
    };
    match (whole, thousandths) {
        (b'0', thousandths) => Some(thousandths),
        (b'1', 0) => Some(1000),
        _ => None,
    }
}
