//! Keys of sets that expire soon.

use std::time::Duration;

use super::service::DiskService;
use crate::Result;
use crate::key::KeyId;

/// A set whose key will expire soon.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpiringKey {
    /// The set.
    pub set: String,
    /// Its active key.
    pub key: KeyId,
    /// When it expires or has expired, in seconds since 1970-01-01 UTC.
    pub expires: u64,
    /// Whether a newer version would be adopted automatically.
    pub auto_rotation: bool,
}

impl DiskService {
    /// The sets whose active key has expired or will within this time (33). Every set's vault is asked.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) from the store. A vault that doesn't answer, or doesn't describe its keys, is left out.
    pub fn expiring_keys(&self, within: Duration) -> Result<Vec<ExpiringKey>> {
        let inner = self.inner()?;
        let horizon = inner.clock.now().saturating_add(within.as_secs());
        let mut expiring = Vec::new();
        let mut after = None;
        loop {
            let (sets, next) = inner.store.sets_page(after.as_deref())?;
            for set in sets {
                let key = &set.active_key;
                let vault = inner.keys.vault_of(&set, key);
                let said = vault.and_then(|vault| vault.describe(key.key(), Some(key.version())));
                let expires = said.ok().flatten().and_then(|said| said.expires);
                if let Some(expires) = expires.filter(|&expires| expires <= horizon) {
                    let (key, auto_rotation) = (set.active_key, set.auto_rotation);
                    expiring.push(ExpiringKey { set: set.name, key, expires, auto_rotation });
                }
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(expiring),
            }
        }
    }
}
