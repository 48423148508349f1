//! Caches of disks on a local file of the host, which holds ciphertext only.
//!
//! A [`Cache`] lies above the disk's volume and is a [`Disk`] itself. A read that it answers costs one read of the local file
//! and one decryption, under keys of the cache's own.
//!
//! # What is durable when
//!
//! | | a write is answered when | a flush is answered when |
//! |---|---|---|
//! | [`ReadOnly`](CacheMode::ReadOnly) | the disk has it | the disk is flushed |
//! | [`WriteThrough`](CacheMode::WriteThrough) | the disk has it | the disk is flushed |
//! | [`WriteBack`](CacheMode::WriteBack) | the cache's file has its blocks, and then a record of the journal that tells of them | the file is synced, and marked so; the disk is flushed first if it has got something itself |
//!
//! So a write-back cache loses no answered write when the process is killed, and no flushed one when power is lost: it is in
//! the file or on the disk. Waiting writes go to the disk after a while ([`CacheOptions::destage_after`]), when they fill half
//! of the space they may use, and when the cache is detached. The process may be killed at each of these writes: `destage.rs`
//! has the order. A sector of 512 bytes of the file is assumed to be written whole or not at all.
//!
//! Until then the disk lacks these writes. A snapshot or a copy of a managed disk has the cache write them first, and holds the
//! cache back from the disk for an instant, so that it contains every write that was answered before. While the cache isn't
//! attached, it is refused. **A copy made by other means needs a [`drain`](Cache::drain) before**. Detach a disk from its cache
//! before you make the disk smaller, or re-encrypt it under another DEK.
//!
//! A cache that is attached first writes to the disk the blocks that the last one held for it. Then it begins empty, under a
//! new salt: earlier contents of the local file can't be used any more.
//!
//! # What an attacker who has the file can do
//!
//! The keys are derived from the disk's DEK and from a random salt in the file (`docs/formats/host-cache.md`). Without the DEK nothing can
//! be read. When the cache is detached, the salt is overwritten, and the file removed: then the DEK doesn't help either. Each
//! block is bound to its place on the disk, to its slot and to a generation that never comes again. The tags that prove it are
//! in memory; those of waiting blocks are in the journal, whose records have a MAC and a number. A block that fails its check
//! is read from the disk, or reported as [`CacheError::Damaged`] where the disk lacks it. The cache of another disk is
//! [`Foreign`](CacheError::Foreign). An older cache of this disk is [`NotTheLast`](CacheError::NotTheLast), and one that is
//! gone [`Missing`](CacheError::Missing), since the service's store has the id of the last one ([`CacheKeeper`]).
//!
//! Two attacks remain. After a crash, an earlier state of the *same* cache's file can't be told from the last one, whether the
//! file was put back as a whole, or its newest mark and later records were damaged. It would bring back the writes that waited
//! then, and lose later ones. And where no note of the last cache is kept ([`KnownCache::NotKept`]), a file of zeros, or one
//! that begins like the file of a detached cache, is taken for an empty one.
//!
//! # When the disk's key may not be used
//!
//! The cache answers nothing from then on ([`Error::DiskSuspended`]), and its keys are wiped from memory with the disk's DEK.
//! Waiting writes stay in the file, encrypted. The cache continues when the key may be used again; if it is detached or lost
//! meanwhile, its file stays for the next attachment.
//!
//! # When the local file fails
//!
//! A cache that holds nothing the disk lacks is given up, and its disk goes on without. A write-back cache first writes all
//! waiting blocks to the disk. If they can't be read any more, writes and flushes fail.

mod attach;
mod destage;
mod error;
mod file;
mod flights;
mod format;
mod index;
mod inner;
mod keeper;
mod keys;
mod options;
mod recover;
mod through;
mod write_back;

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use atrest::managed::{OpenDisk, WriteBack};
use atrest::{Error, NotInherited, OwningProcess, Result};

pub use error::CacheError;
pub use keeper::{CacheKeeper, KnownCache};
pub use options::{CacheMode, CacheOptions, CachePlace};

use self::attach::Attaching;
use self::inner::Inner;
use self::write_back::Failed;
use crate::Disk;
use crate::disk::io;
use crate::sync::lock;

/// A disk with a cache on the host: see the [module](self).
///
/// Dropping it leaves the file as a crash does. [`detach`](Self::detach) it instead. A forked child can't use its parent's cache.
pub struct Cache {
    owner: OwningProcess,
    inner: Arc<Inner>,
    destager: Option<NotInherited<Destager>>,
}

