//! Which rotations have work for a host, told by few operations for many sets.

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
    /// How many sets are looked at at once: three records of each.
    pub(in crate::managed) const SETS: usize = MAX_COMMIT / 3;

    /// Of these sets, which are to come under these keys, those in which a host that has no member open finds something to do:
    /// not if all are under the key, another host with a lease has all that is left, or one has a device open that waits. At most
    /// [`SETS`](Self::SETS).
    pub(in crate::managed) fn with_work(&self, own: &Holder, sets: &[(&str, &KeyId)]) -> Result<Vec<bool>> {
        let places = sets.iter().flat_map(|(set, _)| [Place::Set((*set).into()), Queue::Set((*set).into()).turn()]);
        let found = self.read_all(&places.collect::<Vec<_>>())?;
        let mut work = Vec::with_capacity(sets.len());
        // What says that another host has the rest of a set.
        let (mut asked, mut of) = (Vec::new(), Vec::new());
        for (n, ((name, key), records)) in sets.iter().zip(found.chunks(2)).enumerate() {
            let is_done = |set: &EncryptionSet| set.active_key == **key && set.previous_keys.is_empty();
            // What can't be read is told where the set is rotated, and keeps no other set from it.
            let set = read::<EncryptionSet>(&records[0]);
            work.push(set.map_or(true, |set| set.is_some_and(|set| !is_done(&set))));
            let turn = read::<Turn>(&records[1]).unwrap_or(None);
            let Some(turn) = turn.filter(|turn| work[n] && turn.key == **key && turn.given_out) else { continue };
            asked.push((n, None, Place::Part((*name).into(), turn.round, LAST)));
            if turn.next == 1 {
                asked.push((n, None, Place::Part((*name).into(), turn.round, 0)));
            }
            if let Some(left) = turn.left {
                asked.push((n, Some(left.holder), Place::Attachment(left.device)));
            }
        }
        if asked.is_empty() {
            return Ok(work);
        }
        let places: Vec<Place> = asked.iter().map(|(.., place)| place.clone()).collect();
        for ((n, left_to, _), record) in asked.iter().zip(self.read_all(&places)?) {
            let holder = match left_to {
                None => read::<Part>(&record).unwrap_or(None).and_then(|part| part.holder),
                // Another host may have it by now, which leaves it.
                Some(to) => read::<Attachment>(&record)
                    .unwrap_or(None)
                    .and_then(|found| found.holder)
                    .filter(|holder| holder == to),
            };
            of.extend(holder.filter(|holder| holder.run != own.run).map(|holder| (*n, holder.run)));
        }
        let runs: BTreeSet<&String> = of.iter().map(|(_, run)| run).collect();
        let runs: Vec<&String> = runs.into_iter().collect();
        let hosts: Vec<Place> = runs.iter().map(|run| Place::Host((*run).clone())).collect();
        let living: BTreeSet<&String> = match hosts.is_empty() {
            true => BTreeSet::new(),
            false => {
                runs.into_iter().zip(self.read_all(&hosts)?).filter_map(|(run, (_, host))| host.map(|_| run)).collect()
            }
        };
        of.iter().filter(|(_, run)| living.contains(run)).for_each(|(n, _)| work[*n] = false);
        Ok(work)
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
