//! When to try again.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::Deadline;
use crate::message::Response;
use crate::options::HttpOptions;
use crate::time::parse_http_date;

/// How many retries may begin now: a bucket that fills with time.
#[derive(Debug)]
pub(crate) struct Budget {
    most: f64,
    per_second: f64,
    state: Mutex<(f64, Instant)>,
}

impl Budget {
    pub(crate) fn new(options: &HttpOptions) -> Self {
        let most = f64::from(options.burst);
        Budget { most, per_second: f64::from(options.per_second), state: Mutex::new((most, Instant::now())) }
    }

    /// Takes a retry, and returns how long it has to wait for its turn.
    fn take(&self, now: Instant) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let filled = state.0 + now.saturating_duration_since(state.1).as_secs_f64() * self.per_second;
        // Below zero are the retries that wait.
        *state = (filled.min(self.most) - 1.0, now);
        Duration::from_secs_f64((-state.0 / self.per_second).clamp(0.0, 86400.0))
    }

    /// Takes a retry back that isn't made. Otherwise the calls of an outage would use up the retries of the time after it.
    fn give_back(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = (state.0 + 1.0).min(self.most);
    }
}

/// The retries of one call.
pub struct Retries<'c> {
    budget: &'c Budget,
    deadline: Deadline,
    wait: Duration,
    longest: Duration,
    attempts: u32,
}

impl<'c> Retries<'c> {
    pub(crate) fn new(budget: &'c Budget, options: &HttpOptions, deadline: Deadline) -> Self {
        Retries { budget, deadline, wait: options.first_wait, longest: options.longest_wait, attempts: 1 }
    }

    /// Waits until the next attempt may begin. False, at once, if the deadline would be over by then. `asked` is the server's
    /// `Retry-After`.
    pub fn wait(&mut self, asked: Option<Duration>) -> bool {
        // From half of it on: many clients that failed together don't come back together.
        let half = self.wait / 2;
        let wait = half + half.mul_f64(f64::from(noise()) / f64::from(u32::MAX));
        self.wait = (self.wait * 2).min(self.longest);
        let wait = wait.max(asked.unwrap_or_default()).max(self.budget.take(Instant::now()));
        if self.deadline.left().is_none_or(|left| left <= wait) {
            self.budget.give_back();
            return false;
        }
        std::thread::sleep(wait);
        self.attempts += 1;
        true
    }

    /// How many attempts have begun.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}

impl Response {
    /// Whether the same request may succeed later: 408, 429, 500, 502, 503 or 504.
    pub fn is_transient(&self) -> bool {
        matches!(self.status, 408 | 429 | 500 | 502 | 503 | 504)
    }

    /// How long the server asks not to be called (RFC 9110, section 10.2.3): at most an hour. A date is by the server's clock,
    /// which this machine's need not agree with.
    pub fn retry_after(&self) -> Option<Duration> {
        let value = self.header("retry-after")?.trim();
        let wait = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
            // More seconds than a number holds are many.
            Duration::from_secs(value.parse().unwrap_or(u64::MAX))
        } else {
            let now = self.header("date").and_then(parse_http_date).unwrap_or_else(SystemTime::now);
            parse_http_date(value)?.duration_since(now).unwrap_or_default()
        };
        Some(wait.min(Duration::from_secs(3600)))
    }
}

/// A random number; without the operating system's, one is as good as another.
fn noise() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_beyond_the_budget_wait_for_their_turn() {
        let budget = Budget::new(&HttpOptions::new().retry_budget(2, 1));
        let start = budget.state.lock().unwrap().1;
        let waits = [0, 0, 0, 500, 9000].map(|later| budget.take(start + Duration::from_millis(later)));
        assert_eq!(waits, [0, 0, 1000, 1500, 0].map(Duration::from_millis));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let answer = |value: &str| Response {
            status: 503,
            headers: vec![("retry-after".into(), value.into())],
            body: Vec::new(),
            what: String::new(),
        };
        assert_eq!(answer("7").retry_after(), Some(Duration::from_secs(7)));
        assert_eq!(answer("99999999").retry_after(), Some(Duration::from_secs(3600)));
        assert_eq!(answer("Sun, 06 Nov 1994 08:49:37 GMT").retry_after(), Some(Duration::ZERO));
        // A number beyond the integer's range isn't taken for 0.
        for long in ["4294967296", "99999999999999999999999999"] {
            assert_eq!(answer(long).retry_after(), Some(Duration::from_secs(3600)), "{long}");
        }
        for bad in ["-1", "+1", "", "1.5", "0x10"] {
            assert_eq!(answer(bad).retry_after(), None, "{bad}");
        }
        assert_eq!(answer("soon").retry_after(), None);
    }

    #[test]
    fn a_date_is_one_of_the_servers_clock() {
        let answer = |date: &str| Response {
            status: 503,
            headers: vec![("date".into(), date.into()), ("retry-after".into(), "Sun, 06 Nov 1994 08:49:37 GMT".into())],
            body: Vec::new(),
            what: String::new(),
        };
        assert_eq!(answer("Sun, 06 Nov 1994 08:49:30 GMT").retry_after(), Some(Duration::from_secs(7)));
        assert_eq!(answer("Sun, 06 Nov 1994 08:50:30 GMT").retry_after(), Some(Duration::ZERO));
        assert_eq!(answer("soon").retry_after(), Some(Duration::ZERO));
    }

    #[test]
    fn retries_that_are_not_made_cost_nothing() {
        let options = HttpOptions::new().retry_budget(1, 1).waits(Duration::from_millis(1), Duration::from_millis(1));
        let budget = Budget::new(&options);
        // An outage, in which each call learns that its deadline would be over.
        for _ in 0..1000 {
            let mut retries = Retries::new(&budget, &options, Deadline::after(Duration::from_secs(5)));
            assert!(!retries.wait(Some(Duration::from_secs(600))));
        }
        let mut retries = Retries::new(&budget, &options, Deadline::after(Duration::from_secs(5)));
        assert!(retries.wait(None), "the first retry after it has its turn");
    }

    #[test]
    fn a_retry_that_would_come_too_late_is_refused_at_once() {
        let (options, deadline) = (HttpOptions::new(), Deadline::after(Duration::from_secs(60)));
        let budget = Budget::new(&options);
        let mut retries = Retries::new(&budget, &options, deadline);
        assert!(!retries.wait(Some(Duration::from_secs(3600))));
        assert!(retries.wait(None));
        assert_eq!(retries.attempts(), 2);
    }
}
