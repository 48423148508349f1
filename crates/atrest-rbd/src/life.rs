//! The state of a device's right to write, and the thread that shuts out its late writes.

use std::ffi::CString;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use atrest::NotInherited;

use crate::connect;
use crate::options::RbdOptions;
use crate::sys::{Image, errno};
use crate::trouble::End;

const IN_USE: u8 = 0;
const UNKNOWN: u8 = 1;
const FENCED: u8 = 2;

/// The state of a device.
pub(crate) struct Life {
    state: AtomicU8,
    /// The thread that asks whether this client is shut out, or the last that did.
    asking: Mutex<Option<NotInherited<thread::JoinHandle<()>>>>,
    /// When an answer of the cluster last showed that this client isn't shut out, in milliseconds of [`now`].
    shown: AtomicU64,
}

impl Life {
    pub(crate) fn new() -> Self {
        Life { state: AtomicU8::new(IN_USE), asking: Mutex::default(), shown: AtomicU64::new(now()) }
    }

    pub(crate) fn end(&self) -> Option<End> {
        match self.state.load(Ordering::SeqCst) {
            IN_USE => None,
            UNKNOWN => Some(End::Unknown),
            _ => Some(End::Fenced),
        }
    }

    /// Ends the use of the device. Returns whether this call did it.
    pub(crate) fn set_end(&self, end: End) -> bool {
        let to = if end == End::Unknown { UNKNOWN } else { FENCED };
        self.state.compare_exchange(IN_USE, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Whether the cluster last showed longer ago than this that the client isn't shut out.
    pub(crate) fn is_older_than(&self, trusted: Duration) -> bool {
        u128::from(now().saturating_sub(self.shown.load(Ordering::Relaxed))) > trusted.as_millis()
    }

    /// Asks an OSD, on a thread of its own, whether this client is shut out, which ends the device. librbd of Ceph 16 lets some
    /// writes of such a client wait for a lock that it never gets again, and reports no error.
    pub(crate) fn ask_whether_shut_out(self: &Arc<Self>, image: &Arc<Image>) {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if asking.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let (life, image) = (self.clone(), image.clone());
        let asked = thread::Builder::new().name("atrest-rbd-ask".into()).spawn(move || {
            if image.writer() == Err(errno::ESHUTDOWN) {
                life.set_end(End::Fenced);
            }
        });
        *asking = asked.ok().map(NotInherited::new);
    }

    /// Waits for the thread that asks: it uses the library, whose memory is gone when the process ends.
    pub(crate) fn wait_for_answer(&self) {
        let asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = asking.and_then(NotInherited::into_inner).map(thread::JoinHandle::join);
    }

    /// An operation that began at `begun` was done by the cluster.
    pub(crate) fn show(&self, begun: u64) {
        self.shown.fetch_max(begun, Ordering::Relaxed);
    }
}

/// Milliseconds since an arbitrary moment, including time in which the machine slept if the system counts it.
#[cfg(unix)]
pub(crate) fn now() -> u64 {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let clock = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

#[cfg(not(unix))]
pub(crate) fn now() -> u64 {
    static BEGAN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed().as_millis() as u64
}

/// Shuts out the client of a device on which a write is unknown, and closes its image after that.
pub(crate) struct ShutOut {
    done: Mutex<bool>,
    ended: Condvar,
}

impl ShutOut {
    /// Starts a thread that does it, however long the cluster doesn't answer. Until then the image stays open and its lock
    /// held, so that no other client gets the lock while the write may still happen.
    pub(crate) fn start(image: Arc<Image>, address: CString, options: RbdOptions) -> Arc<Self> {
        let shut_out = Arc::new(ShutOut { done: Mutex::new(false), ended: Condvar::new() });
        let (told, kept) = (shut_out.clone(), image.clone());
        let started = thread::Builder::new().name("atrest-rbd-fence".into()).spawn(move || {
            let mut pause = Duration::from_millis(100);
            // A client that is shut out can't ask for itself, so another does.
            let is_out = |address| connect::connect(&options).is_ok_and(|other| other.blocklist(address).is_ok());
            while !is_out(&address) {
                thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_secs(10));
            }
            *told.done.lock().unwrap_or_else(PoisonError::into_inner) = true;
            told.ended.notify_all();
            drop(image);
        });
        if started.is_err() {
            // The image must not be closed, which would give the lock back. It ends with the process.
            std::mem::forget(kept);
        }
        shut_out
    }

    /// Waits until the client is shut out, or until a time.
    pub(crate) fn wait(&self, until: Instant) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        while !*done {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            done = self.ended.wait_timeout(done, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
