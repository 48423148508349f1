//! Locks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock, also if a thread panicked with it. Each user either keeps its data whole between any two calls that may panic, or,
/// as a connection of NBD, ends when the scope of its threads reports the panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
