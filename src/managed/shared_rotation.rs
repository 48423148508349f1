//! A rotation that any number of hosts share. Each host first moves the resources that it has open. Then it takes parts of the rest
//! from a queue in the store.
//!
//! A host works through a part in batches, whose devices it attaches. An attachment is as good as a lease: a host that dies loses
//! its devices and its part. The host that finds all parts done looks at all members once more, and ends the rotation if they are
//! proved to be under the key. It leaves a member that another host has open to that host; the next host goes on from there.
//!
//! A proof describes the past: a header may have been replaced since. So a member that is proved to be under the key is done only
//! if its header names the key as well. A host checks the headers of its open members at each look, and those of the others in
//! their part. The host that ends the rotation checks all once more, unless it has just done all parts itself. Members open on
//! another host are checked by that host.

use core::ops::ControlFlow;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::fleet::{Attached, Batch, Fleet};
use super::keys::Notes;
use super::live::{LiveResource, Registry, Seen};
use super::parallel;
use super::parts::Parts;
use super::records::{LeftTo, Resource, ResourceName};
use super::rotation::RotationProgress;
use super::rounds::{AtEnd, Goal, Left, Stopped, until_finished};
use super::service::{DiskService, Inner};
use super::shared_round::{LeftBehind, Round, State, is_done};
use super::store::{Ahead, Claim, MAX_PAGE, PART, Queue};
use super::sync::lock;
use crate::{Error, Result};

/// The most records of resources that are read at once.
pub(super) const READ: usize = 60;

