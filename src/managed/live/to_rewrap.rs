//! The volumes of a resource, to move them to other keys.

use std::sync::atomic::Ordering;

use super::resource::LiveResource;
use crate::managed::keys::Opened;
use crate::managed::layers::{Layer, Layers};
use crate::managed::records::{EncryptionSet, Resource};
use crate::managed::sync::lock;
use crate::{Error, Result};

impl LiveResource {
    /// Runs `act` on the volumes to move them to another key, even if the lease of their current key has ended: the
    /// vault decides whether it unwraps. Nobody opens them meanwhile.
    pub(in crate::managed) fn with_layers_to_rewrap<T>(&self, act: impl FnOnce(&Layers) -> Result<T>) -> Result<T> {
        self.with_opened(|| self.access.open_layers(&self.record()?, false), act)
    }

    /// The same by its record and its set's, which were just read.
    pub(in crate::managed) fn with_known_layers_to_rewrap<T>(
        &self,
        resource: &Resource,
        set: &EncryptionSet,
        act: impl FnOnce(&Layers) -> Result<T>,
    ) -> Result<T> {
        self.with_opened(|| self.access.open_known(resource, set), act)
    }

    fn with_opened<T>(
        &self,
        open: impl FnOnce() -> Result<Opened>,
        act: impl FnOnce(&Layers) -> Result<T>,
    ) -> Result<T> {
        let _one = lock(&self.opening);
        self.check_here()?;
        // Don't hold the lock while the vault is asked: suspending or writing must not wait for it.
        let usable = self.read().usable(self.now()).cloned();
        if let Some(layers) = usable {
            return act(&layers);
        }
        // Before its record is read.
        let _here = self.attach()?;
        // Don't keep it open, so that no DEK stays in memory without a lease.
        self.take_layers(&mut self.write());
        self.finish_closing();
        let opened = open()?;
        act(&opened.layers)
    }

    /// Runs `act` on the volume directly on the device (the lower of two) to move it to another key of the platform.
    /// This needs no customer's key. Nobody opens the volume meanwhile. `known` is its record, if that was just read.
    pub(in crate::managed) fn with_bottom_to_rewrap<T>(
        &self,
        known: Option<&Resource>,
        act: impl FnOnce(&Layer) -> Result<T>,
    ) -> Result<T> {
        let _one = lock(&self.opening);
        let _here = self.here_or_busy()?;
        let open = self.read().layers.clone();
        if let Some(layers) = open {
            return act(layers.bottom());
        }
        self.finish_closing();
        let resource = known.map_or_else(|| self.record(), |known| Ok(known.clone()))?;
        if resource.has_two_layers()
            && let Some(lower) = self.access.begin(&resource, false)?.lower()
        {
            return act(lower);
        }
        act(self.access.open_layers(&resource, false)?.layers.bottom())
    }

    /// Refuses to open a resource that was handed over to another host.
    pub(super) fn check_here(&self) -> Result<()> {
        let away = || Error::Busy { what: format!("the {}, which was handed over to another host,", self.name) };
        if self.away.load(Ordering::SeqCst) { Err(away()) } else { Ok(()) }
    }
}
