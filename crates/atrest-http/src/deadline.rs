//! Until when a call may take.

use std::time::{Duration, Instant};

/// The moment until which a call with all its retries has to end.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline this long from now; at most a day.
    pub fn after(time: Duration) -> Self {
        Deadline(Instant::now() + time.min(Duration::from_secs(86400)))
    }

    /// The time left, if there is any.
    pub fn left(&self) -> Option<Duration> {
        self.0.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// The earlier of this deadline and one this long from now.
    pub fn within(&self, time: Duration) -> Self {
        Deadline(self.0.min(Deadline::after(time).0))
    }
}
