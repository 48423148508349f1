//! Copies of resources: of a disk at this instant, or of a snapshot or image.

use std::sync::Arc;

use super::chunk_map::{CHUNK, ChunkMap};
use super::copy::{Capture, Chain, CopyProgress, Target};
use super::fleet::Here;
use super::layers::Layers;
use super::live::{Capturing, LiveResource};
use super::records::{Resource, ResourceKind};
use super::service::Inner;
use super::sync::{lock, read};
use crate::{Error, Result};

impl Inner {
    /// Makes a copy of a resource's whole content.
    pub(super) fn make_copy(
        &self,
        from: &Resource,
        copy: Resource,
        progress: &dyn Fn(CopyProgress),
    ) -> Result<Resource> {
        // A source that isn't a disk can't be removed meanwhile, nor its name reused. The removal of a disk is noticed.
        let chain = self.chains.of(from.chain());
        let _stays = (from.kind != ResourceKind::Disk).then(|| {
            let long = self.copies.of(from.chain());
            (long, read(&chain))
        });
        // While we waited, it may have been removed, or made again to take over a deleted snapshot's chunks.
        let now = self.store.resource(&from.full_name())?;
        let is_it = now.id == from.id || from.increment.is_some() && now.place() == from.place();
        if !is_it {
            return Err(Error::NoSuchResource(format!("the {} was removed", from.full_name())));
        }
        self.make(copy, |layers| {
            let target = Target::whole(layers, now.size);
            if from.kind == ResourceKind::Disk {
                return self.copy_disk(from, target, progress);
            }
            let chain = self.open_chain(&Chain::of(&self.store, &now)?)?;
            target.fill(progress, |offset, bytes| chain.read_chunk(offset / CHUNK, bytes))?;
            target.finish()
        })
    }

    /// Copies a disk as of this instant, while it may be written.
    pub(super) fn copy_disk(&self, disk: &Resource, target: Target, progress: &dyn Fn(CopyProgress)) -> Result<Layers> {
        let live = self.registry.of(disk);
        let _here = self.stays(&live, disk)?;
        let _one = lock(&live.copying);
        let capture = Arc::new(Capture::whole(target, disk.size));
        let capturing = live.settled(|| live.begin_capture(capture.clone()))?;
        finish(capture, capturing, progress)
    }

    /// Keeps a disk this host's while it is copied: another host could write it while its key may not be used here.
    fn stays(&self, live: &LiveResource, disk: &Resource) -> Result<Option<Here>> {
        let here = live.here()?;
        if here.is_some() && live.record()?.size != disk.size {
            return Err(Error::Busy { what: format!("the {}, which another host has just made larger,", live.name) });
        }
        Ok(here)
    }

    /// Copies the chunks that were written to a disk since its last incremental snapshot, at `last`, into the one at `place`, while
    /// the disk may be written. If these chunks aren't known, they are found by reading the disk and the earlier snapshots, which
    /// [`open_before`](Self::open_before) opens.
    pub(super) fn copy_changes(
        &self,
        disk: &Resource,
        layers: Layers,
        (place, last): (u64, Option<u64>),
        before: Option<Chain>,
        progress: &dyn Fn(CopyProgress),
    ) -> Result<Layers> {
        let (live, size) = (self.registry.of(disk), disk.size);
        let _here = self.stays(&live, disk)?;
        let _one = lock(&live.copying);
        let begin = |changed: Option<ChunkMap>| {
            Arc::new(match changed {
                Some(changed) => Capture::of_changes(Target::increment(layers, size, None), size, &changed),
                // If the disk was closed since that look, nothing is compared and all chunks are taken.
                None => Capture::whole(Target::increment(layers, size, before), size),
            })
        };
        let (capture, capturing) = live.settled(|| live.begin_increment((place, last), size, begin))?;
        finish(capture, capturing, progress)
    }

    /// The incremental snapshots of a disk up to `last`, unless the chunks written since are known.
    pub(super) fn open_before(&self, disk: &Resource, last: u64) -> Result<Option<Chain>> {
        if self.registry.of(disk).knows_changes_since(last) {
            return Ok(None);
        }
        self.open_chain(&Chain::up_to(&self.store, &disk.id, last)?).map(Some)
    }

    /// Opens snapshots, each under its set's key.
    pub(super) fn open_chain(&self, resources: &[Resource]) -> Result<Chain> {
        resources.iter().try_for_each(|resource| self.finish_before_use(resource))?;
        Chain::open(&self.registry, resources)
    }
}

/// Copies the chunks that no write has copied, and ends the copy.
fn finish(capture: Arc<Capture>, capturing: Capturing<'_>, progress: &dyn Fn(CopyProgress)) -> Result<Layers> {
    let left = capture.left();
    if left.iter().next().is_none() {
        progress(capture.progress());
    }
    for chunk in left.iter() {
        capturing.with_layers(|layers| {
            capture.copy(layers, chunk);
            Ok(())
        })?;
        if capture.has_failed() {
            break;
        }
        progress(capture.progress());
    }
    capturing.end()?;
    capture.into_target()?.finish()
}
