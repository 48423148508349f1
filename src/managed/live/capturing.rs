//! A copy of a resource that is being made while the resource is written.

use std::sync::{Arc, RwLockWriteGuard, Weak};

use super::before_write::BeforeWrite;
use super::changes::Changes;
use super::resource::{Held, LiveResource};
use crate::managed::chunk_map::ChunkMap;
use crate::managed::layers::Layers;
use crate::managed::sync::lock;
use crate::{Error, Result};

impl LiveResource {
    /// Runs `act` while the disk has all that was answered to its user: a layer above that keeps writes back settles them first.
    ///
    /// # Errors
    /// [`Error::Busy`] if a cache that isn't here may have some; those of the layer.
    pub(in crate::managed) fn settled<T>(&self, act: impl FnOnce() -> T) -> Result<T> {
        let above = lock(&self.write_back).as_ref().and_then(Weak::upgrade);
        let (mut act, mut done) = (Some(act), None);
        match above {
            Some(above) => above.settled(&mut || done = act.take().map(|act| act()))?,
            None => match self.record()?.host_cache {
                Some(_) => return Err(Error::Busy { what: self.cached_elsewhere() }),
                None => done = act.take().map(|act| act()),
            },
        }
        done.ok_or_else(|| Error::Busy { what: format!("the write-back cache of the {}", self.name) })
    }

    fn cached_elsewhere(&self) -> String {
        format!(
            "the {}, whose write-back cache has writes that it may lack: attach it with its cache first; it",
            self.name
        )
    }

    /// Begins a copy of its current content: no write is in progress, and none starts before the copy is registered.
    pub(in crate::managed) fn begin_capture(&self, capture: Arc<dyn BeforeWrite>) -> Capturing<'_> {
        self.write_without_writes().capture = Some(capture);
        Capturing(self)
    }

    /// Whether the chunks written since the incremental snapshot at a place are known.
    pub(in crate::managed) fn knows_changes_since(&self, place: u64) -> bool {
        self.read().changes.as_ref().is_some_and(|changes| changes.are_since(place))
    }

    /// As [`begin_capture`](Self::begin_capture), for the incremental snapshot at `place` of a disk of `size` bytes. `begin` gets
    /// the chunks written since the snapshot at `last`, if they are known. Later writes are noted for the next snapshot.
    pub(in crate::managed) fn begin_increment<C: BeforeWrite + 'static>(
        &self,
        (place, last): (u64, Option<u64>),
        size: u64,
        begin: impl FnOnce(Option<ChunkMap>) -> Arc<C>,
    ) -> (Arc<C>, Capturing<'_>) {
        let next = Changes::new(place, size);
        let mut held = self.write_without_writes();
        let is_known = |changes: &Changes| changes.size() == size && last.is_some_and(|last| changes.are_since(last));
        let before = held.changes.replace(next).filter(is_known);
        let capture = begin(before.map(Changes::into_chunks));
        held.capture = Some(capture.clone());
        (capture, Capturing(self))
    }

    /// Locks the volumes at an instant when no write is under way, not even one that its caller does on the device.
    fn write_without_writes(&self) -> RwLockWriteGuard<'_, Held> {
        self.write().draining += 1;
        self.in_flight.wait_for_none();
        let mut held = self.write();
        held.draining -= 1;
        held
    }
}

/// While it lives, writes first copy the data that they overwrite.
pub(in crate::managed) struct Capturing<'r>(pub(super) &'r LiveResource);

impl Capturing<'_> {
    /// Runs `act` on the volumes, once the key may be used.
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
