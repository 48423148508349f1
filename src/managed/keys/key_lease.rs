//! The leases of all keys. Resources share them; each read and write checks one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::backoff::Gate;
use super::lease::{Answer, Lease, LeasePolicy, Now, Span};
use crate::key::{KeyId, WrappedDek};
use crate::log::tell;
use crate::managed::kek::{Kek, Wanted};
use crate::managed::sync::{lock, try_lock};
use crate::{Error, KeyRefusal, KeyVault, Result};

/// The lease shared by all resources of a set under one version of a key.
pub(in crate::managed) struct KeyLease {
    pub(in crate::managed) set: String,
    pub(in crate::managed) key: KeyId,
    /// I/O is allowed between these instants. They copy the lease's span, so that it can be checked without a lock.
    from: AtomicU64,
    until: AtomicU64,
    until_up: AtomicU64,
    /// Held by the thread that asks the vault, but never together with the state, which all threads read.
    asking: Mutex<()>,
    state: Mutex<State>,
    /// Limits calls to open resources under the key.
    pub(in crate::managed) gate: Gate,
}

/// The state of a lease for operators.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::managed) enum LeaseState {
    /// The vault allows the key.
    Valid,
    /// The vault doesn't answer; the last answer still holds.
    Outage,
    /// The vault doesn't allow the key.
    Revoked,
    /// The last answer holds no more, or there was none.
    Ended,
}

struct State {
    lease: Lease,
    /// The expiry of the key, by the vault's last answer.
    expires: Option<u64>,
    /// The reason of the vault's refusal.
    reason: String,
    /// A DEK that the vault has unwrapped under the key, for a trial unwrap: an identity with `get` may lack `unwrapKey`.
    sample: Option<WrappedDek>,
}

impl KeyLease {
    /// A lease that was not asked for yet.
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

    /// Asks the vault if that is due, and returns whether the key may be used. If another thread is asking, this waits
    /// for its answer.
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

    /// As [`renew`](Self::renew), but does nothing if another thread is asking.
    pub(in crate::managed) fn renew_unless_asked(&self, now: Now, vault: impl FnOnce() -> Result<Arc<dyn KeyVault>>) {
        if let Some(turn) = try_lock(&self.asking) {
            self.ask_in_turn(now, turn, vault);
        }
    }

    fn ask_in_turn(&self, now: Now, _turn: MutexGuard<'_, ()>, vault: impl FnOnce() -> Result<Arc<dyn KeyVault>>) {
        if self.wants_asking(now) {
            let sample = self.state().sample.clone();
            let answer = vault().and_then(|vault| self.ask(&*vault, sample.as_ref(), now));
            // The lease decides the caller's result.
            let _ = self.note(answer, now);
        }
    }

    /// A key may expire before the vault is due to be asked.
    fn wants_asking(&self, now: Now) -> bool {
        let state = self.state();
        state.lease.is_due(now) || !self.holds(now) && state.lease.is_valid()
    }

    /// Asks the vault now.
    ///
    /// # Errors
    /// The vault's errors.
    pub(in crate::managed) fn renew_now(&self, now: Now, vault: &dyn KeyVault) -> Result<()> {
        let _turn = lock(&self.asking);
        let sample = self.state().sample.clone();
        let answer = self.ask(vault, sample.as_ref(), now);
        self.note(answer, now)
    }

    /// Asks the vault now, and returns whether it unwraps under the key: a DEK that it has unwrapped before, or one that it wraps
    /// for that, since an identity with `get` may lack `unwrapKey`.
    ///
    /// # Errors
    /// As [`renew_now`](Self::renew_now).
    pub(in crate::managed) fn works(&self, now: Now, vault: &Arc<dyn KeyVault>) -> Result<bool> {
        self.renew_now(now, &**vault)?;
        let has_sample = self.state().sample.is_some();
        let trial = || Kek { vault: vault.clone(), key: Wanted::Version(self.key.clone()) }.try_out();
        Ok(has_sample || trial().is_ok())
    }

