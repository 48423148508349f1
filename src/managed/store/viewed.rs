//! Reads from a store without a service on it: the hosts, and the devices that they have open.

use std::sync::Arc;

use super::errors::Defect;
use super::page::pages;
use super::place::{ATTACHMENTS, HOSTS, Place};
use super::record::parse;
use super::shared::{MAX_COMMIT, Record, Store};
use super::tables::named;
use super::transaction::opened;
use crate::Result;
use crate::managed::records::{Attachment, HostRecord, ResourceName};

/// A store that this process only reads.
pub(in crate::managed) struct View(pub(in crate::managed) Arc<dyn Store>);

/// A device that a host has open, or is to get.
pub(in crate::managed) struct Attached {
    pub(in crate::managed) id: String,
    /// `Err` says why the record can't be read: a later release may have written it.
    pub(in crate::managed) attachment: Result<Attachment, String>,
    /// The resource of the device, if it still exists.
    pub(in crate::managed) resource: Option<ResourceName>,
    /// Whether the host that has the device has a record: otherwise the host was lost.
    pub(in crate::managed) is_alive: bool,
}

impl View {
    /// The runs of hosts' services, each with its record, or why that can't be read.
    pub(in crate::managed) fn hosts(&self) -> Result<Vec<(String, Result<HostRecord, String>)>> {
        let mut hosts = Vec::new();
        for record in pages(&*self.0, HOSTS) {
            let record = record?;
            if let Some(place @ Place::Host(_)) = Place::of_key(&record.key) {
                let host = read(&place, &record);
                let Place::Host(run) = place else { continue };
                hosts.push((run, host));
            }
        }
        Ok(hosts)
    }

    /// At most `limit` devices that hosts have open, in the order of their ids, after the id `after`. The entries may be of
    /// different moments.
    pub(in crate::managed) fn attachments(&self, after: Option<&str>, limit: usize) -> Result<Vec<Attached>> {
        let after = after.map(|id| Place::Attachment(id.into()).key());
        let mut page = Vec::new();
        for record in self.0.list(ATTACHMENTS, after.as_deref(), limit)? {
            if let Some(place @ Place::Attachment(_)) = Place::of_key(&record.key) {
                let attachment = read(&place, &record);
                let Place::Attachment(id) = place else { continue };
                page.push(Attached { id, attachment, resource: None, is_alive: false });
            }
        }
        // Completing a device reads two records.
        page.chunks_mut(MAX_COMMIT / 2).try_for_each(|part| self.complete(part))?;
        Ok(page)
    }

    /// Reads the names of the devices' resources, and whether their hosts are there, at once.
    fn complete(&self, part: &mut [Attached]) -> Result<()> {
        let holder_of = |attached: &Attached| {
            let holder = attached.attachment.as_ref().ok()?.holder.as_ref()?;
            Some(Place::Host(holder.run.clone()).key())
        };
        let mut keys: Vec<String> = part.iter().map(|attached| Place::Id(attached.id.clone()).key()).collect();
        keys.extend(part.iter().filter_map(holder_of));
        keys.sort_unstable();
        keys.dedup();
        let found = self.0.get(&keys.iter().map(String::as_str).collect::<Vec<_>>())?;
        let at = |key: String| keys.binary_search(&key).ok().and_then(|at| found[at].as_ref());
        for attached in part {
            let place = Place::Id(attached.id.clone());
            let name = at(place.key()).and_then(|record| read(&place, record).ok());
            attached.resource = name.and_then(|name| named(&place, name).ok());
            attached.is_alive = holder_of(attached).is_some_and(|key| at(key).is_some());
        }
        Ok(())
    }
}

fn read<T: serde::de::DeserializeOwned>(place: &Place, record: &Record) -> Result<T, String> {
    opened(record).and_then(|(_, json)| parse(place, &json)).map_err(|Defect(how)| how)
}
