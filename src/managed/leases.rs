//! The leases of all keys: asked for together, checked at each read and write.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::lease::{Answer, Lease, LeasePolicy, Now, Span, wait};
use super::unit::{lock, try_lock};
use crate::key::{KeyId, WrappedDek};
use crate::{Error, KeyVault, Result, Secret, VaultFailure};

/// The lease that all share which a set has under one version of a key.
pub(super) struct KeyLease {
    pub(super) set: String,
    pub(super) key: KeyId,
    /// I/O goes on from the one instant to the other: a copy of what the lease says, for a look without a lock.
    from: AtomicU64,
    until: AtomicU64,
    until_up: AtomicU64,
    /// Who asks the vault; never while holding the state, which all look at.
    asking: Mutex<()>,
    state: Mutex<State>,
    /// Of calls to open what is under the key.
    pub(super) gate: Gate,
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
    pub(super) fn holds(&self, now: Now) -> bool {
        let of = |at: &AtomicU64| at.load(Ordering::Relaxed);
        Span { from: of(&self.from), until: of(&self.until), until_up: of(&self.until_up) }.holds(now)
    }

    /// Asks the vault if that is due, and says whether the key may be used. Who comes while another asks waits for that
    /// answer.
    pub(super) fn renew(&self, now: Now, vault: impl FnOnce() -> Result<Arc<dyn KeyVault>>) -> Result<(), String> {
        if self.wants_asking(now) {
            self.ask_in_turn(now, lock(&self.asking), vault);
        }
        if self.holds(now) { Ok(()) } else { Err(self.state().reason.clone()) }
    }

