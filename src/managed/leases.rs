//! The leases of all sets: asked for together, checked at each read and write.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lease::{Answer, Lease, LeasePolicy};
use crate::key::{KeyId, WrappedDek};
use crate::{Error, KeyVault, Result};

/// The lease that the disks of one set share.
pub(super) struct SetLease {
    /// I/O goes on from the one instant to the other: a copy of what the lease says, for a look without a lock.
    from: AtomicU64,
    until: AtomicU64,
    state: Mutex<State>,
}

struct State {
    lease: Lease,
    /// When the key expires, as the vault last said.
    expires: Option<u64>,
    /// Why the vault said no.
    reason: String,
    /// A DEK that the vault wrapped for a disk of the set, since a right to look at a key is none to use it.
    sample: Option<WrappedDek>,
}

/// Who is asked, and for what.
pub(super) struct Probe {
    pub(super) vault: Arc<dyn KeyVault>,
    pub(super) key: KeyId,
}

impl SetLease {
    /// A lease that is to be asked for.
    fn new(policy: LeasePolicy) -> Self {
        let state =
            State { lease: Lease::unasked(policy), expires: None, reason: "it was not asked yet".into(), sample: None };
        SetLease { from: AtomicU64::new(u64::MAX), until: AtomicU64::new(0), state: Mutex::new(state) }
    }

    /// Whether the key may be used now.
    pub(super) fn holds(&self, now: u64) -> bool {
        self.from.load(Ordering::Relaxed) <= now && now < self.until.load(Ordering::Relaxed)
    }

    /// Asks the vault if that is due, and says whether the key may be used. Who comes while another asks waits for that
    /// answer.
    pub(super) fn renew(&self, now: u64, probe: impl FnOnce() -> Result<Probe>) -> Result<(), String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.lease.is_due(now) || !self.holds(now) && !state.lease.is_revoked() {
            let answer = probe().and_then(|probe| probe.ask(state.sample.as_ref(), now));
            self.note(&mut state, answer, now);
        }
        if self.holds(now) { Ok(()) } else { Err(state.reason.clone()) }
    }

    /// Whether the vault should be asked.
    pub(super) fn is_due(&self, now: u64) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).lease.is_due(now)
    }

    /// Takes a DEK of the set's for what the vault is asked to unwrap.
    pub(super) fn remember(&self, sample: Option<WrappedDek>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).sample = sample;
    }

    fn note(&self, state: &mut MutexGuard<'_, State>, answer: Result<Option<u64>>, now: u64) {
        let answer = match answer {
            Ok(expires) => {
                state.expires = expires;
                Answer::Valid
            }
            Err(e) => {
                state.reason = e.to_string();
                if e.is_revocation() { Answer::Revoked } else { Answer::Outage }
            }
        };
        state.lease.answered(answer, now);
        let (from, until) = state.lease.span();
        self.from.store(from, Ordering::Relaxed);
        // The disk side enforces the end of a key (40): a vault may unwrap with one that has expired.
        self.until.store(until.min(state.expires.unwrap_or(u64::MAX)), Ordering::Relaxed);
    }
}

impl Probe {
    /// When the key expires, if the vault lets it be used.
    fn ask(&self, sample: Option<&WrappedDek>, now: u64) -> Result<Option<u64>> {
        let key = || self.key.to_string();
        let mut expires = None;
        if let Some(description) = self.vault.describe(self.key.key(), Some(self.key.version()))? {
            if !description.enabled {
                return Err(Error::KeyDisabled { key: key() });
            }
            if description.has_expired(now) {
                return Err(Error::KeyExpired { key: key() });
            }
            if description.is_early(now) {
                return Err(Error::KeyNotYetValid { key: key() });
            }
            expires = description.expires;
        }
        if let Some(wrapped) = sample {
            self.vault.unwrap(wrapped)?;
        }
        Ok(expires)
    }
}

/// The leases of all sets, by name.
pub(super) struct Leases {
    policy: LeasePolicy,
    sets: Mutex<HashMap<String, Arc<SetLease>>>,
}

impl Leases {
    pub(super) fn new(policy: LeasePolicy) -> Self {
        Leases { policy, sets: Mutex::default() }
    }

    pub(super) fn of(&self, set: &str) -> Arc<SetLease> {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        sets.entry(set.to_owned()).or_insert_with(|| Arc::new(SetLease::new(self.policy))).clone()
    }
}