    /// Notes that the vault has refused the key in another call than one for the lease.
    pub(in crate::managed) fn refused(&self, error: Error, now: Now) -> String {
        let reason = format!("{error:#}");
        let _ = self.note(Err(error), now);
        reason
    }

    /// Makes the next use ask the vault again.
    pub(in crate::managed) fn expire(&self) {
        let mut state = self.state();
        state.lease.expire();
        self.until.store(0, Ordering::Relaxed);
    }

    /// Whether the vault should be asked.
    pub(in crate::managed) fn is_due(&self, now: Now) -> bool {
        self.state().lease.is_due(now)
    }

    /// Its state for operators.
    pub(in crate::managed) fn state_at(&self, now: Now) -> LeaseState {
        let (said, holds) = (self.state().lease.refusal(), self.holds(now));
        match said {
            Some(Answer::Revoked) => LeaseState::Revoked,
            Some(_) if holds => LeaseState::Outage,
            None if holds => LeaseState::Valid,
            _ => LeaseState::Ended,
        }
    }

    /// When the vault was last asked.
    pub(in crate::managed) fn asked(&self) -> Now {
        self.state().lease.asked()
    }

    /// Stores the wrapped DEK of a volume that was opened or rewrapped under the key, for the vault's trial unwrap. The service writes
    /// one under a key. Of several, which only someone who knows the DEK can write, it isn't known which one the vault has unwrapped. Then
    /// the earlier sample stays, since no header may take it away.
    pub(in crate::managed) fn remember(&self, wrapped: Vec<WrappedDek>) {
        let mut ours = wrapped.into_iter().filter(|wrapped| wrapped.kek == self.key);
        if let (Some(sample), None) = (ours.next(), ours.next()) {
            self.state().sample = Some(sample);
        }
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

    /// Logs a change of the vault's answer.
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

    /// Asks the vault whether the key may be used, and returns its expiry.
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
            let unwrapped = vault.unwrap(wrapped).map_err(|e| self.of_sample(e))?;
            // If a vault takes its own DEK for another vault's, it doesn't have the key any more.
            unwrapped.ok_or_else(|| Error::NotThisVault { wanted: key() })?;
        }
        Ok(expires)
    }

    /// The meaning of a vault's error about the sample. The vault has unwrapped these very bytes before, and no header has chosen them
    /// since. If it says now that they aren't sound, the key behind the name is another one, or the right to it is gone: KMIP and
    /// PKCS #11 tell a right to decrypt that was taken away by such words. For an outage a vault has other errors. Should it be broken
    /// for a moment and say this nevertheless, the refusal costs some errors of I/O until it is asked again, at most a minute later.
    /// Taken for an outage, it would leave a key that was taken away in use for as long as [`OutagePolicy`](super::lease::OutagePolicy) says.
    fn of_sample(&self, error: Error) -> Error {
        match error {
            Error::UnwrapFailed | Error::UnsupportedAlgorithm(_) => {
                tell!(warn, "the vault of {} doesn't unwrap what it has unwrapped before: {error:#}", self.key);
                Error::key_refused(self.key.to_string(), KeyRefusal::Missing)
            }
            other => other,
        }
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

    /// Makes the next use of any key of a set ask the vault again.
    pub(in crate::managed) fn expire(&self, set: &str) {
        let of_set: Vec<_> = self.lock().values().filter(|lease| lease.set == set).cloned().collect();
        of_set.iter().for_each(|lease| lease.expire());
    }

    /// Forgets the leases of a deleted set: a new set may take its name.
    pub(in crate::managed) fn forget(&self, set: &str) {
        self.lock().retain(|(of, _), _| of != set);
    }

    /// How many there are in each state.
    pub(in crate::managed) fn states(&self, now: Now) -> Vec<LeaseState> {
        self.lock().values().map(|lease| lease.state_at(now)).collect()
    }

    /// Forgets leases that nothing uses.
    pub(in crate::managed) fn tidy(&self) {
        self.lock().retain(|_, lease| Arc::strong_count(lease) > 1);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, KeyId), Arc<KeyLease>>> {
        lock(&self.leases)
    }
}
