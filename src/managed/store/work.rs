//! Finds the rotations that have work for a host, by few operations for many sets.

use std::collections::BTreeSet;

use super::layer::Records;
use super::place::Place;
use super::queue::{LAST, Queue};
use super::record::parse;
use super::shared::{MAX_COMMIT, Record};
use super::transaction::opened;
use crate::key::KeyId;
use crate::managed::records::{Attachment, EncryptionSet, Holder, Part, Turn};
use crate::{Error, Result};

impl Records {
    /// The most sets in one call: three records are read for each.
    pub(in crate::managed) const SETS: usize = MAX_COMMIT / 3;

    /// For each of these sets and keys, whether a host that has no member open has work in the set's rotation to the key. It has
    /// none if all members are under the key, if another host with a lease has all the rest, or if the members known to wait are
    /// open on the same hosts as at the last look. Takes at most [`SETS`](Self::SETS) sets.
    pub(in crate::managed) fn with_work(&self, own: &Holder, sets: &[(&str, &KeyId)]) -> Result<Vec<bool>> {
        let places = sets.iter().flat_map(|(set, _)| [Place::Set((*set).into()), Queue::Set((*set).into()).turn()]);
        let found = self.read_all(&places.collect::<Vec<_>>())?;
        let mut work = Vec::with_capacity(sets.len());
        // The records that tell whether another host has the rest of a set.
        let mut asked = Vec::new();
        for (n, ((name, key), records)) in sets.iter().zip(found.chunks(2)).enumerate() {
            let is_done = |set: &EncryptionSet| set.active_key == **key && set.previous_keys.is_empty();
            // A set whose record can't be read counts as work, so that its rotation reports the error. The other sets go on.
            let set = read::<EncryptionSet>(&records[0]);
            work.push(set.map_or(true, |set| set.is_some_and(|set| !is_done(&set))));
            let turn = read::<Turn>(&records[1]).unwrap_or(None);
            let Some(turn) = turn.filter(|turn| work[n] && turn.key == **key && turn.given_out) else { continue };
            asked.push((n, None, Place::Part((*name).into(), turn.round, LAST)));
            if turn.next == 1 {
                asked.push((n, None, Place::Part((*name).into(), turn.round, 0)));
            }
            asked.extend(turn.left_to.into_iter().map(|left| (n, Some(left.holder), Place::Attachment(left.device))));
        }
        if asked.is_empty() {
            return Ok(work);
        }
        let places: Vec<Place> = asked.iter().map(|(.., place)| place.clone()).collect();
        let mut of = Vec::with_capacity(asked.len());
        for ((n, left_to, _), record) in asked.iter().zip(self.read_all(&places)?) {
            let holder = match left_to {
                None => read::<Part>(&record).unwrap_or(None).and_then(|part| part.holder),
                // Another host may have the device by now.
                Some(to) => read::<Attachment>(&record)
                    .unwrap_or(None)
                    .and_then(|found| found.holder)
                    .filter(|holder| holder == to),
            };
            of.push((*n, left_to.is_some(), holder.filter(|holder| holder.run != own.run).map(|holder| holder.run)));
        }
        let living = self.living(of.iter().filter_map(|(.., run)| run.as_ref()).collect())?;
        let is_others = |run: &Option<String>| run.as_ref().is_some_and(|run| living.contains(run));
        for (n, work) in work.iter_mut().enumerate() {
            let of_it = || of.iter().filter(|(at, ..)| *at == n);
            let has_part = of_it().any(|(_, is_left, run)| !is_left && is_others(run));
            let mut left = of_it().filter(|(_, is_left, _)| *is_left).peekable();
            let waits = left.peek().is_some() && left.all(|(.., run)| is_others(run));
            *work &= !has_part && !waits;
        }
        Ok(work)
    }

    /// The runs among these that have a lease.
    fn living(&self, runs: BTreeSet<&String>) -> Result<BTreeSet<String>> {
        if runs.is_empty() {
            return Ok(BTreeSet::new());
        }
        let hosts: Vec<Place> = runs.iter().map(|run| Place::Host((*run).clone())).collect();
        let found = runs.into_iter().zip(self.read_all(&hosts)?);
        Ok(found.filter_map(|(run, (_, host))| host.map(|_| run.clone())).collect())
    }

    fn read_all(&self, places: &[Place]) -> Result<Vec<(Place, Option<Record>)>> {
        let mut found = Vec::with_capacity(places.len());
        for places in places.chunks(MAX_COMMIT) {
            let keys: Vec<String> = places.iter().map(Place::key).collect();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            found.extend(places.iter().cloned().zip(self.store.get(&keys)?));
        }
        Ok(found)
    }
}

fn read<T: serde::de::DeserializeOwned>((place, record): &(Place, Option<Record>)) -> Result<Option<T>> {
    let Some(record) = record else { return Ok(None) };
    Ok(Some(parse(place, &opened(record).map_err(Error::from)?.1)?))
}
