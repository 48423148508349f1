//! The keys of a volume, expanded for its sectors.

use std::sync::Arc;

use crate::cipher::{CipherSpec, DmCipher};
use crate::usage::KeyUsage;
use crate::{Dek, Result, SectorSize};

/// The keys that a volume's data is under.
#[derive(Clone)]
pub(super) struct Keys {
    /// The volume's key: during a re-encryption, the new one.
    pub(super) current: Key,
    /// The old key of a re-encryption.
    pub(super) previous: Option<Key>,
}

/// Which of a volume's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Under {
    Current,
    Previous,
}

/// A key with its ciphers.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) dek: Arc<Dek>,
    /// The blocks that it had encrypted before this process.
    used_before: u64,
    ciphers: Vec<Arc<DmCipher>>,
}

impl Key {
    pub(super) fn new(dek: Dek, used_before: u64) -> Self {
        Key { dek: Arc::new(dek), used_before, ciphers: Vec::new() }
    }

    /// The cipher for sectors of one size, expanded once.
    fn cipher(&mut self, spec: CipherSpec, sector_size: SectorSize) -> Result<Arc<DmCipher>> {
        let is_it = |cipher: &&Arc<DmCipher>| cipher.spec() == spec && cipher.sector_size() == sector_size;
        if let Some(cipher) = self.ciphers.iter().find(is_it) {
            return Ok(cipher.clone());
        }
        let cipher: Arc<DmCipher> = Arc::from(self.dek.dm_cipher(spec, sector_size)?);
        self.ciphers.push(cipher.clone());
        Ok(cipher)
    }

    /// How much it has encrypted.
    pub(super) fn usage(&self) -> KeyUsage {
        let written = self.ciphers.iter().map(|cipher| cipher.usage().blocks());
        KeyUsage::new(written.fold(self.used_before, u64::saturating_add))
    }
}

impl Keys {
    pub(super) fn new(current: Key, previous: Option<Key>) -> Self {
        Keys { current, previous }
    }

    /// The cipher of one of the keys, for sectors of one size.
    pub(super) fn cipher(&mut self, under: Under, spec: CipherSpec, sector_size: SectorSize) -> Result<Arc<DmCipher>> {
        let key = match (under, &mut self.previous) {
            (Under::Previous, Some(previous)) => previous,
            _ => &mut self.current,
        };
        key.cipher(spec, sector_size)
    }

    /// Sets the numbers of blocks that the current and the previous key had encrypted before this process.
    #[cfg(feature = "managed")]
    pub(super) fn count_from(&mut self, [current, previous]: [u64; 2]) {
        self.current.used_before = current;
        if let Some(key) = &mut self.previous {
            key.used_before = previous;
        }
    }

    /// Refuses in a child of the process that has the keys.
    pub(super) fn check(&self) -> Result<()> {
        self.current.dek.check()
    }

    /// Whether each key may encrypt so many blocks more.
    pub(super) fn check_usage(&self, blocks: u64) -> Result<()> {
        self.current.usage().check(blocks)?;
        self.previous.as_ref().map_or(Ok(()), |previous| previous.usage().check(blocks))
    }
}
