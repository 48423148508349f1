//! A resource in use: its volumes while its key may be used, shared by all its users.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use super::before_write::BeforeWrite;
use super::changes::Changes;
use super::in_flight::{DeviceWrite, InFlight};
use super::stay::Stay;
use super::using::Using;
use crate::managed::counters::Refusal;
use crate::managed::keys::{Access, KeyLease, Now};
use crate::managed::layers::Layers;
use crate::managed::records::{Resource, ResourceName};
use crate::managed::sync::{lock, read, try_lock, try_read, try_write, write};
use crate::managed::write_back::WriteBack;
use crate::{BlockDevice, Error, Result};

pub(in crate::managed) struct LiveResource {
    pub(super) access: Arc<Access>,
    /// The name by which it was found. After its removal another resource may get the name.
    pub(in crate::managed) name: ResourceName,
    pub(in crate::managed) id: String,
    /// The size of its data in bytes.
    size: AtomicU64,
    pub(super) held: RwLock<Held>,
    /// The lease of `held`, for threads that must not wait for a hanging device.
    lease: Mutex<Option<Arc<KeyLease>>>,
    /// The key may not be used any more, and the resource was in use: the last user wipes the DEK.
    to_wipe: AtomicBool,
    /// The work left after a DEK was wiped: making earlier writes durable. The next opening waits until it is done and
    /// the device is closed.
    closing: Mutex<Option<Closing>>,
    /// The last noted usage of its DEKs, so that the store isn't asked each time.
    pub(super) noted: Mutex<[u64; 2]>,
    /// It was handed over to another host.
    pub(super) away: AtomicBool,
    /// Keeps its device for this host while users have it open.
    pub(super) stay: Mutex<Weak<Stay>>,
    /// Locked while a user comes, on a shared store.
    pub(super) coming: Mutex<()>,
    /// The number of the attachment by which its device became this host's. The state kept here is as of then, or newer.
    attached_as: AtomicU64,
    /// Locked while the volumes are opened. Other threads wait and share the result.
    pub(super) opening: Mutex<()>,
    /// Locked while its keys are changed or it is removed. Several resources are locked in the order of their names. It counts
    /// how often it was locked.
    change: Mutex<u64>,
    /// Locked while it is copied and may be written.
    pub(in crate::managed) copying: Mutex<()>,
    /// The layer above it that keeps writes back, if there is one.
    pub(super) write_back: Mutex<Option<Weak<dyn WriteBack>>>,
    /// The writes that callers do themselves.
    pub(super) in_flight: Arc<InFlight>,
    /// Counts the handles that users have; under `held`.
    users: Arc<()>,
    /// Held until it has let go of its device.
    using: Option<Using>,
}

/// The work left when the DEK of volumes is wiped.
struct Closing {
    device: Arc<dyn BlockDevice>,
    used_blocks: [u64; 2],
}

/// How often one use opens the volumes if they are closed again each time.
const ATTEMPTS: usize = 16;

#[derive(Default)]
pub(super) struct Held {
    /// `None` while the key may not be used: the DEK is wiped.
    pub(super) layers: Option<Arc<Layers>>,
    /// The lease of its key; the platform's key needs none.
    lease: Option<Arc<KeyLease>>,
    /// A copy in progress of its content as of the copy's start.
    pub(super) capture: Option<Arc<dyn BeforeWrite>>,
    /// How many wait until no write is under way that its caller does: none may begin.
    pub(super) draining: usize,
    /// The chunks written since the last incremental snapshot, if they are known; no longer than `layers` live.
    pub(super) changes: Option<Changes>,
    /// It is being removed, or was: nobody opens it any more.
    removed: bool,
}

impl Held {
    fn may(&self, now: Now) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.holds(now))
    }

    /// The volumes, if the key may be used.
    pub(super) fn usable(&self, now: Now) -> Option<&Arc<Layers>> {
        self.layers.as_ref().filter(|_| self.may(now))
    }

    /// Notes a write of `len` bytes, and copies the old data that a copy in progress still needs.
    fn before_write(&self, layers: &Layers, offset: u64, len: u64) {
        if let Some(changes) = &self.changes {
            changes.note(offset, len);
        }
        if let Some(capture) = &self.capture {
            capture.before_write(layers, offset, len);
        }
    }
}

