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

use crate::{Error, Result};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeasePolicy {
    /// When I/O fails at the latest after a key was disabled, deleted or expired, or access to it revoked (behaviour 36):
    /// one hour unless told otherwise.
    pub grace: Duration,
    /// How long after an answer the vault is asked again: a quarter of an hour unless told otherwise. Shorter than the
    /// grace, so that a vault which is away for a moment does no harm.
    pub interval: Duration,
    /// What happens while a vault doesn't answer.
    pub outage: OutagePolicy,
}

impl Default for LeasePolicy {
    fn default() -> Self {
        LeasePolicy {
            grace: Duration::from_secs(3600),
            interval: Duration::from_secs(900),
            outage: OutagePolicy::FailAfterGrace,
        }
    }
}

/// What became of asking a vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Valid,
    Revoked,
    /// It didn't answer.
    Outage,
}

impl LeasePolicy {
    pub(super) fn check(&self) -> Result<()> {
        if self.interval.as_secs() == 0 || self.interval >= self.grace || self.grace > LONGEST_GRACE {
            let text =
                "a lease's interval is at least a second and shorter than its grace, and the grace up to 30 days";
            return Err(Error::InvalidOption(text.into()));
        }
        Ok(())
    }
}

const LONGEST_GRACE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long to wait after so many failures before the one at hand, in seconds.
pub(super) fn wait(failures: u32) -> u64 {
    (FIRST_WAIT << failures.min(16)).min(LONGEST_WAIT)
}

/// The state of a lease. Times are seconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    policy: LeasePolicy,
    /// When the vault last said that the key may be used.
    valid_at: u64,
    last: Answer,
    /// When it was asked last, and when it is asked next.
    asked: u64,
    next: u64,
    /// How many times in a row it didn't answer, or said no.
    failures: u32,
}

/// The first wait after a vault that said no, or nothing, in seconds; it doubles up to the other.
const FIRST_WAIT: u64 = 1;
const LONGEST_WAIT: u64 = 60;

impl Lease {
    /// A lease for which no vault was asked yet.
    pub(super) fn unasked(policy: LeasePolicy) -> Self {
        Lease { policy, valid_at: 0, last: Answer::Outage, asked: 0, next: 0, failures: 0 }
    }

    /// A lease that begins with a vault's yes.
    pub(super) fn new(policy: LeasePolicy, now: u64) -> Self {
        let next = now.saturating_add(policy.interval.as_secs());
        Lease { policy, valid_at: now, last: Answer::Valid, asked: now, next, failures: 0 }
    }

    pub(super) fn answered(&mut self, answer: Answer, now: u64) {
        if answer == Answer::Valid {
            *self = Lease::new(self.policy, now);
            return;
        }
        // A vault that goes away after it has said no has not said yes.
        if self.last != Answer::Revoked {
            self.last = answer;
        }
        (self.asked, self.next) = (now, now.saturating_add(wait(self.failures)));
        self.failures += 1;
    }

    /// As if no vault had been asked yet.
    pub(super) fn expire(&mut self) {
        *self = Lease::unasked(self.policy);
    }

    /// From when to when the key may be used. It begins where it was valid, since a clock that was put back must not make
    /// it longer than it is.
    pub(super) fn span(&self) -> (u64, u64) {
        let for_long = match (self.last, self.policy.outage) {
            _ if self.valid_at == 0 => return (0, 0),
            (Answer::Revoked, _) => return (0, 0),
            (Answer::Outage, OutagePolicy::ContinueFor(limit)) => limit,
            // Nobody has asked for too long, or nobody has answered: the key may have been revoked just after it was valid.
            _ => self.policy.grace,
        };
        (self.valid_at, self.valid_at.saturating_add(for_long.as_secs()))
    }

    /// Whether the vault should be asked: in time, and when the clock was put back.
    pub(super) fn is_due(&self, now: u64) -> bool {
        now >= self.next || now < self.asked
    }

    /// Whether the vault's last word was a yes.
    pub(super) fn is_valid(&self) -> bool {
        self.last == Answer::Valid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 1_700_000_000;

    impl Lease {
        fn holds(&self, now: u64) -> bool {
            let (from, until) = self.span();
            from <= now && now < until
        }
    }

    fn lease(outage: OutagePolicy) -> Lease {
        Lease::new(LeasePolicy { outage, ..LeasePolicy::default() }, T)
    }

    #[test]
    fn a_revocation_ends_it_at_once_and_a_yes_restores_it() {
        let mut lease = lease(OutagePolicy::FailAfterGrace);
        assert!(lease.holds(T) && !lease.is_due(T + 899) && lease.is_due(T + 900));
        lease.answered(Answer::Revoked, T + 900);
        assert!(!lease.holds(T + 900) && !lease.is_valid() && !lease.is_due(T + 900) && lease.is_due(T + 901));
        lease.answered(Answer::Valid, T + 950);
        assert!(lease.holds(T + 950) && !lease.is_due(T + 1849) && lease.is_due(T + 1850));
    }

    #[test]
    fn nobody_keeps_a_key_longer_than_the_grace_without_an_answer() {
        let mut lease = lease(OutagePolicy::FailAfterGrace);
        assert!(lease.holds(T + 3599) && !lease.holds(T + 3600));
        lease.answered(Answer::Outage, T + 900);
        assert!(lease.holds(T + 3599) && !lease.holds(T + 3600));
        // A clock that is put back ends it too, until the vault is asked.
        assert!(!lease.holds(T - 1) && lease.is_due(T - 1));
    }

    #[test]
    fn an_outage_goes_on_for_as_long_as_the_policy_says_and_a_revocation_in_it_ends_it() {
        let mut lease = lease(OutagePolicy::ContinueFor(Duration::from_secs(86400)));
        lease.answered(Answer::Outage, T + 900);
        assert!(lease.holds(T + 86399) && !lease.holds(T + 86400));
        lease.answered(Answer::Revoked, T + 5000);
        assert!(!lease.holds(T + 5000));
        lease.answered(Answer::Outage, T + 5001);
        assert!(!lease.holds(T + 5001));
    }

    #[test]
    fn a_vault_that_fails_is_asked_less_and_less_often_but_every_minute() {
        let mut lease = lease(OutagePolicy::FailAfterGrace);
        let mut now = T + 900;
        let mut waits = Vec::new();
        for _ in 0..40 {
            lease.answered(Answer::Outage, now);
            let wait = (0..).find(|wait| lease.is_due(now + wait)).unwrap();
            waits.push(wait);
            now += wait;
        }
        assert_eq!(waits[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(waits[6..].iter().all(|&wait| wait == 60));
    }
}
