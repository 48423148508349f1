//! The parts of a rotation that this host has in the store. The host gives them back even if the rotation fails: no other host
//! takes a part from a host with a lease.

use std::sync::Arc;

use super::fleet::Fleet;
use super::service::Inner;
use super::store::{Begun, Claim, Claimed, Found, Last, Queue, Tables};
use super::sync::lock;
use crate::key::KeyId;
use crate::log::tell;
use crate::{Error, Result};

/// The parts of one rotation. This host has one at a time.
pub(super) struct Parts<'i> {
    inner: &'i Inner,
    fleet: Arc<Fleet>,
    queue: &'i Queue,
    key: &'i KeyId,
    /// Whether this host has a part in the store, as far as is known.
    has: bool,
}

impl<'i> Parts<'i> {
    pub(super) fn new(inner: &'i Inner, fleet: &Arc<Fleet>, queue: &'i Queue, key: &'i KeyId) -> Self {
        Parts { inner, fleet: fleet.clone(), queue, key, has: false }
    }

    /// Begins the rotation, unless it has begun. `count` gives the number of members then.
    pub(super) fn begin(&mut self, count: impl FnOnce() -> Result<usize>) -> Result<Begun> {
        let begun = self.certain(self.inner.store.begin_turn(self.queue, self.key, &self.fleet.own(), count))?;
        self.has = begun.only.is_some();
        Ok(begun)
    }

    /// The next part for this host.
    pub(super) fn claim(&mut self) -> Result<Claim> {
        let claim = self.certain(self.inner.store.claim(self.queue, self.key, &self.fleet.own()))?;
        self.has = matches!(claim, Claim::Members(_));
        Ok(claim)
    }

    /// Ends the work at a part: it is done, or another host takes it.
    pub(super) fn give_back(&mut self, part: &Claimed, done: bool) -> Result<()> {
        let given_back = self.inner.store.give_back(part, &self.fleet.own(), done);
        self.ended(given_back)
    }

    /// The look at all members at the end; `Err` with the host that is at it.
    pub(super) fn claim_last(&mut self) -> Result<Result<Last, String>> {
        let claim = self.certain(self.inner.store.claim_last(self.queue, self.key, &self.fleet.own()))?;
        self.has = claim.is_ok();
        Ok(claim)
    }

    /// Ends the look at all members, or the only part, in a transaction.
    pub(super) fn end_in(&self, tables: &mut Tables<'_>, last: &Claimed, found: Option<Found>) -> Result<()> {
        tables.end_last(self.queue, self.key, last, found)
    }

    /// Notes that this host has no part any more. On an error, it notes the queue, so that the parts are given back later.
    pub(super) fn ended<T>(&mut self, ended: Result<T>) -> Result<T> {
        self.has = false;
        ended.inspect_err(|_| self.note())
    }

    /// Notes that the store may have a part for this host if the outcome of a claim is unknown.
    fn certain<T>(&self, claim: Result<T>) -> Result<T> {
        // These errors say that the claim didn't happen.
        let didnt = |e: &Error| matches!(e, Error::Busy { .. } | Error::NoSuchResource(_));
        if claim.as_ref().is_err_and(|e| !didnt(e)) {
            self.note();
        }
        claim
    }

    fn note(&self) {
        lock(&self.inner.unreturned).insert(self.queue.clone());
    }
}

impl Drop for Parts<'_> {
    /// Gives the parts back, also after a panic of the progress callback.
    fn drop(&mut self) {
        if self.has && self.inner.store.give_back_all(self.queue, &self.fleet.own()).is_err() {
            self.note();
        }
    }
}

impl Inner {
    /// Gives back the parts that rotations couldn't. If this host has begun such a rotation again, another one may do its part as well.
    pub(super) fn give_back_parts(&self, fleet: &Fleet) {
        let queues = core::mem::take(&mut *lock(&self.unreturned));
        for queue in queues {
            if let Err(e) = self.store.give_back_all(&queue, &fleet.own()) {
                tell!(warn, "a part of the rotation of {queue} couldn't be given back: {e}");
                lock(&self.unreturned).insert(queue);
            }
        }
    }
}
