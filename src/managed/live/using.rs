//! [`Using`]: the users of a resource's device on this host, including those that have yet to let go of it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::managed::sync::lock;

/// The number of users that may have a device open: the instance of the resource in use, earlier instances whose last user is
/// closing it, and its maker.
#[derive(Default)]
pub(super) struct Users {
    count: Mutex<usize>,
    changed: Condvar,
}

/// One user of a device. It is dropped after the device is closed.
pub(in crate::managed) struct Using(Arc<Users>);

impl Users {
    pub(super) fn join(self: &Arc<Self>) -> Using {
        *lock(&self.count) += 1;
        Using(self.clone())
    }

    pub(super) fn are_gone(&self) -> bool {
        *lock(&self.count) == 0
    }
}

impl Using {
    /// Waits until all others have let go of the device; nobody else may begin to use it meanwhile. Not for ever: in a forked child
    /// the thread that would let go is missing. Opening the device then fails because it is in use.
    pub(super) fn wait_for_others(&self) {
        const LONG: Duration = Duration::from_secs(5);
        let count = lock(&self.0.count);
        if *count <= 1 {
            return;
        }
        let waited = self.0.changed.wait_timeout_while(count, LONG, |count| *count > 1);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Using {
    fn drop(&mut self) {
        let mut count = lock(&self.0.count);
        *count -= 1;
        // Whoever waits is a user, too, and waits to be the only one. Otherwise this would be a system call for each that goes.
        if *count == 1 {
            self.0.changed.notify_all();
        }
    }
}
