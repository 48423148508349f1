//! Many devices at once, for a rotation: two operations of the store attach them all, and two let them go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::attachments::{Fleet, Open, promised_to};
use crate::key::KeyId;
use crate::managed::records::{Attachment, Holder, Resource, ResourceName};
use crate::managed::store::Queue;
use crate::managed::sync::lock;
use crate::{Error, Result};

/// Devices that this host keeps while this value lives.
pub(in crate::managed) struct Batch {
    fleet: Arc<Fleet>,
    ids: Vec<String>,
}

/// The outcome for a resource that was to be attached.
pub(in crate::managed) enum Attached {
    /// This host has it, with its record as of then. State that depends on its device doesn't change meanwhile.
    Here(Box<Resource>),
    /// Another host has it, or is to get it. The value is the host that has it, if there is one.
    Elsewhere(Option<Holder>),
    /// There is no resource of this name and id any more.
    Gone,
}

impl Batch {
    /// The most devices of a batch: a commit reads three records of each, and has room for some hosts that were lost.
    pub(in crate::managed) const MOST: usize = 18;
}

impl Fleet {
    /// How often something was refused so far because this host's lease didn't hold. It may hold again since.
    pub(in crate::managed) fn refused(&self) -> u64 {
        self.lease.refused.load(Ordering::SeqCst)
    }

    /// Attaches the devices of resources, unless other hosts have them. Only the name and the id of each resource count. Returns
    /// the outcomes for the first of them: for at least one, and for as many as one commit can hold.
    ///
    /// # Errors
    /// [`Error::Busy`] also if the rotation isn't under way to `key` any more: moving to an older key would move resources that
    /// another host has proved to be under the newer one.
    pub(in crate::managed) fn attach_all(
        self: &Arc<Self>,
        queue: &Queue,
        key: &KeyId,
        resources: &[Resource],
    ) -> Result<(Vec<Attached>, Batch)> {
        let mut order: Vec<&str> = resources.iter().map(|resource| resource.id.as_str()).collect();
        order.sort_unstable();
        // Two records may name one device, but only one of them can be its resource.
        order.dedup();
        let locks: Vec<_> = order.iter().map(|id| self.changing.of(id)).collect();
        let _all: Vec<_> = locks.iter().map(|one| lock(one)).collect();
        self.check().map_err(|why| Error::Busy { what: format!("a batch of disks: {why}; it") })?;
        let open_here: Vec<bool> = {
            let open = lock(&self.open);
            resources.iter().map(|resource| open.contains_key(&resource.id)).collect()
        };
        let names: Vec<(ResourceName, &str)> = resources.iter().map(|of| (of.full_name(), of.id.as_str())).collect();
        let own = self.own();
        // The promises of the devices stay, as in `attach`.
        let mut promises: BTreeMap<&str, Vec<Holder>> = BTreeMap::new();
        let done = self.records.write(|tables| {
            promises.clear();
            tables.load_attachments(queue, &names)?;
            tables.check_rotated_to(queue, key)?;
            if tables.host(&own.run)?.is_none() {
                return Err(Error::Busy {
                    what: "a batch of disks: another host has taken this one for lost; it".into(),
                });
            }
            let living = tables.living(names.iter().map(|(_, id)| *id))?;
            let mut done = Vec::with_capacity(names.len());
            for ((name, id), open_here) in names.iter().zip(&open_here) {
                if tables.name_of(id)?.as_ref() != Some(name) {
                    done.push((Attached::Gone, Open::default()));
                    continue;
                }
                let resource = match tables.resource_of(name, id) {
                    Err(Error::NoSuchResource(_)) => {
                        done.push((Attached::Gone, Open::default()));
                        continue;
                    }
                    resource => resource?,
                };
                let found = tables.holder(id)?;
                if *open_here {
                    done.push((Attached::Here(Box::new(resource)), Open::default()));
                    continue;
                }
                if found.as_ref().is_some_and(|found| tables.is_elsewhere(found, &living)) {
                    let holder = found.and_then(|found| found.holder);
                    done.push((Attached::Elsewhere(holder), Open::default()));
                    continue;
                }
                if !done.is_empty() && !tables.has_room_for(found.as_ref()) {
                    break;
                }
                found.iter().try_for_each(|found| tables.check_unheld(found))?;
                let is_others = |found: &Attachment| found.holder.as_ref().is_some_and(|holder| *holder != own);
                let unfenced = found.as_ref().is_some_and(|found| found.unfenced || is_others(found));
                tables.put_attachment(id, &Attachment { holder: Some(own.clone()), promised: Vec::new(), unfenced })?;
                let promised = promised_to(&own, found);
                promises.insert(*id, promised.clone());
                done.push((Attached::Here(Box::new(resource)), Open { unfenced, promised, ..Open::default() }));
            }
            Ok(done)
        });
        let done = done.inspect_err(|e| {
            let devices = names.iter().map(|(_, id)| (*id, promises.remove(id).unwrap_or_default()));
            self.may_be_left(devices.collect(), e);
        })?;
        let mut batch = Batch { fleet: self.clone(), ids: Vec::new() };
        let mut open = lock(&self.open);
        let done = done.into_iter().map(|(attached, new)| {
            if let Attached::Here(resource) = &attached {
                let number = self.attached.fetch_add(1, Ordering::Relaxed) + 1;
                let left = self.is_open(&resource.id);
                let promised = if left.is_empty() { new.promised } else { left };
                if !open.contains_key(&resource.id) {
                    self.count_attached(new.unfenced);
                }
                open.entry(resource.id.clone()).or_insert(Open { number, promised, ..new }).count += 1;
                batch.ids.push(resource.id.clone());
            }
            attached
        });
        let done = done.collect();
        drop(open);
        Ok((done, batch))
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let fleet = &self.fleet;
        if !fleet.lease.is_own() {
            return;
        }
        self.ids.sort_unstable();
        let locks: Vec<_> = self.ids.iter().map(|id| fleet.changing.of(id)).collect();
        let _all: Vec<_> = locks.iter().map(|one| lock(one)).collect();
        let mut ended = Vec::new();
        {
            let mut open = lock(&fleet.open);
            for id in &self.ids {
                if let Some(known) = open.get_mut(id) {
                    known.count -= 1;
                    if known.count == 0 {
                        ended.extend(open.remove(id).map(|known| (id.as_str(), known.promised)));
                    }
                }
            }
        }
        if !ended.is_empty() {
            fleet.release(ended);
        }
    }
}
