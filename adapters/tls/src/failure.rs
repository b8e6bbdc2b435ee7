//! Why TLS failed: typed, comparable, in plain words.

use core::fmt;
use std::sync::Arc;

use rustls::{AlertDescription, CertificateError, InvalidMessage};
use sinew_core::error::{Delivery, Fault, Kind, Phase, Violation};
use sinew_core::time::Timer;

/// Why a TLS connection cannot go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What went wrong.
    pub reason: Reason,
    /// Which side says so.
    pub by: Side,
    /// Whether the handshake was complete on our side when it happened.
    pub established: bool,
    /// The words of the TLS library, where it has any.
    pub detail: Option<Arc<str>>,
}

/// One end of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    /// We noticed and told the peer by an alert.
    Local,
    /// The peer noticed and told us by an alert.
    Peer,
}

/// What went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// The certificate does not come from a trusted authority.
    UnknownCa,
    /// The certificate has expired. (A peer's alert says the same of one that is not valid yet.)
    Expired,
    /// The certificate is not valid yet.
    NotYetValid,
    /// The certificate does not name the server that was asked for.
    NameMismatch,
    /// The server requires a certificate and the client has shown none.
    NoClientCertificate,
    /// The certificate was revoked.
    Revoked,
    /// No current revocation list covers the certificate.
    RevocationUnknown,
    /// The certificate is not meant for this use.
    WrongUse,
    /// The certificate is refused for another reason.
    BadCertificate,
    /// No application protocol in common.
    AlpnMismatch,
    /// No TLS version, cipher suite, key exchange or signature scheme in common.
    NothingInCommon,
    /// Another fatal alert of the peer, by its code.
    /// <https://www.rfc-editor.org/rfc/rfc8446#section-6>
    Alert(u8),
    /// What the peer speaks is not TLS; plain HTTP, most likely.
    NotTls,
    /// The peer broke the TLS protocol, or records were tampered with.
    Protocol,
    /// The connection ended without the peer's `close_notify`, where that may hide lost bytes.
    Truncated,
    /// A timer of the TLS layer fired.
    Timeout(Timer),
    /// TLS 1.2 only: as many records were sent as one key may protect.
    KeysExhausted,
    /// A fault on our side: no entropy, no clock.
    Internal,
}

impl Failure {
    pub(crate) fn local(reason: Reason, established: bool) -> Self {
        Self { reason, by: Side::Local, established, detail: None }
    }

    /// Puts a name to what rustls says. `server`: our role.
    pub(crate) fn from_rustls(error: &rustls::Error, server: bool, established: bool) -> Self {
        use rustls::Error as E;
        let reason = match error {
            E::AlertReceived(alert) => {
                let reason = reason_of_alert(*alert);
                return Self { reason, by: Side::Peer, established, detail: None };
            }
            E::InvalidCertificate(why) => reason_of_certificate(why),
            E::InvalidCertRevocationList(_) => Reason::RevocationUnknown,
            E::NoCertificatesPresented if server => Reason::NoClientCertificate,
            E::NoCertificatesPresented | E::UnsupportedNameType => Reason::BadCertificate,
            E::NoApplicationProtocol => Reason::AlpnMismatch,
            E::PeerIncompatible(_) => Reason::NothingInCommon,
            E::InvalidMessage(InvalidMessage::InvalidContentType) if !established => Reason::NotTls,
            E::InvalidMessage(_)
            | E::InappropriateMessage { .. }
            | E::InappropriateHandshakeMessage { .. }
            | E::PeerMisbehaved(_)
            | E::PeerSentOversizedRecord
            | E::DecryptError => Reason::Protocol,
            _ => Reason::Internal,
        };
        let detail = Some(error.to_string().into());
        Self { reason, by: Side::Local, established, detail }
    }

    /// Who has to change something. A side that is refused is at fault.
    pub const fn fault(&self) -> Fault {
        match (self.reason, self.by) {
            (Reason::Internal | Reason::KeysExhausted, _) => Fault::Local,
            // It is our list that is missing or stale.
            (Reason::RevocationUnknown, Side::Local) => Fault::Local,
            (Reason::Truncated, _) => Fault::Network,
            (_, Side::Local) => Fault::Peer,
            (_, Side::Peer) => Fault::Local,
        }
    }

    /// How far a request got that was given to this connection.
    ///
    /// In TLS 1.3 a client learns only after its handshake that its certificate was refused; such a
    /// server has not looked at any request, so that counts as not sent.
    pub const fn delivery(&self) -> Delivery {
        match (self.established, self.by, self.reason) {
            (false, ..) => Delivery::NotSent,
            (true, Side::Peer, reason) if reason.is_of_handshake() => Delivery::NotSent,
            (true, ..) => Delivery::MaybeProcessed,
        }
    }

    /// Always [`Phase::Tls`].
    pub const fn phase(&self) -> Phase {
        Phase::Tls
    }

