//! Rotation: every disk of a set under the newest version of its key, or under another key (26 to 33).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::layers::Kek;
use super::records::{EncryptionSet, RotationError};
use super::service::{DiskService, Inner, not_allowed};
use crate::key::KeyId;
use crate::{Error, KeyVault, Result};

/// How far a rotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotationProgress {
    /// Disks that are under the new key.
    pub done: usize,
    /// Disks of the set.
    pub total: usize,
}

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rotation {
    /// The key that all disks of the set are under.
    pub key: KeyId,
    /// How many were put under it now; the others were already.
    pub rewrapped: usize,
}

impl DiskService {
    /// Puts every disk of a set under the latest version of its key. A rotation that was stopped, or killed, goes on.
    ///
    /// DEKs are wrapped anew, with up to `parallel` calls of the vault at once; no sector is read or written, and disks stay
    /// in use. The old versions must stay enabled until this returns (27): until then they are in `previous_keys` (30).
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::NotAllowed`] while an error of an earlier rotation isn't cleared (32); what the
    /// vault and the devices answer, which is noted in the set and stops the rotation.
    pub fn rotate_set(&self, set: &str, progress: &(dyn Fn(RotationProgress) + Sync)) -> Result<Rotation> {
        let _alone = self.inner.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let set = self.inner.rotatable(set)?;
        let vault = self.inner.vault_of(&set, &set.active_key)?;
        let latest = vault.describe(set.active_key.key(), None)?.map(|description| description.id);
        // A vault that tells nothing of its keys names the version in what it wraps.
        let key = latest.unwrap_or_else(|| set.active_key.clone());
        self.inner.rotate(set, key, progress)
    }

    /// Puts a set, and every disk of it, under another key, perhaps of another vault. As [`rotate_set`](Self::rotate_set).
    ///
    /// # Errors
    /// As [`rotate_set`](Self::rotate_set); [`Error::NotAllowed`] for a vault in another region, or without soft delete and
    /// purge protection.
    pub fn set_key(&self, set: &str, key: &KeyId, progress: &(dyn Fn(RotationProgress) + Sync)) -> Result<Rotation> {
        let _alone = self.inner.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let set = self.inner.rotatable(set)?;
        self.inner.check_vault(key.vault(), &set.region)?;
        self.inner.rotate(set, key.clone(), progress)
    }

    /// Clears what stopped a rotation, so that it may be tried again (32).
    ///
    /// # Errors
    /// [`Error::NoSuchResource`].
    pub fn clear_rotation_error(&self, set: &str) -> Result<()> {
        let _alone = self.inner.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut set = self.inner.set(set)?;
        set.auto_key_rotation_error = None;
        self.inner.store.put_set(&set)
    }
}

impl Inner {
    fn rotatable(&self, name: &str) -> Result<EncryptionSet> {
        let set = self.set(name)?;
        if let Some(error) = &set.auto_key_rotation_error {
            return not_allowed("32", &format!("a rotation failed ({}); clear its error first", error.code));
        }
        Ok(set)
    }

    fn rotate(
        self: &std::sync::Arc<Self>,
        mut set: EncryptionSet,
        key: KeyId,
        progress: &(dyn Fn(RotationProgress) + Sync),
    ) -> Result<Rotation> {
        if set.active_key != key {
            // From here on the set says that disks may be under either, whatever happens.
            let old = core::mem::replace(&mut set.active_key, key);
            set.previous_keys.retain(|key| *key != set.active_key);
            set.previous_keys.push(old);
            self.store.put_set(&set)?;
        }
        let rewrapped = match self.rewrap_all(&set, progress) {
            Ok(rewrapped) => rewrapped,
            Err((disk, e)) => {
                set.auto_key_rotation_error =
                    Some(RotationError { code: code(&e).into(), message: e.to_string(), disk });
                self.store.put_set(&set)?;
                return Err(e);
            }
        };
        if rewrapped > 0 || !set.previous_keys.is_empty() {
            set.previous_keys.clear();
            set.last_key_rotation_timestamp = Some(self.clock.now());
            self.store.put_set(&set)?;
        }
        Ok(Rotation { key: set.active_key, rewrapped })
    }

    /// Puts all disks of a set under its active key, some at once. The first that fails stops it, and is named.
    fn rewrap_all(
        self: &std::sync::Arc<Self>,
        set: &EncryptionSet,
        progress: &(dyn Fn(RotationProgress) + Sync),
    ) -> Result<usize, (String, Error)> {
        let whole = |e| (String::new(), e);
        let disks = self.store.members(&set.name).map_err(whole)?;
        let vault = self.vault_of(set, &set.active_key).map_err(whole)?;
        let (next, done, rewrapped) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let stopped = AtomicBool::new(false);
        let failure = Mutex::new(None);
        let work = || {
            while !stopped.load(Ordering::Relaxed) {
                let Some(disk) = disks.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                match self.rewrap(set, &*vault, disk) {
                    Ok(new) => {
                        rewrapped.fetch_add(usize::from(new), Ordering::Relaxed);
                        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                        progress(RotationProgress { done, total: disks.len() });
                    }
                    Err(e) => {
                        stopped.store(true, Ordering::Relaxed);
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((disk.clone(), e));
                    }
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..self.parallel.min(disks.len()) {
                scope.spawn(work);
            }
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(failure) => Err(failure),
            None => Ok(rewrapped.into_inner()),
        }
    }

    /// Puts one disk under the set's active key, unless it is, and says whether it was put.
    fn rewrap(self: &std::sync::Arc<Self>, set: &EncryptionSet, vault: &dyn KeyVault, name: &str) -> Result<bool> {
        let disk = self.shared(name)?;
        let kek = Kek { vault, key: set.active_key.key() };
        let rewrapped = disk.with_layers(|layers| {
            if layers.keks() == [set.active_key.clone()] {
                return Ok(false);
            }
            let got = layers.replace_keks(kek, set.encryption_type)?;
            if got != set.active_key {
                let wanted = &set.active_key;
                return Err(Error::Vault(format!(
                    "asked to wrap under {wanted}, it wrapped under {got}; rotate again"
                )));
            }
            self.leases.of(&set.name).remember(layers.wrapped());
            Ok(true)
        })?;
        let mut record = self.disk(name)?;
        if record.joining.take().is_some() {
            self.store.put_disk(&record)?;
        }
        Ok(rewrapped)
    }
}

/// A name for programs of what stopped a rotation.
fn code(error: &Error) -> &'static str {
    match error {
        Error::KeyDisabled { .. } => "KeyDisabled",
        Error::KeyDeleted { .. } | Error::NoSuchKey { .. } => "KeyNotFound",
        Error::KeyExpired { .. } => "KeyExpired",
        Error::KeyNotYetValid { .. } => "KeyNotYetValid",
        Error::AccessDenied { .. } => "AccessDenied",
        Error::DiskSuspended { .. } => "DiskSuspended",
        Error::Vault(_) => "VaultFailed",
        Error::Io { .. } => "DeviceFailed",
        _ => "RotationFailed",
    }
}
