//! The counters of a service for operators: calls of vaults and stores, refused reads and writes, rotations, its lease.
//!
//! A read or write that is refused adds one to an atomic number. Nothing here is locked or allocated on the way of a read or
//! write, and one that succeeds counts nothing. Calls of vaults and stores, which take a network's time, also go to the facade of
//! the crate `metrics` with their duration, if the feature is on.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde::Serialize;

use super::sync::lock;
use crate::{Error, Result};

/// A number that grows.
#[derive(Default)]
pub(super) struct Count {
    value: AtomicU64,
    /// How much of it the facade was told.
    #[cfg(feature = "metrics")]
    told: AtomicU64,
}

impl Count {
    pub(super) fn add(&self) {
        self.value.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn value(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }

    /// By how much it has grown since this was last asked.
    #[cfg(feature = "metrics")]
    pub(super) fn growth(&self) -> u64 {
        let now = self.value();
        now.saturating_sub(self.told.fetch_max(now, Ordering::Relaxed))
    }
}

/// Why a read or write was refused.
#[derive(Clone, Copy)]
pub(super) enum Refusal {
    /// The vault doesn't allow the key.
    KeyRevoked = 0,
    /// The vault didn't answer for longer than the lease of the key, or the key was not asked for yet.
    KeyLeaseEnded = 1,
    /// The lease of this host has run out.
    HostLeaseEnded = 2,
    /// Another host has taken this one for lost.
    HostLost = 3,
    /// The disk was handed over to another host.
    HandedOver = 4,
}

/// How a call of a vault or a store ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallOutcome {
    /// It was answered.
    Ok,
    /// A commit of the store met a change by another host, and is tried again.
    Conflict,
    /// The vault refused: the key is disabled, expired or gone, or the access isn't granted.
    Refused,
    /// It failed.
    Failed,
    /// The vault did not answer by the [deadline](super::LeasePolicy::deadline).
    TimedOut,
    /// The vault was not asked, because too many of its calls hang.
    NotAsked,
}

impl CallOutcome {
    /// Its name in JSON and in labels.
    pub fn name(self) -> &'static str {
        match self {
            CallOutcome::Ok => "ok",
            CallOutcome::Conflict => "conflict",
            CallOutcome::Refused => "refused",
            CallOutcome::Failed => "failed",
            CallOutcome::TimedOut => "timed_out",
            CallOutcome::NotAsked => "not_asked",
        }
    }

    /// The outcome of a vault's answer.
    pub(super) fn of_vault<T>(answer: &Result<T>) -> Self {
        match answer {
            Ok(_) => CallOutcome::Ok,
            Err(e) if e.is_revocation() => CallOutcome::Refused,
            Err(_) => CallOutcome::Failed,
        }
    }
}

/// The upper bounds of [`CallTimes::buckets`], in seconds.
pub const CALL_BUCKETS: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 30.0];

/// How many calls there were, and how long they took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CallTimes {
    /// The number of calls.
    pub count: u64,
    /// The seconds that they took together.
    pub seconds: f64,
    /// How many took at most as long as each of [`CALL_BUCKETS`]. Longer ones are in `count` alone.
    pub buckets: [u64; CALL_BUCKETS.len()],
}

impl CallTimes {
    fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.count += 1;
        self.seconds += seconds;
        self.buckets.iter_mut().zip(CALL_BUCKETS).for_each(|(bucket, bound)| *bucket += u64::from(seconds <= bound));
    }
}

/// The most vaults that are counted by name. Calls of the others are counted together, as those of [`OTHER_VAULTS`].
const MOST_VAULTS: usize = 1000;
/// The name under which the vaults beyond that number are counted.
const OTHER_VAULTS: &str = "other";

type Calls = BTreeMap<&'static str, BTreeMap<CallOutcome, CallTimes>>;

