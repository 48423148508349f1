//! Why a call to a service has no result.

use std::io;

use atrest::key::{KeyId, WrappedDek};
use atrest::{Error, KeyRefusal, Result, VaultFailure};
use atrest_http::Failure;

/// The name of an operation, as [`KeyRefusal::AccessDenied`] has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    Wrap,
    Unwrap,
    /// Setting a secret.
    #[cfg(feature = "azure")]
    Set,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Get => "get",
            Operation::Wrap => "wrapKey",
            Operation::Unwrap => "unwrapKey",
            #[cfg(feature = "azure")]
            Operation::Set => "set",
        }
    }
}

/// The reason for a missing result.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The service says that this caller may not do it. The string is the caller's identity.
    Denied(String),
    /// The service says that the key may not be used.
    Refused(KeyRefusal),
    /// The service says that the wrapped bytes are wrong.
    Altered,
    /// No answer, or one that says nothing about the key.
    Failed(VaultFailure),
}

impl Trouble {
    pub fn failed(what: impl Into<String>) -> Self {
        Trouble::Failed(VaultFailure::new(what))
    }

    /// The error for a call about a key.
    pub fn into_error(self, key: impl Into<String>, operation: Operation) -> Error {
        let reason = match self {
            Trouble::Denied(identity) => KeyRefusal::AccessDenied { identity, operation: operation.name().into() },
            Trouble::Refused(reason) => reason,
            Trouble::Altered => return Error::UnwrapFailed,
            Trouble::Failed(failure) => {
                let outage = Error::Vault(failure);
                return self_test(&outage).unwrap_or(outage);
            }
        };
        Error::KeyRefused { key: key.into(), reason }
    }
}

/// The failed self-test that is the cause of an error, such as that of a signature: this process computes wrongly, and the service isn't away.
fn self_test(error: &Error) -> Option<Error> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(failed) = error.downcast_ref::<Failure>().and_then(Failure::self_test) {
            return Some(failed);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let inner = inner.and_then(|inner| inner.downcast_ref::<Error>());
        if let Some(Error::SelfTest { algorithm }) = error.downcast_ref().or(inner) {
            return Some(Error::SelfTest { algorithm });
        }
        cause = error.source();
    }
    None
}

/// The long strings of a request in JSON, none of which an error may repeat: a DEK is among them.
pub(crate) fn strings(body: &[u8]) -> Vec<&str> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    text.split('"').filter(|part| part.len() >= 20).collect()
}

/// The wrapped DEK, if it is under the version that was asked for.
pub(crate) fn only_under(kek: &KeyId, wrapped: WrappedDek) -> Result<WrappedDek> {
    if wrapped.kek != *kek {
        return Err(Error::Vault(format!("asked to wrap under {kek}, it wrapped under {}", wrapped.kek).into()));
    }
    Ok(wrapped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_self_test_is_no_outage() {
        let failed = || io::Error::other(Error::SelfTest { algorithm: "HMAC-SHA-256" });
        let direct = VaultFailure::new("signing a request").caused_by(failed());
        let unsent = VaultFailure::new("asking").caused_by(Failure::unsent("signing a request", &failed()));
        let told = VaultFailure::new("asking").caused_by(io::Error::from(Failure::unsent("signing", &failed())));
        for failure in [direct, unsent, told] {
            let error = Trouble::Failed(failure).into_error("disks", Operation::Unwrap);
            assert!(matches!(error, Error::SelfTest { algorithm: "HMAC-SHA-256" }), "{error:?}");
        }
        let away = VaultFailure::new("asking").caused_by(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert!(matches!(Trouble::Failed(away).into_error("disks", Operation::Unwrap), Error::Vault(_)));
    }
}
