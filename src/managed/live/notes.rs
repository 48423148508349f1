//! Notes in the store about a resource in use.

use core::cell::Cell;

use super::resource::LiveResource;
use crate::managed::records::Resource;
use crate::managed::sync::lock;
use crate::{Error, Result};

/// The number of blocks encrypted before usage is noted again: 16 GiB.
const GROWTH: u64 = 1 << 30;

impl LiveResource {
    /// Notes how many blocks its DEKs have encrypted, once that number has grown by [`GROWTH`]. Does nothing while the volumes are
    /// being closed.
    pub(in crate::managed) fn note_growth(&self) {
        // The volumes aren't kept meanwhile. Otherwise a suspension would leave the device open, and the next use would find it busy.
        let used = self.held.try_read().ok().and_then(|held| held.layers.as_ref().map(|layers| layers.used_blocks()));
        let (Some(used), mut noted) = (used, lock(&self.noted)) else { return };
        if used.iter().zip(*noted).any(|(used, noted)| used.saturating_sub(noted) >= GROWTH) {
            *noted = used;
            self.note_used(used, GROWTH);
        }
    }

    /// Resets the noted usage after the DEK was replaced: nothing is noted yet for the new one.
    pub(super) fn uncount(&self) {
        lock(&self.noted)[0] = 0;
    }

    /// If noting fails, the next note covers it.
    pub(super) fn note_used(&self, used: [u64; 2], least: u64) {
        let _ = self.access.note(&self.name, &self.id, |of| of.note_used(used, least));
    }

    /// Notes the write-back cache that may hold writes that the disk lacks.
    pub(super) fn note_host_cache(&self, id: Option<&str>) -> Result<()> {
        self.record()?;
        let refused = Cell::new(false);
        self.access.note(&self.name, &self.id, |of| {
            // The cache's key comes from the DEK, which is about to go.
            refused.set(id.is_some() && of.unfinished().is_some());
            if refused.get() {
                return false;
            }
            self.put_host_cache(of, id.map(str::to_owned))
        })?;
        let busy = || Error::Busy { what: format!("the {}, which is being re-encrypted,", self.name) };
        if refused.get() { Err(busy()) } else { Ok(()) }
    }

    /// Notes that the write-back cache, if there is one, is on this host from now on.
    pub(in crate::managed) fn take_host_cache(&self) -> Result<()> {
        self.access.note(&self.name, &self.id, |of| self.put_host_cache(of, of.host_cache.clone()))
    }

    /// Puts the cache and its host into the record, and says whether that changed anything.
    fn put_host_cache(&self, of: &mut Resource, id: Option<String>) -> bool {
        let at = id.as_ref().and(self.access.fleet.as_ref()).map(|fleet| fleet.name().to_owned());
        let before = core::mem::replace(&mut of.host_cache, id);
        let at_before = core::mem::replace(&mut of.host_cache_at, at);
        before != of.host_cache || at_before != of.host_cache_at
    }
}
