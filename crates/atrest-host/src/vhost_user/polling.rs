//! How long the thread of a queue polls for the next request before it sleeps.
//!
//! Sleeping and being woken costs a guest more time than a small request does, and the guest has to leave its virtual CPU to
//! wake us. So a thread polls for a while first, as long as that has been worth it: the time grows when a request came soon
//! after the thread fell asleep, and falls to zero when none did.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// The first time that is tried.
const SHORTEST: Duration = Duration::from_micros(4);

/// A thread that polls for so much longer than meant had lost its CPU: another program needs it.
const LATE: Duration = Duration::from_micros(100);

/// How many sleeps pass before a thread that was late looks again.
const PAUSE: u32 = 256;

/// How many threads of this process look now.
static LOOKING: AtomicUsize = AtomicUsize::new(0);

pub(super) struct Polling {
    /// The longest time it looks.
    most: Duration,
    /// The time it looks now.
    time: Duration,
    /// As many sleeps are to pass before it looks again.
    pause: u32,
}

impl Polling {
    pub(super) fn new(most: Duration) -> Self {
        Polling { most, time: Duration::ZERO, pause: 0 }
    }

    /// Looks for something to do, as long as it is worth it. `begun` is now.
    pub(super) fn look<T, E>(
        &mut self,
        begun: Instant,
        mut found: impl FnMut() -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        if self.time.is_zero() {
            return Ok(None);
        }
        let Some(_turn) = Turn::take() else { return Ok(None) };
        loop {
            let result = found()?;
            let passed = begun.elapsed();
            if passed > self.time + LATE {
                (self.time, self.pause) = (Duration::ZERO, PAUSE);
            }
            if result.is_some() || passed >= self.time {
                return Ok(result);
            }
            std::hint::spin_loop();
        }
    }

    /// Learns from the time that passed until there was something to do, where it had to sleep.
    pub(super) fn waited(&mut self, passed: Duration) {
        if self.pause > 0 {
            self.pause -= 1;
        } else if passed > self.most {
            self.time = Duration::ZERO;
        } else if passed > self.time {
            self.time = (2 * self.time).clamp(SHORTEST.min(self.most), self.most);
        }
    }
}

/// The right to look, of one thread.
struct Turn;

impl Turn {
    /// At most half of the CPUs that this process may use are for polling threads. The others are for working threads, and for the guest.
    fn take() -> Option<Self> {
        let most = cpus() / 2;
        // Taken before it is counted, so that two threads at the same time lose no turn.
        let turn = (LOOKING.fetch_add(1, Ordering::Relaxed), Turn);
        (turn.0 < most).then_some(turn.1)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        LOOKING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The number of CPUs that this process may use; 1 if it isn't known.
pub(super) fn cpus() -> usize {
    static CPUS: OnceLock<usize> = OnceLock::new();
    *CPUS.get_or_init(|| available_parallelism().map_or(1, |cpus| cpus.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_micros(20);

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn the_time_grows_while_it_is_worth_it() {
        let mut polling = Polling::new(MOST);
        let mut times = Vec::new();
        for passed in [10, 10, 10, 10, 18, 19, 500, 10] {
            polling.waited(micros(passed));
            times.push(polling.time.as_micros());
        }
        // Up to the time that would have been enough, and never more than the most; a long wait ends it.
        assert_eq!(times, [4, 8, 16, 16, 20, 20, 0, 4]);
    }

    #[test]
    fn none_looks_who_may_not() {
        let mut polling = Polling::new(Duration::ZERO);
        for _ in 0..3 {
            let looked = polling.look(Instant::now(), || -> Result<Option<()>, ()> { panic!("it looked") });
            assert_eq!(looked, Ok(None));
            polling.waited(Duration::ZERO);
        }
    }

    #[test]
    fn whoever_was_not_on_a_cpu_pauses() {
        let mut polling = Polling { time: MOST, ..Polling::new(MOST) };
        // It says itself that the time is long over; with no CPU to look on, it doesn't look at all.
        let begun = Instant::now().checked_sub(micros(1000)).unwrap();
        if polling.look(begun, || Ok::<_, ()>(Some(7))) == Ok(Some(7)) {
            assert_eq!(polling.time, Duration::ZERO);
            for _ in 0..PAUSE {
                polling.waited(micros(10));
                assert_eq!(polling.time, Duration::ZERO);
            }
            polling.waited(micros(10));
            assert_eq!(polling.time, SHORTEST);
        }
    }
}