impl LiveResource {
    /// Other users in `using` may be closing the device now.
    pub(super) fn new(access: Arc<Access>, resource: &Resource, using: Using) -> Self {
        LiveResource {
            access,
            name: resource.full_name(),
            id: resource.id.clone(),
            size: AtomicU64::new(resource.size),
            held: RwLock::default(),
            lease: Mutex::default(),
            to_wipe: AtomicBool::new(false),
            closing: Mutex::default(),
            noted: Mutex::default(),
            away: AtomicBool::new(false),
            stay: Mutex::default(),
            coming: Mutex::default(),
            attached_as: AtomicU64::new(0),
            opening: Mutex::default(),
            change: Mutex::default(),
            copying: Mutex::default(),
            write_back: Mutex::default(),
            in_flight: Arc::default(),
            users: Arc::default(),
            using: Some(using),
        }
    }

    /// The size of its data in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Its volumes and its record are larger now. The map of changes is dropped, as it has the old size.
    pub(in crate::managed) fn set_size(&self, size: u64) {
        self.write().changes = None;
        self.size.store(size, Ordering::Release);
    }

    /// Runs `act` on the volumes, once the key may be used.
    pub(in crate::managed) fn with_layers<T>(&self, act: impl FnOnce(&Layers) -> Result<T>) -> Result<T> {
        self.with(|layers, _| act(layers))
    }

    /// Changes `len` bytes by `write`, after copying the old data that a copy in progress still needs.
    pub(in crate::managed) fn write_with(
        &self,
        offset: u64,
        len: u64,
        write: impl FnOnce(&Layers) -> Result<()>,
    ) -> Result<()> {
        self.with(|layers, held| {
            held.before_write(layers, offset, len);
            write(layers)
        })
    }

    /// Begins a write of `len` bytes that the caller does, after copying the old data that a copy in progress still needs.
    pub(in crate::managed) fn begin_write<'b>(
        &self,
        offset: u64,
        len: usize,
        encrypt: impl FnOnce(&Layers) -> Result<(u64, &'b [u8])>,
    ) -> Result<DeviceWrite> {
        self.with(|layers, held| {
            held.before_write(layers, offset, len as u64);
            let (device_offset, ciphertext) = encrypt(layers)?;
            if held.draining == 0 {
                return Ok(DeviceWrite::counted(device_offset, &self.in_flight));
            }
            // The draining thread waits for all writes that began before it. A caller that waited for that thread, instead of
            // completing its own writes, would wait for ever.
            layers.write_ciphertext(device_offset, ciphertext)?;
            Ok(DeviceWrite::done(device_offset))
        })
    }

    /// Runs `act` on the volumes and their state, once the key may be used.
    pub(super) fn with<T>(&self, act: impl FnOnce(&Layers, &Held) -> Result<T>) -> Result<T> {
        // Between opening and use it may be suspended again, or put under another key; but not for ever.
        for _ in 0..ATTEMPTS {
            self.access.check_host_io().map_err(|why| self.suspended(why))?;
            let held = self.read();
            if let Some(layers) = held.usable(self.now()) {
                let done = act(layers, &held);
                drop(held);
                if self.to_wipe.load(Ordering::Relaxed) {
                    self.wipe_if_unused();
                    self.finish_closing();
                }
                return done;
            }
            drop(held);
            self.resume()?;
        }
        Err(self.suspended("its key is revoked as often as it is granted"))
    }

    /// Records that it is now under another key.
    pub(in crate::managed) fn move_to(&self, lease: Arc<KeyLease>) {
        let wrapped = self.read().layers.as_ref().map(|layers| layers.wrapped());
        if let Some(wrapped) = wrapped {
            lease.remember(wrapped);
        }
        self.set_lease(&mut self.write(), Some(lease));
    }

    fn set_lease(&self, held: &mut Held, lease: Option<Arc<KeyLease>>) {
        lock(&self.lease).clone_from(&lease);
        held.lease = lease;
    }

