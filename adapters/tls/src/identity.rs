//! Who the peer is, read once from the certificate that the handshake accepted.

use std::fmt;

use rustls::pki_types::CertificateDer;
use sinew_core::security::PeerName;
use webpki::EndEntityCert;

use crate::der;

/// The longest SPIFFE ID: <https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md>
const MAX_SPIFFE_ID: usize = 2048;
const MAX_TRUST_DOMAIN: usize = 255;
/// Alternative names of one kind that are kept; a workload has a handful.
const MAX_NAMES: usize = 32;

/// The identity of an authenticated peer.
///
/// Its certificate was verified by the handshake; nothing in here is a claim only.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    certificate: CertificateDer<'static>,
    uris: Box<[Box<str>]>,
    dns: Box<[Box<str>]>,
    subject: Box<str>,
    common_name: Option<Box<str>>,
    kind: NameKind,
}

impl fmt::Debug for PeerIdentity {
    /// The certificate is a kilobyte or two: its length says enough.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { certificate, uris, dns, subject, common_name: _, kind } = self;
        f.debug_struct("PeerIdentity")
            .field("kind", kind)
            .field("uris", uris)
            .field("dns", dns)
            .field("subject", subject)
            .field("certificate", &format_args!("{} bytes", certificate.len()))
            .finish()
    }
}

/// Where [`PeerIdentity::name`] comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NameKind {
    /// The SPIFFE ID.
    Spiffe,
    /// The first DNS name.
    Dns,
    /// The subject's common name.
    CommonName,
    /// The certificate names nobody.
    Nameless,
}

impl PeerIdentity {
    /// Reads the names out of a certificate. It does not verify it.
    pub(crate) fn read(certificate: &CertificateDer<'_>) -> Self {
        let mut uris = Vec::new();
        let mut dns = Vec::new();
        if let Ok(parsed) = EndEntityCert::try_from(certificate) {
            uris.extend(parsed.valid_uri_names().take(MAX_NAMES).map(Box::from));
            dns.extend(parsed.valid_dns_names().take(MAX_NAMES).map(Box::from));
        }
        let subject = der::subject(certificate).unwrap_or_default();
        let mut identity = Self {
            certificate: certificate.clone().into_owned(),
            uris: uris.into(),
            dns: dns.into(),
            subject: subject.text.into(),
            common_name: subject.common_name.map(Into::into),
            kind: NameKind::Nameless,
        };
        identity.kind = if identity.spiffe_id().is_some() {
            NameKind::Spiffe
        } else if !identity.dns.is_empty() {
            NameKind::Dns
        } else if identity.common_name().is_some_and(is_plain_name) {
            NameKind::CommonName
        } else {
            NameKind::Nameless
        };
        identity
    }

    /// One stable name: the SPIFFE ID, else the first DNS name, else the subject's common name.
    ///
    /// Empty when the certificate has none of them. A common name that could be taken for another
    /// kind of name (with `:` or `/` in it) does not count.
    pub fn name(&self) -> &str {
        match self.kind {
            NameKind::Spiffe => self.spiffe_id(),
            NameKind::Dns => self.dns_names().next(),
            NameKind::CommonName => self.common_name(),
            NameKind::Nameless => None,
        }
        .unwrap_or_default()
    }

    /// Which of the names [`name`](Self::name) is.
    pub fn name_kind(&self) -> NameKind {
        self.kind
    }

    /// The same name as access rules and quotas know it; `None` when the certificate names nobody.
    pub fn peer_name(&self) -> Option<PeerName> {
        let kind = match self.kind {
            NameKind::Spiffe => PeerName::Spiffe,
            NameKind::Dns => PeerName::Dns,
            NameKind::CommonName => PeerName::CommonName,
            NameKind::Nameless => return None,
        };
        Some(kind(self.name().into()))
    }

    /// The SPIFFE ID: the one URI of the certificate, when it is a valid `spiffe://domain/path`.
    ///
    /// A certificate with two URIs has none: it must have exactly one.
    /// <https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md>
    pub fn spiffe_id(&self) -> Option<&str> {
        match &*self.uris {
            [uri] if is_spiffe_id(uri) => Some(uri),
            _ => None,
        }
    }

    /// The URIs among the subject's alternative names, unvalidated but for being UTF-8.
    pub fn uris(&self) -> impl Iterator<Item = &str> {
        self.uris.iter().map(|uri| &**uri)
    }

