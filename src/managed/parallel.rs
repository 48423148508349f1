//! Runs many vault calls at once, up to a limit.

use core::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Calls `act` for every item, on up to `threads` threads at once. After a `Break` no further call begins.
pub(super) fn for_each<T: Sync>(threads: usize, items: &[T], act: impl Fn(&T) -> ControlFlow<()> + Sync) {
    let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        while !stopped.load(Ordering::Relaxed) {
            let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
            if act(item).is_break() {
                stopped.store(true, Ordering::Relaxed);
            }
        }
    };
    run(threads.min(items.len()), work);
}

/// Does `work` on so many threads at once.
pub(super) fn run(threads: usize, work: impl Fn() + Sync) {
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(&work);
        }
    });
}
