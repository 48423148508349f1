//! Opens a resource with the key that it is under.

use std::sync::Arc;

use super::access::Access;
use super::backoff::Gated;
use super::key_lease::KeyLease;
use super::lease::Now;
use crate::key::KeyId;
use crate::log::tell;
use crate::managed::kek::{KeysOf, Only};
use crate::managed::layers::{Layers, Opening};
use crate::managed::records::{EncryptionSet, Resource};
use crate::{Error, KeyVault, Result};

/// The open volumes of a resource, and the lease of their key.
pub(in crate::managed) struct Opened {
    pub(in crate::managed) layers: Layers,
    pub(in crate::managed) lease: Option<Arc<KeyLease>>,
}

impl Access {
    /// Opens the volumes of a resource with the key that they are under. With `leased`, only while that key's lease
    /// holds.
    pub(in crate::managed) fn open_layers(&self, resource: &Resource, leased: bool) -> Result<Opened> {
        let now = self.now();
        let open = || self.open_and_learn(resource, leased, now, None);
        if leased { self.refusals.pass(&resource.id, now, open) } else { open() }
    }

    /// As [`open_layers`](Self::open_layers) without a lease, for a resource and a set that were just read.
    pub(in crate::managed) fn open_known(&self, resource: &Resource, set: &EncryptionSet) -> Result<Opened> {
        self.open_and_learn(resource, false, self.now(), Some(set))
    }

    fn open_and_learn(
        &self,
        resource: &Resource,
        leased: bool,
        now: Now,
        known: Option<&EncryptionSet>,
    ) -> Result<Opened> {
        let opened = self.open(resource, leased, now, known)?;
        self.check_memory()?;
        if let Some(fleet) = &self.fleet
            && fleet.is_unfenced(&resource.id)
        {
            // Before anything is written. From now on the host that had the device before refuses to change its header.
            opened.layers.fence()?;
            fleet.fenced(&resource.id)?;
        }
        // A caller that opens it to move it to another key notes that key instead.
        if leased || resource.fingerprints.is_empty() {
            self.learn(resource, &opened.layers)?;
        }
        Ok(opened)
    }

    fn open(&self, resource: &Resource, leased: bool, now: Now, known: Option<&EncryptionSet>) -> Result<Opened> {
        // A key that was given back right after its vault had refused the DEK looks like a refusal of the DEK alone.
        let again = || self.open_once(resource, leased, now, known)?.ok_or(Error::UnwrapFailed);
        self.open_once(resource, leased, now, known)?.map_or_else(again, Ok)
    }

    /// Returns `None` if the vault refuses the DEK and not its key.
    fn open_once(
        &self,
        resource: &Resource,
        leased: bool,
        now: Now,
        known: Option<&EncryptionSet>,
    ) -> Result<Option<Opened>> {
        let upper = self.begin(resource, leased)?.upper()?;
        let (set, key) = self.key_of(resource, &upper.keys(), leased, known)?;
        let Some(set) = set else {
            let layers = upper.open(resource, &Only { vault: &self.gated_platform(now), key: &key })?;
            return Ok(Some(Opened { layers, lease: None }));
        };
        let vault = || self.vault_of(&set, &key);
        let suspended = |reason| Error::DiskSuspended { disk: resource.name.clone(), reason };
        let lease = self.leases.of(&set.name, &key);
        if leased {
            lease.renew(now, vault).map_err(|reason| {
                self.count_refusal(&lease);
                suspended(reason)
            })?;
        }
        let asked = vault()?;
        let gated = Gated { vault: &*asked, gate: &lease.gate, now };
        let vault: &dyn KeyVault = if leased { &gated } else { &*asked };
        let e = match upper.open(resource, &Only { vault, key: &key }) {
            Ok(layers) => return Ok(Some(Opened { layers, lease: Some(lease) })),
            Err(e) if !leased || !e.is_revocation() => return Err(e),
            Err(e) => e,
        };
        // Anyone who can write to a device chooses the bytes that the vault refuses there, for all that share the lease. Only a
        // refusal of the key itself ends it.
        match lease.works(now, &asked) {
            Ok(true) => {
                tell!(warn, "the vault refuses what the header of {} holds, but not its key: {e:#}", resource.name);
                Ok(None)
            }
            Err(outage) if !outage.is_revocation() => Err(outage),
            Ok(false) | Err(_) => {
                let reason = lease.refused(e, now);
                self.count_refusal(&lease);
                Err(suspended(reason))
            }
        }
    }

    /// Opens the layer below the upper volume of a resource.
    pub(in crate::managed) fn begin(&self, resource: &Resource, leased: bool) -> Result<Opening> {
        let device = self.backend.open(&resource.region, &resource.id)?;
        let key_of = |keys: &[KeyId]| self.platform_key_of(resource, 1, keys, leased);
        Opening::begin(device, resource, &self.gated_platform(self.now()), key_of)
    }

    /// The keys that the header of each layer names, the upper one's first; `of_one` reads them if there is one layer. They are not
    /// proven.
    pub(in crate::managed) fn keys_of(&self, resource: &Resource, of_one: KeysOf) -> Result<Vec<Vec<KeyId>>> {
        if !resource.has_two_layers() {
            return Ok(vec![of_one(&self.backend.open(&resource.region, &resource.id)?)?]);
        }
        self.begin(resource, false)?.all_keys()
    }
}
