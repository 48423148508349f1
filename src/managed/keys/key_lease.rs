//! The leases of all keys: asked for together, checked at each read and write.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::backoff::Gate;
use super::lease::{Answer, Lease, LeasePolicy, Now, Span};
use crate::key::{KeyId, WrappedDek};
use crate::log::tell;
use crate::managed::sync::{lock, try_lock};
use crate::{Error, KeyRefusal, KeyVault, Result};

/// The lease that all share which a set has under one version of a key.
pub(in crate::managed) struct KeyLease {
    pub(in crate::managed) set: String,
    pub(in crate::managed) key: KeyId,
    /// I/O goes on from the one instant to the other: a copy of what the lease says, for a look without a lock.
    from: AtomicU64,
    until: AtomicU64,
    until_up: AtomicU64,
    /// Who asks the vault; never while holding the state, which all look at.
    asking: Mutex<()>,
    state: Mutex<State>,
    /// Of calls to open what is under the key.
    pub(in crate::managed) gate: Gate,
}

struct State {
    lease: Lease,
    /// When the key expires, as the vault last said.
    expires: Option<u64>,
    /// Why the vault said no.
    reason: String,
    /// A DEK that is under the key, since a right to look at a key is none to use it.
    sample: Option<WrappedDek>,
}

impl KeyLease {
    /// A lease that is to be asked for.
    fn new(set: &str, key: &KeyId, policy: LeasePolicy) -> Self {
        let state =
            State { lease: Lease::unasked(policy), expires: None, reason: "it was not asked yet".into(), sample: None };
        KeyLease {
            set: set.into(),
            key: key.clone(),
            from: AtomicU64::new(u64::MAX),
            until: AtomicU64::new(0),
            until_up: AtomicU64::new(0),
            asking: Mutex::default(),
            state: Mutex::new(state),
            gate: Gate::default(),
        }
    }

    /// Whether the key may be used now.
    pub(in crate::managed) fn holds(&self, now: Now) -> bool {
        let of = |at: &AtomicU64| at.load(Ordering::Relaxed);
        Span { from: of(&self.from), until: of(&self.until), until_up: of(&self.until_up) }.holds(now)
    }

    /// Asks the vault if that is due, and says whether the key may be used. Who comes while another asks waits for that
    /// answer.
    pub(in crate::managed) fn renew(
        &self,
        now: Now,
        vault: impl FnOnce() -> Result<Arc<dyn KeyVault>>,
    ) -> Result<(), String> {
        if self.wants_asking(now) {
            self.ask_in_turn(now, lock(&self.asking), vault);
        }
        if self.holds(now) { Ok(()) } else { Err(self.state().reason.clone()) }
    }

    /// As [`renew`](Self::renew), but not while another asks.
    pub(in crate::managed) fn renew_unless_asked(&self, now: Now, vault: impl FnOnce() -> Result<Arc<dyn KeyVault>>) {
        if let Some(turn) = try_lock(&self.asking) {
            self.ask_in_turn(now, turn, vault);
        }
    }

    fn ask_in_turn(&self, now: Now, _turn: MutexGuard<'_, ()>, vault: impl FnOnce() -> Result<Arc<dyn KeyVault>>) {
        if self.wants_asking(now) {
            let sample = self.state().sample.clone();
            let answer = vault().and_then(|vault| self.ask(&*vault, sample.as_ref(), now));
            // What is said to the caller is the lease's to say.
            let _ = self.note(answer, now);
        }
    }

    /// The end of a key may come before it is time to ask.
    fn wants_asking(&self, now: Now) -> bool {
        let state = self.state();
        state.lease.is_due(now) || !self.holds(now) && state.lease.is_valid()
    }

    /// Asks the vault now.
    ///
    /// # Errors
    /// What it answers.
    pub(in crate::managed) fn renew_now(&self, now: Now, vault: &dyn KeyVault) -> Result<()> {
        let _turn = lock(&self.asking);
        let sample = self.state().sample.clone();
        let answer = self.ask(vault, sample.as_ref(), now);
        self.note(answer, now)
    }

    /// The vault has refused the key, though nobody asked for the lease.
    pub(in crate::managed) fn refused(&self, error: Error, now: Now) -> String {
        let reason = format!("{error:#}");
        let _ = self.note(Err(error), now);
        reason
    }

    /// The next use asks the vault again.
    pub(in crate::managed) fn expire(&self) {
        let mut state = self.state();
        state.lease.expire();
        self.until.store(0, Ordering::Relaxed);
    }

