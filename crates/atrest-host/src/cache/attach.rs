//! Attaching a cache: the writes left in the last one go to the disk first, then a new one begins under a new salt.

use std::sync::Arc;

use atrest::{BlockDevice, Error, Result, TooSmall};

use super::error::CacheError;
use super::file::{self, CacheFile, NewFile};
use super::format::{Found, Header, Layout, Mark};
use super::inner::Inner;
use super::keeper::{CacheKeeper, KnownCache};
use super::keys::Keyring;
use super::options::{CacheMode, CacheOptions, CachePlace};
use super::recover::Journal;
use crate::Disk;
use crate::disk::io;

/// The fewest blocks that make a cache.
const FEWEST: u32 = 16;

pub(super) struct Attaching<'a> {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) keeper: Arc<dyn CacheKeeper>,
    pub(super) place: CachePlace,
    pub(super) options: &'a CacheOptions,
}

impl Attaching<'_> {
    pub(super) fn attach(self) -> Result<Inner> {
        let name = file::name(&self.place);
        let most_dirty = self.options.most_dirty();
        let layout = Layout::within(self.options.size, most_dirty.next_multiple_of(8))
            .filter(|layout| layout.slots >= FEWEST.max(most_dirty))
            .ok_or_else(|| Error::InvalidOption(format!("a host cache of {} bytes is too small", self.options.size)))?;
        if let CachePlace::Device(device) = &self.place {
            let size = device.size().map_err(|e| io(format!("using the host cache {name}"), e))?;
            if size < layout.size() {
                return Err(Error::DeviceTooSmall { what: TooSmall::HostCache, needed: layout.size(), size });
            }
        }
        self.settle_last(&name)?;
        let (header, keyring, file) = self.make(layout, &name)?;
        if self.options.mode == CacheMode::WriteBack {
            // From the first write on, the disk must not be used without this cache.
            self.keeper.note_cache(Some(&header.name())).inspect_err(|_| drop(file.wipe()))?;
        }
        let mode = self.options.mode;
        Ok(Inner::new(self.disk, self.keeper, keyring, file, name, mode, most_dirty as usize, Mark::FIRST))
    }

    /// Sees to it that no cache has anything that the disk lacks.
    fn settle_last(&self, name: &str) -> Result<()> {
        let known = self.keeper.known_cache()?;
        let using = |e| io(format!("using the host cache {name}"), e);
        let missing = || match &known {
            KnownCache::Id(_) if !self.options.give_up => Err(CacheError::Missing.at(name)),
            KnownCache::Id(_) => {
                log::warn!("the last host cache of {name} is given up, with the writes that only it had");
                Ok(())
            }
            KnownCache::None | KnownCache::NotKept => Ok(()),
        };
        let Some(device) = file::open(&self.place)? else {
            missing()?;
            return self.keeper.note_cache(None);
        };
        match Header::find(&file::first_sector(&*device).map_err(using)?) {
            Found::Wiped => missing()?,
            Found::Other if file::is_blank(&*device).map_err(using)? => missing()?,
            Found::Other => return Err(CacheError::NotACache.at(name)),
            Found::Header(unproven) => {
                let keyring = Keyring::new(unproven.header.salt);
                let keys = keyring.get(&*self.keeper)?;
                match unproven.prove(&keys)? {
                    Some(header) => {
                        self.settle(&header, &Journal::read(&*device, &keys, &header, name)?, &known, name)?
                    }
                    None if self.options.give_up => missing()?,
                    None => return Err(CacheError::Foreign.at(name)),
                }
            }
        }
        self.keeper.note_cache(None)?;
        file::wipe(&*device, &self.place).map_err(|e| io(format!("wiping the host cache {name}"), e))
    }

    /// Writes to the disk the blocks that a cache of this disk holds for it.
    fn settle(&self, header: &Header, journal: &Journal<'_>, known: &KnownCache, name: &str) -> Result<()> {
        let is_last = match known {
            KnownCache::NotKept => true,
            KnownCache::Id(id) => *id == header.name(),
            // It is empty if the host died after it was detached.
            KnownCache::None => journal.is_empty(),
        };
        if !is_last && !self.options.adopt {
            if !self.options.give_up {
                return Err(CacheError::NotTheLast.at(name));
            }
            log::warn!("the host cache {name} is given up, since it is not the last of its disk");
            return Ok(());
        }
        if journal.is_empty() {
            return Ok(());
        }
        let (done, lost) = journal.destage(&*self.disk, self.options.give_up)?;
        // The file then holds the same state if the host dies before it is wiped.
        journal.end()?;
        log::info!("the host cache {name} had {done} blocks for its disk");
        if lost > 0 {
            log::warn!("the host cache {name} has lost {lost} blocks that were acknowledged");
        }
        Ok(())
    }

    fn make(&self, layout: Layout, name: &str) -> Result<(Header, Arc<Keyring>, CacheFile)> {
        let header = Header::new(layout).map_err(|_| Error::Random)?;
        let keyring = Keyring::new(header.salt);
        let keys = keyring.get(&*self.keeper)?;
        let mark = (layout.journal > 0).then(|| Mark::FIRST.to_bytes(&keys)).transpose()?;
        let file = NewFile::make(&self.place, layout)?.complete(mark, &header.to_bytes(&keys)?);
        let file = file.map_err(|e| io(format!("making the host cache {name}"), e))?;
        Ok((header, keyring, file))
    }
}
