//! Who asks, by the credential that came along.

use core::fmt;
use core::time::Duration;

use http::HeaderName;
use http::header::WWW_AUTHENTICATE;

use super::{Arrival, Decision, Exchanges, Interest, Layer, Record, ResponseHead};
use crate::head::Single;
use crate::policy::{Mode, Refused, Stage};
use crate::reason::Reason;
use crate::security::{
    BearerError, Challenge, Credential, CredentialVerdict, TokenError, TokenValidator,
};

/// When to come back while the validator cannot tell: it may be about to fetch keys.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Looks at the credential of a request, and challenges those who need one and have none.
///
/// A request without a credential goes on as nobody: what nobody may do is a matter of
/// [access control](crate::security::Access). One with a credential that is not good is refused,
/// also where it would not have needed any.
pub struct Authentication {
    validator: Option<Box<dyn TokenValidator + Send + Sync>>,
    api_key: Option<HeaderName>,
    challenge: Challenge,
}

impl Authentication {
    /// Only challenges: for servers that know their callers by certificate.
    pub fn new(challenge: Challenge) -> Self {
        Self { validator: None, api_key: None, challenge }
    }

    /// Lets this validator judge credentials.
    #[must_use]
    pub fn validator(mut self, validator: impl TokenValidator + Send + Sync + 'static) -> Self {
        self.validator = Some(Box::new(validator));
        self
    }

    /// Takes API keys, in the field of this name.
    #[must_use]
    pub fn api_key(mut self, field: HeaderName) -> Self {
        self.api_key = Some(field);
        self
    }

    fn check(&self, arrival: &Arrival<'_>, record: &mut Record) -> CredentialVerdict {
        let Some(validator) = &self.validator else { return CredentialVerdict::Absent };
        let fields = arrival.head.fields();
        let api_key = match &self.api_key {
            Some(name) => fields.single(name.as_str()),
            None => Single::Absent,
        };
        match Credential::given(record.index.authorization.of(fields), api_key) {
            Err(bad) => CredentialVerdict::Unreadable(bad),
            Ok(None) => CredentialVerdict::Absent,
            Ok(Some(credential)) => {
                let peer = arrival.peer.thumbprint.as_ref();
                match validator.validate(credential, peer, arrival.unix) {
                    Ok(principal) => {
                        record.security.principal = Some(principal);
                        CredentialVerdict::Good
                    }
                    Err(error) => CredentialVerdict::Refused(error),
                }
            }
        }
    }
}

impl Authentication {
    #[inline(never)]
    fn challenge(&self, refused: Reason, response: &mut dyn ResponseHead) {
        // https://www.rfc-editor.org/rfc/rfc6750#section-3.1
        let error = match refused {
            Reason::Unauthenticated => None,
            Reason::BadCredential => Some(BearerError::InvalidRequest),
            Reason::InvalidToken => Some(BearerError::InvalidToken),
            Reason::InsufficientScope => Some(BearerError::InsufficientScope),
            _ => return,
        };
        response.append(WWW_AUTHENTICATE, self.challenge.value(error).clone());
    }
}

impl Layer for Authentication {
    fn stage(&self) -> Stage {
        Stage::Authenticate
    }

    fn interest(&self) -> Interest {
        Interest { answers: Exchanges::Refused, ..Interest::HEAD }
    }

    fn on_head(&self, arrival: &Arrival<'_>, record: &mut Record) -> Decision {
        let verdict = self.check(arrival, record);
        record.credential = Some(verdict);
        match verdict {
            CredentialVerdict::Absent | CredentialVerdict::Good => Decision::Continue,
            CredentialVerdict::Unreadable(_) => Decision::Refuse(Reason::BadCredential),
            CredentialVerdict::Refused(TokenError::Unavailable) => {
                record.retry_after = Some(RETRY_AFTER);
                Decision::Refuse(Reason::Unavailable)
            }
            CredentialVerdict::Refused(_) => Decision::Refuse(Reason::InvalidToken),
        }
    }

    fn on_response(&self, record: &Record, response: &mut dyn ResponseHead) {
        if let Some(Refused { reason, mode: Mode::Enforce, .. }) = record.refused {
            self.challenge(reason, response);
        }
    }

    fn explain(&self, record: &Record) -> Option<String> {
        match record.credential? {
            CredentialVerdict::Unreadable(bad) => Some(bad.name().to_owned()),
            CredentialVerdict::Refused(error) => Some(error.name().to_owned()),
            CredentialVerdict::Absent | CredentialVerdict::Good => None,
        }
    }
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authentication")
            .field("validates", &self.validator.is_some())
            .field("api_key", &self.api_key)
            .field("challenge", &self.challenge)
            .finish()
    }
}
