//! Leases kept: vaults asked in time, DEKs wiped in time.

use core::ops::ControlFlow;
use std::collections::HashMap;
use std::sync::Arc;

use super::leases::KeyLease;
use super::parallel;
use super::service::DiskService;

impl DiskService {
    /// Asks the vaults that it is time to ask, some at once, and wipes the DEKs of disks whose keys may not be used. To be
    /// called about once a minute; reads and writes do it too for their own disk, if nobody has called this for too long.
    pub fn maintain(&self) {
        let inner = &self.inner;
        let (units, now) = (inner.units(), inner.clock.now());
        // First what needs no answer: a vault may let us wait.
        units.iter().for_each(|unit| unit.suspend_if_revoked());
        let leases = units.iter().filter_map(|unit| unit.lease());
        // Many share one.
        let due: HashMap<*const KeyLease, Arc<KeyLease>> =
            leases.filter(|lease| lease.is_due(now)).map(|lease| (Arc::as_ptr(&lease), lease)).collect();
        let due: Vec<_> = due.into_values().collect();
        parallel::for_each(inner.parallel, &due, |lease| {
            lease.renew_unless_asked(now, || inner.vault_of_lease(lease));
            ControlFlow::Continue(())
        });
        units.iter().for_each(|unit| unit.suspend_if_revoked());
        drop((units, due));
        inner.leases.tidy();
    }
}
