//! Writes that callers do themselves, and that a copy of a disk as it is now has to wait for.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::NotInherited;
use crate::managed::sync::lock;

/// How many writes of a resource are under way.
#[derive(Default)]
pub(super) struct InFlight {
    writes: AtomicUsize,
    /// A thread waits until no write is under way. Without this flag, the end of a write would be a system call even if nobody waits.
    is_awaited: AtomicBool,
    none: Condvar,
    /// The lock of the waiting thread.
    waiting: Mutex<()>,
}

impl InFlight {
    /// Waits until no write is under way. The caller makes sure that none begins.
    pub(super) fn wait_for_none(&self) {
        let mut waiting = lock(&self.waiting);
        // The thread that ends the last write decrements the count before it reads this flag. Here the order is reversed, so one of
        // the two sees what the other did.
        self.is_awaited.store(true, Ordering::SeqCst);
        while self.writes.load(Ordering::SeqCst) > 0 {
            waiting = self.none.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        self.is_awaited.store(false, Ordering::SeqCst);
    }
}

/// A write of an [`OpenDisk`](super::OpenDisk) that its caller does on the device. Drop it when the device has answered, be it with
/// a failure: from then on a snapshot may rely on the device's content.
#[must_use = "the write is over when this is dropped"]
pub struct DeviceWrite {
    device_offset: u64,
    /// `None` for one that was done already.
    _counted: Option<NotInherited<Counted>>,
}

/// Counts as a write that is under way while it lives.
struct Counted(Arc<InFlight>);

impl DeviceWrite {
    /// A write that begins now.
    pub(super) fn counted(device_offset: u64, in_flight: &Arc<InFlight>) -> Self {
        in_flight.writes.fetch_add(1, Ordering::Relaxed);
        DeviceWrite { device_offset, _counted: Some(NotInherited::new(Counted(in_flight.clone()))) }
    }

    /// A write that is on the device already. It does no harm if the caller writes the same once more.
    pub(super) fn done(device_offset: u64) -> Self {
        DeviceWrite { device_offset, _counted: None }
    }

    /// Where on the device the caller is to write, in bytes.
    pub fn device_offset(&self) -> u64 {
        self.device_offset
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let in_flight = &self.0;
        if in_flight.writes.fetch_sub(1, Ordering::SeqCst) == 1 && in_flight.is_awaited.load(Ordering::SeqCst) {
            // The lock keeps this from happening between the waiting thread's look and its sleep.
            let _waiting = lock(&in_flight.waiting);
            in_flight.none.notify_all();
        }
    }
}

impl core::fmt::Debug for DeviceWrite {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("DeviceWrite").field("device_offset", &self.device_offset).finish_non_exhaustive()
    }
}
