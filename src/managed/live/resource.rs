//! A resource in use: its volumes while its key may be used, shared by all who use it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::changes::Changes;
use crate::key::KeyId;
use crate::managed::chunk_map::ChunkMap;
use crate::managed::keys::{Access, KeyLease, Now};
use crate::managed::layers::{Layer, Layers, keys_in};
use crate::managed::records::{Resource, ResourceName};
use crate::managed::sync::{lock, read, try_lock, try_write, write};
use crate::{BlockDevice, Error, Result};

/// A copy that is being made of a resource as it was at one instant: it sees what is about to be overwritten.
pub(in crate::managed) trait BeforeWrite: Send + Sync {
    /// Copies what is about to be overwritten, as far as it wasn't yet.
    fn before_write(&self, disk: &Layers, offset: u64, len: usize);
}

pub(in crate::managed) struct LiveResource {
    access: Arc<Access>,
    /// The name by which it was found; another resource may get it when this one is removed.
    pub(in crate::managed) name: ResourceName,
    pub(in crate::managed) id: String,
    held: RwLock<Held>,
    /// The lease of `held`, for who must not wait for a device that hangs.
    lease: Mutex<Option<Arc<KeyLease>>>,
    /// The key may not be used, and somebody was using it: the last who does wipes the DEK.
    to_wipe: AtomicBool,
    /// What is left of volumes whose DEK was wiped, until what was written to them lasts. Whoever opens it next must find it
    /// closed, and waits for that.
    closing: Mutex<Option<Closing>>,
    /// What was last noted of how much its DEKs have encrypted, so that the store needn't be asked each time.
    noted: Mutex<[u64; 2]>,
    /// Who opens the volumes; the others wait, and share what comes of it.
    opening: Mutex<()>,
    /// Who changes under which keys it is, or removes it. Of several, in the order of their names.
    change: Mutex<()>,
    /// Who copies it while it is written.
    pub(in crate::managed) copying: Mutex<()>,
    /// Counts the handles that users have; under `held`.
    users: Arc<()>,
}

/// What volumes leave to be done when their DEK is wiped.
struct Closing {
    device: Arc<dyn BlockDevice>,
    used_blocks: [u64; 2],
}

/// How many blocks may be encrypted before that is noted: 16 GiB.
const GROWTH: u64 = 1 << 30;

/// How often a use opens the volumes, if they are closed again each time.
const ATTEMPTS: usize = 16;

#[derive(Default)]
struct Held {
    /// `None` while the key may not be used: the DEK is wiped.
    layers: Option<Arc<Layers>>,
    /// The lease of the key that it is under; the platform's key needs none.
    lease: Option<Arc<KeyLease>>,
    /// A copy that is being made of it as it was when the copy began.
    capture: Option<Arc<dyn BeforeWrite>>,
    /// What was written since the last incremental snapshot, if it is known; not beyond the life of `layers`.
    changes: Option<Changes>,
    /// It is being removed, or was: nobody opens it any more.
    removed: bool,
}

impl Held {
    fn may(&self, now: Now) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.holds(now))
    }

    /// The volumes, while the key may be used.
    fn usable(&self, now: Now) -> Option<&Arc<Layers>> {
        self.layers.as_ref().filter(|_| self.may(now))
    }
}

impl LiveResource {
    pub(super) fn new(access: Arc<Access>, resource: &Resource) -> Self {
        LiveResource {
            access,
            name: resource.full_name(),
            id: resource.id.clone(),
            held: RwLock::default(),
            lease: Mutex::default(),
            to_wipe: AtomicBool::new(false),
            closing: Mutex::default(),
            noted: Mutex::default(),
            opening: Mutex::default(),
            change: Mutex::default(),
            copying: Mutex::default(),
            users: Arc::default(),
        }
    }

    /// Does something with the volumes, once the key may be used.
    pub(in crate::managed) fn with_layers<T>(&self, act: impl FnOnce(&Layers) -> Result<T>) -> Result<T> {
        self.with(|layers, _| act(layers))
    }

