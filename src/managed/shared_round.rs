//! The state that one host keeps while it takes part in a shared rotation.

use core::ops::ControlFlow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::records::{LeftTo, Resource, ResourceName};
use super::rotation::RotationProgress;
use super::rounds::{Goal, Left, Stopped};
use super::service::Inner;
use super::store::{Claimed, Found, Queue};
use super::sync::lock;
use crate::key::KeyId;
use crate::{Error, Result};

/// The most members that are remembered as looked at.
const MOST_SEEN: usize = 4096;
/// The most disks open on other hosts that are noted one by one: each look at a set that waits for them reads one more record for each.
const MOST_LEFT: usize = 4;

/// The state of a resource in a rotation, by its record.
#[derive(PartialEq, Eq)]
pub(super) enum State {
    /// It is proved to be under the key.
    Done,
    Waiting,
    /// It has nothing to do with this rotation.
    Others,
}

/// The members that were left, because another host has them open or for another reason.
#[derive(Default)]
pub(super) struct LeftBehind {
    /// The first few of the members that other hosts have open, in the order of their names.
    to: BTreeMap<ResourceName, LeftTo>,
    /// Something was left for another reason.
    otherwise: bool,
}

/// One host's part of a rotation.
pub(super) struct Round<'r> {
    pub(super) goal: Goal<'r>,
    pub(super) queue: Queue,
    pub(super) left: Left,
    pub(super) total: usize,
    /// Whether the last look at all members reads their headers, too. It doesn't if this host had all parts.
    pub(super) looks: bool,
    /// How many parts this host has done as a whole.
    pub(super) own_parts: AtomicU64,
    /// The resources open here that were reported as done. Not all were looked at: some belong to another host by now.
    pub(super) told: Mutex<BTreeSet<ResourceName>>,
    /// Some of the resources that this host has moved, or whose headers it has looked at.
    pub(super) seen: Mutex<BTreeSet<ResourceName>>,
    /// The first resource that was proved to be under the key, whose header isn't under it, and that couldn't be moved.
    pub(super) replaced: Mutex<Option<(ResourceName, Error)>>,
    /// The only part of a small rotation, which this host has until the rotation ends.
    pub(super) only: Mutex<Option<Claimed>>,
    /// The members that were left to other hosts.
    pub(super) left_to: Mutex<LeftBehind>,
    /// The host that has the last parts.
    pub(super) other: Mutex<Option<String>>,
    pub(super) done: AtomicUsize,
    pub(super) moved: AtomicUsize,
    pub(super) failure: Mutex<Option<Stopped>>,
    pub(super) progress: &'r (dyn Fn(RotationProgress) + Sync),
}

impl Round<'_> {
    /// Reports that a member of a part is under the key, unless it was reported before.
    pub(super) fn done(&self, name: &ResourceName) {
        if !lock(&self.told).contains(name) {
            self.tell();
        }
    }

    /// Notes that this host has looked at a resource, so that it needn't again at the end. Memory doesn't grow with the set.
    pub(super) fn note_seen(&self, name: &ResourceName) {
        let mut seen = lock(&self.seen);
        if seen.len() < MOST_SEEN {
            seen.insert(name.clone());
        }
    }

    /// Whether this host has done all parts of the rotation, so that it has just looked at all members.
    pub(super) fn has_done_all(&self, given_out: u64) -> bool {
        self.own_parts.load(Ordering::Relaxed) == given_out
    }

    /// Whether this host is known to have looked at a resource.
    pub(super) fn has_seen(&self, name: &ResourceName) -> bool {
        lock(&self.seen).contains(name)
    }

    pub(super) fn tell(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        // Others may have joined since they were counted.
        (self.progress)(RotationProgress { done, total: self.total.max(done) });
    }

    /// Leaves a member that another host has open, given by `to`, or that can't be moved for another reason.
    pub(super) fn leave(&self, name: &ResourceName, to: Option<LeftTo>, why: Error) {
        {
            let mut behind = lock(&self.left_to);
            match to {
                Some(to) => drop(behind.to.insert(name.clone(), to)),
                None => behind.otherwise = true,
            }
            if behind.to.len() > MOST_LEFT {
                behind.to.pop_last();
            }
        }
        let mut left = lock(&self.left);
        // Threads leave several at once. The first by name is reported.
        if left.as_ref().is_none_or(|(first, _)| name < first) {
            *left = Some((name.clone(), why));
        }
    }

    /// The findings to store after a look at all members. `waiting` is the first member that waits; `looked` is the key up to which
    /// the look went on after it. The hosts to which members were left are included if no member was left for another reason.
    pub(super) fn found(&self, waiting: Option<&ResourceName>, looked: Option<&String>) -> Option<Found> {
        let waiting = waiting?;
        let behind = lock(&self.left_to);
        let is_all = behind.to.contains_key(waiting) && !behind.otherwise;
        let left_to = if is_all { behind.to.values().cloned().collect() } else { Vec::new() };
        Some(Found { swept: self.queue.before(waiting), looked: looked.cloned(), left_to })
    }

    /// Notes that a member is proved to be under the key but its header isn't, so that the rotation doesn't end.
    pub(super) fn note_replaced(&self, name: &ResourceName, why: Error) {
        lock(&self.replaced).get_or_insert((name.clone(), why));
    }

    pub(super) fn fail(&self, at: Option<&ResourceName>, error: Error) -> ControlFlow<()> {
        lock(&self.failure).get_or_insert((at.cloned(), error));
        ControlFlow::Break(())
    }

    /// Takes the error that stopped this host's part, if there was one.
    pub(super) fn stopped(&self) -> Result<(), Stopped> {
        lock(&self.failure).take().map_or(Ok(()), Err)
    }

    pub(super) fn has_failed(&self) -> bool {
        lock(&self.failure).is_some()
    }
}

/// Whether a member is proved to be under the key, and stays in the set.
pub(super) fn is_done(resource: &Resource, set: &str, key: &KeyId) -> bool {
    let is_whole = resource.joining.is_none() && resource.adopting.is_none() && !resource.is_replaced(0);
    is_whole && resource.proven_key(0) == Some(key) && resource.set.as_deref() == Some(set)
}

impl Inner {
    /// The state of a resource in the rotation, by its record.
    pub(super) fn state(&self, goal: &Goal<'_>, resource: &Resource) -> State {
        match goal {
            Goal::Set(set) if is_done(resource, &set.name, &set.active_key) => State::Done,
            Goal::Set(set) if resource.set.as_ref() == Some(&set.name) => State::Waiting,
            Goal::Set(set) if resource.leaving() == Some(&set.name) => State::Waiting,
            Goal::Platform(_, key) if self.is_under_platform(resource) => match resource.is_done_below(key) {
                true => State::Done,
                false => State::Waiting,
            },
            _ => State::Others,
        }
    }
}