/// The counters of a service.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) refused: [Count; 5],
    /// How many rotations go on in this service.
    running: AtomicU64,
    pub(super) rotations_finished: Count,
    pub(super) rotations_failed: Count,
    /// Rotations that left disks to other hosts, which go on with them.
    pub(super) rotations_left: Count,
    pub(super) moved: Count,
    pub(super) renewals: Count,
    pub(super) renewals_failed: Count,
    pub(super) attached: Count,
    /// Devices that were taken over from lost hosts.
    pub(super) taken_over: Count,
    pub(super) hosts_lost: Count,
    /// Hosts that had a record when this one last looked, itself among them.
    pub(super) hosts: AtomicU64,
    store: Mutex<Calls>,
    vaults: Mutex<BTreeMap<String, Calls>>,
}

impl Counters {
    pub(super) fn refuse(&self, why: Refusal) {
        self.refused[why as usize].add();
    }

    /// Counts a call of a vault. A vault gets its own count once it has answered: the names of vaults come from callers, which
    /// could invent them.
    pub(super) fn vault_call(&self, vault: &str, operation: &'static str, outcome: CallOutcome, took: Duration) {
        let mut vaults = lock(&self.vaults);
        let is_new = outcome == CallOutcome::Ok && vaults.len() < MOST_VAULTS;
        let vault = if is_new || vaults.contains_key(vault) { vault } else { OTHER_VAULTS };
        if !vaults.contains_key(vault) {
            vaults.insert(vault.to_owned(), Calls::new());
        }
        if let Some(calls) = vaults.get_mut(vault) {
            calls.entry(operation).or_default().entry(outcome).or_default().add(took);
        }
        drop(vaults);
        #[cfg(feature = "metrics")]
        ::metrics::histogram!(
            "atrest_vault_call_seconds", "vault" => vault.to_owned(), "operation" => operation, "outcome" => outcome.name()
        )
        .record(took.as_secs_f64());
    }

    /// Counts a call of the store, and how it ended.
    pub(super) fn store_call<T>(
        &self,
        operation: &'static str,
        act: impl FnOnce() -> Result<T>,
        outcome: impl FnOnce(&T) -> CallOutcome,
    ) -> Result<T> {
        let began = Instant::now();
        let done = act();
        let (took, outcome) = (began.elapsed(), done.as_ref().map_or(CallOutcome::Failed, outcome));
        lock(&self.store).entry(operation).or_default().entry(outcome).or_default().add(took);
        #[cfg(feature = "metrics")]
        ::metrics::histogram!("atrest_store_call_seconds", "operation" => operation, "outcome" => outcome.name())
            .record(took.as_secs_f64());
        done
    }

    /// The calls of the store, and of each vault.
    pub(super) fn calls(&self) -> (Calls, BTreeMap<String, Calls>) {
        (lock(&self.store).clone(), lock(&self.vaults).clone())
    }

    /// Counts a rotation while it runs, and how it ended.
    pub(super) fn rotation<T>(self: &Arc<Self>, rotate: impl FnOnce() -> Result<T>) -> Result<T> {
        let running = Running::begin(self);
        let done = rotate();
        drop(running);
        match &done {
            Ok(_) => self.rotations_finished.add(),
            Err(Error::Busy { .. }) => self.rotations_left.add(),
            Err(_) => self.rotations_failed.add(),
        }
        done
    }

    pub(super) fn running(&self) -> u64 {
        self.running.load(Ordering::Relaxed)
    }
}

/// A rotation that goes on; also if it panics, it ends.
struct Running<'c>(&'c Counters);

impl<'c> Running<'c> {
    fn begin(counters: &'c Counters) -> Self {
        counters.running.fetch_add(1, Ordering::Relaxed);
        Running(counters)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vaults_beyond_the_limit_are_counted_together() {
        let counters = Counters::default();
        let call = |vault: &str| counters.vault_call(vault, "wrap", CallOutcome::Ok, Duration::from_millis(3));
        (0..MOST_VAULTS + 20).for_each(|n| call(&format!("vault-{n}")));
        call("vault-3");
        let vaults = counters.calls().1;
        assert_eq!(vaults.len(), MOST_VAULTS + 1);
        assert_eq!(vaults["vault-3"]["wrap"][&CallOutcome::Ok].count, 2);
        let other = vaults[OTHER_VAULTS]["wrap"][&CallOutcome::Ok];
        assert_eq!((other.count, other.buckets), (20, [0, 20, 20, 20, 20, 20, 20, 20]));
    }
}
