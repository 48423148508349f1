//! Watches the other hosts, and declares lost whose renewals stand still.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::managed::store::Records;
use crate::managed::sync::lock;
use crate::{Clock, Result};

/// The last renewals seen of the other hosts.
#[derive(Default)]
pub(super) struct Watch(Mutex<HashMap<String, Seen>>);

struct Seen {
    renewals: u64,
    /// When they were first seen, by this host's clock, after the store's answer.
    since: Duration,
}

/// How long a host's renewals stand still before it is taken for lost: a quarter more than its lease, for clocks that run at
/// different speeds, and for writes that it had begun before its lease ran out.
pub(in crate::managed) fn patience(ttl_ms: u64) -> Duration {
    Duration::from_millis(ttl_ms.saturating_add(ttl_ms / 4))
}

impl Watch {
    /// Looks at the other hosts, and declares lost those that have stood still for long enough: their records are removed, if they
    /// still stand still. Returns their names.
    pub(super) fn look(&self, records: &Records, clock: &dyn Clock, own: &str) -> Result<Vec<String>> {
        let hosts = records.hosts()?;
        let now = clock.uptime();
        records.counters.hosts.store(hosts.len() as u64, Ordering::Relaxed);
        let mut due = Vec::new();
        {
            let mut seen = lock(&self.0);
            seen.retain(|run, _| hosts.iter().any(|(host, _)| host == run));
            for (run, host) in hosts.iter().filter(|(run, _)| run != own) {
                let known = seen.entry(run.clone()).or_insert(Seen { renewals: host.renewals, since: now });
                if known.renewals != host.renewals || now < known.since {
                    *known = Seen { renewals: host.renewals, since: now };
                } else if now - known.since >= patience(host.ttl_ms) {
                    due.push((run, host));
                }
            }
        }
        let mut lost = Vec::new();
        for (run, watched) in due {
            // A renewal that is under way now finds no record, or is found here.
            let gone = records.write(|tables| match tables.host(run)? {
                Some(host) if host.renewals == watched.renewals => tables.remove_host(run).map(|()| true),
                _ => Ok(false),
            })?;
            if gone {
                records.counters.hosts_lost.add();
                lost.push(watched.name.clone());
            }
        }
        Ok(lost)
    }
}
