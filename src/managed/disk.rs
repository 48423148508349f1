//! A disk that is open.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::layers::Layers;
use super::leases::SetLease;
use super::service::Inner;
use crate::{Error, Result};

/// A disk that is open, for any number of threads. Nothing of it is in memory in the clear but the sectors that are asked
/// for, and the DEK while the disk's key may be used.
pub struct OpenDisk {
    pub(super) service: Arc<Inner>,
    pub(super) name: String,
    size: u64,
    sector_size: u32,
    held: RwLock<Held>,
}

struct Held {
    /// `None` while the key may not be used: the DEK is wiped.
    layers: Option<Layers>,
    /// The lease of its set's key; the platform's key needs none.
    lease: Option<Arc<SetLease>>,
}

impl Held {
    fn may(&self, now: u64) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.holds(now))
    }

    /// The volumes, while the key may be used.
    fn usable(&self, now: u64) -> Option<&Layers> {
        self.layers.as_ref().filter(|_| self.may(now))
    }
}

impl OpenDisk {
    pub(super) fn new(
        service: Arc<Inner>,
        name: &str,
        size: u64,
        sector_size: u32,
        lease: Option<Arc<SetLease>>,
    ) -> Self {
        OpenDisk { service, name: name.into(), size, sector_size, held: RwLock::new(Held { layers: None, lease }) }
    }

    /// The name of the disk.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The size of its data in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The sector size in bytes: offsets and lengths are multiples of it.
    pub fn sector_size(&self) -> u32 {
        self.sector_size
    }

    /// Whether its key may be used, as far as is known without asking.
    pub fn is_suspended(&self) -> bool {
        self.read().usable(self.service.clock.now()).is_none()
    }

    /// Reads and decrypts `sectors.len()` bytes from `offset`.
    ///
    /// # Errors
    /// [`Error::DiskSuspended`] while its key may not be used; those of [`Volume::read_at`](crate::Volume::read_at).
    pub fn read_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.check_end(offset, sectors.len())?;
        self.with_layers(|layers| layers.read_at(offset, sectors))
    }

    /// Encrypts and writes `sectors` at `offset`.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn write_at(&self, offset: u64, sectors: &[u8]) -> Result<()> {
        self.check_end(offset, sectors.len())?;
        self.with_layers(|layers| layers.write_at(offset, sectors))
    }

    /// Makes what was written last.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn sync(&self) -> Result<()> {
        self.with_layers(Layers::sync)
    }

    /// Does something with the volumes, once the key may be used.
    pub(super) fn with_layers<T>(&self, act: impl FnOnce(&Layers) -> Result<T>) -> Result<T> {
        let held = self.read();
        if let Some(layers) = held.usable(self.service.clock.now()) {
            return act(layers);
        }
        drop(held);
        self.resume()?;
        let held = self.read();
        // It may have been suspended again meanwhile.
        held.usable(self.service.clock.now()).map_or_else(|| Err(self.suspended("its key was taken away")), act)
    }

    /// Opens the volumes if the key may be used, and wipes the DEK if it may not.
    fn resume(&self) -> Result<()> {
        let now = self.service.clock.now();
        if let Some(lease) = self.lease().filter(|lease| !lease.holds(now))
            && let Err(reason) = lease.renew(now, || self.service.probe(&self.name))
        {
            self.write().layers = None;
            return Err(self.suspended(&reason));
        }
        let mut held = self.write();
        if held.layers.is_none() {
            let layers = self.service.open_layers(&self.name)?;
            if let Some(lease) = &held.lease {
                lease.remember(layers.wrapped());
            }
            held.layers = Some(layers);
        }
        Ok(())
    }

    /// Closes the volumes, and with them wipes the DEK, unless the key may be used.
    pub(super) fn suspend_if_revoked(&self) {
        let may = self.read().may(self.service.clock.now());
        if !may {
            self.write().layers = None;
        }
    }

    /// The lease that it is under now, if it needs one.
    pub(super) fn lease(&self) -> Option<Arc<SetLease>> {
        self.read().lease.clone()
    }

    /// From now on it is under the key of another lease.
    pub(super) fn move_to(&self, lease: Arc<SetLease>) {
        let mut held = self.write();
        lease.remember(held.layers.as_ref().and_then(Layers::wrapped));
        held.lease = Some(lease);
    }

    fn read(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn suspended(&self, reason: &str) -> Error {
        Error::DiskSuspended { disk: self.name.clone(), reason: reason.into() }
    }

    /// The volume may be larger by what its device has to spare.
    fn check_end(&self, offset: u64, len: usize) -> Result<()> {
        if offset.checked_add(len as u64).is_none_or(|end| end > self.size) {
            return Err(Error::OutOfBounds { offset, len, size: self.size });
        }
        Ok(())
    }
}

impl core::fmt::Debug for OpenDisk {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("OpenDisk").field("name", &self.name).field("size", &self.size).finish_non_exhaustive()
    }
}
