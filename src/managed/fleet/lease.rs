//! [`HostLease`]: the time until which this host may use its open devices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::managed::counters::Refusal;
use crate::managed::records::HostRecord;
use crate::managed::store::Records;
use crate::{Clock, Error, OwningProcess, Result};

/// Options of a host that shares a store with others.
///
/// ```
/// use std::time::Duration;
///
/// use atrest::managed::HostOptions;
///
/// let host = HostOptions::new("host-17").lease(Duration::from_secs(30));
/// # let _ = host;
/// ```
#[derive(Debug, Clone)]
pub struct HostOptions {
    pub(in crate::managed) name: String,
    pub(in crate::managed) lease: Duration,
    pub(in crate::managed) renews: bool,
}

impl HostOptions {
    /// A host of this name, which errors on other hosts tell, with a lease of a minute. Each host has another name.
    pub fn new(name: impl Into<String>) -> Self {
        HostOptions { name: name.into(), lease: Duration::from_secs(60), renews: true }
    }

    /// How long the host may use its disks after the store last answered it. It is renewed after each third of this. Another host
    /// takes the disks over, at the earliest, a quarter more after it last saw a renewal.
    ///
    /// It is at least three times the [`deadline`](crate::managed::store::Store::deadline) of the store, and at most an hour.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Whether a thread of the service renews the lease in time. Without it, call
    /// [`renew_host_lease`](crate::managed::DiskService::renew_host_lease) at least after each third of the lease.
    pub fn renews_by_itself(mut self, renews: bool) -> Self {
        self.renews = renews;
        self
    }

    pub(in crate::managed) fn check(&self, deadline: Duration) -> Result<()> {
        crate::managed::records::check_name(&self.name)?;
        if self.lease < 3 * deadline || self.lease < Duration::from_millis(3) || self.lease > Duration::from_secs(3600)
        {
            let text = format!(
                "the lease of a host is {:?}: it is at least three times the deadline of the store, which is {deadline:?}, and at \
                 most an hour",
                self.lease
            );
            return Err(Error::InvalidOption(text));
        }
        Ok(())
    }
}

/// The lease of this host.
pub(in crate::managed) struct HostLease {
    /// The run of its service, which is never used again.
    pub(super) run: String,
    pub(super) name: String,
    ttl: Duration,
    records: Arc<Records>,
    clock: Arc<dyn Clock>,
    /// The time until which it holds, in milliseconds of the uptime.
    until: AtomicU64,
    /// Whether another host has taken this one for lost. The lease then never holds again.
    lost: AtomicBool,
    /// The number of refusals because it didn't hold.
    pub(super) refused: AtomicU64,
    owner: OwningProcess,
}

/// Why a host may not use its disks.
const RAN_OUT: &str = "this host's lease has run out: the store didn't answer in time, or the service stood still; it goes on when the \
                       lease is renewed, unless another host has taken it for lost";
const LOST: &str = "another host has taken this one for lost; open the service again, and then its disks";

impl HostLease {
    /// Begins one.
    pub(super) fn begin(records: Arc<Records>, clock: Arc<dyn Clock>, run: String, of: &HostOptions) -> Result<Self> {
        let lease = HostLease {
            run,
            name: of.name.clone(),
            ttl: of.lease,
            records,
            clock,
            until: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            owner: OwningProcess::current(),
        };
        let begun = lease.clock.uptime();
        let ttl_ms = u64::try_from(lease.ttl.as_millis()).unwrap_or(u64::MAX);
        let host = HostRecord { name: lease.name.clone(), ttl_ms, renewals: 0 };
        lease.records.write(|tables| tables.put_host(&lease.run, &host))?;
        lease.extend(begun);
        Ok(lease)
    }

    fn extend(&self, asked: Duration) {
        let until = asked.saturating_add(self.ttl).as_millis();
        self.until.fetch_max(u64::try_from(until).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Renews it. The time counts from before the store was asked, and no lost answer makes it longer.
    pub(super) fn renew(&self) -> Result<()> {
        let counters = &self.records.counters;
        let renewed = self.try_to_renew();
        let count = if renewed.is_ok() { &counters.renewals } else { &counters.renewals_failed };
        count.add();
        renewed
    }

    fn try_to_renew(&self) -> Result<()> {
        let asked = self.clock.uptime();
        let renewed = self.records.write(|tables| match tables.host(&self.run)? {
            Some(host) => {
                tables.put_host(&self.run, &HostRecord { renewals: host.renewals.wrapping_add(1), ..host })?;
                Ok(true)
            }
            None => Ok(false),
        })?;
        if !renewed {
            self.lost.store(true, Ordering::SeqCst);
            return Err(Error::Busy { what: format!("the lease of the host {:?}: {LOST}; it", self.name) });
        }
        self.extend(asked);
        Ok(())
    }

    /// Whether it is time to renew it.
    pub(super) fn is_due(&self) -> bool {
        let left = self.until.load(Ordering::Relaxed).saturating_sub(self.now());
        u128::from(left) <= self.ttl.as_millis() * 2 / 3
    }

    /// Whether this host may use its open devices: two loads and a look at the clock, before each read and write.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let lost = self.lost.load(Ordering::Relaxed);
        if !lost && self.now() < self.until.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::SeqCst);
        Err(if lost { LOST } else { RAN_OUT })
    }

    /// The same before a read or write, which is counted if it is refused.
    pub(super) fn check_io(&self) -> Result<(), &'static str> {
        self.check().inspect_err(|_| {
            let why = if self.is_lost() { Refusal::HostLost } else { Refusal::HostLeaseEnded };
            self.records.counters.refuse(why);
        })
    }

    /// Whether another host has taken this one for lost.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// How long it still holds.
    pub(super) fn left(&self) -> Duration {
        let left = self.until.load(Ordering::Relaxed).saturating_sub(self.now());
        if self.is_lost() { Duration::ZERO } else { Duration::from_millis(left) }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.uptime().as_millis()).unwrap_or(u64::MAX)
    }

    /// The time between two renewals.
    pub(super) fn interval(&self) -> Duration {
        self.ttl / 3
    }

    /// Whether this is the process that began it, and no child of it.
    pub(super) fn is_own(&self) -> bool {
        self.owner.is_current()
    }
}

impl Drop for HostLease {
    /// Nothing of this host is open any more: others need not wait.
    fn drop(&mut self) {
        if self.is_own() && !self.lost.load(Ordering::SeqCst) {
            // Otherwise others wait until it has run out.
            let _ = self.records.write(|tables| tables.remove_host(&self.run));
        }
    }
}
