//! A rotation by as many hosts as want. Each moves what is open there, and then parts of the rest, which a queue in the store
//! gives out.
//!
//! Of a part a host takes batches by attaching their devices, which is as good as a lease: a host that dies loses them, and the part.
//! The host that finds all parts done looks at all members once more, and ends the rotation if they are proved to be under the key.
//! What it meets that another host has open it leaves to that one; the next host goes on from there.

use core::ops::ControlFlow;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::fleet::{Attached, Batch, Fleet};
use super::keys::{KeyLease, Notes};
use super::live::{LiveResource, Registry, Seen};
use super::parallel;
use super::parts::Parts;
use super::records::{Resource, ResourceName};
use super::rotation::RotationProgress;
use super::rounds::{Goal, Left, Stopped, until_finished};
use super::service::{DiskService, Inner};
use super::store::{Claim, MAX_PAGE, PART, Queue};
use super::sync::lock;
use crate::key::KeyId;
use crate::{Error, Result};

/// The most records of resources that are read at once.
const READ: usize = 60;

/// What is known of a resource from its record.
#[derive(PartialEq, Eq)]
enum State {
    /// It is proved to be under the key.
    Done,
    Waiting,
    /// It has nothing to do with this rotation.
    Others,
}

/// One host's part of a rotation.
struct Round<'r> {
    goal: Goal<'r>,
    queue: Queue,
    left: Left,
    total: usize,
    /// Those that are open here, and were told of as done.
    open: Mutex<BTreeSet<ResourceName>>,
    /// The host that has the last parts.
    other: Mutex<Option<String>>,
    done: AtomicUsize,
    moved: AtomicUsize,
    failure: Mutex<Option<Stopped>>,
    progress: &'r (dyn Fn(RotationProgress) + Sync),
}