impl Cache {
    /// The most bytes of memory that it takes for each 4096 bytes of the cache.
    pub const BYTES_PER_BLOCK: usize = 64;

    /// Attaches a cache to a disk. Blocks that the last write-back cache at this place holds for the disk are written to it first.
    ///
    /// # Errors
    /// [`Error::Io`] with a [`CacheError`] inside, where acknowledged writes would be lost, or where the place holds something
    /// other than a cache; [`Error::Io`] for a local file that fails. [`Error::InvalidOption`] for a size that is too small.
    /// Errors of the disk.
    pub fn attach(
        disk: Arc<dyn Disk>,
        keeper: Arc<dyn CacheKeeper>,
        place: impl Into<CachePlace>,
        options: &CacheOptions,
    ) -> Result<Self> {
        let mut cache = Self::attach_idle(disk, keeper, place.into(), options)?;
        if cache.is_write_back() {
            cache.destager = Some(NotInherited::new(Destager::start(cache.inner.clone(), options.destage_after)?));
        }
        Ok(cache)
    }

    /// Attaches without the thread that writes waiting blocks to the disk: writers that need room do it.
    pub(crate) fn attach_idle(
        disk: Arc<dyn Disk>,
        keeper: Arc<dyn CacheKeeper>,
        place: CachePlace,
        options: &CacheOptions,
    ) -> Result<Self> {
        let inner = Arc::new(Attaching { disk, keeper, place, options }.attach()?);
        let cache = Cache { owner: OwningProcess::current(), inner, destager: None };
        if cache.is_write_back() {
            let layer: Arc<dyn WriteBack> = cache.inner.clone();
            cache.inner.keeper.announce(Arc::downgrade(&layer));
        }
        Ok(cache)
    }

    /// Attaches a cache to a managed disk: its keys are derived from the disk's DEK, and the service's store notes it.
    ///
    /// # Errors
    /// As [`attach`](Self::attach).
    pub fn of(disk: &OpenDisk, file: impl Into<PathBuf>, options: &CacheOptions) -> Result<Self> {
        Self::attach(Arc::new(disk.clone()), Arc::new(disk.clone()), CachePlace::File(file.into()), options)
    }

    /// Returns if a disk may be used without a cache: no write-back cache has writes that it lacks.
    ///
    /// # Errors
    /// [`Error::Io`] with [`CacheError::Missing`] inside; those of the keeper.
    pub fn check_none(keeper: &dyn CacheKeeper) -> Result<()> {
        match keeper.known_cache()? {
            KnownCache::Id(id) => Err(CacheError::Missing.at(&id)),
            KnownCache::None | KnownCache::NotKept => Ok(()),
        }
    }

    /// How many bytes wait to be written to the disk; 0 in a forked child, which can't know.
    pub fn dirty(&self) -> u64 {
        if !self.owner.is_current() {
            return 0;
        }
        (self.inner.state().pending.len() * format::BLOCK) as u64
    }

    /// Whether the cache's keys are in memory. They aren't while the disk's key may not be used.
    pub fn holds_keys(&self) -> bool {
        self.owner.is_current() && self.inner.keyring.is_held()
    }

    /// Writes to the disk all blocks that it lacked at the time of the call, and flushes it.
    ///
    /// # Errors
    /// Errors of the disk, and of a local file that can't be read.
    pub fn drain(&self) -> Result<()> {
        self.owner.check()?;
        if self.inner.mode == CacheMode::WriteBack && self.inner.state().is_on {
            self.inner.drain().or_else(|failed| self.inner.go_on_without(failed))?;
        }
        self.inner.flush_disk()
    }

    /// Writes all waiting blocks to the disk, overwrites the salt, and removes the file. Afterwards the disk goes on without a cache.
    ///
    /// # Errors
    /// As [`drain`](Self::drain): waiting blocks then stay in the file, and the cache goes on. Drop it to leave them for the
    /// next attachment. [`Error::Io`] if the file couldn't be wiped: then the disk has all data, and goes on without a cache;
    /// detaching again retries the wipe.
    pub fn detach(&self) -> Result<()> {
        self.owner.check()?;
        self.inner.retire()?;
        self.inner.wipe()
    }

