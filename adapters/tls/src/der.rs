//! The subject of a certificate as text, and when it runs out. Reads no more DER than that, bounded,
//! without recursion.

use core::fmt::Write as _;
use core::time::Duration;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;
const IA5: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// 1970-01-01 in seconds, counted as [`not_after`] counts them.
const EPOCH: u64 = 719_469 * 86_400;
/// The `[0]` in front of a certificate's version.
const VERSION: u8 = 0xa0;

/// Longer subjects are cut off, at the end of an attribute.
const MAX_SUBJECT: usize = 1024;

/// The subject of a certificate.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Subject {
    /// Comma-separated attributes, last one first: <https://www.rfc-editor.org/rfc/rfc4514>
    pub(crate) text: String,
    /// The most specific common name.
    pub(crate) common_name: Option<String>,
}

/// Reads the subject of a certificate in DER. `None`: this is no certificate.
/// <https://www.rfc-editor.org/rfc/rfc5280#section-4.1>
pub(crate) fn subject(certificate: &[u8]) -> Option<Subject> {
    let mut certificate = Reader(certificate).enter(SEQUENCE)?;
    let mut tbs = certificate.enter(SEQUENCE)?;
    if tbs.peek() == Some(VERSION) {
        tbs.next()?;
    }
    // Serial number, signature algorithm, issuer, validity.
    for _ in 0..4 {
        tbs.next()?;
    }
    let mut names = tbs.enter(SEQUENCE)?;
    let mut found = Subject::default();
    while names.peek().is_some() {
        let mut relative = names.enter(SET)?;
        let mut text = String::new();
        while relative.peek().is_some() {
            let mut attribute = relative.enter(SEQUENCE)?;
            let (tag, oid) = attribute.next()?;
            if tag != OID {
                return None;
            }
            let (tag, value) = attribute.next()?;
            let value = Value::new(tag, value);
            if oid == [0x55, 4, 3]
                && let Value::Text(name) = value
            {
                found.common_name = Some(name.to_owned());
            }
            if !text.is_empty() {
                text.push('+');
            }
            write_type(&mut text, oid);
            text.push('=');
            value.write(&mut text);
        }
        // RFC 4514 starts with the last element of the sequence.
        if text.len() + found.text.len() < MAX_SUBJECT {
            if !found.text.is_empty() {
                text.push(',');
            }
            found.text.insert_str(0, &text);
        }
    }
    Some(found)
}

/// The last moment at which a certificate is good, since 1970-01-01T00:00:00Z; one before that is that.
/// `None`: this is no certificate.
/// <https://www.rfc-editor.org/rfc/rfc5280#section-4.1.2.5>
pub(crate) fn not_after(certificate: &[u8]) -> Option<Duration> {
    let mut certificate = Reader(certificate).enter(SEQUENCE)?;
    let mut tbs = certificate.enter(SEQUENCE)?;
    if tbs.peek() == Some(VERSION) {
        tbs.next()?;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        tbs.next()?;
    }
    let mut validity = tbs.enter(SEQUENCE)?;
    validity.next()?;
    let (tag, text) = validity.next()?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (digits, rest) = text.split_at_checked(2)?;
            // https://www.rfc-editor.org/rfc/rfc5280#section-4.1.2.5.1
            let year = number(digits)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (digits, rest) = text.split_at_checked(4)?;
            (number(digits)?, rest)
        }
        _ => return None,
    };
    let (pairs, end) = rest.as_chunks::<2>();
    let [month, day, hour, minute, second] = pairs else { return None };
    if end != b"Z" {
        return None;
    }
    let (month, day) = (number(month)?, number(day)?);
    let (hour, minute, second) = (number(hour)?, number(minute)?, number(second)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days from the civil calendar, with years that begin in March.
    let (year, month) =
        if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(Duration::from_secs(seconds.saturating_sub(EPOCH)))
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })
}

/// A position in a piece of DER.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element: its tag and its content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk::<2>()?;
        let (len, rest) = match first {
            ..=0x7f => (usize::from(first), rest),
            0x81 => {
                let (&len, rest) = rest.split_first()?;
                (usize::from(len), rest)
            }
            0x82 => {
                let (&len, rest) = rest.split_first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(len)), rest)
            }
            // No certificate that came through a handshake is that large.
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, content))
    }

    fn enter(&mut self, expected: u8) -> Option<Self> {
        let (tag, content) = self.next()?;
        (tag == expected).then_some(Self(content))
    }
}