impl Round<'_> {
    /// One of a part is under the key. What was told of before isn't told again.
    fn done(&self, name: &ResourceName) {
        if !lock(&self.open).contains(name) {
            self.tell();
        }
    }

    fn tell(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        // Others may have joined since they were counted.
        (self.progress)(RotationProgress { done, total: self.total.max(done) });
    }

    fn leave(&self, name: &ResourceName, why: Error) {
        let mut left = lock(&self.left);
        // Threads leave several at once, and the first of them is told of.
        if left.as_ref().is_none_or(|(first, _)| name < first) {
            *left = Some((name.clone(), why));
        }
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
    /// the members are looked at in pages, with an operation of the store for each 60 of them.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; those of the store.
    pub fn rotation_progress(&self, set: &str) -> Result<RotationProgress> {
        let store = &self.inner.store;
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

/// Whether a member is proved to be under the key, and stays in the set.
fn is_done(resource: &Resource, set: &str, key: &KeyId) -> bool {
    resource.proven_key(0) == Some(key) && resource.set.as_deref() == Some(set) && resource.joining.is_none()
}

impl Inner {
    /// Rotates together with other hosts, and ends the rotation by `finish`, which names one that isn't proved to be under the key.
    /// Returns how many this host moved.
    pub(super) fn rotate_shared(
        &self,
        fleet: &Arc<Fleet>,
        goal: Goal<'_>,
        progress: &(dyn Fn(RotationProgress) + Sync),
        finish: impl Fn(usize) -> Result<Option<ResourceName>>,
    ) -> Result<usize, Stopped> {
        let queue = goal.queue();
        let ours = |resource: &Resource| matches!(goal, Goal::Set(_)) || self.is_under_platform(resource);
        let total =
            self.store.begin_turn(&queue, goal.key(), || self.store.count(&queue, &ours)).map_err(|e| (None, e))?;
        let round = Round {
            goal,
            queue,
            left: Left::default(),
            total,
            open: Mutex::default(),
            other: Mutex::default(),
            done: AtomicUsize::new(0),
            moved: AtomicUsize::new(0),
            failure: Mutex::default(),
            progress,
        };
        let act = || self.rotate_parts(fleet, &round).map(|()| 0);
        until_finished(act, &round.left, |_| self.finish_shared(fleet, &round, &finish))?;
        // With those that the look at the end moved.
        Ok(round.moved.load(Ordering::Relaxed))
    }

    /// Moves what is open here, and then all parts that no other host has.
    fn rotate_parts(&self, fleet: &Arc<Fleet>, round: &Round<'_>) -> Result<(), Stopped> {
        let failed = |e| (None, e);
        // A disk that is coming into the set may have the lease of another one; it is found in its part.
        let is_others = |lease: Arc<KeyLease>| matches!(round.goal, Goal::Set(set) if lease.set != set.name);
        let concerns = |live: &&Arc<LiveResource>| live.is_open() && !live.lease().is_some_and(is_others);
        let open: Vec<ResourceName> =
            self.registry.all().iter().filter(concerns).map(|live| live.name.clone()).collect();
        let done = |name: &ResourceName| {
            if lock(&round.open).insert(name.clone()) {
                round.tell();
            }
        };
        self.rotate_some(fleet, round, &open, done).map_err(failed)?;
        let mut parts = Parts::new(self, fleet, &round.queue, round.goal.key());
        while !round.has_failed() {
            match parts.claim().map_err(failed)? {
                Claim::Members(part) => {
                    let done = self.rotate_range(fleet, round, part.from.clone(), part.until.as_deref());
                    let whole = done.is_ok() && !round.has_failed();
                    let given_back = parts.give_back(&part, whole);
                    done.and(given_back).map_err(failed)?;
                }
                Claim::Left(host) => {
                    *lock(&round.other) = Some(host);
                    break;
                }
                Claim::Nothing => break,
            }
        }
        match lock(&round.failure).take() {
            Some(stopped) => Err(stopped),
            None => Ok(()),
        }
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
            self.rotate_some(fleet, round, &names, |name| round.done(name))?;
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        Ok(())
    }

    /// Moves those of these that aren't under the key, and calls `done` for each that is then.
    fn rotate_some(
        &self,
        fleet: &Arc<Fleet>,
        round: &Round<'_>,
        names: &[ResourceName],
        done: impl Fn(&ResourceName) + Sync,
    ) -> Result<()> {
        let mut waiting = Vec::new();
        for names in names.chunks(READ) {
            for resource in self.store.resources_of(names)?.into_iter().flatten() {
                match self.state(&round.goal, &resource) {
                    State::Done => done(&resource.full_name()),
                    State::Waiting => waiting.push(resource),
                    State::Others => {}
                }
            }
        }
        self.rotate_batches(fleet, round, &waiting, done);
        Ok(())
    }

    fn rotate_batches(
        &self,
        fleet: &Arc<Fleet>,
        round: &Round<'_>,
        waiting: &[Resource],
        done: impl Fn(&ResourceName) + Sync,
    ) {
        let size = waiting.len().div_ceil(self.parallel).clamp(1, Batch::MOST);
        let batches: Vec<&[Resource]> = waiting.chunks(size).collect();
        parallel::for_each(self.parallel, &batches, |batch| self.rotate_batch(fleet, round, batch, &done));
    }

    fn state(&self, goal: &Goal<'_>, resource: &Resource) -> State {
        match goal {
            Goal::Set(set) if is_done(resource, &set.name, &set.active_key) => State::Done,
            Goal::Set(set) if resource.set.as_ref() == Some(&set.name) => State::Waiting,
            Goal::Set(set) if resource.leaving() == Some(&set.name) => State::Waiting,
            Goal::Platform(_, key) if self.is_under_platform(resource) => match resource.platform_key() == Some(key) {
                true => State::Done,
                false => State::Waiting,
            },
            _ => State::Others,
        }
    }

    fn rotate_batch(
        &self,
        fleet: &Arc<Fleet>,
        round: &Round<'_>,
        batch: &[Resource],
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
            let moved = self.rotate_attached(round, &notes, attached, these.iter().zip(seen), done);
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

    fn rotate_attached<'r>(
        &self,
        round: &Round<'_>,
        notes: &Notes<'_>,
        attached: Vec<Attached>,
        batch: impl Iterator<Item = (&'r Resource, Seen)>,
        done: &(impl Fn(&ResourceName) + Sync),
    ) -> ControlFlow<()> {
        for (attached, (before, seen)) in attached.into_iter().zip(batch) {
            let name = before.full_name();
            let resource = match attached {
                Attached::Here(resource) => resource,
                Attached::Elsewhere => {
                    let what = format!("the {name}, which another host has open,");
                    round.leave(&name, Error::Busy { what });
                    continue;
                }
                Attached::Gone => continue,
            };
            match self.rotate_one(round, notes, &seen, *resource) {
                Ok(moved) => {
                    if moved {
                        round.moved.fetch_add(1, Ordering::Relaxed);
                        self.store.counters.moved.add();
                    }
                    done(&name);
                }
                Err(why @ Error::Busy { .. }) => round.leave(&name, why),
                Err(Error::NoSuchResource(_)) => {}
                Err(e) => return round.fail(Some(&name), e),
            }
        }
        if round.has_failed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Moves one that is this host's. One that is under way to somewhere is read once more.
    fn rotate_one(&self, round: &Round<'_>, notes: &Notes<'_>, seen: &Seen, resource: Resource) -> Result<bool> {
        let is_plain = resource.joining.is_none() && !resource.is_to_be_imported() && resource.adopting.is_none();
        match round.goal {
            Goal::Set(set) if is_plain && resource.set.as_ref() == Some(&set.name) => {
                Registry::changing_known(seen, resource, |live, now| self.rewrap_member(live, &now, set, notes))
            }
            Goal::Set(set) => self.rewrap(set, &resource.full_name(), notes),
            Goal::Platform(kek, key) if is_plain => Registry::changing_known(seen, resource, |live, now| {
                self.rewrap_known_bottom(live, &now, Some(&now), (kek, key), notes)
            }),
            Goal::Platform(kek, key) => self.rewrap_bottom(&resource.full_name(), kek, key, notes),
        }
    }

    /// Ends the rotation if all are under the key, or names one that isn't. One host at a time looks at all, and goes on where the one
    /// before met one that another host had open.
    fn finish_shared(
        &self,
        fleet: &Arc<Fleet>,
        round: &Round<'_>,
        finish: impl Fn(usize) -> Result<Option<ResourceName>>,
    ) -> Result<Option<ResourceName>> {
        let busy =
            |host: &str| Error::Busy { what: format!("{}, which another host, {host:?}, rotates,", round.queue) };
        // Others have parts of it, and the last of them ends it.
        if let Some(host) = lock(&round.other).take() {
            return Err(busy(&host));
        }
        let mut parts = Parts::new(self, fleet, &round.queue, round.goal.key());
        let (last, swept) = match parts.claim_last()? {
            Ok(claimed) => claimed,
            Err(host) => return Err(busy(&host)),
        };
        let waiting = match swept {
            Some(swept) => self.sweep(fleet, round, swept),
            None => Ok(None),
        };
        let waiting = match waiting {
            Ok(None) => finish(round.moved.load(Ordering::Relaxed)),
            waiting => waiting,
        };
        match waiting {
            Ok(waiting) => {
                parts.end_last(&last, waiting.as_ref())?;
                Ok(waiting)
            }
            Err(e) => {
                let _ = parts.give_back(&last, true);
                Err(e)
            }
        }
    }

    /// Looks at all that come after a key of the store, and moves those that wait. Returns the first that waits then.
    fn sweep(&self, fleet: &Arc<Fleet>, round: &Round<'_>, swept: String) -> Result<Option<ResourceName>> {
        let waits = |resource: &Resource| match &round.goal {
            Goal::Set(set) => set.waits_for(resource),
            goal => self.state(goal, resource) == State::Waiting,
        };
        let mut after = Some(swept);
        loop {
            let (names, next) = self.store.queue_page(&round.queue, after.as_deref(), None, MAX_PAGE, &|_| true)?;
            for names in names.chunks(READ) {
                // What was left before may have been let go since.
                lock(&round.left).take();
                let found: Vec<Resource> =
                    self.store.resources_of(names)?.into_iter().flatten().filter(waits).collect();
                if found.is_empty() {
                    continue;
                }
                self.rotate_batches(fleet, round, &found, |_| {});
                if let Some((_, e)) = lock(&round.failure).take() {
                    return Err(e);
                }
                let names: Vec<ResourceName> = found.iter().map(Resource::full_name).collect();
                if let Some(waiting) = self.store.resources_of(&names)?.iter().flatten().find(|&of| waits(of)) {
                    return Ok(Some(waiting.full_name()));
                }
            }
            lock(&round.left).take();
            match next {
                Some(next) => after = Some(next),
                None => return Ok(None),
            }
        }
    }
}
