//! The steps of a re-encryption in this process.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use core::time::Duration;
use std::sync::{Mutex, MutexGuard, PoisonError};

use zeroize::Zeroizing;

/// The progress of a re-encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReencryptionProgress {
    /// The number of bytes that are done.
    pub done: u64,
    /// The number of bytes in all.
    pub total: u64,
    /// The speed of this process's steps in bytes a second; `None` before the first one.
    pub rate: Option<u64>,
}

impl ReencryptionProgress {
    /// Whether it is finished.
    pub fn is_finished(&self) -> bool {
        self.done == self.total
    }

    /// The time that the rest takes at this rate, without pauses between the steps.
    pub fn time_left(&self) -> Option<Duration> {
        let rate = self.rate.filter(|rate| *rate > 0)?;
        Some(Duration::from_secs_f64((self.total - self.done) as f64 / rate as f64))
    }
}

/// The largest zone, and the smallest one where others wait, in bytes. Each costs some twenty syncs.
pub(super) const ZONE: u64 = 16 << 20;
const SMALL: u64 = 512 << 10;

/// The steps done in this process. A lock keeps them apart; reading the progress needs no lock.
#[derive(Default)]
pub(super) struct Steps {
    /// The buffer for a zone, kept so that zones needn't allocate it anew. It is wiped when the volume or the re-encryption ends.
    room: Mutex<Zeroizing<Vec<u8>>>,
    bytes: AtomicU64,
    nanoseconds: AtomicU64,
    /// How much smaller than [`ZONE`] a zone is to be.
    less: AtomicU64,
    /// All data is decrypted, and the header is being destroyed: it may be gone already.
    ending: AtomicBool,
}

impl Steps {
    /// The size of the next zone. `awaited` says whether other threads have waited for the last one: then zones shrink fast, and
    /// grow again slowly, so that threads that read and write all the time wait for about one zone of 24.
    pub(super) fn next_zone(&self, awaited: bool) -> u64 {
        let last = ZONE - self.less.load(Relaxed);
        let next = if awaited { (last / 4).max(SMALL) } else { (last + last / 16).min(ZONE) };
        self.less.store(ZONE - next, Relaxed);
        next
    }

    /// Records that only the destruction of the header is left.
    pub(super) fn end(&self) {
        self.ending.store(true, Relaxed);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Relaxed)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Zeroizing<Vec<u8>>> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, bytes: u64, time: Duration) {
        self.bytes.fetch_add(bytes, Relaxed);
        self.nanoseconds.fetch_add(time.as_nanos() as u64, Relaxed);
    }

    pub(super) fn progress(&self, done: u64, total: u64) -> ReencryptionProgress {
        let time = Duration::from_nanos(self.nanoseconds.load(Relaxed));
        let rate = (!time.is_zero()).then(|| (self.bytes.load(Relaxed) as f64 / time.as_secs_f64()) as u64);
        ReencryptionProgress { done, total, rate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_shrink_where_others_wait_and_grow_again() {
        let steps = Steps::default();
        assert_eq!([false, false].map(|awaited| steps.next_zone(awaited)), [ZONE; 2]);
        assert_eq!([true; 4].map(|awaited| steps.next_zone(awaited)), [ZONE / 4, ZONE / 16, SMALL, SMALL]);
        let mut grown = 0;
        while steps.next_zone(false) < ZONE {
            grown += 1;
        }
        assert!((50..70).contains(&grown), "{grown}");
    }
}