    /// Writes, after what a copy still needs was copied.
    pub(in crate::managed) fn write_at(&self, offset: u64, sectors: &[u8]) -> Result<()> {
        self.with(|layers, held| {
            if let Some(changes) = &held.changes {
                changes.note(offset, sectors.len());
            }
            if let Some(capture) = &held.capture {
                capture.before_write(layers, offset, sectors.len());
            }
            layers.write_at(offset, sectors)
        })
    }

    /// Does something with the volumes and what goes on with them, once the key may be used.
    fn with<T>(&self, act: impl FnOnce(&Layers, &Held) -> Result<T>) -> Result<T> {
        // Between opening and use it may be suspended again, or put under another key; but not for ever.
        for _ in 0..ATTEMPTS {
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
        Err(self.suspended("its key is taken away as often as it is given"))
    }

    /// Does something with the volumes to put them under another key, although the lease of the one that they are under may
    /// be over: the vault has the last word on whether it unwraps. Nobody opens them meanwhile.
    pub(in crate::managed) fn with_layers_to_rewrap<T>(&self, act: impl FnOnce(&Layers) -> Result<T>) -> Result<T> {
        let _one = lock(&self.opening);
        // The vault is asked meanwhile: who waits to suspend it, or to write, must not wait for that.
        let usable = self.read().usable(self.now()).cloned();
        if let Some(layers) = usable {
            return act(&layers);
        }
        // Not kept, so that no DEK stays in memory without a lease.
        self.take_layers(&mut self.write());
        self.finish_closing();
        let opened = self.access.open_layers(&self.record()?, false)?;
        act(&opened.layers)
    }

    /// Does something with the volume on its device, of two layers the lower one, to put it under another key of the
    /// platform. No customer's key is needed for it. Nobody opens it meanwhile.
    pub(in crate::managed) fn with_bottom_to_rewrap<T>(&self, act: impl FnOnce(&Layer) -> Result<T>) -> Result<T> {
        let _one = lock(&self.opening);
        let open = self.read().layers.clone();
        if let Some(layers) = open {
            return act(layers.bottom());
        }
        self.finish_closing();
        let resource = self.record()?;
        if resource.has_two_layers()
            && let Some(lower) = self.access.begin(&resource, false)?.lower()
        {
            return act(lower);
        }
        act(self.access.open_layers(&resource, false)?.layers.bottom())
    }

    /// From now on it is under another key, in place of what it was under.
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

    /// Closes the volumes, and with them wipes the DEK, unless the key may be used. Where somebody reads or writes, he does so
    /// when he has done: his device may hang. What was written is yet to be made to last.
    pub(in crate::managed) fn suspend_if_revoked(&self) {
        let now = self.now();
        if self.lease().is_some_and(|lease| !lease.holds(now)) {
            self.to_wipe.store(true, Ordering::Relaxed);
            self.wipe_if_unused();
        }
    }

    /// If he who uses it doesn't see in time that it is to be wiped, the next round does.
    fn wipe_if_unused(&self) {
        let Some(mut held) = try_write(&self.held) else { return };
        self.to_wipe.store(false, Ordering::Relaxed);
        // Its key may have come back meanwhile.
        if !held.may(self.now()) {
            self.take_layers(&mut held);
        }
    }

    /// Closes the volumes, and with them wipes the DEK.
    fn take_layers(&self, held: &mut Held) {
        held.changes = None;
        if let Some(layers) = held.layers.take() {
            *lock(&self.closing) = Some(Closing { device: layers.device(), used_blocks: layers.used_blocks() });
        }
    }

    /// Whether there is something to make last, and nobody is at it.
    pub(in crate::managed) fn is_closing(&self) -> bool {
        try_lock(&self.closing).is_some_and(|closing| closing.is_some())
    }

    /// Makes what was written before the DEK was wiped last, as far as that goes, and lets go of the device.
    pub(in crate::managed) fn finish_closing(&self) {
        // Under the lock to the end.
        let mut closing = lock(&self.closing);
        if let Some(Closing { device, used_blocks }) = closing.take() {
            // Whoever syncs later does so by other volumes, and is to be right.
            let _ = device.sync();
            self.note_used(used_blocks, 1);
        }
    }

    /// Notes how much its DEKs have encrypted, if that is much more than was noted. Not while it is being closed.
    pub(in crate::managed) fn note_growth(&self) {
        let Some(layers) = self.held.try_read().ok().and_then(|held| held.layers.clone()) else { return };
        let (used, mut noted) = (layers.used_blocks(), lock(&self.noted));
        if used.iter().zip(*noted).any(|(used, noted)| used.saturating_sub(noted) >= GROWTH) {
            *noted = used;
            self.note_used(used, GROWTH);
        }
    }

    /// A count that can't be noted is noted the next time.
    fn note_used(&self, used: [u64; 2], least: u64) {
        let _ = self.access.note(&self.name, &self.id, |of| of.note_used(used, least));
    }

    /// How many blocks its DEKs have encrypted, if it is open.
    pub(in crate::managed) fn used_blocks(&self) -> Option<[u64; 2]> {
        self.read().layers.as_ref().map(|layers| layers.used_blocks())
    }

    /// Takes part in its use; not once it is being removed.
    pub(in crate::managed) fn join(&self) -> Result<Arc<()>> {
        let held = self.read();
        let gone = || Error::NoSuchResource(format!("the {} was removed", self.name));
        (!held.removed).then(|| self.users.clone()).ok_or_else(gone)
    }

    /// From here on nobody opens it, unless somebody has it open.
    pub(in crate::managed) fn begin_removal(&self) -> Result<()> {
        let mut held = self.write();
        if self.is_open() {
            return Err(Error::Busy { what: format!("the {}", self.name) });
        }
        held.removed = true;
        Ok(())
    }

    /// It stays after all.
    pub(in crate::managed) fn cancel_removal(&self) {
        self.write().removed = false;
    }

    /// Closes the volumes; the next use opens them anew.
    pub(in crate::managed) fn close(&self) {
        let mut held = self.write();
        self.set_lease(&mut held, None);
        *held = Held { removed: held.removed, ..Held::default() };
    }

    /// Whether its key may be used, as far as is known without asking.
    pub(in crate::managed) fn is_suspended(&self) -> bool {
        self.read().usable(self.now()).is_none()
    }

    /// Whether any user has it open.
    pub(in crate::managed) fn is_open(&self) -> bool {
        Arc::strong_count(&self.users) > 1
    }

    /// The keys that the header of each layer names, the upper one's first. Nothing has proved it.
    pub(in crate::managed) fn keys(&self) -> Result<Vec<Vec<KeyId>>> {
        let _one = lock(&self.opening);
        let open = self.read().layers.clone();
        open.map_or_else(|| self.access.keys_of(&self.record()?), |layers| layers.keys_on_device())
    }

    /// The keys that the header on its device names: of two layers, the lower one's. No vault is asked for it.
    pub(in crate::managed) fn bottom_keys(&self) -> Result<Vec<KeyId>> {
        let _one = lock(&self.opening);
        let open = self.read().layers.clone();
        match open {
            Some(layers) => keys_in(layers.bottom().device()),
            None => {
                let resource = self.record()?;
                keys_in(&self.access.backend.open(&resource.region, &resource.id)?)
            }
        }
    }

    /// Whether the upper layer was proved to be under a key, and its header says that and nothing else.
    pub(in crate::managed) fn is_under(&self, resource: &Resource, key: &KeyId) -> Result<bool> {
        let says_so = |keys: &Vec<KeyId>| keys == core::slice::from_ref(key);
        Ok(resource.proven_key(0) == Some(key) && self.keys()?.first().is_some_and(says_so))
    }

    /// The same of the layer that the platform's key protects.
    pub(in crate::managed) fn bottom_is_under(&self, resource: &Resource, key: &KeyId) -> Result<bool> {
        Ok(resource.platform_key() == Some(key) && self.bottom_keys()? == core::slice::from_ref(key))
    }

    /// The lease that it is under now, if it needs one.
    pub(in crate::managed) fn lease(&self) -> Option<Arc<KeyLease>> {
        lock(&self.lease).clone()
    }

    /// Begins a copy of what it holds now: no write is under way, and none comes before it is noted.
    pub(in crate::managed) fn begin_capture(&self, capture: Arc<dyn BeforeWrite>) -> Capturing<'_> {
        self.write().capture = Some(capture);
        Capturing(self)
    }

