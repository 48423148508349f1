//! The beginning of a re-encryption of a resource in use.

use super::resource::LiveResource;
use crate::Result;
use crate::managed::layers::Layers;

impl LiveResource {
    /// Begins to re-encrypt by `begin`, while no write is under way that its caller does: where it goes, and under which key,
    /// changes from then on. If that fails, the volumes are closed, because only a new look at the device tells whether it has
    /// begun there.
    pub(in crate::managed) fn begin_rewriting(&self, begin: impl FnOnce(&Layers) -> Result<()>) -> Result<()> {
        let draining = Draining::begin(self);
        let begun = self.with_layers_to_rewrap(begin);
        // Also waits for the writes that were done here instead of by their callers.
        drop(draining);
        self.uncount();
        if begun.is_err() {
            self.shut();
        }
        begun
    }
}

/// While it lives, no write begins that its caller does.
struct Draining<'r>(&'r LiveResource);

impl<'r> Draining<'r> {
    /// Returns when none is under way.
    fn begin(live: &'r LiveResource) -> Self {
        live.write().draining += 1;
        live.in_flight.wait_for_none();
        Draining(live)
    }
}

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        self.0.write().draining -= 1;
    }
}
