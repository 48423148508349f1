//! The platform's active key, and the volumes under it.

use super::access::Access;
use crate::key::KeyId;
use crate::managed::layers::Layer;
use crate::managed::records::PlatformKeys;
use crate::managed::store::Tables;
use crate::{EncryptionType, Result};

impl Tables<'_> {
    /// Notes that a new volume is under a key of the platform. An unknown version becomes the active one, and everything under the
    /// others must move to it. Returns `false` for an earlier key: then the new volume must first move to the active one. A
    /// rotation that ends at this moment may already have looked for volumes under earlier keys.
    pub(in crate::managed) fn take_up(&mut self, key: &KeyId) -> Result<bool> {
        match self.platform()? {
            Some(keys) if keys.active_key == *key => Ok(true),
            Some(keys) if keys.knew(key) => Ok(false),
            _ => self.go_over_to(key).map(|_| true),
        }
    }

    /// Makes a key the platform's active one.
    pub(in crate::managed) fn go_over_to(&mut self, key: &KeyId) -> Result<PlatformKeys> {
        let mut keys = self.platform()?.unwrap_or_else(|| PlatformKeys {
            active_key: key.clone(),
            previous_keys: Vec::new(),
            former_keys: Vec::new(),
            last_key_rotation_timestamp: None,
            rotation_error: None,
        });
        if keys.active_key != *key {
            // Record first that everything may be under either key, whatever happens next.
            let old = core::mem::replace(&mut keys.active_key, key.clone());
            keys.former_keys.retain(|former| former != key);
            keys.previous_keys.retain(|previous| previous != key);
            keys.previous_keys.push(old);
        }
        self.put_platform(&keys)?;
        Ok(keys)
    }
}

impl Access {
    /// Moves a volume to the platform's active key if it is under an earlier one. Returns the keys that it is under.
    pub(in crate::managed) fn put_under_platform(&self, volume: &Layer, kind: EncryptionType) -> Result<Vec<KeyId>> {
        if let Some(keys) = self.store.platform()?
            && volume.keks().iter().any(|key| *key != keys.active_key && keys.knew(key))
        {
            self.vaults.platform_version(keys.active_key).put_over(volume, kind)?;
        }
        Ok(volume.keks())
    }
}
