//! Faults inside one call: the answer of a token's library, or an error that is ready to be returned.

use core::fmt;

use atrest::{Error, VaultFailure};
use cryptoki_sys::*;

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The library answered with something else than `CKR_OK`.
    Answer(Answer),
    /// Ready to be returned.
    Final(Error),
}

/// An answer of the library other than `CKR_OK`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) function: &'static str,
    pub(crate) rv: CK_RV,
}

impl std::error::Error for Answer {}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(rv, _)| *rv == self.rv) {
            Some((_, name)) => write!(f, "{} answered {name}", self.function),
            None => write!(f, "{} answered {:#x}", self.function, self.rv),
        }
    }
}

impl Answer {
    /// Whether the token or its sessions are gone, so that only a new session can succeed.
    pub(crate) fn is_lost(self) -> bool {
        matches!(
            self.rv,
            CKR_SESSION_HANDLE_INVALID
                | CKR_SESSION_CLOSED
                | CKR_TOKEN_NOT_PRESENT
                | CKR_TOKEN_NOT_RECOGNIZED
                | CKR_DEVICE_REMOVED
                | CKR_SLOT_ID_INVALID
                | CKR_CRYPTOKI_NOT_INITIALIZED
        )
    }

    /// Whether a second try may succeed in the same sessions, after a login.
    pub(crate) fn is_stale(self) -> bool {
        matches!(
            self.rv,
            CKR_USER_NOT_LOGGED_IN
                // The object has been removed or replaced since it was found.
                | CKR_OBJECT_HANDLE_INVALID
                | CKR_KEY_HANDLE_INVALID
                | CKR_WRAPPING_KEY_HANDLE_INVALID
                | CKR_UNWRAPPING_KEY_HANDLE_INVALID
        )
    }

    /// Whether the token refuses the PIN or its user. Never tried again with the same PIN: it would lock the PIN.
    pub(crate) fn refuses_pin(self) -> bool {
        matches!(
            self.rv,
            CKR_PIN_INCORRECT
                | CKR_PIN_INVALID
                | CKR_PIN_LEN_RANGE
                | CKR_PIN_EXPIRED
                | CKR_PIN_LOCKED
                | CKR_USER_PIN_NOT_INITIALIZED
                | CKR_USER_TYPE_INVALID
        )
    }

    /// Whether the token's answer proves that the wrapped bytes are wrong.
    pub(crate) fn blames_bytes(self) -> bool {
        matches!(
            self.rv,
            CKR_ENCRYPTED_DATA_INVALID
                | CKR_ENCRYPTED_DATA_LEN_RANGE
                | CKR_WRAPPED_KEY_INVALID
                | CKR_WRAPPED_KEY_LEN_RANGE
                | CKR_AEAD_DECRYPT_FAILED
        )
    }

    /// Whether the owner of the key or the token's policy refuses this use of the key.
    pub(crate) fn is_refusal(self) -> bool {
        matches!(self.rv, CKR_KEY_FUNCTION_NOT_PERMITTED | CKR_ACTION_PROHIBITED | CKR_FUNCTION_REJECTED)
    }

    /// Whether the token says that it can't do this in this way, so that another way may succeed.
    pub(crate) fn is_unsupported(self) -> bool {
        matches!(
            self.rv,
            CKR_MECHANISM_INVALID
                | CKR_MECHANISM_PARAM_INVALID
                | CKR_FUNCTION_NOT_SUPPORTED
                | CKR_KEY_FUNCTION_NOT_PERMITTED
                | CKR_ATTRIBUTE_TYPE_INVALID
                | CKR_ATTRIBUTE_VALUE_INVALID
                | CKR_ATTRIBUTE_READ_ONLY
                | CKR_ATTRIBUTE_SENSITIVE
                | CKR_TEMPLATE_INCOMPLETE
                | CKR_TEMPLATE_INCONSISTENT
                | CKR_KEY_NOT_WRAPPABLE
                | CKR_KEY_UNEXTRACTABLE
                | CKR_KEY_TYPE_INCONSISTENT
                | CKR_WRAPPING_KEY_TYPE_INCONSISTENT
                | CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT
                | CKR_SESSION_READ_ONLY
                | CKR_ACTION_PROHIBITED
                // SoftHSM's answer for OAEP with SHA-256, and that of others for an unknown mechanism.
                | CKR_ARGUMENTS_BAD
        )
    }
}

impl From<Answer> for Fault {
    fn from(answer: Answer) -> Self {
        Fault::Answer(answer)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::Final(error)
    }
}

/// An outage, with the operation that failed.
pub(crate) fn outage(what: impl Into<String>) -> Fault {
    Fault::Final(Error::Vault(VaultFailure::new(what)))
}

macro_rules! names {
    ($($name:ident)*) => { &[$(($name, stringify!($name))),*] };
}

/// The answers that an operator may meet, by their names in PKCS#11 3.2.
const NAMES: &[(CK_RV, &str)] = names! {
    CKR_ACTION_PROHIBITED CKR_AEAD_DECRYPT_FAILED CKR_ARGUMENTS_BAD CKR_ATTRIBUTE_READ_ONLY CKR_ATTRIBUTE_SENSITIVE
    CKR_ATTRIBUTE_TYPE_INVALID CKR_ATTRIBUTE_VALUE_INVALID CKR_BUFFER_TOO_SMALL CKR_CANT_LOCK
    CKR_CRYPTOKI_NOT_INITIALIZED CKR_DATA_INVALID CKR_DATA_LEN_RANGE CKR_DEVICE_ERROR CKR_DEVICE_MEMORY
    CKR_DEVICE_REMOVED CKR_ENCRYPTED_DATA_INVALID CKR_ENCRYPTED_DATA_LEN_RANGE CKR_FUNCTION_FAILED
    CKR_FUNCTION_NOT_SUPPORTED CKR_FUNCTION_REJECTED CKR_GENERAL_ERROR CKR_HOST_MEMORY CKR_KEY_FUNCTION_NOT_PERMITTED
    CKR_KEY_HANDLE_INVALID CKR_KEY_NOT_WRAPPABLE CKR_KEY_SIZE_RANGE CKR_KEY_TYPE_INCONSISTENT CKR_KEY_UNEXTRACTABLE
    CKR_MECHANISM_INVALID CKR_MECHANISM_PARAM_INVALID CKR_OBJECT_HANDLE_INVALID CKR_OPERATION_ACTIVE
    CKR_OPERATION_NOT_INITIALIZED CKR_PIN_EXPIRED CKR_PIN_INCORRECT CKR_PIN_INVALID CKR_PIN_LEN_RANGE CKR_PIN_LOCKED
    CKR_SESSION_CLOSED CKR_SESSION_COUNT CKR_SESSION_HANDLE_INVALID CKR_SESSION_READ_ONLY CKR_SLOT_ID_INVALID
    CKR_TEMPLATE_INCOMPLETE CKR_TEMPLATE_INCONSISTENT CKR_TOKEN_NOT_PRESENT CKR_TOKEN_NOT_RECOGNIZED
    CKR_UNWRAPPING_KEY_HANDLE_INVALID CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT CKR_USER_ANOTHER_ALREADY_LOGGED_IN
    CKR_USER_NOT_LOGGED_IN CKR_USER_PIN_NOT_INITIALIZED CKR_USER_TYPE_INVALID CKR_WRAPPED_KEY_INVALID
    CKR_WRAPPED_KEY_LEN_RANGE CKR_WRAPPING_KEY_HANDLE_INVALID CKR_WRAPPING_KEY_TYPE_INCONSISTENT
};
