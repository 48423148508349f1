//! Waits between retries: for a vault that failed, and for a resource with a bad header.

use std::collections::HashMap;
use std::sync::Mutex;

use super::lease::{Now, wait};
use crate::key::WrappedDek;
use crate::managed::sync::lock;
use crate::{Error, KeyRefusal, KeyVault, Result, Secret, VaultFailure};

/// Holds back calls to a vault that has just failed.
#[derive(Default)]
pub(in crate::managed) struct Gate(Mutex<Failures>);

#[derive(Default)]
struct Failures {
    count: u32,
    at: Now,
    reason: Option<VaultFailure>,
}

impl Gate {
    /// Runs `act`, which asks the vault, unless the vault failed a moment ago: then it returns that failure again. An
    /// answer about a key, or about the bytes to unwrap, is not a failure of the vault.
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

/// Whether it is too early to retry after this number of failures, the last one at `at`.
fn is_shut(failures: u32, at: Now, now: Now) -> bool {
    failures > 0 && !now.is_past(at, wait(failures - 1))
}

/// Whether the vault failed, as opposed to refusing a key or the bytes to unwrap.
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

/// A vault behind a gate. Only answers of the vault itself count there, not defects of a header or a device.
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

/// Holds back openings of resources that were refused a moment ago because of their own headers.
#[derive(Default)]
pub(in crate::managed) struct Refusals(Mutex<HashMap<String, Refusal>>);

struct Refusal {
    count: u32,
    at: Now,
    error: Error,
}

impl Refusals {
    /// Opens the resource of this id, unless it was refused a moment ago: then it returns that error again.
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
                // Drop entries of resources that nobody opens any more.
                refusals.retain(|of, before| of == id || is_shut(before.count, before.at, now));
                let count = refusals.get(id).map_or(0, |before| before.count).saturating_add(1);
                refusals.insert(id.into(), Refusal { count, at: now, error });
            }
            None => drop(refusals.remove(id)),
        }
        opened
    }
}

/// A copy of the error, if it says that a wrapped key or its record is wrong, or that its key may not be used.
fn of_wrapped_key(error: &Error) -> Option<Error> {
    Some(match error {
        Error::TamperedHeader => Error::TamperedHeader,
        Error::UnwrapFailed => Error::UnwrapFailed,
        Error::WrongKey => Error::WrongKey,
        Error::OtherDek => Error::OtherDek,
        Error::OlderDevice { resource, found } => {
            Error::OlderDevice { resource: resource.clone(), found: found.clone() }
        }
        Error::WrapLength { len } => Error::WrapLength { len: *len },
        Error::UnsupportedAlgorithm(name) => Error::UnsupportedAlgorithm(name.clone()),
        // An identity that is granted access is to have it at once.
        Error::KeyRefused { reason: KeyRefusal::AccessDenied { .. }, .. } => return None,
        Error::KeyRefused { key, reason } => Error::key_refused(key, reason.clone()),
        _ => return None,
    })
}
