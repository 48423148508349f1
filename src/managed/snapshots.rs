//! Snapshots: a disk's content at one instant, whole or as the difference to the snapshot before.

use super::chunk_map::{CHUNK, ChunkMap, place};
use super::copy::{Chain, CopyProgress, Target};
use super::records::{Resource, ResourceKind, ResourceName, check_name};
use super::service::{DiskService, Inner, not_allowed};
use super::store::next_place;
use super::sync::write;
use crate::error::Rule;
use crate::{Error, Result};

/// Options for a new snapshot. By default it holds the whole disk.
#[derive(Debug, Clone)]
pub struct NewSnapshot {
    name: String,
    disk: String,
    incremental: bool,
    set: Option<String>,
}

impl NewSnapshot {
    /// A snapshot of a disk, with a name that no other snapshot has.
    pub fn new(name: impl Into<String>, disk: impl Into<String>) -> Self {
        NewSnapshot { name: name.into(), disk: disk.into(), incremental: false, set: None }
    }

    /// Whether it only holds the changes since the disk's last incremental snapshot. Then it is in the disk's set (45).
    pub fn incremental(mut self, incremental: bool) -> Self {
        self.incremental = incremental;
        self
    }

    /// The set whose key protects it. `None`, the default: the same protection as the disk's.
    pub fn encryption_set<'a>(mut self, set: impl Into<Option<&'a str>>) -> Self {
        self.set = set.into().map(String::from);
        self
    }
}

impl DiskService {
    /// Makes a snapshot of the disk at this instant, even while it is written, under its own DEK (44).
    ///
    /// An incremental one takes room only for the chunks written since the one before, where the backend keeps devices sparse.
    /// While the disk stays open the service knows these chunks, and reads no others. The first one after the disk was opened, or
    /// its key was suspended, reads the disk and the snapshots before it, and takes the chunks that differ.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`](crate::Error::NoSuchResource); [`Error::ResourceExists`](crate::Error::ResourceExists);
    /// [`Error::NotAllowed`](crate::Error::NotAllowed) for a set in another place, or for an incremental snapshot in
    /// another set than the disk's (45); [`Error::DiskSuspended`](crate::Error::DiskSuspended) while the disk's key may
    /// not be used; the vault's errors; [`Error::Io`](crate::Error::Io). On failure nothing is left behind.
    pub fn create_snapshot(&self, new: &NewSnapshot, progress: &dyn Fn(CopyProgress)) -> Result<Resource> {
        check_name(&new.name)?;
        let (inner, disk) = (self.inner()?, ResourceName::disk(&new.disk));
        let id = inner.store.resource(&disk)?.id;
        let chain = inner.chains.of(&id);
        let _alone = new.incremental.then(|| {
            let long = inner.copies.of(&id);
            (long, write(&chain))
        });
        let from = inner.store.resource(&disk)?;
        if from.id != id {
            return Err(Error::NoSuchResource(format!("the {disk} was removed")));
        }
        let mut snapshot = Resource { kind: ResourceKind::Snapshot, name: new.name.clone(), ..inner.copy_of(&from)? };
        let set = new.set.as_deref().or(from.set.as_deref());
        if !new.incremental {
            return inner.make_copy(&from, inner.in_set(snapshot, set)?, progress);
        }
        if set != from.set.as_deref() {
            let text = "a disk and its incremental snapshots share one set; leave the set out, or make a full snapshot";
            return not_allowed(Rule::OneSetForSnapshots, text);
        }
        let last = inner.store.increments(&from.id)?.last().map(|(place, _)| *place);
        let place = next_place(last)?;
        snapshot.increment = Some(place);
        let before = last.map_or(Ok(None), |last| inner.open_before(&from, last))?;
        let fill = |layers| inner.copy_changes(&from, layers, (place, last), before, progress);
        inner.make_if(inner.in_set(snapshot, set)?, fill, |tables| {
            // Another host may have changed the chain meanwhile.
            tables.still_last(&from.id, last)?;
            if tables.resource_of(&disk, &from.id)?.set == from.set {
                return Ok(());
            }
            Err(Error::Busy { what: format!("the {disk}, which was put into another set meanwhile,") })
        })
    }
}

impl Inner {
    /// Removes an incremental snapshot. The next one takes over the chunks that it needs: it is made again, and
    /// replaces both in one step.
    pub(super) fn delete_increment(&self, disk: &str, name: &ResourceName) -> Result<()> {
        let chain = self.chains.of(disk);
        self.check_uncopied(name, disk)?;
        let _alone = write(&chain);
        let increments = self.store.increments(disk)?;
        let next = increments.iter().skip_while(|(_, n)| n != name).nth(1);
        let live = self.registry.find(name)?;
        let Some((_, next)) = next else {
            let _change = live.changing();
            return self.remove_live(std::slice::from_ref(&live));
        };
        let heir = self.registry.find(next)?;
        // Lock in the order of their names, as everywhere that locks several.
        let (first, second) = if name < next { (&live, &heir) } else { (&heir, &live) };
        let (_first, _second) = (first.changing(), second.changing());
        // Before their records are read.
        let _here = [&live, &heir].into_iter().map(|live| live.here()).collect::<Result<Vec<_>>>()?;
        [&live, &heir].into_iter().try_for_each(|live| self.finish_joining(live))?;
        let (old, after) = (self.store.resource(name)?, self.store.resource(next)?);
        let merged = Resource {
            kind: after.kind,
            name: after.name.clone(),
            source: after.source.clone(),
            increment: after.increment,
            created: after.created,
            ..self.copy_of(&after)?
        };
        let both = Chain::open(&self.registry, &[after.clone(), old.clone()])?;
        let made = self.prepare(merged, |layers| {
            let target = Target::increment(layers, after.size, None);
            let mut bytes = vec![0; CHUNK as usize];
            for chunk in 0..ChunkMap::new(after.size).chunks() {
                let bytes = &mut bytes[..place(chunk, after.size).1];
                if !both.has(chunk, bytes.len()) {
                    continue;
                }
                both.read_chunk(chunk, bytes)?;
                target.put(chunk, bytes)?;
            }
            target.finish()
        })?;
        self.commit(vec![made], |tables| [&old, &after].into_iter().try_for_each(|gone| tables.remove_resource(gone)))?;
        live.close();
        heir.close();
        self.remove_device(&old.region, &old.id)?;
        self.remove_device(&after.region, &after.id)
    }
}