impl DiskService {
    /// Counts the members of a set, and those that are proved to be under its active key. Every host gets the same answer, as of
    /// this moment. The members are read in pages, with one operation of the store for each 60.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; those of the store.
    pub fn rotation_progress(&self, set: &str) -> Result<RotationProgress> {
        let store = &self.inner()?.store;
        let set = store.set(set)?;
        let (mut progress, mut after) = (RotationProgress { done: 0, total: 0 }, None);
        loop {
            let (members, next) =
                store.queue_page(&Queue::Set(set.name.clone()), after.as_deref(), None, MAX_PAGE, &|_| true)?;
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

impl Inner {
    /// Rotates together with other hosts, and ends the rotation by `finish`, which names a member that isn't proved to be under the
    /// key, if there is one. Returns how many members this host moved. `again` says that the rotation had ended before: then the
    /// headers are checked, as some may have been replaced since.
    pub(super) fn rotate_shared(
        &self,
        fleet: &Arc<Fleet>,
        goal: Goal<'_>,
        again: bool,
        progress: &(dyn Fn(RotationProgress) + Sync),
        finish: impl Fn(usize, AtEnd<'_>) -> Result<Option<ResourceName>>,
    ) -> Result<usize, Stopped> {
        let queue = goal.queue();
        let ours = |resource: &Resource| matches!(goal, Goal::Set(_)) || self.is_under_platform(resource);
        let mut parts = Parts::new(self, fleet, &queue, goal.key());
        let turn = parts.begin(|| self.store.count(&queue, &ours)).map_err(|e| (None, e))?;
        let round = Round {
            goal,
            queue: queue.clone(),
            left: Left::default(),
            total: turn.total,
            looks: again || !turn.has_ended,
            own_parts: AtomicU64::new(0),
            told: Mutex::default(),
            seen: Mutex::default(),
            replaced: Mutex::default(),
            only: Mutex::new(turn.only),
            left_to: Mutex::default(),
            other: Mutex::default(),
            done: AtomicUsize::new(0),
            moved: AtomicUsize::new(0),
            failure: Mutex::default(),
            progress,
        };
        let parts = RefCell::new(parts);
        let act = || self.rotate_parts(fleet, &round, &mut parts.borrow_mut()).map(|()| 0);
        let end = |_| self.finish_shared(fleet, &round, &mut parts.borrow_mut(), &finish);
        until_finished(act, &round.left, end)?;
        // Includes the members that the look at the end moved.
        Ok(round.moved.load(Ordering::Relaxed))
    }

    /// Moves the resources that are open here, and then all parts that no other host has.
    fn rotate_parts(&self, fleet: &Arc<Fleet>, round: &Round<'_>, parts: &mut Parts<'_>) -> Result<(), Stopped> {
        let failed = |e| (None, e);
        *lock(&round.left_to) = LeftBehind::default();
        if lock(&round.only).is_some() {
            // The only part contains the open resources, too.
            self.rotate_range(fleet, round, None, None).map_err(failed)?;
            return round.stopped();
        }
        // A disk that is coming into the set may have the lease of another one; it is found in its part.
        let concerns = |live: &&Arc<LiveResource>| match round.goal {
            Goal::Set(set) => live.is_open() && live.lease().is_some_and(|lease| lease.set == set.name),
            Goal::Platform(..) => live.is_open(),
        };
        let open: Vec<ResourceName> =
            self.registry.all().iter().filter(concerns).map(|live| live.name.clone()).collect();
        let done = |name: &ResourceName| {
            if lock(&round.told).insert(name.clone()) {
                round.tell();
            }
        };
        lock(&round.replaced).take();
        self.rotate_open(fleet, round, &open, done)?;
        while !round.has_failed() {
            match parts.claim().map_err(failed)? {
                Claim::Members(part) => {
                    let done = self.rotate_range(fleet, round, part.from.clone(), part.until.as_deref());
                    let whole = done.is_ok() && !round.has_failed();
                    let given_back = parts.give_back(&part, whole);
                    done.and(given_back).map_err(failed)?;
                    round.own_parts.fetch_add(u64::from(whole), Ordering::Relaxed);
                }
                Claim::Left(host) => {
                    *lock(&round.other) = Some(host);
                    break;
                }
                Claim::Nothing => break,
            }
        }
        round.stopped()
    }

    fn rotate_range(
        &self,
        fleet: &Arc<Fleet>,
        round: &Round<'_>,
        mut after: Option<String>,
        until: Option<&str>,
    ) -> Result<()> {
        while !round.has_failed() {
            let (names, next) = self.store.queue_page(&round.queue, after.as_deref(), until, PART, &|_| true)?;
            self.rotate_some(fleet, round, &names)?;
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        Ok(())
    }

    /// Moves the named resources that are open here and aren't under the key, and calls `done` for each that is under it then. A
    /// resource that is proved to be under the key needs no batch: its header can be read without one.
    fn rotate_open(
        &self,
        fleet: &Arc<Fleet>,
        round: &Round<'_>,
        names: &[ResourceName],
        done: impl Fn(&ResourceName) + Sync,
    ) -> Result<(), Stopped> {
        let mut waiting = Vec::new();
        for names in names.chunks(READ) {
            for resource in self.store.resources_of(names).map_err(|e| (None, e))?.into_iter().flatten() {
                let name = resource.full_name();
                match self.state(&round.goal, &resource) {
                    State::Done => match self.names_key(round, &resource) {
                        Ok(true) => {
                            round.note_seen(&name);
                            done(&name);
                        }
                        // Another host may have it by now.
                        Ok(false) | Err(Error::Busy { .. }) => waiting.push(resource),
                        Err(Error::NoSuchResource(_)) => {}
                        Err(e) => return Err((Some(name), e)),
                    },
                    State::Waiting => waiting.push(resource),
                    State::Others => {}
                }
            }
        }
        self.rotate_batches(fleet, round, &waiting, done);
        Ok(())
    }

    /// Whether one that is proved to be under the key has a header that says so.
    fn names_key(&self, round: &Round<'_>, resource: &Resource) -> Result<bool> {
        let live = self.registry.of(resource);
        match round.goal {
            Goal::Set(set) => live.is_under(resource, &set.active_key),
            Goal::Platform(_, key) => live.bottom_is_under(resource, key),
        }
    }

    /// Moves the named resources that aren't under the key, and checks the headers of those that are proved to be, unless this host
    /// has looked at them already.
    fn rotate_some(&self, fleet: &Arc<Fleet>, round: &Round<'_>, names: &[ResourceName]) -> Result<()> {
        let mut waiting = Vec::new();
        for names in names.chunks(READ) {
            let found = self.store.resources_of(names)?.into_iter().flatten();
            waiting.extend(found.filter(|resource| match self.state(&round.goal, resource) {
                State::Done => !round.has_seen(&resource.full_name()),
                State::Waiting => true,
                State::Others => false,
            }));
        }
        self.rotate_batches(fleet, round, &waiting, |name| round.done(name));
        Ok(())
    }

    pub(super) fn rotate_batches(
        &self,
        fleet: &Arc<Fleet>,
        round: &Round<'_>,
        waiting: &[Resource],
        done: impl Fn(&ResourceName) + Sync,
    ) {
        // Few and full ones, for the store. The vault is asked as often at once, whatever they are.
        let count = waiting.len().div_ceil(Batch::MOST).max(1);
        let batches: Vec<&[Resource]> = waiting.chunks(waiting.len().div_ceil(count).max(1)).collect();
        let each = (self.parallel / count).max(1);
        parallel::for_each(self.parallel, &batches, |batch| self.rotate_batch(fleet, round, batch, each, &done));
    }

    fn rotate_batch(
        &self,
        fleet: &Arc<Fleet>,
        round: &Round<'_>,
        batch: &[Resource],
        at_once: usize,
        done: &(impl Fn(&ResourceName) + Sync),
    ) -> ControlFlow<()> {
        let mut left = batch;
        while !left.is_empty() {
            let seen: Vec<Seen> = left.iter().map(|resource| self.registry.seen(resource)).collect();
            let (attached, here) = match fleet.attach_all(&round.queue, round.goal.key(), left) {
                Ok(attached) => attached,
                Err(e) => return round.fail(None, e),
            };
            let (these, others) = left.split_at(attached.len());
            left = others;
            let notes = Notes::new(&self.keys);
            let batch: Vec<_> = attached.into_iter().zip(these).zip(seen).collect();
            parallel::for_each(at_once, &batch, |((attached, before), seen)| {
                self.rotate_attached(round, &notes, attached, before, seen, done)
            });
            // Before other hosts can open them and would move them again. Also if some failed.
            let noted = notes.write();
            drop(here);
            match noted {
                Ok(()) if round.has_failed() => return ControlFlow::Break(()),
                Ok(()) => {}
                Err(e) => return round.fail(None, e),
            }
        }
        ControlFlow::Continue(())
    }

    fn rotate_attached(
        &self,
        round: &Round<'_>,
        notes: &Notes<'_>,
        attached: &Attached,
        before: &Resource,
        seen: &Seen,
        done: &(impl Fn(&ResourceName) + Sync),
    ) -> ControlFlow<()> {
        let name = before.full_name();
        let resource = match attached {
            Attached::Here(resource) => resource,
            // Its host looks at it.
            Attached::Elsewhere(_) if self.state(&round.goal, before) == State::Done => {
                done(&name);
                return ControlFlow::Continue(());
            }
            Attached::Elsewhere(holder) => {
                let to = holder.clone().map(|holder| LeftTo { device: before.id.clone(), holder });
                let what = format!("the {name}, which another host has open,");
                round.leave(&name, to, Error::Busy { what });
                return ControlFlow::Continue(());
            }
            Attached::Gone => return ControlFlow::Continue(()),
        };
        let layer = round.goal.layer(resource);
        let was_proved = self.state(&round.goal, resource) == State::Done || resource.is_replaced(layer);
        match self.rotate_one(round, notes, seen, (**resource).clone()) {
            Ok(moved) => {
                round.note_seen(&name);
                if moved {
                    round.moved.fetch_add(1, Ordering::Relaxed);
                    self.store.counters.moved.add();
                }
                done(&name);
            }
            Err(why @ Error::Busy { .. }) if was_proved => match self.note_wrong(round, resource, layer) {
                Ok(()) => round.note_replaced(&name, why),
                Err(e) => return round.fail(Some(&name), e),
            },
            Err(why @ Error::Busy { .. }) => round.leave(&name, None, why),
            Err(Error::NoSuchResource(_)) => {}
            Err(e) => return round.fail(Some(&name), e),
        }
        if round.has_failed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Notes that the header of a resource that this host has isn't the one that was proved, so that no other host ends the
    /// rotation by the proof.
    fn note_wrong(&self, round: &Round<'_>, resource: &Resource, layer: usize) -> Result<()> {
        if resource.is_replaced(layer) || !matches!(self.names_key(round, resource), Ok(false)) {
            return Ok(());
        }
        self.keys.note(&resource.full_name(), &resource.id, |of| of.note_replaced(layer, true))
    }

    /// Moves a resource that this host has. The record of one that is joining a set, being imported or being adopted is read once more.
    fn rotate_one(&self, round: &Round<'_>, notes: &Notes<'_>, seen: &Seen, resource: Resource) -> Result<bool> {
        let is_plain = resource.joining.is_none() && !resource.is_to_be_imported() && resource.adopting.is_none();
        match round.goal {
            Goal::Set(set) if is_plain && resource.set.as_ref() == Some(&set.name) => {
                Registry::changing_known(seen, resource, |live, now| self.rewrap_member(live, &now, set, notes))
            }
            Goal::Set(set) => self.rewrap(set, Ahead::unread(&resource.full_name()), notes),
            Goal::Platform(kek, key) if is_plain => Registry::changing_known(seen, resource, |live, now| {
                self.rewrap_known_bottom(live, &now, Some(&now), (kek, key), notes)
            }),
            Goal::Platform(kek, key) => self.rewrap_bottom(Ahead::unread(&resource.full_name()), kek, key, notes),
        }
    }
}
