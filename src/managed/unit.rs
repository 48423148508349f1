//! A resource in use: its volumes while its key may be used, shared by all who use it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::capture::Capture;
use super::layers::Layers;
use super::leases::KeyLease;
use super::records::ResourceName;
use super::service::Inner;
use crate::key::KeyId;
use crate::{Error, Result};

pub(super) struct Unit {
    pub(super) service: Arc<Inner>,
    pub(super) name: ResourceName,
    held: RwLock<Held>,
    /// Who opens the volumes; the others wait, and share what comes of it.
    opening: Mutex<()>,
    /// Who changes under which keys it is, or removes it. Of several, in the order of their names.
    change: Mutex<()>,
    /// Who copies it while it is written.
    pub(super) copying: Mutex<()>,
    /// Counts the handles that users have.
    pub(super) users: Arc<()>,
}

#[derive(Default)]
struct Held {
    /// `None` while the key may not be used: the DEK is wiped.
    layers: Option<Arc<Layers>>,
    /// The lease of the key that it is under; the platform's key needs none.
    lease: Option<Arc<KeyLease>>,
    /// A copy that is being made of it as it was when the copy began.
    capture: Option<Capture>,
}

impl Held {
    fn may(&self, now: u64) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.holds(now))
    }

    /// The volumes, while the key may be used.
    fn usable(&self, now: u64) -> Option<&Arc<Layers>> {
        self.layers.as_ref().filter(|_| self.may(now))
    }
}

impl Unit {
    pub(super) fn new(service: Arc<Inner>, name: ResourceName) -> Self {
        Unit {
            service,
            name,
            held: RwLock::default(),
            opening: Mutex::default(),
            change: Mutex::default(),
            copying: Mutex::default(),
            users: Arc::default(),
        }
    }

    /// Does something with the volumes, once the key may be used.
    pub(super) fn with_layers<T>(&self, act: impl FnOnce(&Layers) -> Result<T>) -> Result<T> {
        self.with(|layers, _| act(layers))
    }

    /// Writes, after what a copy still needs was copied.
    pub(super) fn write_at(&self, offset: u64, sectors: &[u8]) -> Result<()> {
        self.with(|layers, capture| {
            if let Some(capture) = capture {
                capture.before_write(layers, offset, sectors.len());
            }
            layers.write_at(offset, sectors)
        })
    }

    /// Does something with the volumes and the copy that is being made, once the key may be used.
    pub(super) fn with<T>(&self, act: impl FnOnce(&Layers, Option<&Capture>) -> Result<T>) -> Result<T> {
        let held = self.read();
        if let Some(layers) = held.usable(self.now()) {
            return act(layers, held.capture.as_ref());
        }
        drop(held);
        self.resume()?;
        let held = self.read();
        // It may have been suspended again meanwhile.
        let layers = held.usable(self.now()).ok_or_else(|| self.suspended("its key was taken away"))?;
        act(layers, held.capture.as_ref())
    }

    /// Does something with the volumes to put them under another key, although the lease of the one that they are under may
    /// be over: the vault has the last word on whether it unwraps.
    pub(super) fn with_layers_to_rewrap<T>(&self, act: impl FnOnce(&Layers) -> Result<T>) -> Result<T> {
        // The vault is asked meanwhile: who waits to suspend it, or to write, must not wait for that.
        let usable = self.read().usable(self.now()).cloned();
        if let Some(layers) = usable {
            return act(&layers);
        }
        let _one = lock(&self.opening);
        // Not kept, so that no DEK stays in memory without a lease.
        self.write().layers = None;
        let opened = self.service.open_layers(&self.name, false)?;
        act(&opened.layers)
    }

    /// From now on it is under another key, in place of what it was under.
    pub(super) fn move_to(&self, lease: Arc<KeyLease>) {
        let mut held = self.write();
        if let Some(layers) = &held.layers {
            lease.remember(layers.wrapped());
            held.lease = Some(lease);
        }
    }

    /// Closes the volumes, and with them wipes the DEK, unless the key may be used.
    pub(super) fn suspend_if_revoked(&self) {
        let may = self.read().may(self.now());
        if !may {
            self.write().layers = None;
        }
    }

    /// Closes the volumes; the next use opens them anew.
    pub(super) fn close(&self) {
        *self.write() = Held::default();
    }

    /// Whether its key may be used, as far as is known without asking.
    pub(super) fn is_suspended(&self) -> bool {
        self.read().usable(self.now()).is_none()
    }

    /// Whether any user has it open.
    pub(super) fn is_open(&self) -> bool {
        Arc::strong_count(&self.users) > 1
    }

    /// The keys that it is under. Where it is closed, its header says so, and nothing has proved it.
    pub(super) fn keys(&self) -> Result<Vec<KeyId>> {
        let _one = lock(&self.opening);
        let open = self.read().layers.clone();
        open.map_or_else(|| self.service.keys_of(&self.name), |layers| Ok(layers.keks()))
    }

    /// The lease that it is under now, if it needs one.
    pub(super) fn lease(&self) -> Option<Arc<KeyLease>> {
        self.read().lease.clone()
    }

    /// Begins a copy of what it holds now: no write is under way, and none comes before it is noted.
    pub(super) fn capture(&self, capture: Capture) -> Capturing<'_> {
        self.write().capture = Some(capture);
        Capturing(self)
    }

    /// Waits for who changes it, and keeps others from it.
    pub(super) fn changing(&self) -> MutexGuard<'_, ()> {
        lock(&self.change)
    }

    /// Opens the volumes if the key may be used, and wipes the DEK if it may not.
    fn resume(&self) -> Result<()> {
        let _one = lock(&self.opening);
        let now = self.now();
        let lapsed = {
            let held = self.read();
            if held.usable(now).is_some() {
                return Ok(());
            }
            held.lease.clone().filter(|_| held.layers.is_some())
        };
        if let Some(lease) = lapsed {
            return lease.renew(now, || self.service.vault_of_lease(&lease)).map_err(|reason| {
                self.write().layers = None;
                self.suspended(&reason)
            });
        }
        let opened = self.service.open_layers(&self.name, true)?;
        let mut held = self.write();
        if let Some(lease) = &opened.lease {
            lease.remember(opened.layers.wrapped());
        }
        (held.layers, held.lease) = (Some(Arc::new(opened.layers)), opened.lease);
        Ok(())
    }

    fn now(&self) -> u64 {
        self.service.clock.now()
    }

    fn read(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn suspended(&self, reason: &str) -> Error {
        Error::DiskSuspended { disk: self.name.name.clone(), reason: reason.into() }
    }
}

/// While it lives, writes are preceded by the copy of what they overwrite.
pub(super) struct Capturing<'u>(&'u Unit);

impl Capturing<'_> {
    /// Ends the copy, and gives it; none if the resource was closed meanwhile.
    pub(super) fn end(self) -> Option<Capture> {
        self.0.write().capture.take()
    }
}

impl Drop for Capturing<'_> {
    fn drop(&mut self) {
        self.0.write().capture = None;
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
