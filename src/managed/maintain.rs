//! Keeps leases: asks vaults in time, and wipes DEKs in time.

use core::ops::ControlFlow;
use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::keys::KeyLease;
use super::live::LiveResource;
use super::parallel;
use super::service::{DiskService, Inner};
use super::sync::{lock, try_lock};
use crate::Result;
use crate::log::tell;

impl DiskService {
    /// Asks the vaults that are due, several at once, and wipes the DEKs of disks whose keys may not be used. Call it
    /// about once a minute. If it isn't called for too long, reads and writes do this for their own disk.
    ///
    /// A hanging vault, store or disk doesn't block it. It waits for vaults, then for disks, and then for the store, for about the
    /// [`deadline`](super::LeasePolicy::deadline) each, and leaves the rest to the next call. If a read or write is
    /// using a DEK, the DEK is wiped when that ends.
    ///
    /// With a shared store it also does this host's work for the others, after that: it declares hosts lost whose lease has run out,
    /// and removes devices that no host is making any more. If the store or a region hangs then, a service that is dropped meanwhile
    /// lives until it answers.
    ///
    /// In a forked child it does nothing.
    pub fn maintain(&self) {
        let Ok(inner) = self.inner() else { return };
        let (resources, now, deadline) = (inner.registry.all(), inner.keys.now(), inner.keys.vaults.deadline());
        // First suspend disks that need no answer, because a vault may be slow.
        resources.iter().for_each(|live| live.suspend_if_revoked());
        let leases = resources.iter().filter_map(|live| live.lease());
        // Many resources share a lease.
        let due: HashMap<*const KeyLease, Arc<KeyLease>> =
            leases.filter(|lease| lease.is_due(now)).map(|lease| (Arc::as_ptr(&lease), lease)).collect();
        let mut due: Vec<_> = due.into_values().collect();
        due.sort_by_cached_key(|lease| lease.asked().up);
        let (began, silent) = (Instant::now(), Mutex::new(HashSet::new()));
        parallel::for_each(inner.parallel, &due, |lease| {
            if began.elapsed() >= deadline {
                return ControlFlow::Break(());
            }
            // Wait for a hanging vault only once.
            if !lock(&silent).contains(lease.key.vault()) {
                let asked = Instant::now();
                lease.renew_unless_asked(now, || inner.keys.vault_of_lease(lease));
                if asked.elapsed() >= deadline {
                    lock(&silent).insert(lease.key.vault().to_owned());
                }
            }
            ControlFlow::Continue(())
        });
        resources.iter().for_each(|live| live.suspend_if_revoked());
        sync(inner.parallel, deadline, resources.iter().filter(|live| live.is_closing()).cloned().collect());
        drop(due);
        // Last, because the store may be slow. Nothing above waits for it longer than the deadline.
        // A disk that is closed while the store hangs must not live on in that thread.
        let (tending, used): (_, Vec<_>) = (inner.clone(), resources.iter().map(Arc::downgrade).collect());
        drop(resources);
        if let Err(e) = inner.keys.vaults.call_in_time("the store", move || tending.tend_store(&used)) {
            tell!(warn, "the store didn't answer this host: {e}");
        }
        // A service with a store of its own knows of all its devices.
        if inner.keys.fleet.is_some() {
            let removing = inner.clone();
            if let Err(e) = inner.keys.vaults.call_in_time("a region of devices", move || removing.remove_devices()) {
                tell!(warn, "devices that nobody makes any more were not removed: {e}");
            }
        }
        inner.keys.leases.tidy();
        #[cfg(feature = "metrics")]
        self.publish_metrics();
    }
}

impl Inner {
    /// The work of a round that changes the store. If that of an earlier round still hangs, nothing is done.
    fn tend_store(&self, used: &[Weak<LiveResource>]) -> Result<()> {
        let Some(_turn) = try_lock(&self.tending) else { return Ok(()) };
        used.iter().filter_map(Weak::upgrade).for_each(|live| live.note_growth());
        self.maintain_host()
    }

    /// Removes devices that no host is making any more, which a slow region may delay. As [`tend_store`](Self::tend_store).
    fn remove_devices(&self) -> Result<()> {
        let Some(_turn) = try_lock(&self.removing) else { return Ok(()) };
        self.give_up_devices()?;
        self.remove_ownerless()
    }
}

/// Makes earlier writes durable on disks whose DEKs were wiped, within the deadline. A disk that hangs blocks a thread
/// that nobody waits for.
fn sync(threads: usize, deadline: Duration, resources: Vec<Arc<LiveResource>>) {
    let (count, left) = (resources.len(), Arc::new(Mutex::new(resources)));
    let (done, all_done) = channel();
    for _ in 0..threads.min(count) {
        let (left, done) = (left.clone(), done.clone());
        let work = move || {
            while let Some(live) = { lock(&left).pop() } {
                live.finish_closing();
                drop(live);
                let _ = done.send(());
            }
        };
        // Without a thread, the next user of the disk does it.
        let _ = thread::Builder::new().name("atrest-sync".into()).spawn(work);
    }
    drop(done);
    let until = Instant::now() + deadline;
    for _ in 0..count {
        match all_done.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    // Leave the rest to the next round.
    lock(&left).clear();
}