    /// The same in the words of the core, without the detail.
    pub const fn to_core(&self) -> sinew_core::Error {
        let kind = match self.reason {
            Reason::Timeout(timer) => Kind::Timeout(timer),
            Reason::Truncated => Kind::Truncated,
            _ => Kind::Peer(Violation::Tls),
        };
        sinew_core::Error { kind, phase: Phase::Tls, delivery: self.delivery() }
    }
}

impl Reason {
    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownCa => "unknown_ca",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::NameMismatch => "name_mismatch",
            Self::NoClientCertificate => "no_client_certificate",
            Self::Revoked => "revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::WrongUse => "wrong_use",
            Self::BadCertificate => "bad_certificate",
            Self::AlpnMismatch => "alpn_mismatch",
            Self::NothingInCommon => "nothing_in_common",
            Self::Alert(_) => "alert",
            Self::NotTls => "not_tls",
            Self::Protocol => "protocol",
            Self::Truncated => "truncated",
            Self::Timeout(_) => "timeout",
            Self::KeysExhausted => "keys_exhausted",
            Self::Internal => "internal",
        }
    }

    /// Whether a peer that sends this as an alert has not completed the handshake on its side.
    const fn is_of_handshake(self) -> bool {
        match self {
            Self::UnknownCa
            | Self::Expired
            | Self::NoClientCertificate
            | Self::Revoked
            | Self::RevocationUnknown
            | Self::WrongUse
            | Self::BadCertificate
            | Self::AlpnMismatch
            | Self::NothingInCommon => true,
            // handshake_failure, access_denied, decrypt_error (of a Finished or CertificateVerify).
            Self::Alert(code) => matches!(code, 40 | 49 | 51),
            _ => false,
        }
    }
}

fn reason_of_alert(alert: AlertDescription) -> Reason {
    match alert {
        AlertDescription::UnknownCA => Reason::UnknownCa,
        AlertDescription::CertificateExpired => Reason::Expired,
        AlertDescription::CertificateRevoked => Reason::Revoked,
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            Reason::NoClientCertificate
        }
        AlertDescription::UnsupportedCertificate => Reason::WrongUse,
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            Reason::BadCertificate
        }
        AlertDescription::BadCertificateStatusResponse => Reason::RevocationUnknown,
        AlertDescription::NoApplicationProtocol => Reason::AlpnMismatch,
        AlertDescription::ProtocolVersion | AlertDescription::InsufficientSecurity => {
            Reason::NothingInCommon
        }
        other => Reason::Alert(other.into()),
    }
}

fn reason_of_certificate(why: &CertificateError) -> Reason {
    use CertificateError as E;
    match why {
        E::Expired | E::ExpiredContext { .. } => Reason::Expired,
        E::NotValidYet | E::NotValidYetContext { .. } => Reason::NotYetValid,
        E::Revoked => Reason::Revoked,
        E::UnknownIssuer => Reason::UnknownCa,
        E::UnknownRevocationStatus
        | E::ExpiredRevocationList
        | E::ExpiredRevocationListContext { .. } => Reason::RevocationUnknown,
        E::NotValidForName | E::NotValidForNameContext { .. } => Reason::NameMismatch,
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => Reason::WrongUse,
        _ => Reason::BadCertificate,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match self.by {
            Side::Local => "the peer's certificate",
            Side::Peer => "the peer says that our certificate",
        };
        match self.reason {
            Reason::UnknownCa => write!(f, "{whose} does not come from a trusted authority"),
            Reason::Expired => write!(f, "{whose} has expired"),
            Reason::NotYetValid => write!(f, "{whose} is not valid yet"),
            Reason::NameMismatch => write!(f, "{whose} does not name the server asked for"),
            Reason::NoClientCertificate => match self.by {
                Side::Local => write!(f, "the client showed no certificate"),
                Side::Peer => write!(f, "the server requires a client certificate"),
            },
            Reason::Revoked => write!(f, "{whose} was revoked"),
            Reason::RevocationUnknown => write!(f, "{whose} is on no current revocation list"),
            Reason::WrongUse => write!(f, "{whose} is not meant for this use"),
            Reason::BadCertificate => write!(f, "{whose} is bad"),
            Reason::AlpnMismatch => write!(f, "no application protocol in common"),
            Reason::NothingInCommon => write!(f, "no TLS version or cipher in common"),
            Reason::Alert(code) => write!(f, "the peer refused with alert {code}"),
            Reason::NotTls => write!(f, "the peer does not speak TLS"),
            Reason::Protocol => write!(f, "the peer broke the TLS protocol"),
            Reason::Truncated if self.established => {
                write!(f, "the connection was cut: it ended without close_notify")
            }
            Reason::Truncated => write!(f, "the connection ended during the handshake"),
            Reason::Timeout(timer) => write!(f, "timed out: {}", timer.name()),
            Reason::KeysExhausted => write!(f, "the session's keys are worn out"),
            Reason::Internal => write!(f, "TLS failed on this side"),
        }?;
        match &self.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for Failure {}
