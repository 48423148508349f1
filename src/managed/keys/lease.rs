//! How long a disk may use its key without asking: one state machine for revoked keys and for vaults that don't answer.
//!
//! ```text
//!            answered                    no answer
//!   Valid ───────────► Valid     Valid ───────────► Outage ──── limit ───► (I/O fails)
//!     │                            ▲                  │
//!     │ revoked            answered│                  │ revoked
//!     ▼                            │                  ▼
//!   Revoked ───────────────────────┴────────────── Revoked
//! ```

use core::time::Duration;

use crate::{Clock, Error, Result};

/// An instant by two clocks, in seconds. The wall clock decides when a key expires but can be set back; the uptime
/// can't.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::managed) struct Now {
    /// Since 1970-01-01 UTC.
    pub(in crate::managed) wall: u64,
    /// Since the start of the machine.
    pub(in crate::managed) up: u64,
}

impl Now {
    pub(in crate::managed) fn of(clock: &dyn Clock) -> Self {
        Now { wall: clock.now(), up: clock.uptime().as_secs() }
    }

    /// Whether this number of seconds has passed since `then`, by either clock, or a clock was set back.
    pub(in crate::managed) fn is_past(self, then: Now, seconds: u64) -> bool {
        let passed = |now: u64, then: u64| now < then || now - then >= seconds;
        passed(self.wall, then.wall) || passed(self.up, then.up)
    }
}

/// The span in which a key may be used. Both clocks must be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::managed) struct Span {
    /// The time of the last valid answer. The span ends if the clock is set back before it, so that this can't make it
    /// longer.
    pub(in crate::managed) from: u64,
    pub(in crate::managed) until: u64,
    /// The end by the uptime: after the same duration, even if the wall clock is changed.
    pub(in crate::managed) until_up: u64,
}

impl Span {
    pub(in crate::managed) fn holds(&self, now: Now) -> bool {
        self.from <= now.wall && now.wall < self.until && now.up < self.until_up
    }
}

/// The policy while a vault doesn't answer. This is not a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutagePolicy {
    /// I/O fails once the grace has passed since the vault's last answer, as after a revocation at that time. The
    /// default.
    FailAfterGrace,
    /// I/O continues for this time after the vault's last answer. A revocation in this time takes effect late, by up to
    /// this time.
    ContinueFor(Duration),
}

/// Options of leases.
///
/// ```
/// use std::time::Duration;
///
/// use atrest::managed::LeasePolicy;
///
/// let policy = LeasePolicy::default().grace(Duration::from_secs(600)).interval(Duration::from_secs(120));
/// # let _ = policy;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeasePolicy {
    /// The longest time until I/O fails after a key was disabled, deleted or expired, or access to it revoked
    /// (behaviour 36). The default is one hour.
    pub grace: Duration,
    /// The time after an answer until the vault is asked again. The default is a quarter of an hour. It is shorter than
    /// the grace, so that a short outage of the vault does no harm.
    pub interval: Duration,
    /// The policy while a vault doesn't answer.
    pub outage: OutagePolicy,
    /// The longest time for a call of a vault. The default is half a minute; it is never longer than the grace. A
    /// longer call is abandoned and counts as an outage; a late answer is dropped.
    pub deadline: Duration,
}

impl Default for LeasePolicy {
    fn default() -> Self {
        LeasePolicy {
            grace: Duration::from_secs(3600),
            interval: Duration::from_secs(900),
            outage: OutagePolicy::FailAfterGrace,
            deadline: Duration::from_secs(30),
        }
    }
}

impl LeasePolicy {
    /// Sets the longest time until I/O fails after a revocation.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets the time after an answer until the vault is asked again.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets the policy while a vault doesn't answer.
    pub fn outage(mut self, outage: OutagePolicy) -> Self {
        self.outage = outage;
        self
    }

    /// Sets the longest time for a call of a vault.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

/// The outcome of asking a vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::managed) enum Answer {
    Valid,
    Revoked,
    /// It didn't answer.
    Outage,
}