    /// Closes the volumes and wipes the DEK, unless the key may be used. If a thread is reading or writing, that thread
    /// does it at its end, because its device may hang. Earlier writes still must be made durable afterwards.
    pub(in crate::managed) fn suspend_if_revoked(&self) {
        let now = self.now();
        if self.lease().is_some_and(|lease| !lease.holds(now)) {
            self.to_wipe.store(true, Ordering::Relaxed);
            self.wipe_if_unused();
        }
    }

    /// If the last user misses the request to wipe, the next round does it.
    fn wipe_if_unused(&self) {
        let Some(mut held) = try_write(&self.held) else { return };
        self.to_wipe.store(false, Ordering::Relaxed);
        // The key may be usable again by now.
        if !held.may(self.now()) {
            self.take_layers(&mut held);
        }
    }

    /// Closes the volumes, which wipes the DEK.
    pub(super) fn take_layers(&self, held: &mut Held) {
        held.changes = None;
        if let Some(layers) = held.layers.take() {
            *lock(&self.closing) = Some(Closing { device: layers.device(), used_blocks: layers.used_blocks() });
        }
    }

    /// Whether there are writes to make durable, and no thread is doing it.
    pub(in crate::managed) fn is_closing(&self) -> bool {
        try_lock(&self.closing).is_some_and(|closing| closing.is_some())
    }

    /// Makes the writes before the wipe durable, if possible, and closes the device.
    pub(in crate::managed) fn finish_closing(&self) {
        // Keep the lock to the end.
        let mut closing = lock(&self.closing);
        if let Some(using) = &self.using {
            using.wait_for_others();
        }
        if let Some(Closing { device, used_blocks }) = closing.take() {
            // A later sync through other volumes must cover these writes too.
            let _ = device.sync();
            self.note_used(used_blocks, 1);
        }
    }

    /// How many blocks its DEKs have encrypted, if it is open.
    pub(in crate::managed) fn used_blocks(&self) -> Option<[u64; 2]> {
        self.read().layers.as_ref().map(|layers| layers.used_blocks())
    }

    /// How many bytes its volume has, if it is open.
    pub(in crate::managed) fn volume_size(&self) -> Option<u64> {
        self.read().layers.as_ref().map(|layers| layers.size())
    }

    /// Counts a user while the returned value lives, unless the resource is being removed.
    pub(super) fn join(&self) -> Result<Arc<()>> {
        let held = self.read();
        let gone = || Error::NoSuchResource(format!("the {} was removed", self.name));
        (!held.removed).then(|| self.users.clone()).ok_or_else(gone)
    }

    /// From now on nobody can open it. Fails if a user has it open.
    pub(in crate::managed) fn begin_removal(&self) -> Result<()> {
        let mut held = self.write();
        if self.is_open() {
            return Err(Error::Busy { what: format!("the {}", self.name) });
        }
        held.removed = true;
        Ok(())
    }

    /// Cancels the removal.
    pub(in crate::managed) fn cancel_removal(&self) {
        self.write().removed = false;
    }

    /// Runs `act` on the device while the volumes are closed and stay so; not if they are open.
    pub(in crate::managed) fn while_closed(&self, act: impl FnOnce() -> Result<()>) -> Result<()> {
        let _one = lock(&self.opening);
        if self.read().layers.is_some() {
            return Ok(());
        }
        self.finish_closing();
        act()
    }

    /// Closes the volumes, and makes the writes before that durable. The next use opens them again.
    pub(super) fn shut(&self) {
        self.take_layers(&mut self.write());
        self.finish_closing();
    }

    /// Closes the volumes of a resource that was removed.
    pub(in crate::managed) fn close(&self) {
        let mut held = self.write();
        self.set_lease(&mut held, None);
        *held = Held { removed: held.removed, draining: held.draining, ..Held::default() };
    }

    /// Whether its key may not be used, as far as is known without asking its vault.
    pub(in crate::managed) fn is_suspended(&self) -> bool {
        self.read().usable(self.now()).is_none()
    }

