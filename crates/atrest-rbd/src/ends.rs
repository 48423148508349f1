//! Collects the ends of a queue's operations.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

#[cfg(target_os = "linux")]
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
#[cfg(target_os = "linux")]
use std::sync::OnceLock;

/// The numbers of operations that have ended, until they are taken.
pub(crate) struct Ends {
    told: Mutex<Told>,
    /// As many have ended as are wanted.
    came: Condvar,
    /// Readable while there are any; made at first use.
    #[cfg(target_os = "linux")]
    file: OnceLock<Option<OwnedFd>>,
}

struct Told {
    numbers: Vec<u64>,
    /// The number that the sleeping thread waits for; 0 if no thread sleeps. It isn't woken for fewer, since a wake takes as
    /// long as a good part of an operation.
    /// operation.
    wanted: usize,
}

impl Ends {
    /// Room for `depth` numbers.
    pub(crate) fn new(depth: usize) -> Self {
        Ends {
            told: Mutex::new(Told { numbers: Vec::with_capacity(depth), wanted: 0 }),
            came: Condvar::new(),
            #[cfg(target_os = "linux")]
            file: OnceLock::new(),
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called by a thread of librbd.
    pub(crate) fn tell(&self, number: u64) {
        let mut told = self.told();
        told.numbers.push(number);
        let count = told.numbers.len();
        if told.wanted == count {
            self.came.notify_one();
        }
        if count == 1 {
            self.make_readable();
        }
    }

    /// Moves all into `taken`, which is empty. Before that it waits for the wanted number, until a given time.
    pub(crate) fn take(&self, taken: &mut Vec<u64>, wanted: usize, until: Instant) {
        let mut told = self.told();
        while told.numbers.len() < wanted {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            told.wanted = wanted;
            told = self.came.wait_timeout(told, left).unwrap_or_else(PoisonError::into_inner).0;
            told.wanted = 0;
        }
        if !told.numbers.is_empty() {
            std::mem::swap(&mut told.numbers, taken);
            #[cfg(target_os = "linux")]
            if let Some(Some(file)) = self.file.get() {
                let _ = rustix::io::read(file, &mut [0; 8]);
            }
        }
    }

    fn make_readable(&self) {
        #[cfg(target_os = "linux")]
        if let Some(Some(file)) = self.file.get() {
            let _ = rustix::io::write(file, &1u64.to_ne_bytes());
        }
    }

    /// `None` if the system has no more files.
    #[cfg(target_os = "linux")]
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        use rustix::event::{EventfdFlags, eventfd};
        let told = self.told();
        let mut is_new = false;
        let file = self.file.get_or_init(|| {
            is_new = true;
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()
        });
        if is_new && !told.numbers.is_empty() {
            self.make_readable();
        }
        file.as_ref().map(AsFd::as_fd)
    }
}
