//! Services of many hosts on one store.

use super::records::{Resource, ResourceName};
use super::service::{DiskService, Inner};
use crate::log::tell;
use crate::{Error, Result};

impl DiskService {
    /// Renews this host's lease of a [shared](Self::open_shared) store. A thread of the service does it, unless
    /// [`HostOptions::renews_by_itself`](super::HostOptions::renews_by_itself) says otherwise.
    ///
    /// # Errors
    /// [`Error::Busy`] if another host has taken this one for lost: then the service has to be opened again; [`Error::Io`] if the
    /// store doesn't answer: the lease holds as long as it did; [`Error::InvalidOption`] for a store that isn't shared.
    pub fn renew_host_lease(&self) -> Result<()> {
        self.inner()?.keys.fleet.as_ref().ok_or_else(not_shared)?.renew()
    }

    /// Hands a disk that is open here over to the host `to`, as for the live migration of a machine: on return it is closed here, all
    /// that was written is durable, and only `to` can [open](Self::open_disk) it, or this host again as long as `to` hasn't. Never
    /// do both hosts write.
    ///
    /// It waits for the reads and writes that are under way. Those that come after it fail with [`Error::DiskSuspended`], through
    /// whatever [`OpenDisk`](super::OpenDisk) of this disk, until [`open_disk`](Self::open_disk) succeeds here again. Callers' own writes
    /// ([`begin_write`](super::OpenDisk::begin_write)) are waited for, too: complete them on other threads.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`] if there is no such disk, or no host `to` with a lease; [`Error::Busy`] while the disk is being copied,
    /// has a write-back cache, or is open on another host; [`Error::DiskSuspended`]; [`Error::Io`]: the disk is closed here, and if the
    /// store didn't answer, `to` finds it busy until [`maintain`](Self::maintain) has told the store.
    pub fn hand_over(&self, disk: &str, to: &str) -> Result<()> {
        let (inner, name) = (self.inner()?, ResourceName::disk(disk));
        let fleet = inner.keys.fleet.as_ref().ok_or_else(not_shared)?;
        inner.registry.changing(&name, |live, _| {
            let here = live.here()?;
            let resource = live.record()?;
            if resource.host_cache.is_some() {
                return Err(Error::Busy {
                    what: format!("the {name}, whose write-back cache has to be detached first,"),
                });
            }
            let heirs = fleet.heirs(to)?;
            live.hand_over(|| {
                fleet.promise(&live.id, heirs);
                drop(here);
            })?;
            if fleet.is_released(&live.id) {
                return Ok(());
            }
            let text = "it is closed here, but the store doesn't know it yet; `maintain` tells it";
            Err(Error::io(format!("handing over the {name}"), std::io::Error::other(text)))
        })
    }

    /// Says that the write-back cache of a disk is on this host from now on: its file or device was brought here from the host that
    /// [`OpenDisk::set_host_cache`](super::OpenDisk::set_host_cache) was called on, or it is lost. Then the disk can be
    /// [opened](Self::open_disk) here, and the cache be attached to it. **A cache that is lost has writes that were acknowledged, and
    /// that the disk lacks**: to go on without them, attach a new one that gives the last one up, or call `set_host_cache(None)`.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::Busy`] while another host has the disk open; [`Error::InvalidOption`] for a store that isn't
    /// shared; those of the store.
    pub fn take_host_cache(&self, disk: &str) -> Result<()> {
        let inner = self.inner()?;
        inner.keys.fleet.as_ref().ok_or_else(not_shared)?;
        inner.registry.changing_here(&ResourceName::disk(disk), |live, _| live.take_host_cache())
    }
}

impl Inner {
    /// Refuses to open a disk here whose write-back cache is on another host, or nobody knows where, as after a move from a store
    /// of one host.
    pub(super) fn check_cache(&self, disk: &Resource) -> Result<()> {
        let Some(fleet) = self.keys.fleet.as_ref().filter(|_| disk.host_cache.is_some()) else { return Ok(()) };
        let at = match &disk.host_cache_at {
            Some(host) if host == fleet.name() => return Ok(()),
            Some(host) => format!("on the host {host:?}"),
            None => "on the host that had it open last".into(),
        };
        let what = format!(
            "the {}, whose write-back cache {at} has writes that it lacks: open it there, or call `take_host_cache` once the cache is \
             here or known to be lost; it",
            disk.full_name()
        );
        Err(Error::Busy { what })
    }

    /// The regular work of a host for the others, about once a minute: it declares hosts lost whose lease stands still, and gives back
    /// parts of rotations that it couldn't give back before.
    pub(super) fn maintain_host(&self) -> Result<()> {
        let Some(fleet) = &self.keys.fleet else { return Ok(()) };
        for host in fleet.maintain()? {
            tell!(warn, "the host {host} was lost: its lease has run out");
        }
        self.give_back_parts(fleet);
        Ok(())
    }

    /// Removes devices of no resource whose makers are gone.
    pub(super) fn remove_ownerless(&self) -> Result<()> {
        for (id, region) in self.store.ownerless()? {
            // Its region may be away.
            let _ = self.remove_device(&region, &id);
        }
        Ok(())
    }
}

fn not_shared() -> Error {
    Error::InvalidOption("this service has a store of its own, and no other hosts".into())
}
