//! Why a call has no result.

use std::fmt;

use atrest::{Error, KeyRefusal, VaultFailure};
use zeroize::{Zeroize, Zeroizing};

use crate::ttlv::Malformed;

/// The reason for a missing result.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The server says no, in its own words.
    Refused(Refused),
    /// The key may not be used.
    Key(KeyRefusal),
    /// The wrapped bytes are wrong.
    Altered,
    /// This process computes wrongly.
    SelfTest(Error),
    /// The answer makes no sense.
    Malformed(Malformed),
    /// No answer, or one that says nothing about the key.
    Failed(VaultFailure),
}

/// A server's answer that it won't or can't.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    /// The Result Reason (KMIP 1.4, 9.1.3.2.29; KMIP 2.1, 11.48).
    pub(crate) reason: u32,
    /// The Result Message, short and plain.
    pub(crate) text: String,
}

/// As many bytes of a secret in a server's text are no chance.
const REPEATED: usize = 8;

impl Refused {
    /// The same without a text that repeats a secret of the request, as it is or in hexadecimal digits: errors go into logs.
    pub(crate) fn without(mut self, secret: &[u8]) -> Self {
        let text = Zeroizing::new(self.text.to_ascii_lowercase());
        let mut digits = Zeroizing::new(String::with_capacity(2 * secret.len()));
        for half in secret.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
            digits.push(char::from(b"0123456789abcdef"[usize::from(half)]));
        }
        let plain = Zeroizing::new(secret.to_ascii_lowercase());
        let holds = |part: &[u8]| text.as_bytes().windows(part.len()).any(|window| window == part);
        if plain.windows(REPEATED).any(holds) || digits.as_bytes().windows(2 * REPEATED).step_by(2).any(holds) {
            self.text.zeroize();
            self.text.push_str("a text that repeats the request");
        }
        self
    }

    /// The refusal's meaning for the key, if it has one. `identity` is the caller, and `operation` the operation.
    pub(crate) fn of_key(&self, identity: &str, operation: &str) -> Option<KeyRefusal> {
        match self.reason {
            // Item Not Found, Object Not Found.
            0x01 | 0x37 => Some(KeyRefusal::Missing),
            // Object Destroyed.
            0x36 => Some(KeyRefusal::Deleted),
            // Authentication Not Successful, Permission Denied, Not Authorised.
            0x03 | 0x0C | 0x39 => {
                Some(KeyRefusal::AccessDenied { identity: identity.into(), operation: operation.into() })
            }
            // Object Archived, Usage Limit Exceeded, Incompatible Cryptographic Usage Mask, Wrong Key Lifecycle State.
            0x0D | 0x1A | 0x29 | 0x43 => Some(KeyRefusal::Disabled),
            _ => None,
        }
    }

    /// The action that the error's reader can take.
    fn advice(&self) -> &'static str {
        match self.reason {
            // Invalid Message, Unsupported Protocol Version.
            0x04 | 0x3F => " (it may not speak this version of KMIP: set another one)",
            // Operation Not Supported, Feature Not Supported, Invalid Field, Unsupported Cryptographic Parameters.
            0x05 | 0x07 | 0x08 | 0x3E => " (if it can't encrypt by AES-GCM, allow that keys are fetched)",
            // Sensitive, Not Extractable.
            0x16 | 0x17 => " (the key may not leave it: don't have keys fetched)",
            _ => "",
        }
    }
}

/// The names of the reasons that an operator may meet.
const REASONS: [(u32, &str); 19] = [
    (0x01, "Item Not Found"),
    (0x02, "Response Too Large"),
    (0x03, "Authentication Not Successful"),
    (0x04, "Invalid Message"),
    (0x05, "Operation Not Supported"),
    (0x07, "Invalid Field"),
    (0x08, "Feature Not Supported"),
    (0x0A, "Cryptographic Failure"),
    (0x0B, "Illegal Operation"),
    (0x0C, "Permission Denied"),
    (0x0D, "Object Archived"),
    (0x16, "Sensitive"),
    (0x17, "Not Extractable"),
    (0x24, "Bad Cryptographic Parameters"),
    (0x2A, "Internal Server Error"),
    (0x36, "Object Destroyed"),
    (0x3F, "Unsupported Protocol Version"),
    (0x43, "Wrong Key Lifecycle State"),
    (0x100, "General Failure"),
];

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match REASONS.iter().find(|(reason, _)| *reason == self.reason) {
            Some((_, name)) => f.write_str(name)?,
            None => write!(f, "the reason {:#x}", self.reason)?,
        }
        if self.text.is_empty() { Ok(()) } else { write!(f, ": {:?}", self.text) }
    }
}

impl std::error::Error for Refused {}

impl Trouble {
    pub(crate) fn failed(what: impl Into<String>) -> Self {
        Trouble::Failed(VaultFailure::new(what))
    }

    /// For an error of this process's own ciphers, which may be broken; any other is `otherwise`.
    pub(crate) fn computed(error: Error, otherwise: impl FnOnce(Error) -> Self) -> Self {
        if let Error::SelfTest { .. } = error { Trouble::SelfTest(error) } else { otherwise(error) }
    }

    /// The error for a call about a key.
    pub(crate) fn into_error(self, vault: &str, identity: &str, key: &str, operation: &str) -> Error {
        let reason = match self {
            Trouble::Key(reason) => reason,
            Trouble::Altered => return Error::UnwrapFailed,
            Trouble::SelfTest(error) => return error,
            Trouble::Failed(failure) => return Error::Vault(failure),
            Trouble::Malformed(Malformed(why)) => {
                let what = format!("{operation} with the key {key:?}: the answer of {vault} makes no sense: {why}");
                return Error::Vault(VaultFailure::new(what));
            }
            Trouble::Refused(refused) => match refused.of_key(identity, operation) {
                Some(reason) => reason,
                None => {
                    let what = format!("{operation} with the key {key:?}: {vault} refuses{}", refused.advice());
                    return Error::Vault(VaultFailure::new(what).caused_by(refused));
                }
            },
        };
        Error::KeyRefused { key: key.into(), reason }
    }
}

impl From<Malformed> for Trouble {
    fn from(malformed: Malformed) -> Self {
        Trouble::Malformed(malformed)
    }
}

impl From<Refused> for Trouble {
    fn from(refused: Refused) -> Self {
        Trouble::Refused(refused)
    }
}
