//! Parts shared by all modes: the index, reads, and operations under way.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use atrest::{Error, Result};
use zeroize::Zeroizing;

use super::error::CacheError;
use super::file::CacheFile;
use super::flights::{Flights, Kind};
use super::format::{BLOCK, Mark};
use super::index::{Found, Index};
use super::keeper::CacheKeeper;
use super::keys::{Keyring, Keys, Place, TAG};
use super::options::CacheMode;
use crate::Disk;
use crate::disk::io;
use crate::sync::lock;

/// The most blocks that are encrypted, or read from the disk to be kept, at once.
pub(super) const PIECE: usize = 64;

pub(super) struct Inner {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) keeper: Arc<dyn CacheKeeper>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) file: CacheFile,
    pub(super) name: String,
    pub(super) mode: CacheMode,
    /// How many blocks may wait to be written to the disk.
    pub(super) most_dirty: usize,
    pub(super) state: Mutex<State>,
    /// A write has ended, or room was made.
    pub(super) changed: Condvar,
    /// The number of the next record of the journal. Locked while one is written.
    pub(super) journal: Mutex<u64>,
    pub(super) mark: Mutex<Mark>,
    /// Locked while the file is made durable, so that one sync serves all that wait for it.
    pub(super) flushing: Mutex<()>,
    /// Locked while blocks are written to the disk: never an older one over a newer.
    pub(super) destaging: Mutex<()>,
    /// Read-locked while the disk is written past the cache; write-locked while a snapshot needs the disk to receive nothing.
    pub(super) passing: RwLock<()>,
    /// Locked while the cache is given up.
    pub(super) retiring: Mutex<()>,
    /// The disk itself has got data since its last flush.
    pub(super) direct: AtomicBool,
    /// Buffers for ciphertext, which needn't be wiped.
    scratch: Mutex<Vec<Vec<u8>>>,
}

pub(super) struct State {
    pub(super) index: Index,
    pub(super) flights: Flights,
    /// The blocks that the disk may lack, in the order of the journal.
    pub(super) pending: VecDeque<Pending>,
    /// How many blocks are being written that will be pending.
    pub(super) reserved: usize,
    /// The first record of the journal that the disk may lack.
    pub(super) tail: u64,
    /// Whether the cache is in use. Without it all goes to the disk.
    pub(super) is_on: bool,
    /// Whether the file was made unreadable.
    pub(super) wiped: bool,
    /// It takes no more, since it is being given up.
    pub(super) retiring: bool,
    /// A flush of the disk has failed that a caller other than the guest asked for, and the disk had received writes itself.
    pub(super) unflushed: bool,
    /// A sync of the file has failed. Earlier writes may be lost, and a later sync doesn't report it.
    pub(super) broken: bool,
    /// The disk's progress couldn't be marked in the file.
    pub(super) unmarked: bool,
}

/// A block that the disk may lack.
#[derive(Clone, Copy)]
pub(super) struct Pending {
    pub(super) record: u64,
    pub(super) slot: u32,
}

/// Something under way; it ends when this is dropped.
pub(super) struct Flight<'a> {
    inner: &'a Inner,
    id: u64,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.inner.state().flights.end(self.id);
        self.inner.changed.notify_all();
    }
}

/// The result of looking up a block in the index.
enum Look<'a> {
    Hit(Found),
    /// So many blocks aren't there. They may be kept if there is a flight.
    Miss(u64, Option<Flight<'a>>),
}

