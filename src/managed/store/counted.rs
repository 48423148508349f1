//! A shared store whose failures are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::shared::{Change, Outcome, Record, Store};
use crate::{Error, Result};

/// Counts how often the store failed, so that whoever gets an error knows whether it may be for that reason.
pub(super) struct Counted {
    pub(super) store: Arc<dyn Store>,
    pub(super) failures: Arc<AtomicU64>,
}

impl Counted {
    fn count<T>(&self, done: Result<T>) -> Result<T> {
        if let Err(Error::Io { .. }) = done {
            self.failures.fetch_add(1, Ordering::SeqCst);
        }
        done
    }
}

impl Store for Counted {
    fn get(&self, keys: &[&str]) -> Result<Vec<Option<Record>>> {
        self.count(self.store.get(keys))
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Record>> {
        self.count(self.store.list(prefix, after, limit))
    }

    fn commit(&self, changes: &[Change]) -> Result<Outcome> {
        self.count(self.store.commit(changes))
    }

    fn deadline(&self) -> Duration {
        self.store.deadline()
    }
}
