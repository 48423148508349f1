//! A rotation as a queue that hosts share. It gives out parts of a set's members, or of the resources under the platform's key, to hosts.
//!
//! A record says up to which key of the store the members were given out. A free host gives itself the next part, and notes that in
//! a record of the part, which it removes when the part is done. So each member is looked at by one host, and neither the store nor
//! a host has a list of them. The queue only divides the work: at the end, one host looks at all members to check that they are
//! proved to be under the key.

use std::collections::BTreeSet;

use super::layer::Records;
use super::place::{Place, before, members_of, parts_of};
use super::record::{parse, parse_resource};
use super::shared::MAX_PAGE;
use super::tables::Tables;
use super::transaction::opened;
use crate::key::KeyId;
use crate::managed::records::{Holder, LeftTo, Part, Resource, ResourceName, Turn};
use crate::{Error, Result};

/// The resources that a rotation goes through.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::managed) enum Queue {
    /// The members of a set, including those that are moving into another one.
    Set(String),
    /// All resources. Their records tell which of them are under the platform's key.
    Platform,
}

/// How many members a part has at most. A part takes five operations of the store besides those for its members.
pub(in crate::managed) const PART: usize = 240;
/// The number of the part that is the look at all members at the end.
pub(super) const LAST: u64 = u64::MAX;
/// The most parts of an earlier rotation that are removed at once.
const MOST_STALE: usize = 16;

/// The answer to a host that asks for work.
pub(in crate::managed) enum Claim {
    /// A part, which is this host's until it [gives it back](Records::give_back).
    Members(Claimed),
    /// No part: this other host, which has a lease, has the last parts.
    Left(String),
    /// No part: all parts are done.
    Nothing,
}

/// The findings of a look at all members that hasn't ended the rotation.
#[derive(Default, Clone)]
pub(in crate::managed) struct Found {
    /// The key up to which all members are proved.
    pub(in crate::managed) swept: String,
    /// The key up to which the look has gone on after that.
    pub(in crate::managed) looked: Option<String>,
    /// The members that wait for other hosts, as far as they are few.
    pub(in crate::managed) left_to: Vec<LeftTo>,
}

/// A rotation that hosts share, as it was when this host joined it.
pub(in crate::managed) struct Begun {
    /// How many members there were when it began.
    pub(in crate::managed) total: usize,
    /// All members were proved to be under the key.
    pub(in crate::managed) has_ended: bool,
    /// The only part, if the rotation is a new one of a small set. It has all members, and this host has it.
    pub(in crate::managed) only: Option<Claimed>,
}

/// The last look at all members, which this host has.
pub(in crate::managed) struct Last {
    pub(in crate::managed) claimed: Claimed,
    /// The key up to which all members were proved before.
    pub(in crate::managed) swept: Option<String>,
    /// The key up to which the last look went on after that.
    pub(in crate::managed) looked: Option<String>,
    /// How many parts were given out.
    pub(in crate::managed) parts: u64,
}

/// A part that this host has.
pub(in crate::managed) struct Claimed {
    place: Place,
    /// It begins after the key `from`, and ends with the key `until`.
    pub(in crate::managed) from: Option<String>,
    pub(in crate::managed) until: Option<String>,
}

impl Queue {
    /// No set has the platform's name.
    fn name(&self) -> &str {
        match self {
            Queue::Set(name) => name,
            Queue::Platform => ".platform",
        }
    }

    pub(super) fn prefix(&self) -> String {
        match self {
            Queue::Set(name) => members_of(name),
            Queue::Platform => super::place::RESOURCES.into(),
        }
    }

    pub(super) fn turn(&self) -> Place {
        Place::Turn(self.name().into())
    }

    /// The place of the record with the active key.
    pub(super) fn keys(&self) -> Place {
        match self {
            Queue::Set(name) => Place::Set(name.clone()),
            Queue::Platform => Place::Platform,
        }
    }

    /// A key right before that of a member: no key is between the two.
    pub(in crate::managed) fn before(&self, name: &ResourceName) -> String {
        before(&match self {
            Queue::Set(set) => Place::Member(set.clone(), name.clone()).key(),
            Queue::Platform => Place::Resource(name.clone()).key(),
        })
    }
}

impl core::fmt::Display for Queue {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Queue::Set(name) => write!(f, "the set {name:?}"),
            Queue::Platform => f.write_str("the platform's key"),
        }
    }
}

