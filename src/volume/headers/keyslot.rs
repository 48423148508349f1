//! Keyslots of any format: trying a passphrase, and the parts of a new one.

use core::ops::Range;
use std::time::Duration;

use super::area::read_area;
use crate::key::{Kdf, KdfLimits, Passphrase};
use crate::ondisk::luks::{Material, Priority, Token};
use crate::volume::BlockDevice;
use crate::{Result, Secret};

/// The parameters for trying a passphrase on a keyslot.
pub(in crate::volume) struct Attempt {
    pub(super) kdf: Kdf,
    pub(super) material: Material,
    pub(super) salt: Vec<u8>,
    /// The first byte of its area on the header's device.
    pub(super) offset: u64,
}

impl Attempt {
    /// Refuses a key derivation over the limits, with a text that says which.
    pub(in crate::volume) fn check(&self, limits: &KdfLimits) -> Result<(), String> {
        self.kdf.check(limits)
    }

    /// The time of one attempt.
    pub(in crate::volume) fn cost(&self) -> Duration {
        self.kdf.cost(self.material.area_key_len)
    }

    /// The length in bytes of the key in the keyslot.
    pub(in crate::volume) fn key_len(&self) -> usize {
        self.material.key_len
    }

    /// The key that a passphrase gives. A wrong passphrase gives another key.
    pub(in crate::volume) fn open(&self, device: &dyn BlockDevice, passphrase: &[u8]) -> Result<Secret> {
        let area = read_area(device, self.offset, self.material.len())?;
        self.material.open(area, &self.kdf, passphrase, &self.salt)
    }

    /// The range of the area on the device, in bytes.
    pub(super) fn area(&self) -> Range<u64> {
        self.offset..self.offset + self.material.len() as u64
    }
}

/// A new keyslot.
pub(in crate::volume) struct NewKeyslot<'a> {
    pub(in crate::volume) id: Option<u32>,
    pub(in crate::volume) kdf: Kdf,
    pub(in crate::volume) passphrase: Passphrase<'a>,
    pub(in crate::volume) priority: Priority,
}

/// The first way into a new volume, prepared before anything is written.
pub(in crate::volume) enum FirstProtector<'a> {
    Token(Token),
    Keyslot(NewKeyslot<'a>),
}
