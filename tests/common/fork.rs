//! Children made by fork, which try what a child may do and end without running anything else.

#![allow(dead_code, unused_imports, unused_macros)] // each test program uses its part

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

unsafe extern "C" {
    fn fork() -> i32;
    fn waitpid(child: i32, status: *mut i32, options: i32) -> i32;
    fn kill(process: i32, signal: i32) -> i32;
    fn write(file: i32, bytes: *const u8, len: usize) -> isize;
    fn _exit(status: i32) -> !;
}

const WNOHANG: i32 = 1;
const SIGKILL: i32 = 9;

const STDERR: i32 = 2;

/// Isn't the status of any end: these have 8 bits, and those by a signal 7 above them.
const HUNG: i32 = 1 << 16;

/// Runs `work` in a child. Returns 0 for a good end, or another number if a check failed, the child panicked or hung. The
/// line of the check that failed goes to the standard error.
pub fn in_child(work: impl FnOnce() -> Result<(), u32>) -> i32 {
    // SAFETY: the child calls what is tried here, and ends without running what the test harness has registered.
    let child = unsafe { fork() };
    assert!(child >= 0, "no fork");
    if child == 0 {
        let text = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(())) => String::new(),
            Ok(Err(line)) => format!("not so in the child: line {line}\n"),
            Err(panic) => match panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref().copied()) {
                Some(text) => format!("the child panicked: {text}\n"),
                None => "the child panicked\n".into(),
            },
        };
        // SAFETY: the bytes are those of `text`. No lock is taken, as `eprintln` does. The last call ends the process.
        unsafe {
            write(STDERR, text.as_ptr(), text.len());
            _exit(i32::from(!text.is_empty()));
        }
    }
    let begin = Instant::now();
    let mut status = 0;
    // SAFETY: `status` is a place for an `int`; the child is this process's own.
    while unsafe { waitpid(child, &raw mut status, WNOHANG) } == 0 {
        if begin.elapsed() > Duration::from_secs(20) {
            // SAFETY: the child has not been waited for, so that the number is still its own.
            unsafe {
                kill(child, SIGKILL);
                waitpid(child, &raw mut status, 0);
            }
            return HUNG;
        }
        thread::sleep(Duration::from_micros(200));
    }
    (status >> 8) & 0xff | (status & 0x7f) << 8 // WEXITSTATUS, WTERMSIG
}

/// Makes children one after the other while threads of this process, one for each of `busy`, work over and over. Returns how many
/// children didn't come to a good end.
pub fn failed_of(children: usize, busy: &[&(dyn Fn() + Sync)], work: impl Fn() -> Result<(), u32>) -> usize {
    struct Stop<'d>(&'d AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // Also when a panic leaves this scope, which waits for the threads.
        let _stop = Stop(&done);
        for busy in busy {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    busy();
                }
            });
        }
        (0..children).filter(|_| in_child(&work) != 0).count()
    })
}

/// Leaves the child where something isn't so.
macro_rules! so {
    ($condition:expr) => {
        if !$condition {
            return Err(line!());
        }
    };
}
pub(crate) use so;

/// Whether an error is the one for a child, also where it is the cause of an error of I/O.
pub fn forked<T>(answer: Result<T, impl std::error::Error + 'static>) -> bool {
    let Err(error) = answer else { return false };
    let mut error: &(dyn std::error::Error + 'static) = &error;
    loop {
        let inner = error.downcast_ref::<std::io::Error>().and_then(|e| e.get_ref()).and_then(|e| e.downcast_ref());
        if matches!(error.downcast_ref().or(inner), Some(atrest::Error::Forked)) {
            return true;
        }
        let Some(source) = error.source() else { return false };
        error = source;
    }
}