    /// As [`renew`](Self::renew), but not while another asks.
    pub(super) fn renew_unless_asked(&self, now: Now, vault: impl FnOnce() -> Result<Arc<dyn KeyVault>>) {
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
    pub(super) fn renew_now(&self, now: Now, vault: &dyn KeyVault) -> Result<()> {
        let _turn = lock(&self.asking);
        let sample = self.state().sample.clone();
        let answer = self.ask(vault, sample.as_ref(), now);
        self.note(answer, now)
    }

    /// The vault has refused the key, though nobody asked for the lease.
    pub(super) fn refused(&self, error: Error, now: Now) -> String {
        let reason = format!("{error:#}");
        let _ = self.note(Err(error), now);
        reason
    }

    /// The next use asks the vault again.
    pub(super) fn expire(&self) {
        let mut state = self.state();
        state.lease.expire();
        self.until.store(0, Ordering::Relaxed);
    }

    /// Whether the vault should be asked.
    pub(super) fn is_due(&self, now: Now) -> bool {
        self.state().lease.is_due(now)
    }

    /// When the vault was asked last.
    pub(super) fn asked(&self) -> Now {
        self.state().lease.asked()
    }

    /// Takes a DEK that is under the key for what the vault is asked to unwrap.
    pub(super) fn remember(&self, sample: Option<WrappedDek>) {
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
        state.lease.answered(said, now);
        let span = state.lease.span(state.expires);
        self.from.store(span.from, Ordering::Relaxed);
        self.until.store(span.until, Ordering::Relaxed);
        self.until_up.store(span.until_up, Ordering::Relaxed);
        answer.map(drop)
    }

    /// When the key expires, if the vault lets it be used.
    fn ask(&self, vault: &dyn KeyVault, sample: Option<&WrappedDek>, now: Now) -> Result<Option<u64>> {
        let key = || self.key.to_string();
        let mut expires = None;
        if let Some(description) = vault.describe(self.key.key(), Some(self.key.version()))? {
            if !description.enabled {
                return Err(Error::KeyDisabled { key: key() });
            }
            if description.has_expired(now.wall) {
                return Err(Error::KeyExpired { key: key() });
            }
            if description.is_early(now.wall) {
                return Err(Error::KeyNotYetValid { key: key() });
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

/// Keeps calls from a vault that has just failed.
#[derive(Default)]
pub(super) struct Gate(Mutex<Failures>);

#[derive(Default)]
struct Failures {
    count: u32,
    at: Now,
    reason: Option<VaultFailure>,
}

impl Gate {
    /// Does what asks the vault, unless it failed a moment ago: then that failure is told again. What it answers of a key, or
    /// of the bytes that it is asked to unwrap, is no failure of the vault.
    fn pass<T>(&self, now: Now, act: impl FnOnce() -> Result<T>) -> Result<T> {
        {
            let failed = lock(&self.0);
            if let Some(reason) = failed.reason.as_ref().filter(|_| is_shut(failed.count, failed.at, now)) {
                return Err(Error::Vault(reason.clone()));
            }
        }
        let done = act();
        let mut failed = lock(&self.0);
        let reason = match &done {
            Err(Error::Vault(reason)) => Some(reason.clone()),
            Err(e) if is_outage(e) => Some(format!("{e:#}").into()),
            _ => None,
        };
        *failed = match reason {
            Some(_) => Failures { count: failed.count.saturating_add(1), at: now, reason },
            None => Failures::default(),
        };
        done
    }
}

/// Whether it is too early to try again after so many failures, the last of them at `at`.
fn is_shut(failures: u32, at: Now, now: Now) -> bool {
    failures > 0 && !now.is_past(at, wait(failures - 1))
}

/// Whether a vault has failed, rather than refused a key or the bytes that it was asked to unwrap.
fn is_outage(error: &Error) -> bool {
    matches!(
        error,
        Error::Vault(_)
            | Error::NotAVault { .. }
            | Error::DamagedVault(_)
            | Error::WrongVaultPassphrase
            | Error::NotFound { .. }
            | Error::Io { .. }
            | Error::Busy { .. }
            | Error::Random
    )
}

/// A vault behind a gate. Only what the vault itself answers counts there: not what is wrong with a header or a device.
pub(super) struct Gated<'a> {
    pub(super) vault: &'a dyn KeyVault,
    pub(super) gate: &'a Gate,
    pub(super) now: Now,
}

impl KeyVault for Gated<'_> {
    fn id(&self) -> &str {
        self.vault.id()
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        self.gate.pass(self.now, || self.vault.wrap(key, dek))
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        self.gate.pass(self.now, || self.vault.unwrap(wrapped))
    }
}

/// Keeps calls from resources that were refused a moment ago for what their own headers hold.
#[derive(Default)]
pub(super) struct Refusals(Mutex<HashMap<String, Refusal>>);

struct Refusal {
    count: u32,
    at: Now,
    error: Error,
}

impl Refusals {
    /// Opens the resource of an id, unless it was refused a moment ago: then that is told again.
    pub(super) fn pass<T>(&self, id: &str, now: Now, open: impl FnOnce() -> Result<T>) -> Result<T> {
        if let Some(before) = lock(&self.0).get(id)
            && is_shut(before.count, before.at, now)
            && let Some(error) = of_wrapped_key(&before.error)
        {
            return Err(error);
        }
        let opened = open();
        let refused = opened.as_ref().err().and_then(of_wrapped_key);
        let mut refusals = lock(&self.0);
        match refused {
            Some(error) => {
                // Those that nobody asks for any more are not kept.
                refusals.retain(|of, before| of == id || is_shut(before.count, before.at, now));
                let count = refusals.get(id).map_or(0, |before| before.count).saturating_add(1);
                refusals.insert(id.into(), Refusal { count, at: now, error });
            }
            None => drop(refusals.remove(id)),
        }
        opened
    }
}

/// The same error again, if it says that a wrapped key or what stands beside it is wrong, or that its key may not be used.
fn of_wrapped_key(error: &Error) -> Option<Error> {
    let key = String::clone;
    Some(match error {
        Error::TamperedHeader => Error::TamperedHeader,
        Error::UnwrapFailed => Error::UnwrapFailed,
        Error::WrongKey => Error::WrongKey,
        Error::OtherDek => Error::OtherDek,
        Error::WrapLength { len } => Error::WrapLength { len: *len },
        Error::UnsupportedAlgorithm(name) => Error::UnsupportedAlgorithm(name.clone()),
        Error::NoSuchKey { key: of } => Error::NoSuchKey { key: key(of) },
        Error::KeyDisabled { key: of } => Error::KeyDisabled { key: key(of) },
        Error::KeyDeleted { key: of } => Error::KeyDeleted { key: key(of) },
        Error::KeyExpired { key: of } => Error::KeyExpired { key: key(of) },
        Error::KeyNotYetValid { key: of } => Error::KeyNotYetValid { key: key(of) },
        _ => return None,
    })
}

/// The leases of all keys, by set and key.
pub(super) struct Leases {
    policy: LeasePolicy,
    leases: Mutex<HashMap<(String, KeyId), Arc<KeyLease>>>,
}

impl Leases {
    pub(super) fn new(policy: LeasePolicy) -> Self {
        Leases { policy, leases: Mutex::default() }
    }

    pub(super) fn of(&self, set: &str, key: &KeyId) -> Arc<KeyLease> {
        let mut leases = self.lock();
        let new = || Arc::new(KeyLease::new(set, key, self.policy));
        leases.entry((set.to_owned(), key.clone())).or_insert_with(new).clone()
    }

    /// The next use of any key of a set asks its vault again.
    pub(super) fn expire(&self, set: &str) {
        let of_set: Vec<_> = self.lock().values().filter(|lease| lease.set == set).cloned().collect();
        of_set.iter().for_each(|lease| lease.expire());
    }

    /// Forgets those of a set that is gone: another of its name is another set.
    pub(super) fn forget(&self, set: &str) {
        self.lock().retain(|(of, _), _| of != set);
    }

    /// Forgets those that nobody has.
    pub(super) fn tidy(&self) {
        self.lock().retain(|_, lease| Arc::strong_count(lease) > 1);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, KeyId), Arc<KeyLease>>> {
        lock(&self.leases)
    }
}
