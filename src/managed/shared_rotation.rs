//! The rotation of a set by as many hosts as want: a round over its members, page by page.
//!
//! The members are the queue. A host takes a batch of them by attaching their devices, which is as good as a lease: a host that
//! dies loses it. Each begins at a page by chance, and passes over what another one has moved already, or is moving.

use core::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::fleet::{Attached, Batch, Fleet};
use super::keys::Notes;
use super::parallel;
use super::records::{EncryptionSet, Resource, ResourceName};
use super::rotation::{Left, RotationProgress, Stopped};
use super::service::{DiskService, Inner};
use super::sync::{into_inner, lock};
use crate::key::KeyId;
use crate::{Error, Result};

/// The most records of resources that are read at once.
const READ: usize = 60;

/// The state of a round.
struct Round<'r> {
    set: &'r EncryptionSet,
    left: &'r Left,
    total: usize,
    done: AtomicUsize,
    moved: AtomicUsize,
    failure: Mutex<Option<Stopped>>,
    progress: &'r (dyn Fn(RotationProgress) + Sync),
}

impl Round<'_> {
    fn done(&self, moved: bool) {
        self.moved.fetch_add(usize::from(moved), Ordering::Relaxed);
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        // Others may have joined since they were counted.
        (self.progress)(RotationProgress { done, total: self.total.max(done) });
    }

    fn leave(&self, name: &ResourceName) {
        let busy = || Error::Busy { what: format!("the {name}, which another host has open,") };
        lock(self.left).get_or_insert_with(busy);
    }

    fn fail(&self, at: Option<&ResourceName>, error: Error) -> ControlFlow<()> {
        lock(&self.failure).get_or_insert((at.cloned(), error));
        ControlFlow::Break(())
    }

    fn has_failed(&self) -> bool {
        lock(&self.failure).is_some()
    }
}

impl DiskService {
    /// How far a set's members are under its active key, by their proofs. On whatever host it is asked, it is so at this moment;
    /// the members are looked at in pages.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; those of the store.
    pub fn rotation_progress(&self, set: &str) -> Result<RotationProgress> {
        let store = &self.inner.store;
        let set = store.set(set)?;
        let (mut progress, mut after) = (RotationProgress { done: 0, total: 0 }, None);
        loop {
            let (members, next) = store.members_page(&set.name, after.as_deref(), None)?;
            for names in members.chunks(READ) {
                for resource in store.resources_of(names)?.into_iter().flatten() {
                    if resource.set.as_ref() == Some(&set.name) {
                        progress.total += 1;
                        progress.done += usize::from(is_done(&resource, &set.name, &set.active_key));
                    }
                }
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(progress),
            }
        }
    }
}

/// Whether a member is proved to be under the key, and stays in the set.
fn is_done(resource: &Resource, set: &str, key: &KeyId) -> bool {
    resource.proven_key(0) == Some(key) && resource.set.as_deref() == Some(set) && resource.joining.is_none()
}

impl Inner {
    /// Moves all members of a set to its active key that no other host has, and returns how many had to move.
    pub(super) fn rewrap_shared(
        &self,
        fleet: &std::sync::Arc<Fleet>,
        set: &EncryptionSet,
        left: &Left,
        progress: &(dyn Fn(RotationProgress) + Sync),
    ) -> Result<usize, Stopped> {
        let failed = |e| (None, e);
        let (total, start) = self.store.somewhere_in(&set.name).map_err(failed)?;
        let round = Round {
            set,
            left,
            total,
            done: AtomicUsize::new(0),
            moved: AtomicUsize::new(0),
            failure: Mutex::default(),
            progress,
        };
        // From there to the end, and then what comes before.
        self.rewrap_range(fleet, &round, start.clone(), None).map_err(failed)?;
        if start.is_some() && !round.has_failed() {
            self.rewrap_range(fleet, &round, None, start).map_err(failed)?;
        }
        into_inner(round.failure).map_or_else(|| Ok(round.moved.into_inner()), Err)
    }

    fn rewrap_range(
        &self,
        fleet: &std::sync::Arc<Fleet>,
        round: &Round<'_>,
        mut after: Option<String>,
        until: Option<String>,
    ) -> Result<()> {
        while !round.has_failed() {
            let (members, next) = self.store.members_page(&round.set.name, after.as_deref(), until.as_deref())?;
            let mut waiting = Vec::new();
            for names in members.chunks(READ) {
                for resource in self.store.resources_of(names)?.into_iter().flatten() {
                    match is_done(&resource, &round.set.name, &round.set.active_key) {
                        true => round.done(false),
                        false => waiting.push(resource),
                    }
                }
            }
            let size = waiting.len().div_ceil(self.parallel).clamp(1, Batch::MOST);
            let batches: Vec<&[Resource]> = waiting.chunks(size).collect();
            parallel::for_each(self.parallel, &batches, |batch| self.rewrap_batch(fleet, round, batch));
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        Ok(())
    }

    fn rewrap_batch(&self, fleet: &std::sync::Arc<Fleet>, round: &Round<'_>, batch: &[Resource]) -> ControlFlow<()> {
        let mut left = batch;
        while !left.is_empty() {
            let (attached, here) = match fleet.attach_all(round.set, left) {
                Ok(attached) => attached,
                Err(e) => return round.fail(None, e),
            };
            let (these, others) = left.split_at(attached.len());
            left = others;
            let notes = Notes::new(&self.keys);
            let moved = self.rewrap_attached(round, &notes, attached, these);
            // Before others can open them, who would move them again. Also if some failed.
            let noted = notes.write();
            drop(here);
            match noted {
                Ok(()) => moved?,
                Err(e) => return round.fail(None, e),
            }
        }
        ControlFlow::Continue(())
    }

    fn rewrap_attached(
        &self,
        round: &Round<'_>,
        notes: &Notes<'_>,
        attached: Vec<Attached>,
        batch: &[Resource],
    ) -> ControlFlow<()> {
        for (attached, before) in attached.into_iter().zip(batch) {
            let name = before.full_name();
            let resource = match attached {
                Attached::Here(resource) => resource,
                Attached::Elsewhere => {
                    round.leave(&name);
                    continue;
                }
                Attached::Gone => continue,
            };
            let is_plain = resource.set.as_ref() == Some(&round.set.name)
                && resource.joining.is_none()
                && !resource.is_to_be_imported();
            let moved = if is_plain {
                self.registry
                    .changing_known(*resource, |live, resource| self.rewrap_member(live, &resource, round.set, notes))
            } else {
                // It is under way to somewhere.
                self.rewrap(round.set, &name, notes)
            };
            match moved {
                Ok(moved) => {
                    if moved {
                        self.store.counters.moved.add();
                    }
                    round.done(moved);
                }
                Err(Error::Busy { .. }) => round.leave(&name),
                Err(Error::NoSuchResource(_)) => {}
                Err(e) => return round.fail(Some(&name), e),
            }
        }
        if round.has_failed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