impl Inner {
    #[expect(clippy::too_many_arguments, reason = "they are all that a cache is made of")]
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        keeper: Arc<dyn CacheKeeper>,
        keyring: Arc<Keyring>,
        file: CacheFile,
        name: String,
        mode: CacheMode,
        most_dirty: usize,
        mark: Mark,
    ) -> Self {
        let state = State {
            index: Index::new(file.layout.slots),
            flights: Flights::default(),
            pending: VecDeque::with_capacity(most_dirty),
            reserved: 0,
            tail: mark.tail,
            is_on: true,
            wiped: false,
            retiring: false,
            unflushed: false,
            broken: false,
            unmarked: false,
        };
        Inner {
            disk,
            keeper,
            keyring,
            file,
            name,
            mode,
            most_dirty,
            state: Mutex::new(state),
            changed: Condvar::new(),
            journal: Mutex::new(mark.durable),
            mark: Mutex::new(mark),
            flushing: Mutex::default(),
            destaging: Mutex::default(),
            passing: RwLock::default(),
            retiring: Mutex::default(),
            direct: AtomicBool::new(false),
            scratch: Mutex::default(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The keys, if the disk's key may be used now.
    pub(super) fn keys(&self) -> Result<Arc<Keys>> {
        self.keyring.get(&*self.keeper)
    }

    /// Begins to change blocks, once no other write to them is under way.
    pub(super) fn begin_write(&self, blocks: &Range<u64>) -> Flight<'_> {
        let mut state = self.state();
        while state.flights.is_written(blocks) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Flight { inner: self, id: state.flights.begin(Kind::Write, blocks.clone()) }
    }

    pub(super) fn read(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        check(&*self.disk, offset, sectors.len() as u64)?;
        let (mut at, end) = (offset, offset + sectors.len() as u64);
        let last = end.div_ceil(BLOCK as u64);
        while at < end {
            let block = at / BLOCK as u64;
            let rest = &mut sectors[(at - offset) as usize..];
            match self.look(block, last) {
                Look::Hit(found) => {
                    let within = (at % BLOCK as u64) as usize;
                    let len = rest.len().min(BLOCK - within);
                    if self.hit(found, within, &mut rest[..len])? {
                        at += len as u64;
                    }
                }
                Look::Miss(blocks, flight) => {
                    let until = end.min((block + blocks) * BLOCK as u64);
                    let rest = &mut rest[..(until - at) as usize];
                    self.disk.read_at(at, rest)?;
                    if let Some(flight) = flight {
                        self.keep(&flight, at, rest);
                    }
                    at = until;
                }
            }
        }
        Ok(())
    }

    fn look(&self, block: u64, last: u64) -> Look<'_> {
        let mut state = self.state();
        if !state.is_on {
            return Look::Miss(last - block, None);
        }
        if let Some(found) = state.index.find(block) {
            return Look::Hit(found);
        }
        let most = last.min(block + 4 * PIECE as u64);
        let end = (block + 1..most).find(|&next| state.index.has(next)).unwrap_or(most);
        // Registered before the disk is read, so that the fill notices a write that comes meanwhile and doesn't keep older data.
        let id = state.flights.begin(Kind::Fill, block..end);
        Look::Miss(end - block, Some(Flight { inner: self, id }))
    }

    /// Fills `sectors` from a block of the cache. Returns `false` if the index is to be asked again.
    fn hit(&self, found: Found, within: usize, sectors: &mut [u8]) -> Result<bool> {
        let keys = self.keys()?;
        if sectors.len() == BLOCK {
            return self.fetch(&keys, found, sectors);
        }
        let mut block = Zeroizing::new([0; BLOCK]);
        let fetched = self.fetch(&keys, found, &mut *block)?;
        if fetched {
            sectors.copy_from_slice(&block[within..within + sectors.len()]);
        }
        Ok(fetched)
    }

    fn fetch(&self, keys: &Keys, found: Found, block: &mut [u8]) -> Result<bool> {
        let read = self.file.read_slot(found.place.slot, block);
        if read.is_ok() && keys.open(found.place, &found.tag, block)? {
            return Ok(true);
        }
        let mut state = self.state();
        // The slot may have been taken for another block meanwhile.
        if !state.is_on || state.index.find(found.place.block).is_none_or(|now| now.place != found.place) {
            return Ok(false);
        }
        if found.record >= state.tail {
            return Err(self.damaged(found.place.block, read.err()));
        }
        state.index.unlink(found.place.block);
        drop(state);
        log::warn!("the host cache {} has a damaged block, which is read from the disk", self.name);
        if let Err(error) = read {
            self.fail(&error);
        }
        Ok(false)
    }

    /// The error for a block that the disk lacks and the cache has lost.
    pub(super) fn damaged(&self, block: u64, read: Option<io::Error>) -> Error {
        match read {
            Some(error) => io(format!("reading the host cache {}", self.name), error),
            None => CacheError::Damaged { offset: Some(block * BLOCK as u64) }.at(&self.name),
        }
    }

    /// Keeps data that was read from the disk, as far as it is whole blocks and there is room.
    fn keep(&self, flight: &Flight<'_>, offset: u64, sectors: &[u8]) {
        let (first, bytes) = whole(offset, sectors);
        for (piece, bytes) in bytes.chunks(PIECE * BLOCK).enumerate() {
            let first = first + (piece * PIECE) as u64;
            let slots = self.take(first, bytes.len() / BLOCK);
            let Some(kept) = self.put(&slots, first, bytes) else { return };
            let mut state = self.state();
            let spoiled = state.flights.is_spoiled(flight.id);
            for (place, tag) in kept {
                if spoiled || state.index.has(place.block) {
                    state.index.give_back(place.slot);
                } else {
                    state.index.link(place, tag, 0);
                }
            }
        }
    }

    /// Slots for the blocks of a run that the cache lacks, as far as there are any.
    pub(super) fn take(&self, first: u64, count: usize) -> Vec<Place> {
        let mut state = self.state();
        if !state.is_on || state.retiring {
            return Vec::new();
        }
        let (tail, index) = (state.tail, &mut state.index);
        let wanted = (first..first + count as u64).filter(|&block| !index.has(block)).collect::<Vec<_>>();
        wanted.into_iter().map_while(|block| index.take(block, tail)).collect()
    }

    /// Encrypts blocks of a run that begins at `first`, and writes them to their slots. On failure they are given back.
    pub(super) fn put(&self, slots: &[Place], first: u64, run: &[u8]) -> Option<Vec<(Place, [u8; TAG])>> {
        if slots.is_empty() {
            return Some(Vec::new());
        }
        let put = || -> Result<Vec<(Place, [u8; TAG])>> {
            let keys = self.keys()?;
            let mut scratch = self.scratch();
            let mut kept = Vec::with_capacity(slots.len());
            for piece in slots.chunks(PIECE) {
                let sealed = &mut scratch.buffer[..piece.len() * BLOCK];
                for (place, sealed) in piece.iter().zip(sealed.chunks_exact_mut(BLOCK)) {
                    let at = (place.block - first) as usize * BLOCK;
                    kept.push((*place, keys.seal_to(*place, &run[at..at + BLOCK], sealed)?));
                }
                self.file
                    .write_slots(piece, sealed)
                    .map_err(|e| io(format!("writing the host cache {}", self.name), e))?;
            }
            Ok(kept)
        };
        put()
            .map_err(|error| {
                let mut state = self.state();
                slots.iter().for_each(|place| state.index.give_back(place.slot));
                drop(state);
                if let Error::Io { source, .. } = &error {
                    self.fail(source);
                }
            })
            .ok()
    }

    /// Handles a failure of the file. A cache that holds nothing the disk lacks is given up.
    fn fail(&self, error: &io::Error) {
        let mut state = self.state();
        if self.mode != CacheMode::WriteBack && state.is_on {
            state.is_on = false;
            log::warn!("the host cache {} fails, and its disk goes on without: {error}", self.name);
        }
    }

    fn scratch(&self) -> Scratch<'_> {
        let buffer = lock(&self.scratch).pop().unwrap_or_else(|| vec![0; PIECE * BLOCK]);
        Scratch { pool: &self.scratch, buffer }
    }
}