enum Value<'a> {
    Text(&'a str),
    Other(u8, &'a [u8]),
}

impl<'a> Value<'a> {
    fn new(tag: u8, content: &'a [u8]) -> Self {
        match core::str::from_utf8(content) {
            Ok(text) if matches!(tag, UTF8 | PRINTABLE | IA5) => Self::Text(text),
            _ => Self::Other(tag, content),
        }
    }

    /// <https://www.rfc-editor.org/rfc/rfc4514#section-2.4>
    fn write(&self, out: &mut String) {
        match self {
            Self::Text(text) => {
                let last = text.chars().count().saturating_sub(1);
                for (i, c) in text.chars().enumerate() {
                    let escaped = match c {
                        ' ' => i == 0 || i == last,
                        '#' => i == 0,
                        _ => matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';'),
                    };
                    if escaped {
                        out.push('\\');
                    }
                    if c.is_control() {
                        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                            let _ = write!(out, "\\{byte:02x}");
                        }
                    } else {
                        out.push(c);
                    }
                }
            }
            Self::Other(tag, content) => {
                let _ = write!(out, "#{tag:02x}");
                for byte in content.iter().take(64) {
                    let _ = write!(out, "{byte:02x}");
                }
            }
        }
    }
}

fn write_type(out: &mut String, oid: &[u8]) {
    let name = match oid {
        [0x55, 4, 3] => "CN",
        [0x55, 4, 6] => "C",
        [0x55, 4, 7] => "L",
        [0x55, 4, 8] => "ST",
        [0x55, 4, 9] => "STREET",
        [0x55, 4, 10] => "O",
        [0x55, 4, 11] => "OU",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25] => "DC",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1] => "UID",
        _ => return write_dotted(out, oid),
    };
    out.push_str(name);
}

/// The dotted form of an object identifier. <https://www.itu.int/rec/T-REC-X.690> 8.19
fn write_dotted(out: &mut String, oid: &[u8]) {
    let mut arc = 0u64;
    let mut first = true;
    for &byte in oid.iter().take(32) {
        arc = (arc << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        let _ = if core::mem::take(&mut first) {
            let top = (arc / 40).min(2);
            write!(out, "{top}.{}", arc - top * 40)
        } else {
            write!(out, ".{arc}")
        };
        arc = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn certificate(names: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn reads_a_subject_last_attribute_first() {
        let der = certificate(&[
            (DnType::CountryName, "CH"),
            (DnType::OrganizationName, "Acme, Inc."),
            (DnType::CommonName, " billing #1"),
        ]);
        let subject = subject(&der).unwrap();
        assert_eq!(subject.common_name.as_deref(), Some(" billing #1"));
        assert_eq!(subject.text, "CN=\\ billing #1,O=Acme\\, Inc.,C=CH");
    }

    #[test]
    fn reads_when_a_certificate_runs_out() {
        for (year, month, day, wanted) in [
            (1970, 1, 2, 86_400),
            (2000, 2, 29, 951_782_400),
            (2026, 11, 27, 1_795_737_600),
            (2049, 12, 31, 2_524_521_600),
            (2050, 1, 1, 2_524_608_000),
            (2100, 3, 1, 4_107_542_400),
            (9999, 12, 31, 253_402_214_400),
        ] {
            let mut params = CertificateParams::default();
            params.not_after = rcgen::date_time_ymd(year, month, day);
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            assert_eq!(not_after(certificate.der()), Some(Duration::from_secs(wanted)), "{year}");
        }
        assert_eq!(not_after(b"none"), None);
    }

    #[test]
    fn control_bytes_and_unknown_types_are_spelled_out() {
        let der = certificate(&[
            (DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 311, 1]), "x"),
            (DnType::CommonName, "a\nb"),
        ]);
        assert_eq!(subject(&der).unwrap().text, "CN=a\\0ab,1.3.6.1.4.1.311.1=x");
    }

    #[test]
    fn a_cut_or_garbled_certificate_never_panics() {
        let der = certificate(&[(DnType::CommonName, "a")]);
        for len in 0..der.len() {
            let _ = (subject(&der[..len]), not_after(&der[..len]));
        }
        for at in 0..der.len() {
            for byte in [0, 0x7f, 0x80, 0x81, 0x82, 0xff] {
                let mut garbled = der.clone();
                garbled[at] = byte;
                let _ = (subject(&garbled), not_after(&garbled));
            }
        }
    }
}
