//! Rings for calls that wait.

use std::fs::File;
use std::sync::{Mutex, PoisonError};

use atrest::OwningProcess;

use crate::ring::{Direction, Memory, Ring};

/// How many pieces of a call are under way at once.
const DEPTH: usize = 16;

/// The most rings that are kept: no more calls than that have one at once.
const MOST: usize = 8;

/// Rings that threads take turns with. Without any, calls are plain ones.
pub(crate) struct Pool {
    free: Mutex<Vec<Ring>>,
    /// A ring is memory that is shared with the kernel: a child that was forked has its parent's, and must leave it alone.
    owner: OwningProcess,
}

/// A piece of a call that is still to be done, as plain calls do it.
pub(crate) struct Left {
    /// The offset in the call's bytes.
    pub(crate) start: usize,
    pub(crate) len: usize,
}

impl Left {
    /// All of `len` bytes, as one piece.
    pub(crate) fn all(len: usize) -> Vec<Self> {
        vec![Left { start: 0, len }]
    }
}

impl Pool {
    /// A pool with one ring, if the system has any.
    pub(crate) fn new() -> Option<Self> {
        match Ring::new(DEPTH as u32) {
            Ok(ring) => Some(Pool { free: Mutex::new(vec![ring]), owner: OwningProcess::current() }),
            Err(error) => {
                log::info!("there is no io_uring here, so files are read and written by plain calls: {error}");
                None
            }
        }
    }

    fn take(&self) -> Option<Ring> {
        if !self.owner.is_current() {
            return None;
        }
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.or_else(|| Ring::new(DEPTH as u32).ok())
    }

    fn give_back(&self, ring: Ring) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < MOST {
            free.push(ring);
        }
    }

    /// Reads or writes memory in pieces of `piece` bytes, several at once. Returns the pieces that weren't done as a whole, for
    /// any reason: a plain call finishes them, or reports the error. `None`: there is no ring left.
    ///
    /// # Safety
    /// The memory is the caller's until this returns, and may be written for a read.
    pub(crate) unsafe fn transfer(
        &self,
        file: &File,
        direction: Direction,
        offset: u64,
        memory: Memory,
        piece: usize,
    ) -> Option<Vec<Left>> {
        let mut ring = self.take()?;
        let (start, len) = memory;
        let (mut next, mut under_way, mut left) = (0, 0, Vec::new());
        let piece_at = |at: usize| piece.min(len - at);
        while next < len || under_way > 0 {
            while next < len && under_way < DEPTH {
                let now = piece_at(next);
                // SAFETY: the piece is in the caller's memory, which stays until all are done: this returns no earlier.
                // `under_way` counts those in the ring.
                unsafe { ring.push(file, direction, offset + next as u64, (start.add(next), now), next as u64) };
                (next, under_way) = (next + now, under_way + 1);
            }
            if let Err(error) = ring.submit(1) {
                // The kernel may still use the memory, so it can't be given back.
                log::error!("io_uring fails, with requests under way: {error}");
                std::process::abort();
            }
            for (at, done) in ring.done() {
                under_way -= 1;
                let (start, wanted) = (at as usize, piece_at(at as usize));
                let done = done.unwrap_or(0);
                if done < wanted {
                    left.push(Left { start: start + done, len: wanted - done });
                }
            }
        }
        self.give_back(ring);
        Some(left)
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}
