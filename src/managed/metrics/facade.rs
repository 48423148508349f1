//! The metrics of a service for the facade of the crate `metrics`.

use ::metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};

use crate::managed::counters::Refusal;
use crate::managed::service::DiskService;

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// A state, which goes up and down.
    Gauge,
    /// A count, which grows.
    Counter,
    /// Durations, in seconds.
    Histogram,
}

use MetricKind::{Counter, Gauge, Histogram};

/// The names of all metrics, their kinds and descriptions. `docs/metrics.md` has their labels.
pub const METRICS: [(&str, MetricKind, &str); 20] = [
    ("atrest_key_leases", Gauge, "Leases of keys in use, by state"),
    ("atrest_disks_open", Gauge, "Disks, snapshots and images that are open"),
    ("atrest_disks_suspended", Gauge, "Open disks, snapshots and images without a DEK in memory"),
    ("atrest_io_refused_total", Counter, "Reads, writes and openings that were refused, by reason"),
    ("atrest_rotations_running", Gauge, "Rotations that go on"),
    ("atrest_rotations_total", Counter, "Rotations that ended, by outcome"),
    ("atrest_rotated_total", Counter, "Disks, snapshots and images that were moved to a new key"),
    ("atrest_vault_call_seconds", Histogram, "Calls of vaults, by vault, operation and outcome"),
    ("atrest_store_call_seconds", Histogram, "Calls of the store, by operation and outcome"),
    ("atrest_host_lease_seconds", Gauge, "How long the lease of this host still holds"),
    ("atrest_host_lost", Gauge, "1 if another host has taken this one for lost"),
    ("atrest_host_renewals_total", Counter, "Renewals of the lease of this host, by outcome"),
    ("atrest_hosts", Gauge, "Hosts with a lease when this one last looked"),
    ("atrest_hosts_lost_total", Counter, "Hosts that this one has taken for lost"),
    ("atrest_attachments", Gauge, "Devices that belong to this host"),
    ("atrest_attachments_to_let_go", Gauge, "Devices that it could not let go yet"),
    ("atrest_attached_total", Counter, "Devices that have become those of this host"),
    ("atrest_taken_over_total", Counter, "Devices that it took over from lost hosts"),
    ("atrest_memory_locked_bytes", Gauge, "Memory of secrets that is locked"),
    ("atrest_memory_unlocked_bytes", Gauge, "Memory of secrets that could not be locked"),
];

impl DiskService {
    /// Tells the recorder of the crate `metrics` the states of this service, and by how much its counts have grown. Calls of vaults
    /// and stores were told when they happened. [`maintain`](Self::maintain) does this, too; do it before each scrape.
    ///
    /// Set the recorder before the service is opened: metrics recorded earlier are lost. States of two services in one process
    /// replace each other. A forked child tells nothing.
    pub fn publish_metrics(&self) {
        let Ok(inner) = self.inner() else { return };
        for (name, kind, text) in METRICS {
            match kind {
                Gauge => describe_gauge!(name, text),
                Counter => describe_counter!(name, text),
                Histogram => describe_histogram!(name, Unit::Seconds, text),
            }
        }
        self.publish_states();
        let counters = &inner.store.counters;
        for (why, reason) in [
            (Refusal::KeyRevoked, "key_revoked"),
            (Refusal::KeyLeaseEnded, "key_lease_ended"),
            (Refusal::HostLeaseEnded, "host_lease_ended"),
            (Refusal::HostLost, "host_lost"),
            (Refusal::HandedOver, "handed_over"),
        ] {
            counter!("atrest_io_refused_total", "reason" => reason).increment(counters.refused[why as usize].growth());
        }
        for (count, outcome) in [
            (&counters.rotations_finished, "finished"),
            (&counters.rotations_failed, "failed"),
            (&counters.rotations_left, "left"),
        ] {
            counter!("atrest_rotations_total", "outcome" => outcome).increment(count.growth());
        }
        counter!("atrest_rotated_total").increment(counters.moved.growth());
        if inner.keys.fleet.is_some() {
            for (count, outcome) in [(&counters.renewals, "ok"), (&counters.renewals_failed, "failed")] {
                counter!("atrest_host_renewals_total", "outcome" => outcome).increment(count.growth());
            }
            counter!("atrest_hosts_lost_total").increment(counters.hosts_lost.growth());
            counter!("atrest_attached_total").increment(counters.attached.growth());
            counter!("atrest_taken_over_total").increment(counters.taken_over.growth());
        }
    }

    fn publish_states(&self) {
        let now = self.metrics();
        let leases = now.key_leases;
        for (state, count) in
            [("valid", leases.valid), ("outage", leases.outage), ("revoked", leases.revoked), ("ended", leases.ended)]
        {
            gauge!("atrest_key_leases", "state" => state).set(count as f64);
        }
        gauge!("atrest_disks_open").set(now.disks.open as f64);
        gauge!("atrest_disks_suspended").set(now.disks.suspended as f64);
        gauge!("atrest_rotations_running").set(now.rotations.running as f64);
        if let Some(host) = now.host {
            gauge!("atrest_host_lease_seconds").set(host.lease_seconds);
            gauge!("atrest_host_lost").set(f64::from(u8::from(host.lost)));
            gauge!("atrest_hosts").set(host.hosts as f64);
            gauge!("atrest_attachments").set(host.attachments as f64);
            gauge!("atrest_attachments_to_let_go").set(host.to_let_go as f64);
        }
        let memory = crate::memory_protection();
        gauge!("atrest_memory_locked_bytes").set(memory.locked as f64);
        gauge!("atrest_memory_unlocked_bytes").set(memory.unlocked as f64);
    }
}
