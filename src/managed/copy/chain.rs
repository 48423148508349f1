//! The content of a snapshot or an image's copy. An incremental snapshot needs those before it.

use std::sync::Arc;

use crate::managed::chunk_map::{CHUNK, ChunkMap};
use crate::managed::live::{LiveResource, Registry};
use crate::managed::records::{Resource, ResourceName};
use crate::managed::store::Records;
use crate::{Error, Result};

/// The snapshots that together have a disk's content, the newest first.
pub(in crate::managed) struct Chain {
    links: Vec<Link>,
}

struct Link {
    live: Arc<LiveResource>,
    /// The size of its disk then. The disk may have grown since.
    size: u64,
    /// The chunks that it holds; `None` for all.
    map: Option<ChunkMap>,
}

impl Link {
    /// Opens a resource, which must be under its set's key.
    fn open(registry: &Registry, resource: &Resource) -> Result<Self> {
        let live = registry.of(resource);
        let map = resource.increment.map(|_| {
            let mut bytes = vec![0; ChunkMap::stored_len(resource.size) as usize];
            live.with_layers(|layers| layers.read_at(resource.size, &mut bytes))?;
            ChunkMap::from_bytes(&bytes, resource.size)
        });
        Ok(Link { live, size: resource.size, map: map.transpose()? })
    }

    /// Whether it holds so many bytes of a chunk. The last one of a smaller disk was shorter.
    fn has(&self, chunk: u64, len: usize) -> bool {
        chunk * CHUNK + len as u64 <= self.size && self.map.as_ref().is_none_or(|map| map.has(chunk))
    }

    fn read_chunk(&self, chunk: u64, bytes: &mut [u8]) -> Result<()> {
        self.live.with_layers(|layers| layers.read_at(chunk * CHUNK, bytes))
    }
}

impl Chain {
    /// The records of the snapshots or copy to read for a resource, in the order of a chain. None of them may be
    /// removed meanwhile.
    pub(in crate::managed) fn of(store: &Records, resource: &Resource) -> Result<Vec<Resource>> {
        match resource.place() {
            Some((disk, last)) => Self::up_to(store, disk, last),
            None => Ok(vec![resource.clone()]),
        }
    }

    /// The incremental snapshots of a disk up to a place in its chain.
    pub(in crate::managed) fn up_to(store: &Records, disk: &str, last: u64) -> Result<Vec<Resource>> {
        let mut names = store.increments(disk)?;
        names.retain(|(place, _)| *place <= last);
        names.iter().rev().map(|(_, name): &(u64, ResourceName)| store.resource(name)).collect()
    }

    /// Opens snapshots, each of which must be under its set's key.
    pub(in crate::managed) fn open(registry: &Registry, resources: &[Resource]) -> Result<Self> {
        let links = resources.iter().map(|resource| Link::open(registry, resource)).collect::<Result<_>>()?;
        Ok(Chain { links })
    }

    /// Whether any of them holds so many bytes of a chunk.
    pub(in crate::managed) fn has(&self, chunk: u64, len: usize) -> bool {
        self.links.iter().any(|link| link.has(chunk, len))
    }

    pub(in crate::managed) fn read_chunk(&self, chunk: u64, bytes: &mut [u8]) -> Result<()> {
        let link = self.links.iter().find(|link| link.has(chunk, bytes.len())).ok_or_else(|| {
            Error::InvalidHeader("the first of a disk's incremental snapshots lacks a part of the disk".into())
        })?;
        link.read_chunk(chunk, bytes)
    }
}