    /// The same without waiting for I/O that hangs: while its volumes are held, by its lease alone.
    pub(in crate::managed) fn seems_suspended(&self) -> bool {
        match try_read(&self.held) {
            Some(held) => held.usable(self.now()).is_none(),
            None => self.lease().is_some_and(|lease| !lease.holds(self.now())),
        }
    }

    /// Whether any user has it open.
    pub(in crate::managed) fn is_open(&self) -> bool {
        Arc::strong_count(&self.users) > 1
    }

    /// Its current lease, if it needs one.
    pub(in crate::managed) fn lease(&self) -> Option<Arc<KeyLease>> {
        lock(&self.lease).clone()
    }

    /// Locks it against changes by others.
    pub(in crate::managed) fn changing(&self) -> MutexGuard<'_, u64> {
        let mut count = lock(&self.change);
        *count += 1;
        count
    }

    /// How often it was locked against changes by others; `None` while it is.
    pub(super) fn changes(&self) -> Option<u64> {
        try_lock(&self.change).map(|count| *count)
    }

    /// Opens the volumes if the key may be used, and wipes the DEK if it may not.
    fn resume(&self) -> Result<()> {
        let _one = lock(&self.opening);
        if self.away.load(Ordering::SeqCst) {
            self.access.store.counters.refuse(Refusal::HandedOver);
            return Err(self.suspended("it was handed over to another host"));
        }
        let now = self.now();
        if self.read().usable(now).is_some() {
            return Ok(());
        }
        // While it was another host's, that one may have put it under another key, or made it larger.
        let here = self.attach()?;
        let was_elsewhere =
            here.as_ref().is_some_and(|here| self.attached_as.swap(here.number(), Ordering::SeqCst) != here.number());
        if was_elsewhere {
            // Nor is anything open that was opened before it was this host's: the device would be open twice.
            let mut held = self.write();
            self.take_layers(&mut held);
            self.set_lease(&mut held, None);
        }
        let (open, lease) = {
            let held = self.read();
            (held.layers.is_some(), held.lease.clone())
        };
        // If the key is known, check its lease before opening anything.
        if let Some(lease) = lease {
            lease.renew(now, || self.access.vault_of_lease(&lease)).map_err(|reason| {
                self.access.count_refusal(&lease);
                self.suspend_if_revoked();
                self.finish_closing();
                self.suspended(&reason)
            })?;
            if open {
                return Ok(());
            }
        }
        self.finish_closing();
        let resource = self.record()?;
        if here.is_some() {
            self.size.store(resource.size, Ordering::Release);
        }
        let opened = self.access.open_layers(&resource, true)?;
        if let Some(lease) = &opened.lease {
            lease.remember(opened.layers.wrapped());
        }
        *lock(&self.noted) = opened.layers.used_blocks();
        let mut held = self.write();
        self.set_lease(&mut held, opened.lease);
        held.layers = Some(Arc::new(opened.layers));
        Ok(())
    }

    /// Its record, unless it was removed.
    pub(in crate::managed) fn record(&self) -> Result<Resource> {
        self.access.resource_of(&self.name, &self.id)
    }

    pub(super) fn now(&self) -> Now {
        self.access.now()
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Held> {
        read(&self.held)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Held> {
        write(&self.held)
    }

    pub(super) fn check_host(&self) -> Result<()> {
        self.access.check_host().map_err(|why| self.suspended(why))
    }

    fn suspended(&self, reason: &str) -> Error {
        Error::DiskSuspended { disk: self.name.name.clone(), reason: reason.into() }
    }
}

impl Drop for LiveResource {
    /// The last user is gone.
    fn drop(&mut self) {
        let held = self.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        let removed = held.removed;
        let layers = held.layers.take();
        drop(self.closing.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        // A removed resource has no record, and a forked child must not touch its parent's.
        let noted = layers.as_ref().is_some_and(|layers| !removed && layers.fingerprints().is_ok());
        let used = layers.as_ref().filter(|_| noted).map(|layers| layers.used_blocks());
        // Keeps the device until the usage is noted.
        let _here = used.and_then(|_| self.attach().ok());
        drop(layers);
        self.using = None;
        if let Some(used) = used {
            self.note_used(used, 1);
        }
    }
}

#[cfg(test)]
mod tests;
