//! The key of a vault that a layer's DEK is under, or is to be.

use std::sync::Arc;

use crate::key::{KeyDescription, KeyId, WrappedDek};
use crate::volume::Closed;
use crate::{BlockDevice, EncryptionType, Error, KeyVault, Result, Secret, Volume};

/// A vault, and the name or version of its key that wraps a layer's DEK.
pub(super) struct Kek {
    pub(super) vault: Arc<dyn KeyVault>,
    pub(super) key: Wanted,
}

/// The wanted key of a vault.
pub(super) enum Wanted {
    /// The latest version of the key of this name.
    Latest(String),
    /// This version.
    Version(KeyId),
}

impl Kek {
    pub(super) fn name(&self) -> &str {
        match &self.key {
            Wanted::Latest(name) => name,
            Wanted::Version(id) => id.key(),
        }
    }

    /// Checks that the vault wraps and unwraps under the key, before anything depends on it.
    ///
    /// # Errors
    /// The vault's errors.
    pub(super) fn try_out(&self) -> Result<()> {
        let trial = Secret::random(32)?;
        let back = self.vault.unwrap(&self.wrap(self.name(), &trial)?)?;
        if back.is_some_and(|back| back == trial) { Ok(()) } else { Err(Error::UnwrapFailed) }
    }

    /// Moves a volume to this key alone, unless it is there already. Returns whether it had to.
    ///
    /// # Errors
    /// The vault's errors; [`Error::Busy`] if the header has changed since the volume last wrote it.
    pub(super) fn put_over(&self, volume: &Volume<Arc<dyn BlockDevice>>, kind: EncryptionType) -> Result<bool> {
        if let Wanted::Version(id) = &self.key
            && volume.keks() == [id.clone()]
            && keys_in(volume.device())? == [id.clone()]
        {
            return Ok(false);
        }
        volume.replace_keks(self, self.name(), kind).map(|_| true)
    }
}

/// Wraps under the wanted version, even if it isn't the latest.
impl KeyVault for Kek {
    fn id(&self) -> &str {
        self.vault.id()
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        match &self.key {
            Wanted::Latest(_) => self.vault.wrap(key, dek),
            Wanted::Version(id) => self.vault.wrap_version(id, dek),
        }
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        self.vault.unwrap(wrapped)
    }

    fn describe(&self, key: &str, version: Option<&str>) -> Result<Option<KeyDescription>> {
        self.vault.describe(key, version)
    }
}

/// A vault that only answers for one key: a lease of this key must not open data under another key.
pub(super) struct Only<'a> {
    pub(super) vault: &'a dyn KeyVault,
    pub(super) key: &'a KeyId,
}

impl KeyVault for Only<'_> {
    fn id(&self) -> &str {
        self.vault.id()
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        self.vault.wrap(key, dek)
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        if wrapped.kek == *self.key { self.vault.unwrap(wrapped) } else { Ok(None) }
    }
}

/// A look at the header on a device.
pub(super) type KeysOf = fn(&Arc<dyn BlockDevice>) -> Result<Vec<KeyId>>;

/// The keys that the header on a device names.
pub(super) fn keys_in(device: &Arc<dyn BlockDevice>) -> Result<Vec<KeyId>> {
    Closed::keks_on(device)
}

/// The same for a rotation, which relies on proofs: a header that is damaged may pass for sound, and is left to a report to tell.
pub(super) fn keys_skimmed(device: &Arc<dyn BlockDevice>) -> Result<Vec<KeyId>> {
    Closed::keks_skimmed(device)
}