impl LeasePolicy {
    pub(in crate::managed) fn check(&self) -> Result<()> {
        if self.interval.as_secs() == 0 || self.interval >= self.grace || self.grace > LONGEST_GRACE {
            let text =
                "a lease's interval is at least a second and shorter than its grace, and the grace up to 30 days";
            return Err(Error::InvalidOption(text.into()));
        }
        if self.deadline.is_zero() {
            return Err(Error::InvalidOption(
                "a vault needs some time to answer: its deadline is longer than 0".into(),
            ));
        }
        Ok(())
    }
}

const LONGEST_GRACE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long to wait after a failure that follows `failures` earlier ones, in seconds.
pub(in crate::managed) fn wait(failures: u32) -> u64 {
    (FIRST_WAIT << failures.min(16)).min(LONGEST_WAIT)
}

/// The state of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::managed) struct Lease {
    policy: LeasePolicy,
    /// When the vault last allowed the key.
    valid_at: Option<Now>,
    last: Answer,
    /// When it was last asked, and the seconds until it is asked again.
    asked: Now,
    wait: u64,
    /// How many times in a row it refused or didn't answer.
    failures: u32,
}

/// The first wait after a refusal or an outage, in seconds. It doubles up to the longest.
const FIRST_WAIT: u64 = 1;
const LONGEST_WAIT: u64 = 60;

impl Lease {
    /// A lease for which no vault was asked yet.
    pub(in crate::managed) fn unasked(policy: LeasePolicy) -> Self {
        Lease { policy, valid_at: None, last: Answer::Outage, asked: Now::default(), wait: 0, failures: 0 }
    }

    /// A lease that begins with a positive answer.
    pub(in crate::managed) fn new(policy: LeasePolicy, now: Now) -> Self {
        let wait = policy.interval.as_secs();
        Lease { policy, valid_at: Some(now), last: Answer::Valid, asked: now, wait, failures: 0 }
    }

    /// Takes the vault's answer to a question asked at `now`.
    pub(in crate::managed) fn answered(&mut self, answer: Answer, now: Now) {
        if answer == Answer::Valid {
            *self = Lease::new(self.policy, now);
            return;
        }
        // A vault that is away after a refusal hasn't allowed the key.
        if self.last != Answer::Revoked {
            self.last = answer;
        }
        (self.asked, self.wait) = (now, wait(self.failures));
        self.failures += 1;
    }

    /// The vault's last answer, if it was not valid.
    pub(in crate::managed) fn refusal(&self) -> Option<Answer> {
        (self.failures > 0).then_some(self.last)
    }

    /// Resets the lease as if no vault had been asked yet.
    pub(in crate::managed) fn expire(&mut self) {
        *self = Lease::unasked(self.policy);
    }

    /// The span in which the key may be used; the key's own expiry shortens it.
    pub(in crate::managed) fn span(&self, expires: Option<u64>) -> Span {
        let Some(valid_at) = self.valid_at else { return Span::default() };
        let for_long = match (self.last, self.policy.outage) {
            (Answer::Revoked, _) => return Span::default(),
            (Answer::Outage, OutagePolicy::ContinueFor(limit)) => limit,
            // The last answer is too old: the key may have been revoked just after it.
            _ => self.policy.grace,
        };
        // The disk side enforces a key's expiry (40), because a vault may still unwrap with an expired key.
        let left = expires.map_or(u64::MAX, |expires| expires.saturating_sub(valid_at.wall));
        let for_long = for_long.as_secs().min(left);
        let [until, until_up] = [valid_at.wall, valid_at.up].map(|at| at.saturating_add(for_long));
        Span { from: valid_at.wall, until, until_up }
    }

    /// Whether the vault should be asked: the wait is over, or a clock was set back.
    pub(in crate::managed) fn is_due(&self, now: Now) -> bool {
        now.is_past(self.asked, self.wait)
    }

