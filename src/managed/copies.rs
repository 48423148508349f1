//! Copies of resources: of a disk at this instant, or of a snapshot or image.

use std::sync::Arc;

use super::copy::{CHUNK, Capture, Chain, CopyProgress, Target};
use super::layers::Layers;
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
            let mut target = Target::whole(layers, now.size);
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
        let _one = lock(&live.copying);
        let capture = Arc::new(Capture::new(target, disk.size));
        let capturing = live.begin_capture(capture.clone());
        while let Some(at) = capturing.with_layers(|layers| capture.copy_next(layers))? {
            progress(at);
        }
        capturing.end()?;
        capture.into_target()?.finish()
    }

    /// Opens snapshots, each under its set's key.
    pub(super) fn open_chain(&self, resources: &[Resource]) -> Result<Chain> {
        resources.iter().try_for_each(|resource| self.finish_before_use(resource))?;
        Chain::open(&self.registry, resources)
    }
}
