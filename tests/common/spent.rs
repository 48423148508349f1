//! The processor time of a thread. What must cost little is judged by it: other processes may keep the machine busy.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The processor time that this thread has had. Where the system doesn't tell it, time goes by instead.
pub fn spent() -> Duration {
    static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.as_ref().and_then(|told| told.split(' ').next()?.parse().ok());
    nanoseconds.map_or_else(|| FIRST.elapsed(), Duration::from_nanos)
}