    /// Whether it is known what was written since the incremental snapshot at a place.
    pub(in crate::managed) fn knows_changes_since(&self, place: u64) -> bool {
        self.read().changes.as_ref().is_some_and(|changes| changes.are_since(place))
    }

    /// The same for the incremental snapshot at `place` of a disk of `size` bytes: `begin` is told what was written since the
    /// one at `last`, if that is known. What is written from here on is noted for the snapshot after it.
    pub(in crate::managed) fn begin_increment<C: BeforeWrite + 'static>(
        &self,
        (place, last): (u64, Option<u64>),
        size: u64,
        begin: impl FnOnce(Option<ChunkMap>) -> Arc<C>,
    ) -> (Arc<C>, Capturing<'_>) {
        let next = Changes::new(place, size);
        let mut held = self.write();
        let before = held.changes.replace(next).filter(|changes| last.is_some_and(|last| changes.are_since(last)));
        let capture = begin(before.map(Changes::into_chunks));
        held.capture = Some(capture.clone());
        (capture, Capturing(self))
    }

    /// Waits for who changes it, and keeps others from it.
    pub(in crate::managed) fn changing(&self) -> MutexGuard<'_, ()> {
        lock(&self.change)
    }

    /// Opens the volumes if the key may be used, and wipes the DEK if it may not.
    fn resume(&self) -> Result<()> {
        let _one = lock(&self.opening);
        let now = self.now();
        let (open, lease) = {
            let held = self.read();
            if held.usable(now).is_some() {
                return Ok(());
            }
            (held.layers.is_some(), held.lease.clone())
        };
        // Where the key is known, its lease is asked before anything is opened.
        if let Some(lease) = lease {
            lease.renew(now, || self.access.vault_of_lease(&lease)).map_err(|reason| {
                self.suspend_if_revoked();
                self.finish_closing();
                self.suspended(&reason)
            })?;
            if open {
                return Ok(());
            }
        }
        self.finish_closing();
        let opened = self.access.open_layers(&self.record()?, true)?;
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

    fn now(&self) -> Now {
        self.access.now()
    }

    fn read(&self) -> RwLockReadGuard<'_, Held> {
        read(&self.held)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Held> {
        write(&self.held)
    }

    fn suspended(&self, reason: &str) -> Error {
        Error::DiskSuspended { disk: self.name.name.clone(), reason: reason.into() }
    }
}

