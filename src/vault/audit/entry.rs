//! The records of uses, as the audit log and its vault store them.

use core::fmt;

use base64ct::{Base64, Encoding};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;
use crate::key::KeyId;

/// The length of a MAC in bytes.
pub(super) const MAC: usize = 32;

/// One entry of a vault's audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AuditEntry {
    /// The number of the entry, from 1.
    pub seq: u64,
    /// The time, in seconds since 1970-01-01 UTC.
    pub time: u64,
    /// The identity; `None` for the vault's owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// The operation: `get`, `wrapKey`, `unwrapKey`, or a change of the vault.
    pub operation: String,
    /// The name of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The version of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The identity whose access was granted or revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The outcome: `ok`, or the reason of the failure.
    pub outcome: String,
    /// The number of bytes of torn lines before this entry, left by killed processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torn: Option<u64>,
    /// The entry that this one continues from. Set if the vault found its log damaged or replaced when it wrote this
    /// entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<AuditHead>,
}

/// The state of an audit log at some time. Keep it in a place that writers of the vault's folder can't change. Later it
/// proves that no entry up to it was removed: see [`AuditLog::including`](crate::vault::AuditLog::including).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AuditHead {
    pub(super) seq: u64,
    pub(super) mac: [u8; MAC],
}

impl AuditHead {
    /// The number of the last entry; 0 before the first.
    pub fn seq(&self) -> u64 {
        self.seq
    }
}

impl fmt::Display for AuditHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, Base64::encode_string(&self.mac))
    }
}

impl core::str::FromStr for AuditHead {
    type Err = Error;

    fn from_str(text: &str) -> crate::Result<Self> {
        let parse = || {
            let (seq, mac) = text.split_once(':')?;
            Some(AuditHead { seq: seq.parse().ok()?, mac: decode_mac(mac.as_bytes())? })
        };
        parse().ok_or_else(|| Error::InvalidOption("the head of an audit log has the form NUMBER:MAC".into()))
    }
}

impl Serialize for AuditHead {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AuditHead {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// The vault file's record of its audit log.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(in crate::vault) struct AuditRecord {
    /// The head before the log's first entry: the head of the archived log before it.
    pub(super) start: AuditHead,
    /// The head at the last change of the vault.
    pub(super) anchor: AuditHead,
    /// The log's length at that change. Version 2 of the format doesn't have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) length: Option<u64>,
    /// The last archived log. It is recorded until the next change, because the archived log may still be in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) archived: Option<Archived>,
}

/// A log that was archived.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Archived {
    pub(super) length: u64,
    #[serde(with = "base64_text")]
    pub(super) sha256: [u8; 32],
}

/// A use in progress.
#[derive(Debug, Clone, Default)]
pub(in crate::vault) struct Use {
    pub(in crate::vault) identity: Option<String>,
    pub(in crate::vault) operation: &'static str,
    pub(in crate::vault) key: Option<String>,
    pub(in crate::vault) version: Option<String>,
    pub(in crate::vault) subject: Option<String>,
}

impl Use {
    pub(in crate::vault) fn of_key(operation: &'static str, key: &str) -> Self {
        Use { operation, key: Some(key.into()), ..Use::default() }
    }

    pub(in crate::vault) fn of_version(operation: &'static str, id: &KeyId) -> Self {
        Use { version: Some(id.version().into()), ..Self::of_key(operation, id.key()) }
    }

    pub(in crate::vault) fn of_identity(operation: &'static str, subject: &str) -> Self {
        Use { operation, subject: Some(subject.into()), ..Use::default() }
    }
}

/// The outcome of a use, as a word that stays the same if messages change.
pub(in crate::vault) fn outcome<T>(result: &crate::Result<T>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(Error::KeyRefused { reason, .. }) => reason.name(),
        Err(Error::KeyExists { .. }) => "key-exists",
        Err(Error::PurgeProtected { .. }) => "purge-protected",
        Err(Error::UnwrapFailed) => "unwrap-failed",
        Err(Error::UnsupportedAlgorithm(_)) => "unsupported-algorithm",
        Err(_) => "failed",
    }
}

pub(super) fn decode_mac(text: &[u8]) -> Option<[u8; MAC]> {
    let mut mac = [0; MAC + 2];
    Base64::decode(text, &mut mac).ok()?.try_into().ok()
}

mod base64_text {
    use base64ct::{Base64, Encoding};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::vault) fn serialize<S: Serializer>(bytes: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&Base64::encode_string(bytes))
    }

    pub(in crate::vault) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(from)?;
        super::decode_mac(text.as_bytes()).ok_or_else(|| D::Error::custom("a hash is 32 bytes in Base64"))
    }
}
