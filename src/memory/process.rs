//! Objects that a forked child must leave alone.

use core::fmt;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use std::io;

use super::fork;
use crate::{Error, Result};

/// The process that made an object, for objects that a forked child must leave alone: a connection, a lease, a lock.
///
/// A child has a copy of the object, and the same sockets. What it sends lies between its parent's bytes, and what it
/// releases is taken from its parent. It has none of its parent's threads: a lock that one of them held stays locked in
/// the child for ever. So each call asks [`check`](Self::check) before it takes a lock, and a drop asks
/// [`is_current`](Self::is_current) before it releases, sends or waits for anything. On Linux that takes two loads and no
/// system call.
///
/// ```
/// use atrest::OwningProcess;
/// use std::sync::Mutex;
///
/// struct Client {
///     owner: OwningProcess,
///     idle: Mutex<Vec<std::net::TcpStream>>,
/// }
///
/// impl Client {
///     fn idle_connections(&self) -> atrest::Result<usize> {
///         self.owner.check()?;
///         Ok(self.idle.lock().unwrap().len())
///     }
/// }
///
/// let client = Client { owner: OwningProcess::current(), idle: Mutex::default() };
/// assert_eq!(client.idle_connections()?, 0);
/// # Ok::<(), atrest::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwningProcess(u32);

impl OwningProcess {
    /// This process.
    pub fn current() -> Self {
        OwningProcess(fork::generation())
    }

    /// Whether this is still that process, and no child of it.
    #[inline]
    pub fn is_current(self) -> bool {
        self.0 == fork::generation()
    }

    /// Refuses a child of that process.
    ///
    /// # Errors
    /// [`Error::Forked`].
    #[inline]
    pub fn check(self) -> Result<()> {
        if self.is_current() { Ok(()) } else { Err(Error::Forked) }
    }

    /// As [`check`](Self::check), for devices.
    ///
    /// # Errors
    /// An error of I/O whose [inner error](io::Error::get_ref) is [`Error::Forked`].
    #[inline]
    pub fn check_io(self) -> io::Result<()> {
        self.check().map_err(io::Error::other)
    }
}

impl Default for OwningProcess {
    fn default() -> Self {
        Self::current()
    }
}

/// A value that is dropped by the process that made it alone: a thread's handle, or the end of a channel to a thread. A
/// forked child doesn't have that thread, and leaves the value as it is.
///
/// ```
/// let (alive, ended) = std::sync::mpsc::sync_channel::<()>(0);
/// let alive = atrest::NotInherited::new(alive);
/// drop(alive);
/// assert!(ended.recv().is_err());
/// ```
pub struct NotInherited<T> {
    owner: OwningProcess,
    value: ManuallyDrop<T>,
}

impl<T> NotInherited<T> {
    /// A value of this process.
    pub fn new(value: T) -> Self {
        NotInherited { owner: OwningProcess::current(), value: ManuallyDrop::new(value) }
    }

    /// The value, unless this is a child of the process that made it.
    pub fn into_inner(mut self) -> Option<T> {
        let is_here = self.owner.is_current();
        // SAFETY: the value is taken once: `self` is forgotten, so that its drop doesn't take it again.
        let value = is_here.then(|| unsafe { ManuallyDrop::take(&mut self.value) });
        core::mem::forget(self);
        value
    }
}

impl<T: Clone> Clone for NotInherited<T> {
    /// A clone belongs to the process of the first value.
    fn clone(&self) -> Self {
        NotInherited { owner: self.owner, value: self.value.clone() }
    }
}

impl<T> Deref for NotInherited<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for NotInherited<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for NotInherited<T> {
    fn drop(&mut self) {
        if self.owner.is_current() {
            // SAFETY: this is the only drop of the value, and nothing uses it afterwards.
            unsafe { ManuallyDrop::drop(&mut self.value) };
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for NotInherited<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