    fn is_write_back(&self) -> bool {
        self.inner.mode == CacheMode::WriteBack
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        if let Some(destager) = self.destager.take().and_then(NotInherited::into_inner) {
            destager.stop();
        }
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("name", &self.inner.name).field("mode", &self.inner.mode).finish_non_exhaustive()
    }
}

impl Disk for Cache {
    fn size(&self) -> u64 {
        self.inner.disk.size()
    }

    fn sector_size(&self) -> u32 {
        self.inner.disk.sector_size()
    }

    fn is_read_only(&self) -> bool {
        self.inner.disk.is_read_only()
    }

    fn discards(&self) -> bool {
        self.inner.disk.discards()
    }

    fn read_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.owner.check()?;
        self.inner.read(offset, sectors)
    }

    fn write_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.owner.check()?;
        if !self.is_write_back() {
            return self.inner.write_through(offset, sectors);
        }
        self.inner.write_back(offset, sectors)?;
        if let Some(destager) = &self.destager
            && self.inner.is_half_full()
        {
            destager.wake();
        }
        Ok(())
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        self.change(offset, len, || self.inner.disk.write_zeroes(offset, len))
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.change(offset, len, || self.inner.disk.discard(offset, len))
    }

    fn flush(&self) -> Result<()> {
        self.owner.check()?;
        if self.is_write_back() { self.inner.flush_back() } else { self.inner.disk.flush() }
    }
}

impl Cache {
    fn change(&self, offset: u64, len: u64, act: impl FnOnce() -> Result<()>) -> Result<()> {
        self.owner.check()?;
        let end = offset.checked_add(len).ok_or(Error::OutOfBounds { offset, len: usize::MAX, size: self.size() })?;
        if self.is_write_back() {
            self.inner.change_back(offset..end, act)
        } else {
            self.inner.change_through(offset..end, act)
        }
    }
}

/// The thread that writes waiting blocks to the disk.
struct Destager {
    thread: JoinHandle<()>,
    bell: Arc<Bell>,
}

#[derive(Default)]
struct Bell {
    rung: Mutex<Rung>,
    changed: Condvar,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Rung {
    #[default]
    Not,
    Full,
    Stop,
}

impl Destager {
    fn start(inner: Arc<Inner>, after: Duration) -> Result<Self> {
        let bell = Arc::new(Bell::default());
        let heard = bell.clone();
        let work = move || {
            loop {
                let rung = lock(&heard.rung);
                let waited = heard.changed.wait_timeout_while(rung, after, |rung| *rung == Rung::Not);
                let (mut rung, _) = waited.unwrap_or_else(PoisonError::into_inner);
                if *rung == Rung::Stop {
                    return;
                }
                let full = std::mem::take(&mut *rung) == Rung::Full;
                drop(rung);
                inner.destage_in_background(full, || *lock(&heard.rung) == Rung::Stop);
            }
        };
        let thread = std::thread::Builder::new().name("host-cache".into()).spawn(work);
        let thread = thread.map_err(|e| io("starting a host cache's thread", e))?;
        Ok(Destager { thread, bell })
    }

    fn wake(&self) {
        let mut rung = lock(&self.bell.rung);
        if *rung == Rung::Not {
            *rung = Rung::Full;
            self.bell.changed.notify_one();
        }
    }

    fn stop(self) {
        *lock(&self.bell.rung) = Rung::Stop;
        self.bell.changed.notify_one();
        if self.thread.join().is_err() {
            log::error!("the thread of a host cache has panicked");
        }
    }
}

impl Inner {
    fn is_half_full(&self) -> bool {
        self.state().pending.len() > self.most_dirty / 2
    }

    /// Writes to the disk all blocks that wait now, or enough of them to leave a quarter of the waiting room in use.
    fn destage_in_background(&self, full: bool, stopped: impl Fn() -> bool) {
        let end = *lock(&self.journal);
        let wanted = || {
            let state = self.state();
            let waits = state.pending.front().is_some_and(|pending| pending.record < end);
            waits && state.is_on && (!full || state.pending.len() > self.most_dirty / 4)
        };
        while !stopped() && wanted() {
            match self.destage() {
                Ok(_) => {}
                // It waits until the key may be used again.
                Err(Failed::Other(Error::DiskSuspended { .. })) => return,
                Err(failed) => {
                    if let Err(error) = self.go_on_without(failed) {
                        log::warn!("the host cache {} can't write to its disk: {error:#}", self.name);
                    }
                    return;
                }
            }
        }
    }
}
