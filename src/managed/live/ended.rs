//! [`Ended`]: whether a resource in use has let go of its device.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::managed::sync::lock;

/// Set when a resource has let go of its device. The next user of the device waits for that.
#[derive(Default)]
pub(super) struct Ended {
    ended: Mutex<bool>,
    changed: Condvar,
}

impl Ended {
    pub(super) fn set(&self) {
        *lock(&self.ended) = true;
        self.changed.notify_all();
    }

    pub(super) fn is_set(&self) -> bool {
        *lock(&self.ended)
    }

    /// Not for ever: in a forked child the thread that would set it is missing. The device then tells that it is in use.
    pub(super) fn wait(&self) {
        const LONG: Duration = Duration::from_secs(5);
        let ended = lock(&self.ended);
        let waited = self.changed.wait_timeout_while(ended, LONG, |ended| !*ended);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}
