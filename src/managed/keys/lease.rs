//! For how long a disk may keep its key without asking: one state machine for revoked keys and for vaults that don't answer.
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

/// An instant by two clocks, in seconds: one that tells when a key expires, but that can be put back, and one that can't.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::managed) struct Now {
    /// Since 1970-01-01 UTC.
    pub(in crate::managed) wall: u64,
    /// Since the machine began.
    pub(in crate::managed) up: u64,
}

impl Now {
    pub(in crate::managed) fn of(clock: &dyn Clock) -> Self {
        Now { wall: clock.now(), up: clock.uptime().as_secs() }
    }

    /// Whether so many seconds have passed since `then`, by either clock, or the one was put back.
    pub(in crate::managed) fn is_past(self, then: Now, seconds: u64) -> bool {
        let passed = |now: u64, then: u64| now < then || now - then >= seconds;
        passed(self.wall, then.wall) || passed(self.up, then.up)
    }
}

/// From when to when a key may be used: only while both clocks say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::managed) struct Span {
    /// It begins where it was valid, since a clock that was put back must not make it longer than it is.
    pub(in crate::managed) from: u64,
    pub(in crate::managed) until: u64,
    /// By the clock that can't be put back: as long as the other, whatever that says meanwhile.
    pub(in crate::managed) until_up: u64,
}

impl Span {
    pub(in crate::managed) fn holds(&self, now: Now) -> bool {
        self.from <= now.wall && now.wall < self.until && now.up < self.until_up
    }
}

/// What happens while a vault doesn't answer, which is no revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutagePolicy {
    /// I/O fails when the grace has passed since the vault last answered, as it would if the key had been revoked then.
    /// The default.
    FailAfterGrace,
    /// I/O goes on for this long since the vault last answered. A revocation that can't be asked for meanwhile is late by
    /// as much.
    ContinueFor(Duration),
}

/// How leases run.
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
    /// When I/O fails at the latest after a key was disabled, deleted or expired, or access to it revoked (behaviour 36):
    /// one hour unless told otherwise.
    pub grace: Duration,
    /// How long after an answer the vault is asked again: a quarter of an hour unless told otherwise. Shorter than the
    /// grace, so that a vault which is away for a moment does no harm.
    pub interval: Duration,
    /// What happens while a vault doesn't answer.
    pub outage: OutagePolicy,
    /// How long a call of a vault may take: half a minute unless told otherwise, and never longer than the grace. One that
    /// takes longer is given up, and counts as an outage; if it ever comes back, what it says is dropped.
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
    /// Sets when I/O fails at the latest after a revocation.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets how long after an answer the vault is asked again.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets what happens while a vault doesn't answer.
    pub fn outage(mut self, outage: OutagePolicy) -> Self {
        self.outage = outage;
        self
    }

    /// Sets how long a call of a vault may take.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

/// What became of asking a vault.
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

/// How long to wait after so many failures before the one at hand, in seconds.
pub(in crate::managed) fn wait(failures: u32) -> u64 {
    (FIRST_WAIT << failures.min(16)).min(LONGEST_WAIT)
}

/// The state of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::managed) struct Lease {
    policy: LeasePolicy,
    /// When the vault last said that the key may be used.
    valid_at: Option<Now>,
    last: Answer,
    /// When it was asked last, and for how long it isn't asked again.
    asked: Now,
    wait: u64,
    /// How many times in a row it didn't answer, or said no.
    failures: u32,
}

/// The first wait after a vault that said no, or nothing, in seconds; it doubles up to the other.
const FIRST_WAIT: u64 = 1;
const LONGEST_WAIT: u64 = 60;

impl Lease {
    /// A lease for which no vault was asked yet.
    pub(in crate::managed) fn unasked(policy: LeasePolicy) -> Self {
        Lease { policy, valid_at: None, last: Answer::Outage, asked: Now::default(), wait: 0, failures: 0 }
    }

    /// A lease that begins with a vault's yes.
    pub(in crate::managed) fn new(policy: LeasePolicy, now: Now) -> Self {
        let wait = policy.interval.as_secs();
        Lease { policy, valid_at: Some(now), last: Answer::Valid, asked: now, wait, failures: 0 }
    }

    /// Takes what the vault answered when it was asked at `now`.
    pub(in crate::managed) fn answered(&mut self, answer: Answer, now: Now) {
        if answer == Answer::Valid {
            *self = Lease::new(self.policy, now);
            return;
        }
        // A vault that goes away after it has said no has not said yes.
        if self.last != Answer::Revoked {
            self.last = answer;
        }
        (self.asked, self.wait) = (now, wait(self.failures));
        self.failures += 1;
    }

    /// What the vault answered last, if it was asked since the key was last valid.
    pub(in crate::managed) fn refusal(&self) -> Option<Answer> {
        (self.failures > 0).then_some(self.last)
    }

    /// As if no vault had been asked yet.
    pub(in crate::managed) fn expire(&mut self) {
        *self = Lease::unasked(self.policy);
    }

    /// From when to when the key may be used, if it doesn't end before.
    pub(in crate::managed) fn span(&self, expires: Option<u64>) -> Span {
        let Some(valid_at) = self.valid_at else { return Span::default() };
        let for_long = match (self.last, self.policy.outage) {
            (Answer::Revoked, _) => return Span::default(),
            (Answer::Outage, OutagePolicy::ContinueFor(limit)) => limit,
            // Nobody has asked for too long, or nobody has answered: the key may have been revoked just after it was valid.
            _ => self.policy.grace,
        };
        // The disk side enforces the end of a key (40): a vault may unwrap with one that has expired.
        let left = expires.map_or(u64::MAX, |expires| expires.saturating_sub(valid_at.wall));
        let for_long = for_long.as_secs().min(left);
        let [until, until_up] = [valid_at.wall, valid_at.up].map(|at| at.saturating_add(for_long));
        Span { from: valid_at.wall, until, until_up }
    }

    /// Whether the vault should be asked: in time, and when the clock was put back.
    pub(in crate::managed) fn is_due(&self, now: Now) -> bool {
        now.is_past(self.asked, self.wait)
    }

    /// When the vault was asked last.
    pub(in crate::managed) fn asked(&self) -> Now {
        self.asked
    }

    /// Whether the vault's last word was a yes.
    pub(in crate::managed) fn is_valid(&self) -> bool {
        self.last == Answer::Valid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 1_700_000_000;

    /// An instant at which nobody has put the clock back.
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
        // A clock that is put back ends it too, until the vault is asked.
        let back = Now { wall: T - 1, ..at(T + 900) };
        assert!(!lease.span(None).holds(back) && lease.is_due(back));
    }

    #[test]
    fn a_clock_that_is_put_back_makes_no_lease_longer() {
        let mut lease = lease(OutagePolicy::FailAfterGrace);
        let put_back = |up: u64| Now { wall: T, up: at(T).up + up };
        assert!(lease.span(None).holds(put_back(3599)) && !lease.span(None).holds(put_back(3600)));
        assert!(!lease.is_due(put_back(899)) && lease.is_due(put_back(900)));
        // Nor a key, nor the wait for the next question.
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