impl Tables<'_> {
    /// Demands that the active key is `key`, on which the caller's decision is based.
    ///
    /// # Errors
    /// [`Error::Busy`] if another host has changed it; [`Error::NoSuchResource`].
    pub(in crate::managed) fn check_rotated_to(&mut self, queue: &Queue, key: &KeyId) -> Result<()> {
        match queue {
            Queue::Set(set) => self.check_active(set, key),
            Queue::Platform => match self.platform()? {
                Some(keys) if keys.active_key == *key => Ok(()),
                _ => Err(changed(queue)),
            },
        }
    }

    /// The turn of a rotation to this key.
    fn turn(&mut self, queue: &Queue, key: &KeyId) -> Result<Turn> {
        let turn = self.read::<Turn>(&queue.turn())?;
        turn.filter(|turn| turn.key == *key).ok_or_else(|| changed(queue))
    }

    /// Removes the remaining records of a set's rotations.
    pub(super) fn remove_turn(&mut self, set: &str) -> Result<()> {
        let page = self.transaction.page(&parts_of(set), None, MOST_STALE)?;
        let turn = Place::Turn(set.into()).key();
        self.transaction.load(&page.iter().map(|part| part.key.clone()).chain([turn.clone()]).collect::<Vec<_>>())?;
        page.iter().try_for_each(|part| self.transaction.remove(&part.key))?;
        self.transaction.remove(&turn)
    }

    fn claim(&mut self, queue: &Queue, key: &KeyId, own: &Holder) -> Result<Claim> {
        self.transaction.load(&[queue.turn().key(), Place::Host(own.run.clone()).key()])?;
        self.check_alive()?;
        let turn = self.turn(queue, key)?;
        if turn.given_out {
            return self.claim_left(queue, &turn, own);
        }
        let page = self.transaction.page(&queue.prefix(), turn.after.as_deref(), PART)?;
        // The last part has no end: members that join later belong to it.
        let until = page.last().filter(|_| page.len() == PART).map(|last| last.key.clone());
        let part = self.put_part(queue, &turn, until.clone(), own)?;
        let given_out = until.is_none();
        self.put(&queue.turn(), &Turn { after: until, given_out, next: turn.next + 1, ..turn })?;
        Ok(Claim::Members(part))
    }

    /// Notes that this host has the next part.
    fn put_part(&mut self, queue: &Queue, turn: &Turn, until: Option<String>, own: &Holder) -> Result<Claimed> {
        let place = Place::Part(queue.name().into(), turn.round, turn.next);
        let part = Part { from: turn.after.clone(), until, holder: Some(own.clone()) };
        self.put(&place, &part)?;
        Ok(Claimed { place, from: part.from, until: part.until })
    }

    /// Reads the records that a rotation begins with, at once.
    fn load_for(&mut self, queue: &Queue, round: u64) -> Result<()> {
        let own = self.run.clone().map(Place::Host);
        let places = [queue.turn(), queue.keys(), Place::Part(queue.name().into(), round, 0)].into_iter().chain(own);
        self.transaction.load(&places.map(|place| place.key()).collect::<Vec<_>>())
    }

    /// Ends the look at all members, or the only part. Unless it `found` a member that waits, the rotation has ended.
    pub(in crate::managed) fn end_last(
        &mut self,
        queue: &Queue,
        key: &KeyId,
        last: &Claimed,
        found: Option<Found>,
    ) -> Result<()> {
        let own = self.run.clone().map(|run| Place::Host(run).key());
        let keys = [queue.turn().key(), last.place.key()];
        self.transaction.load(&keys.into_iter().chain(own).collect::<Vec<_>>())?;
        // A host that was taken for lost since its look doesn't know what happened since.
        self.check_alive()?;
        self.transaction.remove(&last.place.key())?;
        let Some(turn) = self.read::<Turn>(&queue.turn())?.filter(|turn| turn.key == *key) else { return Ok(()) };
        // The record stays, so that a late host sees that all was given out, and the rounds are counted on.
        let turn = match found {
            Some(Found { swept, looked, left_to }) => {
                Turn { ended: false, swept: Some(swept), looked, left_to, ..turn }
            }
            None => Turn { ended: true, swept: None, looked: None, left_to: Vec::new(), ..turn },
        };
        self.put(&queue.turn(), &turn)
    }

    /// The next part once all were given out: one that a host left unfinished, and whose host is gone.
    fn claim_left(&mut self, queue: &Queue, turn: &Turn, own: &Holder) -> Result<Claim> {
        let (mut left, mut stale, mut after) = (None, Vec::new(), None);
        loop {
            let page = self.transaction.page(&parts_of(queue.name()), after.as_deref(), MAX_PAGE)?;
            let mut parts = Vec::new();
            for record in &page {
                match Place::of_key(&record.key) {
                    Some(Place::Part(_, round, _)) if round != turn.round => stale.push(record.key.clone()),
                    Some(Place::Part(_, _, LAST)) => {}
                    Some(place @ Place::Part(..)) => {
                        let part: Part = parse(&place, &opened(record)?.1)?;
                        parts.push((place, part));
                    }
                    _ => {}
                }
            }
            let living = self.living_among(parts.iter().filter_map(|(_, part)| part.holder.as_ref()), own)?;
            for (place, part) in parts {
                if let Some(holder) = part.holder.as_ref().filter(|holder| living.contains(&holder.run)) {
                    left = Some(holder.host.clone());
                    continue;
                }
                // Now the commit demands that it is as it was.
                match self.read::<Part>(&place)? {
                    Some(now) if now == part => {
                        self.put(&place, &Part { holder: Some(own.clone()), ..now })?;
                        return Ok(Claim::Members(Claimed { place, from: part.from, until: part.until }));
                    }
                    // Another host was first.
                    Some(now) => left = now.holder.map(|holder| holder.host).or(left),
                    None => {}
                }
            }
            match page.last().filter(|_| page.len() == MAX_PAGE) {
                Some(last) => after = Some(last.key.clone()),
                None => break,
            }
        }
        stale.truncate(MOST_STALE);
        self.transaction.load(&stale)?;
        stale.iter().try_for_each(|key| self.transaction.remove(key))?;
        Ok(left.map_or(Claim::Nothing, Claim::Left))
    }

    /// The runs of the other hosts among these that are there. A run that is gone doesn't come back.
    fn living_among<'h>(&self, holders: impl Iterator<Item = &'h Holder>, own: &Holder) -> Result<BTreeSet<String>> {
        let runs: BTreeSet<&String> = holders.map(|holder| &holder.run).filter(|&run| *run != own.run).collect();
        let keys: Vec<String> = runs.iter().map(|&run| Place::Host(run.clone()).key()).collect();
        let there = self.transaction.are_there(&keys)?;
        Ok(runs.into_iter().zip(there).filter(|(_, there)| *there).map(|(run, _)| run.clone()).collect())
    }
}

