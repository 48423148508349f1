//! The platform's keys: which are in use, and the rotation of everything under them, like a set's.

use serde::Serialize;

use super::kek::Kek;
use super::keys::Notes;
use super::live::LiveResource;
use super::records::{PlatformKeys, Resource, ResourceName, RotationError};
use super::rotation::{Rotation, RotationProgress, retire};
use super::rounds::{AtEnd, Goal, Left, until_finished};
use super::service::{DiskService, Inner};
use super::store::{Ahead, MAX_PAGE, Queue};
use super::sync::lock;
use crate::key::KeyId;
use crate::{Error, Result, Secret};

/// The resources under the platform's keys, and whether all are under the active one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlatformReport {
    /// The name of the key in the service's options.
    pub key: String,
    /// The keys; `None` before anything was made.
    pub keys: Option<PlatformKeys>,
    /// Whether all resources are proven to be under the active key.
    pub finished: bool,
    /// The number of resources that are, and of all.
    pub progress: RotationProgress,
    /// The resources that are not, such as `disk "db-1"`.
    pub waiting: Vec<String>,
}

impl PlatformReport {
    /// The report in JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has only string keys")
    }
}

impl DiskService {
    /// Moves everything under a key of the platform to that key's latest version: disks, snapshots and images outside
    /// of sets, and the lower layers of those with two. To change to a key of another name, put that name into the
    /// service's options and call this. A rotation that was stopped or killed is continued.
    ///
    /// DEKs are wrapped again, with up to `parallel` calls of the vault at once. No sector is read or written, disks
    /// stay in use, and no customer's vault is asked. The old versions must stay enabled until this returns; until then
    /// they are in `previous_keys` of the [report](Self::report_platform).
    ///
    /// # Errors
    /// The errors of the vault and the devices. An error that stops it is noted until the next call.
    ///
    /// `progress` must not call this.
    pub fn rotate_platform(&self, progress: &(dyn Fn(RotationProgress) + Sync)) -> Result<Rotation> {
        let inner = self.inner()?;
        // No set has this name.
        let rotating = inner.rotating.of(".platform");
        let _alone = lock(&rotating);
        inner.store.counters.rotation(|| inner.rotate_platform(progress))
    }

    /// Reports the resources under the platform's keys, from the proofs (made when a resource was moved to a key, or opened) and
    /// the current headers; on a store that hosts share, from the headers of resources that are open here, and otherwise from the
    /// proofs alone. No vault is asked.
    ///
    /// # Errors
    /// [`Error::Io`] from the store. A resource with an unreadable header is `waiting`.
    pub fn report_platform(&self) -> Result<PlatformReport> {
        let inner = self.inner()?;
        let keys = inner.store.platform()?;
        let active = keys.as_ref().map(|keys| &keys.active_key);
        let is_done = |name: &ResourceName| {
            inner.registry.changing(name, |live, resource| {
                if !inner.is_under_platform(&resource) {
                    return Ok(true);
                }
                let active = active.filter(|_| resource.adopting.is_none());
                active.map_or(Ok(false), |key| live.bottom_is_told_under(&resource, key))
            })
        };
        let (mut waiting, mut total, mut after) = (Vec::new(), 0, None);
        loop {
            let ours = |resource: &Resource| inner.is_under_platform(resource);
            let (names, next) = inner.store.queue_page(&Queue::Platform, after.as_deref(), None, MAX_PAGE, &ours)?;
            total += names.len();
            waiting.extend(inner.waiting(&names, is_done).iter().map(ResourceName::to_string));
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let finished = waiting.is_empty() && keys.as_ref().is_none_or(|keys| keys.previous_keys.is_empty());
        let progress = RotationProgress { done: total - waiting.len(), total };
        Ok(PlatformReport { key: inner.keys.vaults.platform_key.clone(), keys, finished, progress, waiting })
    }
}

impl Inner {
    /// A resource that is moving into a set may be under the set's key already.
    pub(super) fn is_under_platform(&self, resource: &Resource) -> bool {
        let joined = |key: &KeyId| resource.joining.is_some() && key.vault() != self.keys.vaults.platform.id();
        resource.platform_layer().is_some() && !resource.platform_key().is_some_and(joined)
    }

    /// The version of the platform's key that everything should be under, if the store has these.
    fn latest_platform_key(&self, keys: Option<&PlatformKeys>) -> Result<KeyId> {
        let (vault, name) = (&*self.keys.vaults.platform, &self.keys.vaults.platform_key);
        let active = keys.filter(|keys| (keys.active_key.vault(), keys.active_key.key()) == (vault.id(), name));
        let Some(latest) = vault.describe(name, None)? else {
            // If a vault doesn't describe its keys, a trial wrap shows which version it uses.
            let takes = vault.wrap(name, &Secret::random(32)?)?.kek;
            let from_before = active.filter(|keys| keys.knew(&takes));
            return Ok(from_before.map_or(takes, |keys| keys.active_key.clone()));
        };
        match active {
            Some(keys) => self.latest_of(vault, &keys.active_key, |key| keys.knew(key), false),
            None => Ok(latest.id),
        }
    }