/// A buffer for ciphertext, which is used again.
struct Scratch<'a> {
    pool: &'a Mutex<Vec<Vec<u8>>>,
    buffer: Vec<u8>,
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        let mut pool = lock(self.pool);
        if pool.len() < 8 {
            pool.push(std::mem::take(&mut self.buffer));
        }
    }
}

/// The blocks that a range of bytes touches.
pub(super) fn touched(offset: u64, len: u64) -> Range<u64> {
    offset / BLOCK as u64..(offset + len).div_ceil(BLOCK as u64)
}

/// The first whole block of a run of bytes, and the bytes of all whole blocks.
pub(super) fn whole(offset: u64, bytes: &[u8]) -> (u64, &[u8]) {
    let first = offset.div_ceil(BLOCK as u64);
    let before = (first * BLOCK as u64 - offset) as usize;
    let rest = bytes.get(before..).unwrap_or_default();
    (first, &rest[..rest.len() / BLOCK * BLOCK])
}

/// Refuses a range that the disk doesn't have.
pub(super) fn check(disk: &dyn Disk, offset: u64, len: u64) -> Result<()> {
    let (size, sector_size) = (disk.size(), disk.sector_size());
    let counted = usize::try_from(len).unwrap_or(usize::MAX);
    if !offset.is_multiple_of(sector_size.into()) || !len.is_multiple_of(sector_size.into()) {
        return Err(Error::Misaligned { offset, len: counted, sector_size });
    }
    if offset.checked_add(len).is_none_or(|end| end > size) {
        return Err(Error::OutOfBounds { offset, len: counted, size });
    }
    Ok(())
}
