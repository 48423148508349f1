//! Where operations of a queue say that they have ended.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

#[cfg(target_os = "linux")]
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The numbers of operations that have ended, until somebody takes them.
pub(crate) struct Ends {
    numbers: Mutex<Vec<u64>>,
    came: Condvar,
    /// Readable while there are any.
    #[cfg(target_os = "linux")]
    file: Option<OwnedFd>,
}

impl Ends {
    /// Room for so many.
    pub(crate) fn new(depth: usize) -> Self {
        Ends {
            numbers: Mutex::new(Vec::with_capacity(depth)),
            came: Condvar::new(),
            #[cfg(target_os = "linux")]
            file: {
                use rustix::event::{EventfdFlags, eventfd};
                eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()
            },
        }
    }

    /// Called by a thread of librbd.
    pub(crate) fn tell(&self, number: u64) {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.push(number);
        if numbers.len() == 1 {
            self.came.notify_all();
            #[cfg(target_os = "linux")]
            if let Some(file) = &self.file {
                let _ = rustix::io::write(file, &1u64.to_ne_bytes());
            }
        }
    }

    /// Moves all into `taken`, which is empty; waits for the first one until a time, if there is one to wait until.
    pub(crate) fn take(&self, taken: &mut Vec<u64>, until: Option<Instant>) {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        while let (Some(until), true) = (until, numbers.is_empty()) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            numbers = self.came.wait_timeout(numbers, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if !numbers.is_empty() {
            std::mem::swap(&mut *numbers, taken);
            #[cfg(target_os = "linux")]
            if let Some(file) = &self.file {
                let _ = rustix::io::read(file, &mut [0; 8]);
            }
        }
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }
}
