//! A store whose calls and failures are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::shared::{Change, Outcome, Record, Store};
use crate::managed::counters::{CallOutcome, Counters};
use crate::{Error, Result};

/// Counts the failures of the store, so that a caller with an error knows whether the store may be the reason; and all calls, for
/// operators.
pub(super) struct Counted {
    pub(super) store: Arc<dyn Store>,
    pub(super) failures: Arc<AtomicU64>,
    pub(super) counters: Arc<Counters>,
}

impl Counted {
    fn count<T>(
        &self,
        operation: &'static str,
        act: impl FnOnce() -> Result<T>,
        outcome: impl FnOnce(&T) -> CallOutcome,
    ) -> Result<T> {
        let done = self.counters.store_call(operation, act, outcome);
        if let Err(Error::Io { .. }) = done {
            self.failures.fetch_add(1, Ordering::SeqCst);
        }
        done
    }
}

/// How a commit that was answered ended.
pub(super) fn outcome_of(outcome: &Outcome) -> CallOutcome {
    match outcome {
        Outcome::Committed(_) => CallOutcome::Ok,
        Outcome::Conflict => CallOutcome::Conflict,
    }
}

impl Store for Counted {
    fn get(&self, keys: &[&str]) -> Result<Vec<Option<Record>>> {
        self.count("get", || self.store.get(keys), |_| CallOutcome::Ok)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Record>> {
        self.count("list", || self.store.list(prefix, after, limit), |_| CallOutcome::Ok)
    }

    fn commit(&self, changes: &[Change]) -> Result<Outcome> {
        self.count("commit", || self.store.commit(changes), outcome_of)
    }

    fn deadline(&self) -> Duration {
        self.store.deadline()
    }
}
