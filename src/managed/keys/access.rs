//! [`Access`]: everything needed to use the keys of a resource.

use std::sync::Arc;

use super::backoff::{Gate, Gated, Refusals};
use super::key_lease::{KeyLease, LeaseState, Leases};
use super::lease::{LeasePolicy, Now};
use super::vaults::Vaults;
use crate::key::KeyId;
use crate::managed::backend::DiskBackend;
use crate::managed::counters::Refusal;
use crate::managed::fleet::Fleet;
use crate::managed::kek::{Kek, Wanted};
use crate::managed::records::{EncryptionSet, Resource, ResourceName};
use crate::managed::store::Records;
use crate::{Clock, Error, KeyVault, Result, memory};

/// The store with the keys of each resource, the vaults, the leases, and the devices that hold the wrapped DEKs.
pub(in crate::managed) struct Access {
    pub(in crate::managed) store: Arc<Records>,
    pub(in crate::managed) backend: Arc<dyn DiskBackend>,
    pub(in crate::managed) vaults: Vaults,
    pub(in crate::managed) clock: Arc<dyn Clock>,
    /// This host among others, if they share the store.
    pub(in crate::managed) fleet: Option<Arc<Fleet>>,
    pub(in crate::managed) leases: Leases,
    require_locked_memory: bool,
    /// Limits calls to the platform's vault.
    platform_gate: Gate,
    /// Limits openings of resources with bad headers.
    pub(super) refusals: Refusals,
}

impl Access {
    pub(in crate::managed) fn new(
        store: Arc<Records>,
        backend: Arc<dyn DiskBackend>,
        vaults: Vaults,
        clock: Arc<dyn Clock>,
        fleet: Option<Arc<Fleet>>,
        lease: LeasePolicy,
        require_locked_memory: bool,
    ) -> Self {
        Access {
            store,
            backend,
            vaults,
            clock,
            fleet,
            leases: Leases::new(lease),
            require_locked_memory,
            platform_gate: Gate::default(),
            refusals: Refusals::default(),
        }
    }

    pub(in crate::managed) fn now(&self) -> Now {
        Now::of(&*self.clock)
    }

    /// Whether this host may use its disks.
    ///
    /// # Errors
    /// A text that says why not.
    pub(in crate::managed) fn check_host(&self) -> Result<(), &'static str> {
        self.fleet.as_ref().map_or(Ok(()), |fleet| fleet.check())
    }

    /// The same before a read or write, which is counted if it is refused.
    ///
    /// # Errors
    /// A text that says why not.
    pub(in crate::managed) fn check_host_io(&self) -> Result<(), &'static str> {
        self.fleet.as_ref().map_or(Ok(()), |fleet| fleet.check_io())
    }

    /// Counts a read, write or opening that the lease of its key refused.
    pub(in crate::managed) fn count_refusal(&self, lease: &KeyLease) {
        let is_revoked = lease.state_at(self.now()) == LeaseState::Revoked;
        self.store.counters.refuse(if is_revoked { Refusal::KeyRevoked } else { Refusal::KeyLeaseEnded });
    }

    /// The vault of a key, accessed under a set's identity.
    pub(in crate::managed) fn vault_of(&self, set: &EncryptionSet, key: &KeyId) -> Result<Arc<dyn KeyVault>> {
        self.vaults.vault(key.vault(), &set.identity)
    }

    /// The vault to ask for a lease.
    pub(in crate::managed) fn vault_of_lease(&self, lease: &KeyLease) -> Result<Arc<dyn KeyVault>> {
        let (store, set) = (self.store.clone(), lease.set.clone());
        self.vault_of(&self.vaults.call_in_time("the store", move || store.set(&set))?, &lease.key)
    }

    /// A set's key, with its vault accessed under the set's identity.
    pub(in crate::managed) fn kek_of(&self, set: &EncryptionSet) -> Result<Kek> {
        let vault = self.vault_of(set, &set.active_key)?;
        Ok(Kek { vault, key: Wanted::Version(set.active_key.clone()) })
    }

    /// Whether a set's key may be used.
    pub(in crate::managed) fn check_usable(&self, set: &EncryptionSet) -> Result<()> {
        let (lease, now) = (self.leases.of(&set.name, &set.active_key), self.now());
        if lease.holds(now) { Ok(()) } else { lease.renew_now(now, &*self.vault_of(set, &set.active_key)?) }
    }

    /// Refuses secrets that may be swapped, if the options demand it.
    pub(in crate::managed) fn check_memory(&self) -> Result<()> {
        if self.require_locked_memory { memory::require_locked() } else { Ok(()) }
    }

    /// The record of a resource in use. Fails if it was removed, even if another took its name.
    pub(in crate::managed) fn resource_of(&self, name: &ResourceName, id: &str) -> Result<Resource> {
        let resource = self.store.resource(name)?;
        let gone = || Error::NoSuchResource(format!("the {name} was removed"));
        (resource.id == id).then_some(resource).ok_or_else(gone)
    }

    /// The platform's vault behind its gate, which holds calls back for a while after a failure.
    pub(super) fn gated_platform(&self, now: Now) -> Gated<'_> {
        Gated { vault: &*self.vaults.platform, gate: &self.platform_gate, now }
    }
}
