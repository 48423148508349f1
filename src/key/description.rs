//! The description that a vault gives of its keys.

use serde::{Deserialize, Serialize};

use super::key_id::KeyId;

/// The kind of a KEK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KeyKind {
    /// An AES key of 256 bits.
    #[serde(rename = "AES-256")]
    Aes256 = 1,
    /// An RSA key of 2048 bits.
    #[serde(rename = "RSA-2048")]
    Rsa2048 = 2,
    /// An RSA key of 3072 bits.
    #[serde(rename = "RSA-3072")]
    Rsa3072 = 3,
    /// An RSA key of 4096 bits.
    #[serde(rename = "RSA-4096")]
    Rsa4096 = 4,
}

impl KeyKind {
    const ALL: [(KeyKind, &'static str); 4] = [
        (KeyKind::Aes256, "AES-256"),
        (KeyKind::Rsa2048, "RSA-2048"),
        (KeyKind::Rsa3072, "RSA-3072"),
        (KeyKind::Rsa4096, "RSA-4096"),
    ];

    /// The name, as people write it.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// The number, as the C ABI carries it.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The kind of this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(kind, _)| *kind)
    }

    /// The kind of this number, if there is one.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.iter().map(|(kind, _)| *kind).find(|kind| kind.code() == code)
    }
}

/// A vault's description of one version of a key. Times are in seconds since 1970-01-01 UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyDescription {
    /// The full name of the version.
    pub id: KeyId,
    /// The kind of the key.
    pub kind: KeyKind,
    /// Whether the version may be used.
    pub enabled: bool,
    /// The first second in which it may be used; `None` for any.
    pub not_before: Option<u64>,
    /// The first second in which it has expired; `None` for never.
    pub expires: Option<u64>,
    /// The time of creation, if the vault reports it. It orders versions by age.
    pub created: Option<u64>,
    /// The place among the versions of its key, if the vault keeps one: a later version has a greater number. It tells apart versions
    /// of one second, and doesn't depend on a clock.
    pub sequence: Option<u64>,
    /// Whether the key only unwraps keys that were wrapped with a secret. Anyone with the public half of an RSA key can
    /// wrap under it, unless the vault demands a MAC of its own.
    pub authenticated: bool,
}

impl KeyDescription {
    /// A version that is enabled, and valid at any time.
    pub fn new(id: KeyId, kind: KeyKind) -> Self {
        let authenticated = kind == KeyKind::Aes256;
        KeyDescription {
            id,
            kind,
            enabled: true,
            not_before: None,
            expires: None,
            created: None,
            sequence: None,
            authenticated,
        }
    }

    /// Compares the ages of this version and another one of a key. It is `Equal` if both were made within one second, and the vault
    /// doesn't number them; `None` if the vault doesn't report their times either.
    #[cfg(feature = "managed")]
    pub(crate) fn age(&self, other: &Self) -> Option<core::cmp::Ordering> {
        let numbered = self.sequence.zip(other.sequence);
        numbered.or(self.created.zip(other.created)).map(|(ours, theirs)| ours.cmp(&theirs))
    }

    /// Whether the version has expired at `now`.
    pub fn has_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }

    /// Whether the version isn't valid yet at `now`.
    pub fn is_early(&self, now: u64) -> bool {
        self.not_before.is_some_and(|not_before| now < not_before)
    }
}
