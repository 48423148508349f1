//! [`Fleet`]: the devices that this host has open, and no other host has.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::lease::{HostLease, HostOptions};
use super::watch::Watch;
use crate::log::tell;
use crate::managed::records::{Attachment, Holder};
use crate::managed::store::Records;
use crate::managed::sync::{Named, lock};
use crate::{Clock, Error, Result};

/// This host among those that share a store.
pub(in crate::managed) struct Fleet {
    // Dropped first, so that the thread ends.
    _thread: Mutex<Option<Sender<()>>>,
    pub(super) records: Arc<Records>,
    clock: Arc<dyn Clock>,
    /// The devices that are open here, by id, and how often.
    pub(super) open: Mutex<HashMap<String, Open>>,
    /// Locked while a device is attached or let go, by id.
    pub(super) changing: Named<Mutex<()>>,
    /// Devices that are to be let go, or perhaps are, because the store didn't answer. None of them is in `open`.
    left: Mutex<BTreeMap<String, Left>>,
    /// How many devices were attached, each time that one was.
    pub(super) attached: AtomicU64,
    watch: Watch,
    pub(super) lease: HostLease,
}

/// A device that isn't open here, but that this host may have in the store.
struct Left {
    /// The hosts that are to get it.
    promised: Vec<Holder>,
    /// The time on this host's clock until which a commit may still attach the device to this host.
    until: Duration,
}

#[derive(Default)]
pub(super) struct Open {
    pub(super) count: usize,
    /// A new number for each attachment of the device: state known before may have changed since.
    pub(super) number: u64,
    /// The device was taken from a host that was lost, and its header doesn't say so yet.
    pub(super) unfenced: bool,
    /// The hosts that may have it next, if it is handed over.
    pub(super) promised: Vec<Holder>,
}

/// The hosts that are to get a device after this host has let it go again: those it was promised to, if this host is among them.
pub(super) fn promised_to(own: &Holder, found: Option<Attachment>) -> Vec<Holder> {
    found.map(|found| found.promised).filter(|to| to.contains(own)).unwrap_or_default()
}

impl Fleet {
    /// Begins the lease of this host, and a thread that renews it, if it is to.
    pub(in crate::managed) fn begin(
        records: Arc<Records>,
        clock: Arc<dyn Clock>,
        run: String,
        host: &HostOptions,
    ) -> Result<Arc<Self>> {
        let fleet = Arc::new(Fleet {
            _thread: Mutex::default(),
            lease: HostLease::begin(records.clone(), clock.clone(), run, host)?,
            records,
            clock,
            open: Mutex::default(),
            changing: Named::default(),
            left: Mutex::default(),
            attached: AtomicU64::new(0),
            watch: Watch::default(),
        });
        if host.renews {
            let (sender, ended) = channel::<()>();
            let (weak, interval) = (Arc::downgrade(&fleet), fleet.lease.interval());
            let renew = move || {
                while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(interval) {
                    let Some(fleet) = weak.upgrade() else { return };
                    if let Err(e) = fleet.renew() {
                        tell!(warn, "the lease of this host was not renewed: {e}");
                    }
                }
            };
            let no_thread = |e| Error::io("starting the thread that renews the host's lease", e);
            thread::Builder::new().name("atrest-lease".into()).spawn(renew).map_err(no_thread)?;
            *lock(&fleet._thread) = Some(sender);
        }
        Ok(fleet)
    }

    /// Renews this host's lease.
    pub(in crate::managed) fn renew(&self) -> Result<()> {
        self.lease.renew()
    }

