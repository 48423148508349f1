//! How a re-encryption is done.

use core::fmt;

use crate::key::DekAlgorithm;
use crate::volume::protect::KeyslotOptions;
use crate::{Dek, SectorSize};

/// How a re-encryption that was killed while it rewrote a zone finds the sectors that were rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Resilience {
    /// By checksums of the old content, SHA-256 for each sector. The device must write a sector as a whole or not at all,
    /// as disks and file systems do with sectors of their own size.
    #[default]
    Checksum,
    /// By a copy of the old content. It takes twice the writes, and relies on no property of the device.
    Journal,
}

/// Options for [`Volume::begin_reencryption`](crate::Volume::begin_reencryption). `ReencryptOptions::new()` is right for
/// most.
#[derive(Clone)]
pub struct ReencryptOptions {
    pub(super) algorithm: Option<DekAlgorithm>,
    pub(super) sector_size: Option<SectorSize>,
    pub(super) resilience: Resilience,
    pub(super) keyslot: KeyslotOptions,
    pub(super) dek: Option<Dek>,
}

impl Default for ReencryptOptions {
    fn default() -> Self {
        let (resilience, keyslot) = (Resilience::default(), KeyslotOptions::new());
        ReencryptOptions { algorithm: None, sector_size: None, resilience, keyslot, dek: None }
    }
}

impl ReencryptOptions {
    /// A new key for the same cipher and sector size. A cipher that new volumes don't get, such as CBC, becomes AES-256-XTS.
    pub fn new() -> Self {
        Self::default()
    }

    /// The algorithm of the new key, which also sets the new cipher.
    pub fn dek_algorithm(mut self, algorithm: DekAlgorithm) -> Self {
        self.algorithm = Some(algorithm);
        self
    }

    /// The new sector size. During the re-encryption, reads and writes must be in whole sectors of the larger of both sizes;
    /// afterwards, of the new one.
    pub fn sector_size(mut self, sector_size: SectorSize) -> Self {
        self.sector_size = Some(sector_size);
        self
    }

    /// The way to recover from a crash.
    pub fn resilience(mut self, resilience: Resilience) -> Self {
        self.resilience = resilience;
        self
    }

    /// The options for each keyslot of the new key.
    pub fn keyslot(mut self, options: KeyslotOptions) -> Self {
        self.keyslot = options;
        self
    }

    /// The new key, instead of a random one: see [`hazmat::dek_from_bytes`](crate::hazmat::dek_from_bytes).
    pub fn hazmat_dek(mut self, dek: &Dek) -> Self {
        self.dek = Some(dek.clone());
        self
    }
}

impl fmt::Debug for ReencryptOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReencryptOptions")
            .field("algorithm", &self.algorithm)
            .field("sector_size", &self.sector_size)
            .field("resilience", &self.resilience)
            .field("keyslot", &self.keyslot)
            .field("dek", &self.dek)
            .finish()
    }
}
