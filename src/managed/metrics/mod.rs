//! Metrics of a service for an operator's monitoring: a snapshot of its states and counts, and the same for the facade of the crate
//! `metrics`.

#[cfg(feature = "metrics")]
mod facade;

use std::collections::BTreeMap;

use serde::Serialize;

#[cfg(feature = "metrics")]
pub use self::facade::{METRICS, MetricKind};
use super::counters::{CallOutcome, CallTimes, Counters, Refusal};
use super::fleet::Fleet;
use super::keys::LeaseState;
use super::service::DiskService;

/// The states and counts of one service, as of now. Counts begin at 0 with each opening of the service.
///
/// `docs/metrics.md` has the same by their names for Prometheus. If many hosts share a store, each service has only its own
/// metrics; add up those of all hosts.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ServiceMetrics {
    /// The leases of keys in use here, by state.
    pub key_leases: KeyLeaseCounts,
    /// Disks, snapshots and images in use here.
    pub disks: DiskCounts,
    /// Reads, writes and openings that were refused, by reason.
    pub io_refused: RefusedCounts,
    /// Rotations of sets and of the platform's key by this service.
    pub rotations: RotationCounts,
    /// Calls of vaults.
    pub vault_calls: Vec<VaultCalls>,
    /// Calls of the store.
    pub store_calls: Vec<StoreCalls>,
    /// This host among those that share the store; `None` for a store in a file.
    pub host: Option<HostMetrics>,
}

/// The leases of keys, by state. A lease is of one version of a key for one set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyLeaseCounts {
    /// The vault allows the key.
    pub valid: u64,
    /// The vault doesn't answer, and reads and writes go on while its last answer holds.
    pub outage: u64,
    /// The vault doesn't allow the key: reads and writes fail.
    pub revoked: u64,
    /// The vault has not answered for too long, or not at all yet: reads and writes fail.
    pub ended: u64,
}

/// Disks, snapshots and images in use by a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DiskCounts {
    /// The number that users have open.
    pub open: u64,
    /// The number of open ones without a DEK in memory: their keys may not be used, or were not used yet.
    pub suspended: u64,
}

/// Reads, writes and openings that were refused, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RefusedCounts {
    /// The vault doesn't allow the key.
    pub key_revoked: u64,
    /// The vault did not answer for longer than the lease of the key.
    pub key_lease_ended: u64,
    /// The lease of this host has run out.
    pub host_lease_ended: u64,
    /// Another host has taken this one for lost.
    pub host_lost: u64,
    /// The disk was handed over to another host.
    pub handed_over: u64,
}

/// Rotations by a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RotationCounts {
    /// Rotations that go on now.
    pub running: u64,
    /// Rotations that ended with all resources under the new key.
    pub finished: u64,
    /// Rotations that ended with an error.
    pub failed: u64,
    /// Rotations that ended with [`Error::Busy`](crate::Error::Busy): other hosts have the rest, or a resource is in use.
    pub left: u64,
    /// Disks, snapshots and images that were moved to a new key.
    pub moved: u64,
}

/// Calls of one vault, of one kind, that ended in one way.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct VaultCalls {
    /// The vault's id. A thousand vaults that have answered are told apart; the rest is `other`.
    pub vault: String,
    /// `wrap`, `unwrap`, `describe`, or `directory` for finding the vault.
    pub operation: &'static str,
    /// The outcome of the calls.
    pub outcome: CallOutcome,
    /// The number of calls, and how long they took.
    pub times: CallTimes,
}

/// Calls of the store, of one kind, that ended in one way.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StoreCalls {
    /// `get`, `list` or `commit`.
    pub operation: &'static str,
    /// The outcome of the calls.
    pub outcome: CallOutcome,
    /// The number of calls, and how long they took.
    pub times: CallTimes,
}

/// A host among those that share a store.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HostMetrics {
    /// The seconds that its lease still holds, on its own clock.
    pub lease_seconds: f64,
    /// Whether another host has taken it for lost.
    pub lost: bool,
    /// Renewals of its lease that succeeded.
    pub renewals: u64,
    /// Renewals that failed.
    pub renewals_failed: u64,
    /// Hosts with a lease when it last looked, itself among them; 0 before.
    pub hosts: u64,
    /// Hosts that it has taken for lost.
    pub hosts_lost: u64,
    /// Devices that are attached to it now.
    pub attachments: u64,
    /// Devices that it could not let go yet, because the store didn't answer.
    pub to_let_go: u64,
    /// Devices that it has attached so far.
    pub attached: u64,
    /// Devices among these that it took over from a lost host.
    pub taken_over: u64,
}

