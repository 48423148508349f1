//! What a cache needs of its disk beside the data: a secret, permission to use it, and a note that survives the host.

use std::sync::{Arc, Weak};

use atrest::key::hkdf_sha256;
use atrest::managed::{OpenDisk, SecretHolder, WriteBack};
use atrest::{Result, Secret};

/// The write-back cache that is known to hold writes which the disk lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KnownCache {
    /// No note is kept. An older copy of a cache's file is then taken for the last one.
    NotKept,
    /// There is no such cache.
    None,
    /// The one with this id.
    Id(String),
}

/// The keeper of a disk's key, and of a note of its cache.
pub trait CacheKeeper: Send + Sync {
    /// Returns if the disk's key may be used now. It is called for each read that the cache answers.
    ///
    /// # Errors
    /// Any: the cache answers nothing.
    fn check_key(&self) -> Result<()>;

    /// Lends a secret, the same each time for a label: see [`OpenDisk::lend_secret`].
    ///
    /// # Errors
    /// As [`check_key`](Self::check_key); errors of the holder.
    fn lend_secret(&self, label: &str, holder: &Arc<dyn SecretHolder>) -> Result<()>;

    /// The write-back cache that may hold writes which the disk lacks.
    ///
    /// # Errors
    /// Any: the cache can't be attached.
    fn known_cache(&self) -> Result<KnownCache>;

    /// Notes durably which write-back cache may hold such writes.
    ///
    /// # Errors
    /// Any: the cache can't be attached, or not be detached yet.
    fn note_cache(&self, id: Option<&str>) -> Result<()>;

    /// Announces this write-back cache, so that a snapshot of the disk has it settle its writes first. The default does nothing.
    fn announce(&self, cache: Weak<dyn WriteBack>) {
        let _ = cache;
    }
}

impl CacheKeeper for OpenDisk {
    fn check_key(&self) -> Result<()> {
        OpenDisk::check_key(self)
    }

    fn lend_secret(&self, label: &str, holder: &Arc<dyn SecretHolder>) -> Result<()> {
        OpenDisk::lend_secret(self, label, holder)
    }

    fn known_cache(&self) -> Result<KnownCache> {
        Ok(self.host_cache()?.map_or(KnownCache::None, KnownCache::Id))
    }

    fn note_cache(&self, id: Option<&str>) -> Result<()> {
        if id.is_none() {
            self.set_write_back(None);
        }
        self.set_host_cache(id)
    }

    fn announce(&self, cache: Weak<dyn WriteBack>) {
        self.set_write_back(Some(cache));
    }
}

/// A secret that may always be used, for a disk that isn't managed. It must be of this disk alone, and keeps no note.
impl CacheKeeper for Secret {
    fn check_key(&self) -> Result<()> {
        self.check()
    }

    fn lend_secret(&self, label: &str, holder: &Arc<dyn SecretHolder>) -> Result<()> {
        self.check()?;
        let info = format!("atrest host cache of a volume v1 {label}");
        holder.hold(hkdf_sha256(self, &[], info.as_bytes(), 32)?)
    }

    fn known_cache(&self) -> Result<KnownCache> {
        Ok(KnownCache::NotKept)
    }

    fn note_cache(&self, _: Option<&str>) -> Result<()> {
        Ok(())
    }
}
