//! The steps of a re-encryption in this process.

use core::time::Duration;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How far a re-encryption is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReencryptionProgress {
    /// The number of bytes that are done.
    pub done: u64,
    /// The number of bytes in all.
    pub total: u64,
    /// The bytes a second of the steps of this process; `None` before the first one.
    pub rate: Option<u64>,
}

impl ReencryptionProgress {
    /// Whether it is finished.
    pub fn is_finished(&self) -> bool {
        self.done == self.total
    }

    /// The time that the rest takes at this rate, of steps without a pause between them.
    pub fn time_left(&self) -> Option<Duration> {
        let rate = self.rate.filter(|rate| *rate > 0)?;
        Some(Duration::from_secs_f64((self.total - self.done) as f64 / rate as f64))
    }
}

/// The steps that were done in this process. Its lock keeps them apart.
#[derive(Default)]
pub(super) struct Steps(Mutex<Spent>);

#[derive(Default)]
pub(super) struct Spent {
    pub(super) bytes: u64,
    pub(super) time: Duration,
}

impl Steps {
    pub(super) fn lock(&self) -> MutexGuard<'_, Spent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spent {
    pub(super) fn progress(&self, done: u64, total: u64) -> ReencryptionProgress {
        let rate = (!self.time.is_zero()).then(|| (self.bytes as f64 / self.time.as_secs_f64()) as u64);
        ReencryptionProgress { done, total, rate }
    }
}