impl ServiceMetrics {
    /// The snapshot in JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("metrics have only string keys")
    }
}

impl DiskService {
    /// The states and counts of this service, for monitoring. Neither the store nor a vault is asked. In a forked child they are
    /// zeros.
    ///
    /// It doesn't need the feature `metrics`: programs without a recorder of that crate, such as one in C, read the metrics here.
    ///
    /// ```
    /// # fn show(service: &atrest::managed::DiskService) {
    /// let metrics = service.metrics();
    /// if metrics.key_leases.outage > 0 || metrics.io_refused.key_lease_ended > 0 {
    ///     eprintln!("vaults don't answer: {}", metrics.to_json());
    /// }
    /// # }
    /// ```
    pub fn metrics(&self) -> ServiceMetrics {
        let Ok(inner) = self.inner() else { return ServiceMetrics::default() };
        let counters = &inner.store.counters;
        let states = inner.keys.leases.states(inner.keys.now());
        let leases = |of: LeaseState| states.iter().filter(|&&state| state == of).count() as u64;
        let mut disks = DiskCounts::default();
        for live in inner.registry.all().iter().filter(|live| live.is_open()) {
            disks.open += 1;
            disks.suspended += u64::from(live.seems_suspended());
        }
        let refused = |why: Refusal| counters.refused[why as usize].value();
        let (store, vaults) = counters.calls();
        let of_vault = |(vault, calls): (String, _)| {
            flat(calls).map(move |(operation, outcome, times)| VaultCalls {
                vault: vault.clone(),
                operation,
                outcome,
                times,
            })
        };
        ServiceMetrics {
            key_leases: KeyLeaseCounts {
                valid: leases(LeaseState::Valid),
                outage: leases(LeaseState::Outage),
                revoked: leases(LeaseState::Revoked),
                ended: leases(LeaseState::Ended),
            },
            disks,
            io_refused: RefusedCounts {
                key_revoked: refused(Refusal::KeyRevoked),
                key_lease_ended: refused(Refusal::KeyLeaseEnded),
                host_lease_ended: refused(Refusal::HostLeaseEnded),
                host_lost: refused(Refusal::HostLost),
                handed_over: refused(Refusal::HandedOver),
            },
            rotations: RotationCounts {
                running: counters.running(),
                finished: counters.rotations_finished.value(),
                failed: counters.rotations_failed.value(),
                left: counters.rotations_left.value(),
                moved: counters.moved.value(),
            },
            vault_calls: vaults.into_iter().flat_map(of_vault).collect(),
            store_calls: flat(store)
                .map(|(operation, outcome, times)| StoreCalls { operation, outcome, times })
                .collect(),
            host: inner.keys.fleet.as_ref().map(|fleet| host_metrics(fleet, counters)),
        }
    }
}

type Flat<T> = BTreeMap<&'static str, BTreeMap<CallOutcome, T>>;

fn flat<T>(calls: Flat<T>) -> impl Iterator<Item = (&'static str, CallOutcome, T)> {
    let of = |(operation, outcomes): (&'static str, BTreeMap<CallOutcome, T>)| {
        outcomes.into_iter().map(move |(outcome, times)| (operation, outcome, times))
    };
    calls.into_iter().flat_map(of)
}

fn host_metrics(fleet: &Fleet, counters: &Counters) -> HostMetrics {
    let (left, lost) = fleet.lease_left();
    let (attachments, to_let_go) = fleet.attachments();
    HostMetrics {
        lease_seconds: left.as_secs_f64(),
        lost,
        renewals: counters.renewals.value(),
        renewals_failed: counters.renewals_failed.value(),
        hosts: counters.hosts.load(core::sync::atomic::Ordering::Relaxed),
        hosts_lost: counters.hosts_lost.value(),
        attachments: attachments as u64,
        to_let_go: to_let_go as u64,
        attached: counters.attached.value(),
        taken_over: counters.taken_over.value(),
    }
}