    /// Whether the vault should be asked.
    pub(in crate::managed) fn is_due(&self, now: Now) -> bool {
        self.state().lease.is_due(now)
    }

    /// When the vault was asked last.
    pub(in crate::managed) fn asked(&self) -> Now {
        self.state().lease.asked()
    }

    /// Takes a DEK that is under the key for what the vault is asked to unwrap.
    pub(in crate::managed) fn remember(&self, sample: Option<WrappedDek>) {
        let sample = sample.filter(|sample| sample.kek == self.key);
        self.state().sample = sample;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn note(&self, answer: Result<Option<u64>>, now: Now) -> Result<()> {
        let mut state = self.state();
        let said = match &answer {
            Ok(expires) => {
                state.expires = *expires;
                Answer::Valid
            }
            Err(e) => {
                state.reason = format!("{e:#}");
                if e.is_revocation() { Answer::Revoked } else { Answer::Outage }
            }
        };
        let before = state.lease.refusal();
        state.lease.answered(said, now);
        self.tell(before, state.lease.refusal(), &state.reason);
        let span = state.lease.span(state.expires);
        self.from.store(span.from, Ordering::Relaxed);
        self.until.store(span.until, Ordering::Relaxed);
        self.until_up.store(span.until_up, Ordering::Relaxed);
        answer.map(drop)
    }

    /// Tells of a change in what the vault answers.
    fn tell(&self, before: Option<Answer>, now: Option<Answer>, reason: &str) {
        let (key, set) = (&self.key, &self.set);
        match (before, now) {
            (before, now) if before == now => {}
            (_, None | Some(Answer::Valid)) => tell!(info, "the key {key} of the set {set} may be used again"),
            (_, Some(Answer::Revoked)) => tell!(error, "the key {key} of the set {set} may not be used: {reason}"),
            (_, Some(Answer::Outage)) => {
                tell!(
                    warn,
                    "the vault of {key} doesn't answer; disks of the set {set} go on while their lease lasts: {reason}"
                );
            }
        }
    }

    /// When the key expires, if the vault lets it be used.
    fn ask(&self, vault: &dyn KeyVault, sample: Option<&WrappedDek>, now: Now) -> Result<Option<u64>> {
        let key = || self.key.to_string();
        let mut expires = None;
        if let Some(description) = vault.describe(self.key.key(), Some(self.key.version()))? {
            if !description.enabled {
                return Err(Error::key_refused(key(), KeyRefusal::Disabled));
            }
            if description.has_expired(now.wall) {
                return Err(Error::key_refused(key(), KeyRefusal::Expired));
            }
            if description.is_early(now.wall) {
                return Err(Error::key_refused(key(), KeyRefusal::NotYetValid));
            }
            expires = description.expires;
        }
        if let Some(wrapped) = sample {
            // A vault that calls its own DEK another's doesn't have the key any more.
            vault.unwrap(wrapped)?.ok_or_else(|| Error::NotThisVault { wanted: key() })?;
        }
        Ok(expires)
    }
}

/// The leases of all keys, by set and key.
pub(in crate::managed) struct Leases {
    policy: LeasePolicy,
    leases: Mutex<HashMap<(String, KeyId), Arc<KeyLease>>>,
}

impl Leases {
    pub(in crate::managed) fn new(policy: LeasePolicy) -> Self {
        Leases { policy, leases: Mutex::default() }
    }

    pub(in crate::managed) fn of(&self, set: &str, key: &KeyId) -> Arc<KeyLease> {
        let mut leases = self.lock();
        let new = || Arc::new(KeyLease::new(set, key, self.policy));
        leases.entry((set.to_owned(), key.clone())).or_insert_with(new).clone()
    }

    /// The next use of any key of a set asks its vault again.
    pub(in crate::managed) fn expire(&self, set: &str) {
        let of_set: Vec<_> = self.lock().values().filter(|lease| lease.set == set).cloned().collect();
        of_set.iter().for_each(|lease| lease.expire());
    }

    /// Forgets those of a set that is gone: another of its name is another set.
    pub(in crate::managed) fn forget(&self, set: &str) {
        self.lock().retain(|(of, _), _| of != set);
    }

    /// Forgets those that nobody has.
    pub(in crate::managed) fn tidy(&self) {
        self.lock().retain(|_, lease| Arc::strong_count(lease) > 1);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, KeyId), Arc<KeyLease>>> {
        lock(&self.leases)
    }
}