impl Records {
    /// Begins to give out the members for a rotation to `key`, unless that has begun. How many there are then, `count` tells.
    pub(in crate::managed) fn begin_turn(
        &self,
        queue: &Queue,
        key: &KeyId,
        own: &Holder,
        count: impl FnOnce() -> Result<usize>,
    ) -> Result<Begun> {
        let known = |turn: &Turn| Begun {
            total: usize::try_from(turn.total).unwrap_or(usize::MAX),
            has_ended: turn.ended,
            only: None,
        };
        let found = self.one::<Turn>(&queue.turn())?;
        if let Some(turn) = found.as_ref().filter(|turn| turn.key == *key) {
            return Ok(known(turn));
        }
        let round = found.map_or(0, |turn| turn.round.wrapping_add(1));
        let count = count()?;
        self.write(|tables| {
            tables.load_for(queue, round)?;
            let before = tables.read::<Turn>(&queue.turn())?;
            if let Some(turn) = before.as_ref().filter(|turn| turn.key == *key) {
                return Ok(known(turn));
            }
            tables.check_rotated_to(queue, key)?;
            tables.check_alive()?;
            let round = before.map_or(0, |turn| turn.round.wrapping_add(1));
            let turn = Turn {
                key: key.clone(),
                round,
                total: count as u64,
                after: None,
                given_out: false,
                next: 0,
                swept: None,
                looked: None,
                ended: false,
                left_to: Vec::new(),
            };
            let mut begun = Begun { total: count, has_ended: false, only: None };
            // A rotation of the platform's key also looks at resources that weren't counted.
            let is_small = count < PART && *queue != Queue::Platform;
            if is_small {
                begun.only = Some(tables.put_part(queue, &turn, None, own)?);
            }
            let next = u64::from(is_small);
            tables.put(&queue.turn(), &Turn { given_out: is_small, next, ..turn })?;
            Ok(begun)
        })
    }