    /// Whether this host may use its open devices.
    pub(in crate::managed) fn check(&self) -> Result<(), &'static str> {
        self.lease.check()
    }

    /// The same before a read or write, which is counted if it is refused.
    pub(in crate::managed) fn check_io(&self) -> Result<(), &'static str> {
        self.lease.check_io()
    }

    /// How long this host's lease still holds, and whether another host has taken it for lost.
    pub(in crate::managed) fn lease_left(&self) -> (Duration, bool) {
        (self.lease.left(), self.lease.is_lost())
    }

    /// How many devices are open here, and how many are still to be let go.
    pub(in crate::managed) fn attachments(&self) -> (usize, usize) {
        (lock(&self.open).len(), lock(&self.left).len())
    }

    /// The regular work of a host, about once a minute: it renews the lease, lets go of devices that it could not let go before,
    /// and looks at the other hosts.
    pub(in crate::managed) fn maintain(&self) -> Result<Vec<String>> {
        if self.lease.is_due() {
            self.renew()?;
        }
        let left: Vec<_> = lock(&self.left).keys().cloned().collect();
        for id in left {
            let changing = self.changing.of(&id);
            let _one = lock(&changing);
            if lock(&self.open).contains_key(&id) {
                // It is in use again.
                lock(&self.left).remove(&id);
                continue;
            }
            // The lock is free again before it may be left once more.
            let left = lock(&self.left).remove(&id);
            let Some(Left { promised, until }) = left else { continue };
            let is_certain = self.clock.uptime() >= until;
            self.release(vec![(&id, promised.clone())]);
            if !is_certain {
                lock(&self.left).entry(id).or_insert(Left { promised, until });
            }
        }
        self.watch.look(&self.records, &*self.clock, &self.lease.run)
    }

    /// Makes a device this host's, unless another one has it. [`detach`](Self::detach) lets it go.
    ///
    /// # Errors
    /// [`Error::Busy`] with the name of the host that has it; [`Error::NoSuchResource`] for a device of no resource.
    pub(super) fn attach(&self, id: &str) -> Result<u64> {
        let changing = self.changing.of(id);
        let _one = lock(&changing);
        self.check().map_err(|why| Error::Busy { what: format!("the device {id}: {why}; it") })?;
        if let Some(open) = lock(&self.open).get_mut(id) {
            open.count += 1;
            return Ok(open.number);
        }
        let own = self.own();
        // The device stays promised until it is kept here.
        let mut promised = Vec::new();
        let taken = self.records.write(|tables| {
            let found = tables.attachment(id)?;
            // Also demands that the record stays there: nothing is attached for a host that was taken for lost.
            if tables.host(&own.run)?.is_none() {
                return Err(Error::Busy { what: "the device: another host has taken this one for lost; it".into() });
            }
            if !tables.is_wanted(id)? {
                return Err(Error::NoSuchResource(format!("the device {id} is no resource's any more")));
            }
            found.iter().try_for_each(|found| tables.check_unheld(found))?;
            let is_others = |found: &Attachment| found.holder.as_ref().is_some_and(|holder| *holder != own);
            let unfenced = found.as_ref().is_some_and(|found| found.unfenced || is_others(found));
            tables.put_attachment(id, &Attachment { holder: Some(own.clone()), promised: Vec::new(), unfenced })?;
            promised = promised_to(&own, found);
            Ok(unfenced)
        });
        let unfenced = taken.inspect_err(|e| self.may_be_left(vec![(id, promised.clone())], e))?;
        let number = self.attached.fetch_add(1, Ordering::Relaxed) + 1;
        let left = self.is_open(id);
        let promised = if left.is_empty() { promised } else { left };
        self.count_attached(unfenced);
        lock(&self.open).insert(id.to_owned(), Open { count: 1, number, unfenced, promised });
        Ok(number)
    }

    /// Counts a device that has become this host's.
    pub(super) fn count_attached(&self, unfenced: bool) {
        self.records.counters.attached.add();
        if unfenced {
            self.records.counters.taken_over.add();
        }
    }

    /// Notes that a device is in use, and so not to be let go yet. Returns the hosts to which it is promised then. The caller holds
    /// its lock.
    pub(super) fn is_open(&self, id: &str) -> Vec<Holder> {
        lock(&self.left).remove(id).map(|left| left.promised).unwrap_or_default()
    }

    /// Notes that this host may have devices, if the outcome of attaching them is unknown. The caller holds their locks.
    pub(super) fn may_be_left(&self, devices: Vec<(&str, Vec<Holder>)>, error: &Error) {
        if matches!(error, Error::Busy { .. } | Error::NoSuchResource(_)) {
            // These say that it didn't happen.
            return;
        }
        let until = self.until();
        let (open, mut left) = (lock(&self.open), lock(&self.left));
        for (id, promised) in devices.into_iter().filter(|(id, _)| !open.contains_key(*id)) {
            // The hosts that it was promised to before are still to get it.
            let before = left.remove(id).map(|left| left.promised).filter(|before| !before.is_empty());
            let promised = before.unwrap_or(promised);
            left.insert(id.to_owned(), Left { promised, until });
        }
    }

    /// The time until which a commit that was sent before now may happen.
    fn until(&self) -> Duration {
        self.clock.uptime().saturating_add(self.records.deadline())
    }

    /// Lets a device go that is closed. If the store doesn't answer, the next round does it; until then other hosts find it
    /// busy.
    pub(super) fn detach(&self, id: &str) {
        if !self.lease.is_own() {
            return;
        }
        let changing = self.changing.of(id);
        let _one = lock(&changing);
        let ended = {
            let mut open = lock(&self.open);
            let Some(known) = open.get_mut(id) else { return };
            known.count -= 1;
            if known.count == 0 { open.remove(id) } else { None }
        };
        if let Some(open) = ended {
            self.release(vec![(id, open.promised)]);
        }
    }

    /// The same for the records of devices. The caller holds their locks.
    pub(super) fn release(&self, ended: Vec<(&str, Vec<Holder>)>) {
        let released = self.records.write(|tables| {
            tables.load_holders(ended.iter().map(|(id, _)| *id))?;
            ended.iter().try_for_each(|(id, promised)| match tables.holder(id)? {
                Some(found) if found.holder.as_ref().is_some_and(|holder| holder.run == self.lease.run) => {
                    if promised.is_empty() && !found.unfenced {
                        return tables.remove_attachment(id);
                    }
                    tables.put_attachment(id, &Attachment { holder: None, promised: promised.clone(), ..found })
                }
                _ => Ok(()),
            })
        });
        if released.is_err() {
            let until = self.until();
            let left = ended.into_iter().map(|(id, promised)| (id.to_owned(), Left { promised, until }));
            lock(&self.left).extend(left);
        }
    }

    /// The name of this host.
    pub(in crate::managed) fn name(&self) -> &str {
        &self.lease.name
    }

    /// This host, as records name it.
    pub(in crate::managed) fn own(&self) -> Holder {
        Holder { run: self.lease.run.clone(), host: self.lease.name.clone() }
    }

    /// The hosts that a device is to be promised to, to hand it over to a host of this name.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`] if there is no other host of this name.
    pub(in crate::managed) fn heirs(&self, to: &str) -> Result<Vec<Holder>> {
        let hosts = self.records.hosts()?.into_iter().filter(|(run, host)| host.name == to && *run != self.lease.run);
        // A host that was just started again may have two runs.
        let mut heirs: Vec<_> = hosts.map(|(run, host)| Holder { run, host: host.name }).collect();
        if heirs.is_empty() {
            return Err(Error::NoSuchResource(format!("there is no other host {to:?} with a lease")));
        }
        heirs.push(self.own());
        Ok(heirs)
    }

    /// Sets the hosts that get a device when it is let go here; no particular host if empty. This host may open the device again
    /// until another host has.
    pub(in crate::managed) fn promise(&self, id: &str, heirs: Vec<Holder>) {
        let changing = self.changing.of(id);
        let _one = lock(&changing);
        if let Some(open) = lock(&self.open).get_mut(id) {
            open.promised = heirs;
        }
    }

    /// Whether the store knows that a device was let go.
    pub(in crate::managed) fn is_released(&self, id: &str) -> bool {
        !lock(&self.open).contains_key(id) && !lock(&self.left).contains_key(id)
    }

    /// Whether a device was taken from a host that was lost, and its header doesn't say so yet.
    pub(in crate::managed) fn is_unfenced(&self, id: &str) -> bool {
        lock(&self.open).get(id).is_some_and(|open| open.unfenced)
    }

    /// Notes that the header says so.
    pub(in crate::managed) fn fenced(&self, id: &str) -> Result<()> {
        self.records.write(|tables| match tables.attachment(id)? {
            Some(found) if found.holder.as_ref().is_some_and(|holder| holder.run == self.lease.run) => {
                tables.put_attachment(id, &Attachment { unfenced: false, ..found })
            }
            _ => Err(Error::Busy { what: format!("the device {id}, which another host has taken over,") }),
        })?;
        if let Some(open) = lock(&self.open).get_mut(id) {
            open.unfenced = false;
        }
        Ok(())
    }
}
