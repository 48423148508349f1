//! Waits between tries: for a vault that has failed, and for a resource whose own header is at fault.

use std::collections::HashMap;
use std::sync::Mutex;

use super::lease::{Now, wait};
use crate::key::WrappedDek;
use crate::managed::sync::lock;
use crate::{Error, KeyRefusal, KeyVault, Result, Secret, VaultFailure};

/// Keeps calls from a vault that has just failed.
#[derive(Default)]
pub(in crate::managed) struct Gate(Mutex<Failures>);

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
pub(in crate::managed) struct Gated<'a> {
    pub(in crate::managed) vault: &'a dyn KeyVault,
    pub(in crate::managed) gate: &'a Gate,
    pub(in crate::managed) now: Now,
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
pub(in crate::managed) struct Refusals(Mutex<HashMap<String, Refusal>>);

struct Refusal {
    count: u32,
    at: Now,
    error: Error,
}

impl Refusals {
    /// Opens the resource of an id, unless it was refused a moment ago: then that is told again.
    pub(in crate::managed) fn pass<T>(&self, id: &str, now: Now, open: impl FnOnce() -> Result<T>) -> Result<T> {
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
    Some(match error {
        Error::TamperedHeader => Error::TamperedHeader,
        Error::UnwrapFailed => Error::UnwrapFailed,
        Error::WrongKey => Error::WrongKey,
        Error::OtherDek => Error::OtherDek,
        Error::WrapLength { len } => Error::WrapLength { len: *len },
        Error::UnsupportedAlgorithm(name) => Error::UnsupportedAlgorithm(name.clone()),
        // An identity that is granted access is to have it at once.
        Error::KeyRefused { reason: KeyRefusal::AccessDenied { .. }, .. } => return None,
        Error::KeyRefused { key, reason } => Error::key_refused(key, reason.clone()),
        _ => return None,
    })
}