    /// When the vault was last asked.
    pub(in crate::managed) fn asked(&self) -> Now {
        self.asked
    }

    /// Whether the vault's last answer was valid.
    pub(in crate::managed) fn is_valid(&self) -> bool {
        self.last == Answer::Valid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 1_700_000_000;

    /// An instant with clocks that were not set back.
    fn at(wall: u64) -> Now {
        Now { wall, up: wall - T + 5000 }
    }

    impl Lease {
        fn holds(&self, wall: u64) -> bool {
            self.span(None).holds(at(wall))
        }
    }

    fn lease(outage: OutagePolicy) -> Lease {
        Lease::new(LeasePolicy { outage, ..LeasePolicy::default() }, at(T))
    }

    #[test]
    fn a_revocation_ends_it_at_once_and_a_yes_restores_it() {
        let mut lease = lease(OutagePolicy::FailAfterGrace);
        assert!(lease.holds(T) && !lease.is_due(at(T + 899)) && lease.is_due(at(T + 900)));
        lease.answered(Answer::Revoked, at(T + 900));
        assert!(!lease.holds(T + 900) && !lease.is_valid() && !lease.is_due(at(T + 900)) && lease.is_due(at(T + 901)));
        lease.answered(Answer::Valid, at(T + 950));
        assert!(lease.holds(T + 950) && !lease.is_due(at(T + 1849)) && lease.is_due(at(T + 1850)));
    }

    #[test]
    fn nobody_keeps_a_key_longer_than_the_grace_without_an_answer() {
        let mut lease = lease(OutagePolicy::FailAfterGrace);
        assert!(lease.holds(T + 3599) && !lease.holds(T + 3600));
        lease.answered(Answer::Outage, at(T + 900));
        assert!(lease.holds(T + 3599) && !lease.holds(T + 3600));
        // Setting the clock back ends it too, until the vault is asked.
        let back = Now { wall: T - 1, ..at(T + 900) };
        assert!(!lease.span(None).holds(back) && lease.is_due(back));
    }

    #[test]
    fn a_clock_that_is_put_back_makes_no_lease_longer() {
        let mut lease = lease(OutagePolicy::FailAfterGrace);
        let put_back = |up: u64| Now { wall: T, up: at(T).up + up };
        assert!(lease.span(None).holds(put_back(3599)) && !lease.span(None).holds(put_back(3600)));
        assert!(!lease.is_due(put_back(899)) && lease.is_due(put_back(900)));
        // It doesn't extend a key's expiry either, or the wait.
        assert!(lease.span(Some(T + 60)).holds(put_back(59)) && !lease.span(Some(T + 60)).holds(put_back(60)));
        lease.answered(Answer::Outage, put_back(900));
        assert!(!lease.is_due(put_back(900)) && lease.is_due(put_back(901)));
    }

    #[test]
    fn an_outage_goes_on_for_as_long_as_the_policy_says_and_a_revocation_in_it_ends_it() {
        let mut lease = lease(OutagePolicy::ContinueFor(Duration::from_secs(86400)));
        lease.answered(Answer::Outage, at(T + 900));
        assert!(lease.holds(T + 86399) && !lease.holds(T + 86400));
        lease.answered(Answer::Revoked, at(T + 5000));
        assert!(!lease.holds(T + 5000));
        lease.answered(Answer::Outage, at(T + 5001));
        assert!(!lease.holds(T + 5001));
    }

    #[test]
    fn a_vault_that_fails_is_asked_less_and_less_often_but_every_minute() {
        let mut lease = lease(OutagePolicy::FailAfterGrace);
        let mut now = T + 900;
        let mut waits = Vec::new();
        for _ in 0..40 {
            lease.answered(Answer::Outage, at(now));
            let wait = (0..).find(|wait| lease.is_due(at(now + wait))).unwrap();
            waits.push(wait);
            now += wait;
        }
        assert_eq!(waits[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(waits[6..].iter().all(|&wait| wait == 60));
    }
}
