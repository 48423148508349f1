//! [`FleetView`]: the hosts that share a store, and their open devices, seen from outside.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::fleet::patience;
use super::records::ResourceName;
use super::store::{Store, View};
use super::sync::lock;
use crate::{Clock, Result, SystemClock};

/// Looks at a store that hosts share, without being one of them: it needs no vault and no disks, has no lease, and writes nothing.
///
/// ```
/// use std::sync::Arc;
///
/// use atrest::managed::FleetView;
/// use atrest::managed::store::MemoryStore;
///
/// let view = FleetView::new(Arc::new(MemoryStore::new()));
/// for host in view.hosts()? {
///     println!("{} {:?}", host.name, host.state);
/// }
/// for device in view.attachments(None, 100)? {
///     println!("{} {:?}", device.id, device.host);
/// }
/// # Ok::<(), atrest::Error>(())
/// ```
///
/// The store says of a lease how often it was renewed, and no time: clocks aren't compared. So a lease that is seen for the first
/// time may be live or not. Look at the hosts again from time to time, with the same view.
pub struct FleetView {
    view: View,
    clock: Arc<dyn Clock>,
    seen: Mutex<HashMap<String, Seen>>,
}

/// How a host was seen.
struct Seen {
    renewals: u64,
    /// When the number of renewals was first seen as it is, by this process's clock.
    since: Duration,
    /// Whether it was seen to grow.
    grew: bool,
}

/// The state of a host's lease, as far as a view has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeaseState {
    /// Not watched for long enough: no renewal was seen yet, and no lease's time has passed.
    Unknown,
    /// It was seen to be renewed, within the time of a lease.
    Live,
    /// It was seen to stand still for the time of a lease: its host may not use its disks any more, unless it renews it.
    RanOut,
    /// It was seen to stand still for a quarter longer: the next host that has seen that, too, takes this one for lost.
    Lost,
    /// Its record can't be read, such as that of a later release. Other hosts take it for live.
    Unreadable,
}

impl LeaseState {
    /// Its name: `unknown`, `live`, `ran-out`, `lost` or `unreadable`.
    pub fn name(self) -> &'static str {
        match self {
            LeaseState::Unknown => "unknown",
            LeaseState::Live => "live",
            LeaseState::RanOut => "ran-out",
            LeaseState::Lost => "lost",
            LeaseState::Unreadable => "unreadable",
        }
    }
}

/// A run of a host's service.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostReport {
    /// The host's name; empty if its record can't be read.
    pub name: String,
    /// The id of this run of its service, never used again. A host that was just started again may have two.
    pub run: String,
    /// How long its lease holds after a renewal.
    pub lease: Duration,
    /// How often it was renewed.
    pub renewals: u64,
    /// For how long this view has seen that number as it is: since the first look at most.
    pub still: Duration,
    /// The state of the host's lease that follows from this.
    pub state: LeaseState,
}

/// A device that a host has open, or is to get.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttachmentReport {
    /// The device's id.
    pub id: String,
    /// The disk, snapshot or image that it is of; `None` for one that is being made or removed.
    pub resource: Option<ResourceName>,
    /// The name of the host that has it open; `None` while nobody has.
    pub host: Option<String>,
    /// The run of that host's service.
    pub run: Option<String>,
    /// Whether that host was taken for lost: another one may open the device.
    pub lost: bool,
    /// While it is handed over: the name of the host that is to get it.
    pub promised: Option<String>,
    /// It was taken from a host that was lost, and its header doesn't keep that one out yet.
    pub unfenced: bool,
    /// The reason why its record can't be read, if it can't.
    pub fault: Option<String>,
}

impl FleetView {
    /// Looks at this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        FleetView { view: View(store), clock: Arc::new(SystemClock), seen: Mutex::default() }
    }

    /// Sets the clock. The default is the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The hosts that have a service on the store, or had one that didn't end well, in the order of their names.
    ///
    /// # Errors
    /// Those of the store.
    pub fn hosts(&self) -> Result<Vec<HostReport>> {
        let found = self.view.hosts()?;
        let now = self.clock.uptime();
        let mut seen = lock(&self.seen);
        seen.retain(|run, _| found.iter().any(|(there, _)| there == run));
        let mut hosts = Vec::with_capacity(found.len());
        for (run, record) in found {
            let Ok(record) = record else {
                let (name, lease, still) = (String::new(), Duration::ZERO, Duration::ZERO);
                hosts.push(HostReport { name, run, lease, renewals: 0, still, state: LeaseState::Unreadable });
                continue;
            };
            let first = Seen { renewals: record.renewals, since: now, grew: false };
            let known = seen.entry(run.clone()).or_insert(first);
            if known.renewals != record.renewals {
                *known = Seen { renewals: record.renewals, since: now, grew: true };
            }
            let (still, lease) = (now.saturating_sub(known.since), Duration::from_millis(record.ttl_ms));
            let state = match known.grew {
                _ if still >= patience(record.ttl_ms) => LeaseState::Lost,
                _ if still >= lease => LeaseState::RanOut,
                true => LeaseState::Live,
                false => LeaseState::Unknown,
            };
            hosts.push(HostReport { name: record.name, run, lease, renewals: record.renewals, still, state });
        }
        hosts.sort_by(|one, other| (&one.name, &one.run).cmp(&(&other.name, &other.run)));
        Ok(hosts)
    }

    /// The devices that hosts have open, or are to get, in the order of their ids: at most `limit`, of 1 to
    /// [`MAX_PAGE`](super::store::MAX_PAGE), of those that come after `after`. A page that has fewer is the last one.
    ///
    /// # Errors
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) for another limit; those of the store.
    pub fn attachments(&self, after: Option<&str>, limit: usize) -> Result<Vec<AttachmentReport>> {
        let page = self.view.attachments(after, limit)?;
        Ok(page
            .into_iter()
            .map(|of| {
                let (attachment, fault) = match of.attachment {
                    Ok(attachment) => (Some(attachment), None),
                    Err(fault) => (None, Some(fault)),
                };
                let holder = attachment.as_ref().and_then(|attachment| attachment.holder.clone());
                let is_free = holder.is_none();
                // Behind the host that is to get it stands the one that gave it.
                let promised = attachment.as_ref().and_then(|attachment| attachment.promised.first());
                AttachmentReport {
                    id: of.id,
                    resource: of.resource,
                    lost: holder.is_some() && !of.is_alive,
                    host: holder.as_ref().map(|holder| holder.host.clone()),
                    run: holder.map(|holder| holder.run),
                    promised: promised.filter(|_| is_free).map(|holder| holder.host.clone()),
                    unfenced: attachment.is_some_and(|attachment| attachment.unfenced),
                    fault,
                }
            })
            .collect())
    }
}

impl core::fmt::Debug for FleetView {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("FleetView").finish_non_exhaustive()
    }
}