    fn rotate_platform(&self, progress: &(dyn Fn(RotationProgress) + Sync)) -> Result<Rotation> {
        let chosen_over = self.store.platform()?;
        let key = self.latest_platform_key(chosen_over.as_ref())?;
        let again = chosen_over.as_ref().is_some_and(|keys| keys.active_key == key && keys.previous_keys.is_empty());
        // Another host has gone over to it, or it is continued.
        let is_under_way =
            chosen_over.as_ref().is_some_and(|keys| keys.active_key == key && keys.rotation_error.is_none());
        let (chosen_over, failures) = (chosen_over.map(|keys| keys.active_key), self.failures());
        let kek = self.keys.vaults.platform_version(key.clone());
        kek.try_out()?;
        let go_over = || {
            self.store.write(|tables| {
                let active = tables.platform()?.map(|keys| keys.active_key);
                if active.as_ref() != Some(&key) && active != chosen_over {
                    // Perhaps to a still newer one.
                    return Err(changed());
                }
                let mut keys = tables.go_over_to(&key)?;
                keys.rotation_error = None;
                tables.put_platform(&keys)
            })
        };
        if !is_under_way {
            go_over()?;
        }
        let finish = |rewrapped, at_end: AtEnd<'_>| self.finish_platform(&key, rewrapped, at_end);
        let ours = |resource: &Resource| self.is_under_platform(resource);
        let rewrap = |of: Ahead, notes: &Notes<'_>| self.rewrap_bottom(of, &kek, &key, notes);
        let rewrapped = match &self.keys.fleet {
            Some(fleet) => self.rotate_shared(fleet, Goal::Platform(&kek, &key), again, progress, finish),
            None => {
                let round = || self.rewrap_all(&Queue::Platform, ours, rewrap, progress);
                until_finished(round, &Left::default(), |rewrapped| finish(rewrapped, &|_, _| Ok(())))
            }
        };
        rewrapped.map(|rewrapped| Rotation { key, rewrapped }).map_err(|(at, error)| {
            if !self.stops_others(&error, failures) {
                return error;
            }
            let noted = RotationError::of(&error, at.as_ref());
            // If noting fails too, report the first error.
            let _ = self.store.write(|tables| {
                tables.check_alive()?;
                let Some(keys) = tables.platform()? else { return Ok(()) };
                tables.put_platform(&PlatformKeys { rotation_error: Some(noted.clone()), ..keys })
            });
            error
        })
    }

    /// Notes that a rotation has ended, unless a resource isn't proven to be under the key: then it returns that
    /// resource's name.
    fn finish_platform(&self, key: &KeyId, rewrapped: usize, at_end: AtEnd<'_>) -> Result<Option<ResourceName>> {
        let now = self.clock.now();
        self.store.write(|tables| {
            // First: whatever comes under a key of the platform demands this record unchanged, and that the key is the active one.
            let mut keys = tables.platform()?.filter(|keys| keys.active_key == *key).ok_or_else(changed)?;
            let waiting = tables.find(|of| self.is_under_platform(of) && !of.is_done_below(key))?;
            if waiting.is_none() && (rewrapped > 0 || !keys.previous_keys.is_empty()) {
                retire(&mut keys.previous_keys, &mut keys.former_keys);
                keys.last_key_rotation_timestamp = Some(now);
                tables.put_platform(&keys)?;
            }
            at_end(tables, waiting.as_ref())?;
            Ok(waiting)
        })
    }

    /// Moves the volume under the platform's key to its active version, unless it is proven to be there.
    pub(super) fn rewrap_bottom(&self, of: Ahead, kek: &Kek, key: &KeyId, notes: &Notes<'_>) -> Result<bool> {
        let rewrapped = self.registry.changing_ahead(of, |live, resource| {
            let resource = self.finished_adopting(live, self.begun_import(live, resource)?)?;
            self.rewrap_known_bottom(live, &resource, None, (kek, key), notes)
        });
        match rewrapped {
            // It was removed meanwhile.
            Err(Error::NoSuchResource(_)) => Ok(false),
            rewrapped => rewrapped,
        }
    }

    /// The same by its record; `known` is that record, if no other host can have changed it since. The caller must hold its change
    /// lock.
    pub(super) fn rewrap_known_bottom(
        &self,
        live: &LiveResource,
        resource: &Resource,
        known: Option<&Resource>,
        (kek, key): (&Kek, &KeyId),
        notes: &Notes<'_>,
    ) -> Result<bool> {
        let Some(layer) = resource.platform_layer() else { return Ok(false) };
        if live.bottom_is_under(resource, key)? {
            return self.note_right(resource, layer).map(|()| false);
        }
        live.with_bottom_to_rewrap(known, |volume| {
            if !volume.keks().iter().any(|key| key.vault() == self.keys.vaults.platform.id()) {
                // It was moved into a set, but noting that failed.
                return Ok(false);
            }
            // Now no other host can move it. A caller that knows the record knows this, too.
            if known.is_none()
                && self.keys.fleet.is_some()
                && self.store.platform()?.is_none_or(|keys| keys.active_key != *key)
            {
                return Err(changed());
            }
            let rewrapped = kek.put_over(volume, resource.encryption_type)?;
            notes.add(resource, layer, key)?;
            self.note_right(resource, layer)?;
            Ok(rewrapped)
        })
    }
}

/// The error for a rotation that another host's has overtaken.
fn changed() -> Error {
    Error::Busy { what: "the platform's key, which another host has just changed,".into() }
}
