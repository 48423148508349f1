//! Why a call to a service has no result.

use atrest::key::{KeyId, WrappedDek};
use atrest::{Error, KeyRefusal, Result, VaultFailure};

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
            Trouble::Failed(failure) => return Error::Vault(failure),
        };
        Error::KeyRefused { key: key.into(), reason }
    }
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
