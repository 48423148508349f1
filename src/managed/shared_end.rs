//! The end of a rotation that hosts share: one of them looks at all members once more.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::fleet::{Batch, Fleet};
use super::parts::Parts;
use super::records::{Resource, ResourceName};
use super::rounds::{AtEnd, Goal};
use super::service::Inner;
use super::shared_rotation::READ;
use super::shared_round::{Round, State};
use super::store::{Last, MAX_PAGE, PART};
use super::sync::lock;
use crate::{Error, Result};

/// The most members whose headers are read in one go: a few full batches.
const LOOK: usize = 3 * Batch::MOST;
/// The number of looks that go through all members after the first that waits. Fewer looks do if these members are few.
const BEYOND: usize = 16;

impl Inner {
    /// Ends the rotation if all members are under the key, or names one that isn't. One host at a time looks at all members. It
    /// goes on where the host before it met a member that another host had open.
    pub(super) fn finish_shared(
        &self,
        fleet: &Arc<Fleet>,
        round: &Round<'_>,
        parts: &mut Parts<'_>,
        finish: impl Fn(usize, AtEnd<'_>) -> Result<Option<ResourceName>>,
    ) -> Result<Option<ResourceName>> {
        let busy =
            |host: &str| Error::Busy { what: format!("{}, which another host, {host:?}, rotates,", round.queue) };
        let moved = round.moved.load(Ordering::Relaxed);
        if let Some(only) = lock(&round.only).take() {
            if let Err(e) = no_replaced(round) {
                let _ = parts.give_back(&only, false);
                return Err(e);
            }
            // The only part has all members, and they were looked at just now.
            let ended = finish(moved, &|tables, waiting| parts.end_in(tables, &only, round.found(waiting, None)));
            match &ended {
                Ok(_) => _ = round.own_parts.fetch_add(1, Ordering::Relaxed),
                Err(_) => _ = parts.give_back(&only, false),
            }
            return parts.ended(ended);
        }
        // Others have parts of it, and the last of them ends it.
        if let Some(host) = lock(&round.other).take() {
            return no_replaced(round).and(Err(busy(&host)));
        }
        let Last { claimed: last, swept, mut looked, parts: given_out } = match parts.claim_last()? {
            Ok(claimed) => claimed,
            Err(host) => return no_replaced(round).and(Err(busy(&host))),
        };
        let waiting = match swept {
            Some(swept) => self.sweep(fleet, round, swept, &mut looked),
            None => Ok(None),
        };
        let waiting = match waiting {
            Ok(None) if round.looks && !round.has_done_all(given_out) => self.look_at_all(fleet, round).map(|()| None),
            waiting => waiting,
        };
        // A replaced header found earlier counts, too. It keeps no other member from being looked at.
        let waiting = waiting.and_then(|waiting| no_replaced(round).map(|()| waiting));
        let moved = round.moved.load(Ordering::Relaxed);
        let ended = match waiting {
            Ok(None) => finish(moved, &|tables, waiting| parts.end_in(tables, &last, round.found(waiting, None))),
            Ok(waiting) => {
                let found = round.found(waiting.as_ref(), looked.as_ref());
                let noted = self.store.write(|tables| parts.end_in(tables, &last, found.clone()));
                noted.map(|()| waiting)
            }
            Err(e) => {
                let _ = parts.give_back(&last, true);
                return Err(e);
            }
        };
        if ended.is_err() {
            let _ = parts.give_back(&last, true);
        }
        parts.ended(ended)
    }

    /// Looks at all members after a key of the store, and moves those that wait. Returns the first that still waits. Beyond it, the
    /// look goes on for a while from `looked`, the end of the last look.
    fn sweep(
        &self,
        fleet: &Arc<Fleet>,
        round: &Round<'_>,
        swept: String,
        looked: &mut Option<String>,
    ) -> Result<Option<ResourceName>> {
        let mut after = swept;
        loop {
            let (names, next) = self.sweep_page(round, &after, MAX_PAGE)?;
            for names in names.chunks(READ) {
                // Members that were left before may have been let go since.
                lock(&round.left).take();
                let found = self.sweep_some(fleet, round, names)?;
                let now = self.store.resources_of(&found)?;
                if let Some(waiting) = now.iter().flatten().find(|of| self.waits(round, of)) {
                    let last = names.last().map_or(after, |name| round.queue.before(name));
                    self.sweep_beyond(fleet, round, last, looked)?;
                    return Ok(Some(waiting.full_name()));
                }
            }
            lock(&round.left).take();
            match next {
                Some(next) => after = next,
                None => return Ok(None),
            }
        }
    }

    /// Goes on after the first that waits, for others that can be moved, as their hosts have let them go. So that no look costs much,
    /// each goes through a part, and the next one goes on there.
    fn sweep_beyond(
        &self,
        fleet: &Arc<Fleet>,
        round: &Round<'_>,
        last: String,
        looked: &mut Option<String>,
    ) -> Result<()> {
        let mut after = looked.take().filter(|looked| *looked > last).unwrap_or(last);
        for _ in 0..(round.total / BEYOND / PART).max(1) {
            let (names, next) = self.sweep_page(round, &after, PART)?;
            names.chunks(READ).try_for_each(|names| self.sweep_some(fleet, round, names).map(drop))?;
            looked.clone_from(&next);
            match next {
                Some(next) => after = next,
                None => break,
            }
        }
        Ok(())
    }

    /// A page of the members; of the platform's, of those that wait.
    fn sweep_page(&self, round: &Round<'_>, after: &str, limit: usize) -> Result<(Vec<ResourceName>, Option<String>)> {
        self.store.queue_page(&round.queue, Some(after), None, limit, &|of| self.waits(round, of))
    }

    /// Moves those of these that wait, as far as no other host has them. Returns their names.
    fn sweep_some(&self, fleet: &Arc<Fleet>, round: &Round<'_>, names: &[ResourceName]) -> Result<Vec<ResourceName>> {
        let found = self.store.resources_of(names)?.into_iter().flatten();
        let found: Vec<Resource> = found.filter(|of| self.waits(round, of)).collect();
        self.look_at_some(fleet, round, &found)?;
        Ok(found.iter().map(Resource::full_name).collect())
    }

    /// Whether the rotation can't end before one is moved.
    fn waits(&self, round: &Round<'_>, resource: &Resource) -> bool {
        match &round.goal {
            Goal::Set(set) => set.waits_for(resource),
            goal => self.state(goal, resource) == State::Waiting,
        }
    }

    /// Looks at the headers of all that are proved to be under the key, as far as no other host has them, and moves those that aren't.
    fn look_at_all(&self, fleet: &Arc<Fleet>, round: &Round<'_>) -> Result<()> {
        let is_proved = |of: &Resource| self.state(&round.goal, of) == State::Done && !round.has_seen(&of.full_name());
        let mut after = None;
        loop {
            let (names, next) = self.store.queue_page(&round.queue, after.as_deref(), None, MAX_PAGE, &|_| true)?;
            for names in names.chunks(LOOK) {
                let found = self.store.resources_of(names)?.into_iter().flatten();
                // One that can't be moved keeps no others from being looked at.
                self.look_at_some(fleet, round, &found.filter(is_proved).collect::<Vec<_>>())?;
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    fn look_at_some(&self, fleet: &Arc<Fleet>, round: &Round<'_>, these: &[Resource]) -> Result<()> {
        self.rotate_batches(fleet, round, these, |_| {});
        lock(&round.failure).take().map_or(Ok(()), |(_, e)| Err(e))
    }
}

/// Fails with the first whose header was replaced, and that couldn't be moved.
fn no_replaced(round: &Round<'_>) -> Result<()> {
    lock(&round.replaced).take().map_or(Ok(()), |(name, why)| Err(replaced(&name, &why)))
}

/// The error for one whose header isn't the one that was proved, and couldn't be moved.
fn replaced(name: &ResourceName, why: &Error) -> Error {
    Error::Busy { what: format!("the {name}, whose header was replaced since it was put under the key ({why}),") }
}