    /// A page of the members, of at most `limit`, and the place after which the next begins; `None` after the last. `after` and `until` are such places:
    /// it begins after the one, and ends with the other. Of the platform's come those for which `counts` holds.
    pub(in crate::managed) fn queue_page(
        &self,
        queue: &Queue,
        after: Option<&str>,
        until: Option<&str>,
        limit: usize,
        counts: &dyn Fn(&Resource) -> bool,
    ) -> Result<(Vec<ResourceName>, Option<String>)> {
        let page = self.store.list(&queue.prefix(), after, limit)?;
        let is_in = |key: &str| until.is_none_or(|until| key <= until);
        let more = page.len() == limit && page.last().is_some_and(|last| is_in(&last.key) && until != Some(&last.key));
        let next = page.last().filter(|_| more).map(|last| last.key.clone());
        let mut names = Vec::new();
        for record in page.iter().filter(|record| is_in(&record.key)) {
            names.extend(match Place::of_key(&record.key) {
                Some(Place::Member(_, name)) => Some(name),
                Some(Place::Resource(name)) => {
                    let resource = parse_resource(&name, &opened(record)?.1)?;
                    counts(&resource).then_some(name)
                }
                _ => None,
            });
        }
        Ok((names, next))
    }

    /// Gives this host a part of the members that is left.
    ///
    /// # Errors
    /// [`Error::Busy`] if the rotation is to another key by now, or this host was taken for lost.
    pub(in crate::managed) fn claim(&self, queue: &Queue, key: &KeyId, own: &Holder) -> Result<Claim> {
        self.write(|tables| tables.claim(queue, key, own))
    }

    /// Ends the work at a part: it is done, or another host takes it.
    pub(in crate::managed) fn give_back(&self, part: &Claimed, own: &Holder, done: bool) -> Result<()> {
        self.write(|tables| match tables.read::<Part>(&part.place)? {
            Some(found) if found.holder.as_ref() == Some(own) && done => tables.transaction.remove(&part.place.key()),
            Some(found) if found.holder.as_ref() == Some(own) => {
                tables.put(&part.place, &Part { holder: None, ..found })
            }
            // Another host has taken this one for lost.
            _ => Ok(()),
        })
    }

    /// Gives back all parts of a rotation that are this host's, done or not, with the look at all members at the end.
    pub(in crate::managed) fn give_back_all(&self, queue: &Queue, own: &Holder) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.store.list(&parts_of(queue.name()), after.as_deref(), MAX_PAGE)?;
            for record in &page {
                let Some(place @ Place::Part(..)) = Place::of_key(&record.key) else { continue };
                let part: Part = parse(&place, &opened(record)?.1)?;
                if part.holder.as_ref() == Some(own) {
                    self.give_back(&Claimed { place, from: part.from, until: part.until }, own, false)?;
                }
            }
            match page.last().filter(|_| page.len() == MAX_PAGE) {
                Some(last) => after = Some(last.key.clone()),
                None => return Ok(()),
            }
        }
    }

    /// Gives this host the look at all members at the end; `Err` with the name of the host that is at it.
    pub(in crate::managed) fn claim_last(
        &self,
        queue: &Queue,
        key: &KeyId,
        own: &Holder,
    ) -> Result<Result<Last, String>> {
        self.write(|tables| {
            tables.check_alive()?;
            let turn = tables.turn(queue, key)?;
            let place = Place::Part(queue.name().into(), turn.round, LAST);
            if let Some(holder) = tables.read::<Part>(&place)?.and_then(|part| part.holder)
                && tables.living_among([&holder].into_iter(), own)?.contains(&holder.run)
            {
                return Ok(Err(holder.host));
            }
            tables.put(&place, &Part { from: None, until: None, holder: Some(own.clone()) })?;
            let claimed = Claimed { place, from: None, until: None };
            Ok(Ok(Last { claimed, swept: turn.swept, looked: turn.looked, parts: turn.next }))
        })
    }
}

/// The error for a rotation that another host's has overtaken.
fn changed(queue: &Queue) -> Error {
    Error::Busy { what: format!("{queue}, whose key another host has just changed,") }
}
