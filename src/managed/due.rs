//! Rotation by itself: which sets are due, in which order a host looks at them, and which it leaves to others that have them.

use core::ops::ControlFlow;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

use super::parallel;
use super::records::EncryptionSet;
use super::rotation::{Rotation, RotationProgress};
use super::service::{DiskService, Inner};
use super::store::Records;
use super::sync::{into_inner, lock, try_lock};
use crate::key::KeyId;
use crate::{Error, Result};

/// The hosts take turns to go through a set that seems to wait for others, because not all waiting members are known.
struct Turn {
    place: usize,
    hosts: usize,
}

impl Turn {
    /// The number of looks of all hosts after which one host takes its turn: once an hour with the usual interval.
    const LOOKS: usize = 4;

    /// Whether it is the host's turn, when it would pass a set over for the `times`-th time.
    fn is_at(&self, times: usize) -> bool {
        times % (Self::LOOKS * self.hosts) == Self::LOOKS * self.place
    }
}

/// A set that is to be rotated, and the key that it is to come under.
pub(super) type Due = (String, Result<KeyId>);

impl DiskService {
    /// Rotates the sets with auto-rotation whose vault has a newer version of the key, and continues killed rotations
    /// (28). Call it every few minutes on its own thread: it returns when the rotations are done. A vault is asked at
    /// most once per `rotation_interval`.
    ///
    /// It returns the result for each set that was due. On a store that hosts share, it skips sets that other hosts are rotating,
    /// or whose waiting members other hosts have open. A failed rotation is not retried until its error is cleared (32); a vault
    /// that could not be asked is asked again after the next interval.
    ///
    /// # Errors
    /// [`Error::Io`] from the store.
    pub fn auto_rotate(&self, progress: &(dyn Fn(RotationProgress) + Sync)) -> Result<Vec<(String, Result<Rotation>)>> {
        let mut rotated = Vec::new();
        self.auto_rotate_each(progress, &mut |name, rotation| rotated.push((name.to_owned(), rotation)))?;
        Ok(rotated)
    }

