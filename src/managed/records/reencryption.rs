//! The record of a re-encryption of a disk's data.

use serde::{Deserialize, Serialize};

use super::text;
use crate::key::Fingerprint;

/// The last re-encryption of a disk's data: ordered, under way, or finished (83).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reencryption {
    /// The kind of the re-encryption.
    pub kind: ReencryptionKind,
    /// The image that is to become the disk's device, by the name that the backend knows, until it has begun.
    pub image: Option<String>,
    /// The fingerprint of the new DEK. `None` until it is made.
    #[serde(with = "text::fingerprint")]
    pub fingerprint: Option<Fingerprint>,
    /// The fingerprint of the old DEK, once it is finished: a device under that is an older one that was put back.
    #[serde(with = "text::fingerprint")]
    pub former: Option<Fingerprint>,
    /// The number of blocks that the new DEK has encrypted, until it is finished.
    pub used_blocks: u64,
    /// When it was ordered, in seconds since 1970-01-01 UTC.
    pub ordered: u64,
    /// When the disk's header said that it had begun. Nothing is rewritten before.
    pub begun: Option<u64>,
    /// When it was finished.
    pub finished: Option<u64>,
    /// The number of bytes that were done when that was last noted. A device with fewer is an older one.
    pub done: u64,
    /// The number of bytes in all.
    pub total: u64,
    /// Whether the disk was adopted with this order, which can't be withdrawn then.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub adopted: bool,
}

/// The kinds of re-encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReencryptionKind {
    /// It moves the data to a new DEK.
    Rekey,
    /// It encrypts a plain image in place.
    EncryptInPlace,
}

impl Reencryption {
    /// A re-encryption that is ordered now.
    pub(in crate::managed) fn ordered(kind: ReencryptionKind, total: u64, now: u64) -> Self {
        Reencryption {
            kind,
            image: None,
            fingerprint: None,
            former: None,
            used_blocks: 0,
            ordered: now,
            begun: None,
            finished: None,
            done: 0,
            total,
            adopted: false,
        }
    }

    /// Notes that the header says that it has begun.
    pub(in crate::managed) fn note_begun(&mut self, now: u64) {
        self.begun = self.begun.or(Some(now));
        self.image = None;
    }

    /// Whether its end was noted.
    pub fn is_finished(&self) -> bool {
        self.finished.is_some()
    }

    /// Whether the new DEK encrypts writes. It is a function, because the optimiser otherwise looks into a record that isn't there.
    /// Valgrind, with which users in C look for their own errors, would report that.
    #[inline(never)]
    pub(in crate::managed) fn is_under_way(&self) -> bool {
        self.begun.is_some() && !self.is_finished()
    }
}
