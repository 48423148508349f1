//! Keyslots of any format: trying a passphrase, and the parts of a new one.

use core::fmt;
use core::ops::Range;
use std::time::Duration;

use super::area::read_area;
use crate::key::{Kdf, KdfLimits, Passphrase};
use crate::ondisk::luks::{Material, Priority, Token};
use crate::volume::BlockDevice;
use crate::{Error, Result, Secret};

/// A keyslot that a credential is tried on.
pub(in crate::volume) trait Attempt {
    /// Refuses a key derivation over the limits, with a text that says which.
    fn check(&self, limits: &KdfLimits) -> Result<(), String>;

    /// The time of one attempt.
    fn cost(&self) -> Duration;

    /// The length in bytes of the key in the keyslot.
    fn key_len(&self) -> usize;

    /// The volume's key, proved; `None` if `secret` is not this keyslot's. `verify` is the header's proof, for formats whose
    /// keyslots don't prove their key themselves.
    fn open(
        &self,
        device: &dyn BlockDevice,
        secret: &[u8],
        verify: &dyn Fn(&Secret) -> Result<()>,
    ) -> Result<Option<Secret>>;
}

/// Keyslots by their numbers. For each: how to try it, or why it can't be tried.
pub(in crate::volume) type Attempts = Vec<(u32, Result<Box<dyn Attempt>, String>)>;

/// The kind of secret that opens a keyslot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::volume) enum Means {
    Passphrase,
    #[cfg(feature = "bitlocker")]
    RecoveryPassword,
    /// The content of its file.
    #[cfg(feature = "bitlocker")]
    StartupKey,
    /// No secret.
    #[cfg(feature = "bitlocker")]
    ClearKey,
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Means::Passphrase => "passphrase",
            #[cfg(feature = "bitlocker")]
            Means::RecoveryPassword => "recovery password",
            #[cfg(feature = "bitlocker")]
            Means::StartupKey => "startup key",
            #[cfg(feature = "bitlocker")]
            Means::ClearKey => "clear key",
        })
    }
}

/// The parameters for trying a passphrase on a keyslot of LUKS.
pub(in crate::volume) struct LuksAttempt {
    pub(super) kdf: Kdf,
    pub(super) material: Material,
    pub(super) salt: Vec<u8>,
    /// The first byte of its area on the header's device.
    pub(super) offset: u64,
}

impl LuksAttempt {
    /// The range of the area on the device, in bytes.
    pub(super) fn area(&self) -> Range<u64> {
        self.offset..self.offset + self.material.len() as u64
    }
}

impl Attempt for LuksAttempt {
    fn check(&self, limits: &KdfLimits) -> Result<(), String> {
        self.kdf.check(limits)
    }

    fn cost(&self) -> Duration {
        self.kdf.cost(self.material.area_key_len)
    }

    fn key_len(&self) -> usize {
        self.material.key_len
    }

    fn open(
        &self,
        device: &dyn BlockDevice,
        passphrase: &[u8],
        verify: &dyn Fn(&Secret) -> Result<()>,
    ) -> Result<Option<Secret>> {
        let area = read_area(device, self.offset, self.material.len())?;
        // A wrong passphrase gives another key.
        let key = self.material.open(area, &self.kdf, passphrase, &self.salt)?;
        match verify(&key) {
            Ok(()) => Ok(Some(key)),
            Err(Error::WrongKey) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// A new keyslot.
pub(in crate::volume) struct NewKeyslot<'a> {
    pub(in crate::volume) id: Option<u32>,
    /// The kind of its secret.
    #[cfg_attr(not(feature = "bitlocker"), allow(dead_code))] // LUKS has passphrases only
    pub(in crate::volume) by: Means,
    pub(in crate::volume) kdf: Kdf,
    pub(in crate::volume) passphrase: Passphrase<'a>,
    pub(in crate::volume) priority: Priority,
    /// Whether the vaults' tokens name it.
    pub(in crate::volume) of_tokens: bool,
}

/// The first way into a new volume, prepared before anything is written.
pub(in crate::volume) enum FirstProtector<'a> {
    Token(Token),
    Keyslot(NewKeyslot<'a>),
}
