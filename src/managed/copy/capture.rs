//! A copy of a disk as it was at one instant, made while the disk is written: a chunk that is about to be overwritten is copied first.
//!
//! A write to a chunk that was copied takes no lock. A write to another chunk copies that chunk, or waits until the thread that
//! copies it is done; it never waits for a third chunk.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};

use super::target::{CopyProgress, Target};
use crate::managed::chunk_map::{ChunkMap, place, touched};
use crate::managed::layers::Layers;
use crate::managed::live::BeforeWrite;
use crate::managed::sync::{lock, wait};
use crate::{Error, Result};

/// A copy in progress of a disk in use.
pub(in crate::managed) struct Capture {
    target: Target,
    size: u64,
    /// The chunks that a thread copies, or has copied: the thread that adds a chunk copies it.
    claimed: ChunkMap,
    /// The chunks that may be written, because they were copied or need no copy.
    copied: ChunkMap,
    done: AtomicU64,
    /// The error that stopped the copy. Writes to the disk go on.
    failure: OnceLock<Error>,
    /// For threads that wait for a chunk that another thread copies. Held for a look at `copied` only.
    waiting: Mutex<()>,
    one_more: Condvar,
}

impl Capture {
    /// A copy of all chunks.
    pub(in crate::managed) fn whole(target: Target, size: u64) -> Self {
        Self::of(target, size, ChunkMap::new(size), ChunkMap::new(size))
    }

    /// A copy of some chunks; the others need none.
    pub(in crate::managed) fn of_changes(target: Target, size: u64, changed: &ChunkMap) -> Self {
        Self::of(target, size, changed.complement(), changed.complement())
    }

    fn of(target: Target, size: u64, claimed: ChunkMap, copied: ChunkMap) -> Self {
        let done = copied.iter().map(|chunk| place(chunk, size).1 as u64).sum();
        let (done, failure) = (AtomicU64::new(done), OnceLock::new());
        Capture { target, size, claimed, copied, done, failure, waiting: Mutex::default(), one_more: Condvar::new() }
    }

    /// The chunks that are still to be copied.
    pub(in crate::managed) fn left(&self) -> ChunkMap {
        self.copied.complement()
    }

    /// How far it is.
    pub(in crate::managed) fn progress(&self) -> CopyProgress {
        CopyProgress { done: self.done.load(Ordering::Relaxed), total: self.size }
    }

    pub(in crate::managed) fn has_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// Copies a chunk, unless it was; then it may be written.
    pub(in crate::managed) fn copy(&self, disk: &Layers, chunk: u64) {
        if self.copied.has(chunk) {
            return;
        }
        if !self.claimed.add(chunk) {
            let mut waiting = lock(&self.waiting);
            while !self.copied.has(chunk) {
                waiting = wait(&self.one_more, waiting);
            }
            return;
        }
        let claim = Claim { capture: self, chunk };
        let (offset, len) = place(chunk, self.size);
        let mut bytes = vec![0; len];
        let copied = disk.read_at(offset, &mut bytes).and_then(|()| self.target.put(chunk, &bytes));
        match copied {
            Ok(()) => drop(self.done.fetch_add(len as u64, Ordering::Relaxed)),
            Err(e) => drop(self.failure.set(e)),
        }
        drop(claim);
    }

    /// The copy, if it is complete.
    pub(in crate::managed) fn into_target(self: Arc<Self>) -> Result<Target> {
        let all = Arc::into_inner(self).ok_or_else(|| Error::Busy { what: "a copy that was not ended".into() })?;
        all.failure.into_inner().map_or(Ok(all.target), Err)
    }
}

impl BeforeWrite for Capture {
    fn before_write(&self, disk: &Layers, offset: u64, len: u64) {
        for chunk in touched(offset, len, self.size) {
            if self.has_failed() {
                return;
            }
            self.copy(disk, chunk);
        }
    }
}

/// A chunk that is being copied. However the copy ends, the waiting threads go on.
struct Claim<'c> {
    capture: &'c Capture,
    chunk: u64,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let Claim { capture, chunk } = self;
        if std::thread::panicking() {
            let text = "a device panicked while a part of the disk was copied";
            let _ = capture.failure.set(Error::io("copying the disk", std::io::Error::other(text)));
        }
        capture.copied.add(*chunk);
        // Between its look and its sleep nobody misses this.
        drop(lock(&capture.waiting));
        capture.one_more.notify_all();
    }
}
