//! Changing the passphrase or root key file of a vault.

use std::sync::{Arc, PoisonError};

use super::FileVault;
use super::audit::{self, Use};
use super::body::{Body, SecretVersionRecord, VersionRecord};
use super::held::Held;
use super::root::{RootKeys, Unlock};
use crate::key::{Kdf, KeyKind};
use crate::{Error, Result};

impl FileVault {
    /// Gives the vault another passphrase or root key file; `kdf` is as in [`VaultOptions::kdf`](super::VaultOptions::kdf),
    /// and `None` takes the default of a new vault. The same passphrase with another `kdf` moves the vault from Argon2id to
    /// PBKDF2, or back. Keys, grants, the log and wrapped keys stay valid.
    ///
    /// This handle and its clones go on. Other handles of the vault, in this process and in others, are refused with
    /// [`Error::DamagedVault`] until they open it anew. If this is killed at any instant, the vault opens by the old or the new
    /// passphrase or key file.
    ///
    /// **An older copy of the file still opens by the old one**, and holds the same keys. If somebody may have both, rotate the
    /// keys, and re-wrap everything under the old versions.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a passphrase, root key file or cost out of bounds; [`Error::NotApproved`];
    /// [`Error::Busy`] where another thread has just changed it; [`Error::DamagedVault`]; [`Error::NotFound`] for the root key
    /// file; [`Error::Io`].
    pub fn change_unlock(&self, unlock: Unlock<'_>, kdf: Option<Kdf>) -> Result<()> {
        self.reload()?;
        let old = self.root();
        // Derive before taking the lock, so that nobody else waits for the KDF.
        let (record, new) = old.replaced(unlock, kdf)?;
        let store = &self.store;
        let _lock = store.file.lock()?;
        let mut body = self.read_verified()?;
        if !Arc::ptr_eq(&old, &self.root()) {
            return Err(Error::Busy { what: "the vault, whose passphrase or root key file was just changed,".into() });
        }
        let rewrapped = body.rewrap(&old, &new);
        let used = Use { operation: "changeUnlock", ..Use::default() };
        let mut log = store.audit.begin(|| Ok(body.audit))?;
        log.append(&used, audit::outcome(&rewrapped), self.now(), true)?;
        rewrapped?;
        body.root = record;
        body.set_version();
        body.audit = log.record(&body.audit);
        // Lock both, so that no thread sees one changed without the other, or the file without both.
        let mut held = store.held.write().unwrap_or_else(PoisonError::into_inner);
        let mut root = store.root.write().unwrap_or_else(PoisonError::into_inner);
        let replaced = body.count_change().and_then(|()| store.file.replace(&body.seal(&new)));
        replaced.inspect_err(|_| log.has_failed(&used, self.now()))?;
        (*root, *held) = (Arc::new(new), Held::new(body, None));
        Ok(())
    }
}

impl Body {
    /// Puts every KEK and secret under another root.
    fn rewrap(&mut self, old: &RootKeys, new: &RootKeys) -> Result<()> {
        let rewrap = |kind, wrapped: &str| new.wrap_kek(kind, &old.unwrap_kek(kind, wrapped)?);
        for VersionRecord { kind, kek, mac_key, .. } in self.keys.iter_mut().flat_map(|key| &mut key.versions) {
            *kek = rewrap(*kind, kek)?;
            if let Some(key) = mac_key {
                *key = rewrap(KeyKind::Aes256, key)?;
            }
        }
        for SecretVersionRecord { value, .. } in self.secrets.iter_mut().flat_map(|secret| &mut secret.versions) {
            *value = new.wrap_secret(&old.unwrap_secret(value)?)?;
        }
        Ok(())
    }
}
