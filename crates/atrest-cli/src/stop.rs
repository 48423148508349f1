//! Signals: Ctrl-C ends the program at once, and nothing half-made stays.
//!
//! A thread waits for signals. It removes what is [half-made](on_stop), and ends the program. Where stopping between two steps is
//! better than stopping in one, a command [takes over](Gently) and looks at [`asked`].

use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::exit;

use crate::failure::{Failure, Result};

type Cleanup = Box<dyn FnOnce() + Send>;

/// The signal that has come, or 0.
static SIGNAL: AtomicI32 = AtomicI32::new(0);
static GENTLE: AtomicUsize = AtomicUsize::new(0);
static CLEANUPS: Mutex<Vec<(u64, Cleanup)>> = Mutex::new(Vec::new());

/// Starts to wait for signals.
pub fn listen() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        for signal in &mut signals {
            let first = SIGNAL.swap(signal, SeqCst) == 0;
            if first && GENTLE.load(SeqCst) > 0 {
                continue;
            }
            // Nobody adds or takes one from here on.
            let mut cleanups = lock();
            for (_, cleanup) in cleanups.drain(..).rev() {
                cleanup();
            }
            exit(128 + signal);
        }
    });
    Ok(())
}

/// The exit status of the signal that has asked this program to stop.
pub fn status() -> Option<i32> {
    Some(SIGNAL.load(SeqCst)).filter(|signal| *signal != 0).map(|signal| 128 + signal)
}

/// Whether the program was asked to stop by SIGTERM, as a service manager does.
pub fn by_manager() -> bool {
    SIGNAL.load(SeqCst) == SIGTERM
}

/// Whether a signal has asked this program to stop.
pub fn asked() -> bool {
    status().is_some()
}

/// Fails if a signal has asked this program to stop.
pub fn check(text: &str) -> Result<()> {
    if asked() { Err(Failure::interrupted(text)) } else { Ok(()) }
}

/// While this lives, the first signal doesn't end the program; a second one does.
pub struct Gently(());

impl Gently {
    pub fn new() -> Self {
        GENTLE.fetch_add(1, SeqCst);
        Gently(())
    }
}

impl Drop for Gently {
    fn drop(&mut self) {
        GENTLE.fetch_sub(1, SeqCst);
    }
}

/// Registers `cleanup`, which runs when a signal ends the program while the [`OnStop`] lives.
pub fn on_stop(cleanup: impl FnOnce() + Send + 'static) -> OnStop {
    add(&mut lock(), Box::new(cleanup))
}

/// Makes something, and has it undone when a signal ends the program. No signal comes between the two.
pub fn making<T, E>(
    make: impl FnOnce() -> Result<T, E>,
    undo: impl FnOnce() + Send + 'static,
) -> (Result<T, E>, Option<OnStop>) {
    let mut cleanups = lock();
    let made = make();
    let on_stop = made.is_ok().then(|| add(&mut cleanups, Box::new(undo)));
    (made, on_stop)
}

fn add(cleanups: &mut Vec<(u64, Cleanup)>, cleanup: Cleanup) -> OnStop {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, SeqCst);
    cleanups.push((number, cleanup));
    OnStop(number)
}

pub struct OnStop(u64);

impl OnStop {
    /// Does `work` with the cleanup called off. No signal comes between the two.
    pub fn called_off<T>(self, work: impl FnOnce() -> T) -> T {
        let mut cleanups = lock();
        cleanups.retain(|(number, _)| *number != self.0);
        let done = work();
        drop(cleanups);
        std::mem::forget(self);
        done
    }
}

impl Drop for OnStop {
    fn drop(&mut self) {
        lock().retain(|(number, _)| *number != self.0);
    }
}

fn lock() -> MutexGuard<'static, Vec<(u64, Cleanup)>> {
    CLEANUPS.lock().unwrap_or_else(PoisonError::into_inner)
}
