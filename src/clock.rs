//! The clocks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A source of the time. Tests set theirs by hand.
pub trait Clock: Send + Sync {
    /// Seconds since 1970-01-01 UTC.
    fn now(&self) -> u64;

    /// The time since a fixed point, such as the start of the machine. It also counts while the machine is suspended.
    /// Unlike [`now`](Self::now), nobody can set it back. Leases use both.
    ///
    /// The default asks the operating system: `CLOCK_BOOTTIME` on Linux and Android. Elsewhere it is the time since the
    /// first call by [`Instant`](std::time::Instant), which may stand still during suspend.
    fn uptime(&self) -> Duration {
        uptime()
    }
}

/// The clock of the operating system. A time before 1970 is 0.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn uptime() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // Boot time starts at zero, and its nanoseconds are less than a second.
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn uptime() -> Duration {
    static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    FIRST.get_or_init(std::time::Instant::now).elapsed()
}

/// A clock that stands still until its owner moves it.
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
pub struct ManualClock(Mutex<Hands>);

#[derive(Debug, Default)]
struct Hands {
    /// The time since 1970.
    now: Duration,
    uptime: Duration,
}

impl ManualClock {
    /// A clock that stands at `start`, in seconds since 1970-01-01 UTC.
    pub fn new(start: u64) -> Self {
        ManualClock(Mutex::new(Hands { now: Duration::from_secs(start), uptime: Duration::ZERO }))
    }

    /// Sets the time, forwards or back, like setting a machine's clock. The uptime stays.
    pub fn set(&self, now: u64) {
        self.lock().now = Duration::from_secs(now);
    }

    /// Moves the time and the uptime forwards. Steps shorter than a second add up.
    pub fn advance(&self, by: Duration) {
        let mut hands = self.lock();
        hands.now = hands.now.saturating_add(by);
        hands.uptime = hands.uptime.saturating_add(by);
    }

    fn lock(&self) -> MutexGuard<'_, Hands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> u64 {
        self.lock().now.as_secs()
    }

    fn uptime(&self) -> Duration {
        self.lock().uptime
    }
}
