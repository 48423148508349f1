//! Why a call to a service has no result.

use atrest::key::{KeyId, WrappedDek};
use atrest::{Error, KeyRefusal, Result, VaultFailure};

/// The most of a server's text that an error repeats, in characters.
const MOST_TEXT: usize = 200;

/// The name of an operation, as [`KeyRefusal::AccessDenied`] has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    Wrap,
    Unwrap,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Get => "get",
            Operation::Wrap => "wrapKey",
            Operation::Unwrap => "unwrapKey",
        }
    }
}

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The service says that this caller may not do it: who it is.
    Denied(String),
    /// The service says that the key may not be used.
    Refused(KeyRefusal),
    /// The service says that the wrapped bytes are wrong.
    Altered,
    /// No answer, or one that says nothing of the key.
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

/// What an error may repeat of a server's text: it is short, has no control characters, and none of the secrets that the server
/// was told.
pub(crate) fn told(text: &str, secrets: &[&str]) -> String {
    if secrets.iter().any(|secret| !secret.is_empty() && text.contains(secret)) {
        return "a text that repeats the request".into();
    }
    let plain = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = plain.chars().filter(|c| !c.is_control()).take(MOST_TEXT + 1).collect();
    if short.chars().count() > MOST_TEXT {
        short.pop();
        short.push('…');
    }
    format!("{short:?}")
}

/// The long strings of a request in JSON, none of which an error may repeat: a DEK is among them.
pub(crate) fn strings(body: &[u8]) -> Vec<&str> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    text.split('"').filter(|part| part.len() >= 20).collect()
}

/// What was wrapped, if it is under the version that was asked for.
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
    fn texts_of_servers_are_short_and_hold_no_secret() {
        assert_eq!(told("1 error occurred:\n\t* denied\u{1b}[0m\n", &["hvs.1"]), "\"1 error occurred: * denied[0m\"");
        assert_eq!(told("the token hvs.1 is bad", &["hvs.1"]), "a text that repeats the request");
        assert!(told(&"x".repeat(1 << 20), &[""]).len() < 300);
    }
}