    /// The DNS names among the subject's alternative names; wildcards included.
    pub fn dns_names(&self) -> impl Iterator<Item = &str> {
        self.dns.iter().map(|name| &**name)
    }

    /// The subject as text, last attribute first: `CN=billing,O=Acme`. At most about 1 KiB.
    /// <https://www.rfc-editor.org/rfc/rfc4514>
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The subject's common name.
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    /// The certificate itself, in DER; for thumbprints.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }
}

/// A common name is free text; one that looks like a URI must not pass for one.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| matches!(c, ':' | '/') || c.is_control())
}

/// <https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md#2-spiffe-identity>
fn is_spiffe_id(uri: &str) -> bool {
    let Some(rest) = uri.strip_prefix("spiffe://").filter(|_| uri.len() <= MAX_SPIFFE_ID) else {
        return false;
    };
    let Some((domain, path)) = rest.split_once('/') else { return false };
    let in_domain =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    let in_segment = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !domain.is_empty()
        && domain.len() <= MAX_TRUST_DOMAIN
        && domain.bytes().all(in_domain)
        && path
            .split('/')
            .all(|segment| !matches!(segment, "" | "." | "..") && segment.bytes().all(in_segment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn identity(common_name: &str, names: Vec<SanType>) -> PeerIdentity {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names = names;
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        PeerIdentity::read(certificate.der())
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn dns(text: &str) -> SanType {
        SanType::DnsName(text.try_into().unwrap())
    }

    #[test]
    fn the_name_is_the_strongest_there_is() {
        let id = "spiffe://acme.org/ns/pay/sa/billing";
        let all = identity("billing", vec![dns("billing.acme.org"), uri(id)]);
        assert_eq!((all.name(), all.name_kind()), (id, NameKind::Spiffe));
        let named = identity("billing", vec![dns("billing.acme.org"), dns("b")]);
        assert_eq!((named.name(), named.name_kind()), ("billing.acme.org", NameKind::Dns));
        assert_eq!(named.dns_names().collect::<Vec<_>>(), ["billing.acme.org", "b"]);
        let plain = identity("billing", vec![]);
        assert_eq!((plain.name(), plain.name_kind()), ("billing", NameKind::CommonName));
        let shown = format!("{named:?}");
        assert!(shown.contains("dns: [\"billing.acme.org\", \"b\"]"), "{shown}");
        assert!(shown.contains(" bytes") && shown.len() < 300, "{shown}");
        assert!(plain.subject().contains("CN=billing"));
        for (identity, name) in [
            (all, PeerName::Spiffe(id.into())),
            (named, PeerName::Dns("billing.acme.org".into())),
            (plain, PeerName::CommonName("billing".into())),
        ] {
            assert_eq!(identity.peer_name(), Some(name));
        }
    }

    #[test]
    fn a_common_name_cannot_pose_as_a_spiffe_id() {
        let poser = identity("spiffe://acme.org/admin", vec![]);
        assert_eq!((poser.name(), poser.name_kind()), ("", NameKind::Nameless));
        assert_eq!(poser.peer_name(), None);
    }

    #[test]
    fn two_uris_make_no_spiffe_id() {
        let two = identity("x", vec![uri("spiffe://a/b"), uri("spiffe://a/c")]);
        assert_eq!(two.spiffe_id(), None);
        assert_eq!(two.name(), "x");
        assert_eq!(two.uris().count(), 2);
    }

    #[test]
    fn spiffe_ids_are_checked() {
        for good in ["spiffe://a/b", "spiffe://my-domain.x_y/A/b.c/d_e-1"] {
            assert!(is_spiffe_id(good), "{good}");
        }
        let long = format!("spiffe://a/{}", "b".repeat(MAX_SPIFFE_ID));
        for bad in [
            "",
            "spiffe://",
            "spiffe:///b",
            "spiffe://a",
            "spiffe://a/",
            "spiffe://A/b",
            "SPIFFE://a/b",
            "spiffe://a//b",
            "spiffe://a/b/",
            "spiffe://a/./b",
            "spiffe://a/../b",
            "spiffe://a:1/b",
            "spiffe://u@a/b",
            "spiffe://a/b?c",
            "spiffe://a/b#c",
            "spiffe://a/%41",
            "https://a/b",
            "spiffe://a/b c",
            long.as_str(),
        ] {
            assert!(!is_spiffe_id(bad), "{bad}");
        }
    }
}
