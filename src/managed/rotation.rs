//! Rotation: moves every disk of a set to the newest version of its key, or to another key (26 to 33).

use core::cell::Cell;

use super::kek::{Kek, Wanted};
use super::keys::Notes;
use super::records::{EncryptionSet, Joining, Resource, ResourceName, RotationError};
use super::rounds::{AtEnd, Goal, Left, until_finished};
use super::service::{DiskService, Inner, no_set, not_allowed};
use super::store::{Ahead, Queue};
use super::sync::lock;
use crate::error::Rule;
use crate::key::KeyId;
use crate::log::tell;
use crate::{Error, KeyRefusal, KeyVault, Result};

/// The progress of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct RotationProgress {
    /// Disks, snapshots and images that are under the new key.
    pub done: usize,
    /// Disks, snapshots and images of the set.
    pub total: usize,
}

/// The result of a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rotation {
    /// The key that all disks, snapshots and images of the set are now under.
    pub key: KeyId,
    /// How many were moved to it; the others were there already.
    pub rewrapped: usize,
}

impl DiskService {
    /// Moves every disk, snapshot and image of a set to the latest version of its key. A rotation that was stopped or
    /// killed is continued.
    ///
    /// DEKs are wrapped again, with up to `parallel` calls of the vault at once. No sector is read or written, and
    /// disks stay in use. The old versions must stay enabled until this returns (27); until then they are in
    /// `previous_keys` (30).
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::NotAllowed`] until the error of an earlier rotation is cleared (32); the
    /// errors of the vault and the devices. An error that stops a running rotation is noted in the set. An error before
    /// it starts, such as a key that may not be used, is not noted.
    ///
    /// `progress` must not call the service for the same set.
    pub fn rotate_set(&self, set: &str, progress: &(dyn Fn(RotationProgress) + Sync)) -> Result<Rotation> {
        let inner = self.inner()?;
        let rotating = inner.rotating.of(set);
        let _alone = lock(&rotating);
        let set = inner.rotatable(set)?;
        let key = inner.latest(&set, false)?;
        inner.rotate(set, key, progress)
    }

    /// Moves a set with all its members to another key, possibly in another vault. Otherwise as
    /// [`rotate_set`](Self::rotate_set).
    ///
    /// Use it when the key has expired (38). A key that is disabled or deleted, or may not be used any more, must first
    /// be made usable again until this returns: without it nobody can get the DEKs, not even this service.
    ///
    /// # Errors
    /// As [`rotate_set`](Self::rotate_set); [`Error::NotAllowed`] for a vault in another region or tenant, or without soft
    /// delete and purge protection.
    pub fn change_key(&self, set: &str, key: &KeyId, progress: &(dyn Fn(RotationProgress) + Sync)) -> Result<Rotation> {
        let inner = self.inner()?;
        let rotating = inner.rotating.of(set);
        let _alone = lock(&rotating);
        let set = inner.rotatable(set)?;
        inner.check_vault(key.vault(), &set.region, &set.tenant)?;
        inner.rotate(set, key.clone(), progress)
    }

    /// Clears the error that stopped a rotation, so that it may be tried again (32).
    ///
    /// # Errors
    /// [`Error::NoSuchResource`].
    pub fn clear_rotation_error(&self, set: &str) -> Result<()> {
        self.inner()?.change_set(set, |set| set.auto_key_rotation_error = None).map(drop)
    }
}

impl Inner {
    fn rotatable(&self, name: &str) -> Result<EncryptionSet> {
        let set = self.store.set(name)?;
        if let Some(error) = &set.auto_key_rotation_error {
            return not_allowed(
                Rule::RotationFailed,
                &format!("a rotation failed ({}); clear its error first", error.code),
            );
        }
        Ok(set)
    }

    pub(super) fn latest(&self, set: &EncryptionSet, by_itself: bool) -> Result<KeyId> {
        let known = |key: &KeyId| set.former_keys.contains(key) || set.previous_keys.contains(key);
        self.latest_of(&*self.keys.vault_of(set, &set.active_key)?, &set.active_key, known, by_itself)
    }

    /// The latest version of a key: the active one, unless the vault has a newer. It never returns to a `known` earlier
    /// version: an owner who disables a version wants to block everything under it, not to move it to an older version.
    pub(super) fn latest_of(
        &self,
        vault: &dyn KeyVault,
        active: &KeyId,
        known: impl Fn(&KeyId) -> bool,
        by_itself: bool,
    ) -> Result<KeyId> {
        // If a vault doesn't describe its keys, it has no newer version.
        let Some(latest) = vault.describe(active.key(), None)?.filter(|latest| latest.id != *active) else {
            return Ok(active.clone());
        };
        let ours = vault.describe(active.key(), Some(active.version()))?;
        let known = known(&latest.id);
        let newer = match ours.as_ref().and_then(|ours| latest.age(ours)) {
            // If both were made in the same second, and nothing else tells, the one that was in use before is the older.
            Some(age) => age.is_gt() || age.is_eq() && !known,
            // It is unknown which is newer. Automatically, a set follows the vault only while its own version may be
            // used.
            None => !known && (!by_itself || ours.as_ref().is_some_and(|ours| ours.enabled)),
        };
        Ok(if newer { latest.id } else { active.clone() })
    }

    /// Notes the error that stopped a rotation.
    pub(super) fn stopped(&self, set: &str, at: Option<&ResourceName>, error: Error, failures: u64) -> Error {
        tell!(warn, "the rotation of the set {set} stopped: {error}");
        if !self.stops_others(&error, failures) {
            return error;
        }
        let noted = RotationError::of(&error, at);
        // If noting fails too, report the first error.
        let _ = self.store.write(|tables| {
            tables.check_alive()?;
            let Some(found) = tables.set(set)? else { return Ok(()) };
            tables.put_set(&EncryptionSet { auto_key_rotation_error: Some(noted.clone()), ..found })
        });
        error
    }

    /// Whether an error is to stop a rotation on all hosts until somebody clears it. Errors that only this host has met, or that
    /// will pass, don't. `failures` is the earlier number of failures, by [`failures`](Self::failures).
    pub(super) fn stops_others(&self, error: &Error, failures: u64) -> bool {
        // Another host has it open, and moves it itself, or lets it go; or it has changed the key; or it is half adopted.
        if matches!(error, Error::Busy { .. }) {
            return false;
        }
        let Some(fleet) = &self.keys.fleet else { return true };
        match error {
            // The store was away; or this host stood still, and its devices are refused.
            Error::Io { .. } if self.failures() != failures => false,
            _ => fleet.check().is_ok(),
        }
    }

    /// How often the store failed, and this host was refused because its lease had run out.
    pub(super) fn failures(&self) -> u64 {
        self.store.failures() + self.keys.fleet.as_ref().map_or(0, |fleet| fleet.refused())
    }

    pub(super) fn rotate(
        &self,
        set: EncryptionSet,
        key: KeyId,
        progress: &(dyn Fn(RotationProgress) + Sync),
    ) -> Result<Rotation> {
        self.store.counters.rotation(|| self.rotate_counted(set, key, progress))
    }

    fn rotate_counted(
        &self,
        set: EncryptionSet,
        key: KeyId,
        progress: &(dyn Fn(RotationProgress) + Sync),
    ) -> Result<Rotation> {
        let name = &set.name.clone();
        // Find an unusable key before anything is put under it.
        let vault = self.keys.vault_of(&set, &key)?;
        self.keys.leases.of(name, &key).renew_now(self.keys.now(), &*vault)?;
        if set.active_key != key {
            Kek { vault, key: Wanted::Version(key.clone()) }.try_out()?;
        }
        let again = set.active_key == key && set.previous_keys.is_empty();
        let (chosen_over, failures) = (set.active_key.clone(), self.failures());
        let go_over = || {
            self.store.write(|tables| {
                let mut set = tables.set(name)?.ok_or_else(|| no_set(name))?;
                if set.active_key != key {
                    // The key was chosen as a newer one than that. Another host may have gone over to a still newer one.
                    tables.check_active(name, &chosen_over)?;
                    // Record first that members may be under either key, whatever happens next.
                    let old = core::mem::replace(&mut set.active_key, key.clone());
                    set.former_keys.retain(|key| *key != set.active_key);
                    set.previous_keys.retain(|key| *key != set.active_key);
                    set.previous_keys.push(old);
                    tables.put_set(&set)?;
                }
                Ok(set)
            })
        };
        // Another host has gone over to it, or it is continued: then nothing is written.
        let set = if set.active_key == key { set } else { go_over()? };
        let began = Cell::new(None);
        let round = || {
            began.set(self.store.changes());
            // Members that are leaving are among them: they may still be under this set's old key.
            let queue = Queue::Set(set.name.clone());
            self.rewrap_all(&queue, |_| true, |member, notes| self.rewrap(&set, member, notes), progress)
        };
        let finish = |rewrapped, at_end: AtEnd<'_>| self.finish(&set, rewrapped, at_end);
        let rewrapped = match &self.keys.fleet {
            Some(fleet) => self.rotate_shared(fleet, Goal::Set(&set), again, progress, finish),
            None => until_finished(round, &Left::default(), |rewrapped| {
                if rewrapped == 0 && self.is_unchanged(&set, began.get())? {
                    return Ok(None);
                }
                finish(rewrapped, &|_, _| Ok(()))
            }),
        };
        let rewrapped = rewrapped.map_err(|(at, e)| self.stopped(name, at.as_ref(), e, failures))?;
        Ok(Rotation { key: set.active_key, rewrapped })
    }

    /// Whether a round that moved nothing has seen each member under the active key, in a store that nobody changed since it `began`. Then
    /// there is nothing to look for at the end, and nothing to note.
    fn is_unchanged(&self, rotated: &EncryptionSet, began: Option<u64>) -> Result<bool> {
        let set = self.store.set(&rotated.name)?;
        let is_at_rest = set.active_key == rotated.active_key && set.previous_keys.is_empty();
        // Members that are joining or leaving may be under another set's key: the end looks at them.
        let is_complete = is_at_rest && self.store.joining_page(None)?.0.is_empty();
        Ok(is_complete && began.is_some() && self.store.changes() == began)
    }

    /// Notes that a rotation has ended, unless a member isn't proven to be under the active key: then it returns that
    /// member's name.
    fn finish(&self, rotated: &EncryptionSet, rewrapped: usize, at_end: AtEnd<'_>) -> Result<Option<ResourceName>> {
        let now = self.clock.now();
        self.store.write(|tables| {
            let mut set = tables.set(&rotated.name)?.ok_or_else(|| no_set(&rotated.name))?;
            // Another host may have gone over to another key, and ends that rotation.
            tables.check_active(&rotated.name, &rotated.active_key)?;
            let waiting = tables.find_member(&set.name, |member| set.waits_for(member))?;
            if waiting.is_none() && (rewrapped > 0 || !set.previous_keys.is_empty()) {
                retire(&mut set.previous_keys, &mut set.former_keys);
                set.last_key_rotation_timestamp = Some(now);
                tables.put_set(&set)?;
            }
            at_end(tables, waiting.as_ref())?;
            Ok(waiting)
        })
    }

    /// Moves a current or leaving member of a set to its active key, and returns whether it had to.
    pub(super) fn rewrap(&self, set: &EncryptionSet, member: Ahead, notes: &Notes<'_>) -> Result<bool> {
        let rewrapped = self.registry.changing_ahead(member, |live, resource| {
            let here = live.here_or_busy()?;
            // Until now another host may have changed it.
            let resource = if here.is_some() { live.record()? } else { resource };
            let resource = self.finished_adopting(live, self.begun_import(live, resource)?)?;
            let here = resource.set.as_ref() == Some(&set.name);
            match &resource.joining {
                None if here => self.rewrap_member(live, &resource, set, notes),
                None => Ok(false),
                Some(_) if here => self.rewrap_live(live, &resource),
                // It is moving into a set whose vault this rotation must not depend on.
                Some(Joining::Set(from)) if *from == set.name => self.rewrap_member(live, &resource, set, notes),
                Some(_) => Ok(false),
            }
        });
        match rewrapped {
            // It was removed meanwhile.
            Err(Error::NoSuchResource(_)) => Ok(false),
            rewrapped => rewrapped,
        }
    }
}

impl EncryptionSet {
    /// Whether a member, also one that is leaving, isn't proved to be under the active key, is half adopted, or has a
    /// header that was replaced since.
    pub(super) fn waits_for(&self, member: &Resource) -> bool {
        if member.adopting.is_some() || member.is_replaced(0) {
            // It may still open by its former credentials, or by an older key alone.
            return true;
        }
        match member.proven_key(0) {
            Some(key) if member.set.as_ref() == Some(&self.name) && member.joining.is_none() => *key != self.active_key,
            // A member that is joining this set may have been moved to a former key of it, which nobody has noted yet.
            Some(_) if member.set.as_ref() == Some(&self.name) => !self.previous_keys.is_empty(),
            // A member that is leaving may be under the other set's key, which that set's record names.
            Some(key) => self.previous_keys.contains(key),
            None => true,
        }
    }

    pub(super) fn rotates_by_itself(&self) -> bool {
        self.auto_rotation && self.auto_key_rotation_error.is_none()
    }
}

impl RotationError {
    pub(super) fn of(error: &Error, at: Option<&ResourceName>) -> Self {
        let resource = at.map(ResourceName::to_string).unwrap_or_default();
        RotationError { code: code(error).into(), message: format!("{error:#}"), resource }
    }
}

/// Moves keys that nothing is under any more to the former ones, and keeps the last of these.
pub(super) fn retire(previous: &mut Vec<KeyId>, former: &mut Vec<KeyId>) {
    former.append(previous);
    former.drain(..former.len().saturating_sub(MAX_FORMER_KEYS));
}

/// The number of former keys that are kept.
const MAX_FORMER_KEYS: usize = 100;

/// A name for programs of the error that stopped a rotation.
fn code(error: &Error) -> &'static str {
    match error {
        Error::KeyRefused { reason, .. } => match reason {
            KeyRefusal::Missing | KeyRefusal::Deleted => "KeyNotFound",
            KeyRefusal::Disabled => "KeyDisabled",
            KeyRefusal::Expired => "KeyExpired",
            KeyRefusal::NotYetValid => "KeyNotYetValid",
            KeyRefusal::AccessDenied { .. } => "AccessDenied",
        },
        Error::DiskSuspended { .. } => "DiskSuspended",
        Error::Vault(_) | Error::NotAVault { .. } | Error::DamagedVault(_) => "VaultFailed",
        Error::NotFound { .. } | Error::Io { .. } => "DeviceFailed",
        _ => "RotationFailed",
    }
}
