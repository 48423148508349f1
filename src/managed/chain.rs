//! What a snapshot or an image's copy holds: an incremental snapshot needs the ones before it.

use std::sync::Arc;

use super::chunk_map::{CHUNK, ChunkMap};
use super::records::{Resource, ResourceName};
use super::service::Inner;
use super::unit::Unit;
use crate::{Error, Result};

/// The snapshots that together hold what a disk held, the newest first.
pub(super) struct Chain {
    links: Vec<Link>,
}

pub(super) struct Link {
    unit: Arc<Unit>,
    /// What it holds; all, without one.
    map: Option<ChunkMap>,
}

impl Link {
    pub(super) fn open(service: &Arc<Inner>, resource: &Resource) -> Result<Self> {
        let unit = service.unit_of(resource);
        if resource.joining.is_some() {
            // A set's key that may not be used suspends what is in the set, also what isn't under it yet.
            let finished = service.changing(&resource.full_name(), |unit, _| service.finish_joining(unit));
            finished.map_err(|e| match e.is_revocation() {
                true => Error::DiskSuspended { disk: resource.name.clone(), reason: format!("{e:#}") },
                false => e,
            })?;
        }
        let map = resource.increment.map(|_| {
            let mut bytes = vec![0; ChunkMap::stored_len(resource.size) as usize];
            unit.with_layers(|layers| layers.read_at(resource.size, &mut bytes))?;
            ChunkMap::from_bytes(&bytes, resource.size)
        });
        Ok(Link { unit, map: map.transpose()? })
    }

    pub(super) fn has(&self, chunk: u64) -> bool {
        self.map.as_ref().is_none_or(|map| map.has(chunk))
    }

    pub(super) fn read_chunk(&self, chunk: u64, bytes: &mut [u8]) -> Result<()> {
        self.unit.with_layers(|layers| layers.read_at(chunk * CHUNK, bytes))
    }
}

impl Chain {
    /// What a snapshot or an image's copy needs. An incremental one must not be removed meanwhile.
    pub(super) fn open(service: &Arc<Inner>, resource: &Resource) -> Result<Self> {
        let Some((disk, last)) = resource.place() else {
            return Ok(Chain { links: vec![Link::open(service, resource)?] });
        };
        Ok(Self::up_to(service, disk, last)?.unwrap_or(Chain { links: Vec::new() }))
    }

    /// The incremental snapshots of a disk up to a place, if there are any.
    pub(super) fn up_to(service: &Arc<Inner>, disk: &str, last: u64) -> Result<Option<Self>> {
        let mut names = service.store.increments(disk)?;
        names.retain(|(place, _)| *place <= last);
        let open = |(_, name): &(u64, ResourceName)| Link::open(service, &service.store.resource(name)?);
        let links = names.iter().rev().map(open).collect::<Result<Vec<_>>>()?;
        Ok((!links.is_empty()).then_some(Chain { links }))
    }

    pub(super) fn read_chunk(&self, chunk: u64, bytes: &mut [u8]) -> Result<()> {
        let link = self.links.iter().find(|link| link.has(chunk)).ok_or_else(|| {
            Error::InvalidHeader("the first of a disk's incremental snapshots lacks a part of the disk".into())
        })?;
        link.read_chunk(chunk, bytes)
    }
}