    /// As [`auto_rotate`](Self::auto_rotate), and tells of each set as soon as its rotation has ended, instead of making a list
    /// of all. The sets are looked at in pages of 1000.
    ///
    /// # Errors
    /// [`Error::Io`] from the store.
    pub fn auto_rotate_each(
        &self,
        progress: &(dyn Fn(RotationProgress) + Sync),
        ended: &mut dyn FnMut(&str, Result<Rotation>),
    ) -> Result<()> {
        let inner = self.inner()?;
        inner.finish_all_joining()?;
        let mut after = None;
        loop {
            let (sets, next) = inner.store.sets_page(after.as_deref())?;
            let due = inner.find_newer(&sets);
            let open = inner.open_sets();
            let (ours, others): (Vec<Due>, Vec<Due>) = due.into_iter().partition(|(name, _)| open.contains(name));
            let mut rotate = |(name, key): Due| {
                let rotation = key.and_then(|key| self.auto_rotate_set(&name, &key, progress));
                rotation.transpose().into_iter().for_each(|rotation| ended(&name, rotation));
            };
            // No other host can move the resources that are open here.
            ours.into_iter().for_each(&mut rotate);
            let runs = if others.is_empty() { Vec::new() } else { inner.runs()? };
            let mut others = inner.in_own_order(others, &runs).into_iter();
            while others.len() > 0 {
                let some: Vec<Due> = others.by_ref().take(Records::SETS).collect();
                let work = inner.with_work(&some, &runs)?;
                some.into_iter().zip(work).filter(|(_, work)| *work).for_each(|(due, _)| rotate(due));
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Rotates a set to a key, unless another thread is rotating it.
    fn auto_rotate_set(
        &self,
        name: &str,
        key: &KeyId,
        progress: &(dyn Fn(RotationProgress) + Sync),
    ) -> Result<Option<Rotation>> {
        let inner = self.inner()?;
        let rotating = inner.rotating.of(name);
        let Some(_alone) = try_lock(&rotating) else { return Ok(None) };
        let set = match inner.store.set(name) {
            Err(Error::NoSuchResource(_)) => return Ok(None),
            set => set?,
        };
        // Another thread may have rotated it meanwhile.
        let due = if set.rotates_by_itself() {
            set.active_key != *key || !set.previous_keys.is_empty()
        } else {
            inner.was_ordered(&set) && set.active_key == *key
        };
        if !due {
            return Ok(None);
        }
        let failures = inner.failures();
        let rotation = inner.rotate(set, key.clone(), progress).map_err(|e| {
            // An outage will probably pass, so don't note it. A refusal is noted.
            if e.is_revocation() { inner.stopped(name, None, e, failures) } else { e }
        });
        rotation.map(Some)
    }
}

impl Inner {
    /// The sets among these that are to be rotated, with their new keys.
    fn find_newer(&self, sets: &[EncryptionSet]) -> Vec<(String, Result<KeyId>)> {
        let found = Mutex::new(Vec::new());
        parallel::for_each(self.parallel, sets, |set| {
            if (set.rotates_by_itself() || self.was_ordered(set)) && self.should_look(&set.name) {
                let latest = if set.rotates_by_itself() { self.latest(set, true) } else { Ok(set.active_key.clone()) };
                let up_to_date = |latest: &KeyId| *latest == set.active_key && set.previous_keys.is_empty();
                if !latest.as_ref().is_ok_and(up_to_date) {
                    lock(&found).push((set.name.clone(), latest));
                }
            }
            ControlFlow::Continue(())
        });
        let mut found = into_inner(found);
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        found
    }

    /// Whether a rotation of a set that doesn't rotate by itself was begun, and left disks to the hosts that have them open.
    fn was_ordered(&self, set: &EncryptionSet) -> bool {
        self.keys.fleet.is_some()
            && !set.auto_rotation
            && set.auto_key_rotation_error.is_none()
            && !set.previous_keys.is_empty()
    }

    /// Whether a newer version of a set's key should be looked up now. If so, this records the lookup.
    fn should_look(&self, set: &str) -> bool {
        let (now, mut looked) = (self.keys.now(), lock(&self.looked));
        let due = looked.get(set).is_none_or(|&at| now.is_past(at, self.rotation_interval.as_secs()));
        if due {
            looked.insert(set.into(), now);
        }
        due
    }

    /// Puts sets into another order on each host, so that they don't all begin with the same.
    fn in_own_order(&self, mut due: Vec<Due>, runs: &[String]) -> Vec<Due> {
        if let Some(fleet) = self.keys.fleet.as_ref().filter(|_| runs.len() > 1) {
            let run = fleet.own().run;
            due.sort_by_cached_key(|(name, _)| {
                let mut hasher = DefaultHasher::new();
                (&run, name).hash(&mut hasher);
                hasher.finish()
            });
        }
        due
    }

    /// The hosts that share the store, in order, if any do.
    fn runs(&self) -> Result<Vec<String>> {
        if self.keys.fleet.is_none() {
            return Ok(Vec::new());
        }
        let mut runs: Vec<String> = self.store.hosts()?.into_iter().map(|(run, _)| run).collect();
        runs.sort_unstable();
        Ok(runs)
    }

    /// The sets with a member open here, if other hosts share the store.
    fn open_sets(&self) -> BTreeSet<String> {
        if self.keys.fleet.is_none() {
            return BTreeSet::new();
        }
        let open = self.registry.all().into_iter().filter(|live| live.is_open());
        open.filter_map(|live| live.lease()).map(|lease| lease.set.clone()).collect()
    }

    /// Whether each of these sets has work for this host. No member of them is open here. Other hosts may have taken the rest of a
    /// set since the sets were listed.
    fn with_work(&self, due: &[Due], runs: &[String]) -> Result<Vec<bool>> {
        let Some(fleet) = &self.keys.fleet else { return Ok(vec![true; due.len()]) };
        let wanted = due.iter().filter_map(|(name, key)| Some((name.as_str(), key.as_ref().ok()?)));
        let wanted: Vec<(&str, &KeyId)> = wanted.collect();
        let mut work = if wanted.is_empty() { Vec::new() } else { self.store.with_work(&fleet.own(), &wanted)? };
        let own = fleet.own().run;
        let turn = Turn { place: runs.iter().position(|run| *run == own).unwrap_or(0), hosts: runs.len().max(1) };
        let mut passed = lock(&self.passed);
        for ((set, _), work) in wanted.iter().zip(&mut work).filter(|(_, work)| !**work) {
            let times = passed.entry((*set).into()).or_default();
            *times += 1;
            *work = turn.is_at(*times);
        }
        drop(passed);
        let mut work = work.into_iter();
        // Errors are reported in any case.
        Ok(due.iter().map(|(_, key)| key.is_err() || work.next().unwrap_or(true)).collect())
    }
}
