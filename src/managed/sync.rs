//! Locks that survive a panic of another thread, locks by name, and locks that a forked child leaves alone.

use std::collections::HashMap;
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError,
    TryLockResult,
};

use crate::{NotInherited, OwningProcess, Result};

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks it, unless another thread holds it.
pub(super) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    unless_held(mutex.try_lock())
}

pub(super) fn read<T>(shared: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    shared.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write<T>(shared: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    shared.write().unwrap_or_else(PoisonError::into_inner)
}

/// Locks it for reading, unless another thread writes, or waits to.
pub(super) fn try_read<T>(shared: &RwLock<T>) -> Option<RwLockReadGuard<'_, T>> {
    unless_held(shared.try_read())
}

/// Locks it, unless another thread reads or writes.
pub(super) fn try_write<T>(shared: &RwLock<T>) -> Option<RwLockWriteGuard<'_, T>> {
    unless_held(shared.try_write())
}

pub(super) fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Waits to be notified.
pub(super) fn wait<'g, T>(condition: &Condvar, guard: MutexGuard<'g, T>) -> MutexGuard<'g, T> {
    condition.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

fn unless_held<G>(locked: TryLockResult<G>) -> Option<G> {
    match locked {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// What only the process that made it may use. A lock in it that another thread held at a fork stays locked in the child for ever:
/// the child is refused before it takes any, and its drop leaves all as it is.
#[derive(Clone)]
pub(super) struct Own<T> {
    owner: OwningProcess,
    value: NotInherited<T>,
}

impl<T> Own<T> {
    pub(super) fn new(value: T) -> Self {
        Own { owner: OwningProcess::current(), value: NotInherited::new(value) }
    }

    /// # Errors
    /// [`Error::Forked`](crate::Error::Forked).
    pub(super) fn get(&self) -> Result<&T> {
        self.owner.check()?;
        Ok(&self.value)
    }

    /// The same also in a child, for what takes no lock.
    pub(super) fn without_locks(&self) -> &T {
        &self.value
    }
}

/// Locks by name.
pub(super) struct Named<T>(Mutex<HashMap<String, Arc<T>>>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Named(Mutex::default())
    }
}

impl<T: Default> Named<T> {
    pub(super) fn of(&self, name: &str) -> Arc<T> {
        let mut locks = lock(&self.0);
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        locks.entry(name.to_owned()).or_default().clone()
    }

    /// Whether anyone uses the lock of this name.
    pub(super) fn is_held(&self, name: &str) -> bool {
        lock(&self.0).get(name).is_some_and(|held| Arc::strong_count(held) > 1)
    }
}
