//! Why a vault refuses a key.

use core::fmt;
use std::string::String;

/// Why a vault refuses a key: the reason of an [`Error::KeyRefused`](crate::Error::KeyRefused).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyRefusal {
    /// The vault has no such key or version.
    Missing,
    /// The version of the key, or every version of it, is disabled.
    Disabled,
    /// The key is deleted; until it is purged, its vault can recover it.
    Deleted,
    /// The version of the key has expired.
    Expired,
    /// The version of the key isn't valid yet.
    NotYetValid,
    /// The vault does not let the identity do that with the key: it was never granted, or access was revoked.
    AccessDenied {
        /// The identity that asked.
        identity: String,
        /// The operation: `get`, `wrapKey` or `unwrapKey`.
        operation: String,
    },
}

impl KeyRefusal {
    /// The name for programs, which never changes: `no-such-key`, `key-disabled`, `key-deleted`, `key-expired`,
    /// `key-not-yet-valid` or `access-denied`.
    pub fn name(&self) -> &'static str {
        match self {
            KeyRefusal::Missing => "no-such-key",
            KeyRefusal::Disabled => "key-disabled",
            KeyRefusal::Deleted => "key-deleted",
            KeyRefusal::Expired => "key-expired",
            KeyRefusal::NotYetValid => "key-not-yet-valid",
            KeyRefusal::AccessDenied { .. } => "access-denied",
        }
    }

    /// Writes the text of an error for a key that is refused for this reason.
    pub(super) fn fmt_of(&self, key: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyRefusal::Missing => write!(f, "the vault has no key {key:?}"),
            KeyRefusal::Disabled => write!(f, "the key {key:?} is disabled; enable it in its vault to use it again"),
            KeyRefusal::Deleted => write!(f, "the key {key:?} is deleted; recover it in its vault to use it again"),
            KeyRefusal::Expired => {
                write!(f, "the key {key:?} has expired; rotate it, or move its expiry, in its vault")
            }
            KeyRefusal::NotYetValid => {
                write!(f, "the key {key:?} is not valid yet; wait, or move its not-before time, in its vault")
            }
            KeyRefusal::AccessDenied { identity, operation } => write!(
                f,
                "the vault denies {identity:?} the operation {operation} on the key {key:?}; have the vault's owner grant it"
            ),
        }
    }
}