impl Drop for LiveResource {
    /// The last who used it has gone.
    fn drop(&mut self) {
        let held = self.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        // What was removed has no record, and a child of a fork has no business with its parent's.
        if let Some(layers) = held.layers.take().filter(|layers| !held.removed && layers.fingerprints().is_ok()) {
            let used = layers.used_blocks();
            drop(layers);
            self.note_used(used, 1);
        }
    }
}

/// While it lives, writes are preceded by the copy of what they overwrite.
pub(in crate::managed) struct Capturing<'r>(&'r LiveResource);

impl Capturing<'_> {
    /// Does something with the volumes, once the key may be used.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`] if the resource was closed meanwhile.
    pub(in crate::managed) fn with_layers<T>(&self, act: impl FnOnce(&Layers) -> Result<T>) -> Result<T> {
        self.0.with(|layers, held| if held.capture.is_some() { act(layers) } else { Err(self.gone()) })
    }

    /// Ends the copy.
    ///
    /// # Errors
    /// As [`with_layers`](Self::with_layers).
    pub(in crate::managed) fn end(self) -> Result<()> {
        self.0.write().capture.take().map(drop).ok_or_else(|| self.gone())
    }

    fn gone(&self) -> Error {
        Error::NoSuchResource(format!("the {} was removed while it was copied", self.0.name))
    }
}

impl Drop for Capturing<'_> {
    fn drop(&mut self) {
        self.0.write().capture = None;
    }
}
