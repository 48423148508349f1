//! Where time comes from.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where time comes from; tests turn one by hand.
pub trait Clock: Send + Sync {
    /// Seconds since 1970-01-01 UTC.
    fn now(&self) -> u64;
}

/// The clock of the operating system. A time before 1970 is 0.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

/// A clock that stands still unless it is told to move.
///
/// ```
/// use std::time::Duration;
/// use atrest::{Clock, ManualClock};
///
/// let clock = ManualClock::new(1_000);
/// clock.advance(Duration::from_secs(60 * 60));
/// assert_eq!(clock.now(), 4_600);
/// ```
#[derive(Debug, Default)]
pub struct ManualClock(Mutex<Duration>);

impl ManualClock {
    /// A clock that stands at `start`, in seconds since 1970-01-01 UTC.
    pub fn new(start: u64) -> Self {
        ManualClock(Mutex::new(Duration::from_secs(start)))
    }

    /// Sets it, forwards or back.
    pub fn set(&self, now: u64) {
        *self.lock() = Duration::from_secs(now);
    }

    /// Moves it forwards. Steps shorter than a second add up.
    pub fn advance(&self, by: Duration) {
        let mut now = self.lock();
        *now = now.saturating_add(by);
    }

    fn lock(&self) -> MutexGuard<'_, Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> u64 {
        self.lock().as_secs()
    }
}
