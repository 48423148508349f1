//! Claims on chunks: only the thread with the claim adds them to the map, or removes them.

use core::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Default)]
pub(super) struct Claims {
    claimed: Mutex<Vec<Range<u64>>>,
    fewer: Condvar,
}

/// Chunks that are claimed until this is dropped.
pub(in crate::volume) struct Claim<'c> {
    claims: &'c Claims,
    chunks: Range<u64>,
}

impl Claims {
    /// Claims chunks, once nobody else has claimed any of them. A thread that waits must hold no state of the volume. A thread
    /// with a claim may only claim later chunks.
    pub(super) fn claim(&self, chunks: Range<u64>) -> Claim<'_> {
        let overlaps = |other: &Range<u64>| other.start < chunks.end && chunks.start < other.end;
        let mut claimed = self.lock();
        while claimed.iter().any(overlaps) {
            claimed = self.fewer.wait(claimed).unwrap_or_else(PoisonError::into_inner);
        }
        claimed.push(chunks.clone());
        Claim { claims: self, chunks }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Range<u64>>> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim<'_> {
    pub(in crate::volume) fn chunks(&self) -> Range<u64> {
        self.chunks.clone()
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut claimed = self.claims.lock();
        if let Some(at) = claimed.iter().position(|chunks| *chunks == self.chunks) {
            claimed.swap_remove(at);
        }
        drop(claimed);
        self.claims.fewer.notify_all();
    }
}
