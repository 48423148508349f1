//! What an input may cost. An input that costs more is reported as a crash.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The most memory that an input may have allocated at any instant.
const MEMORY: usize = 64 << 20;

/// The most processor time of an input. It is not wall time: a busy machine must not look like a finding. What waits for
/// ever is found by libFuzzer's `-timeout`. Instrumented code takes several times as long as the library as released.
const TIME: Duration = Duration::from_secs(1);

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts what there is now. What could not be had costs nothing.
fn counted(ptr: *mut u8, old: usize, new: usize) -> *mut u8 {
    if !ptr.is_null() {
        let now = NOW.fetch_add(new.wrapping_sub(old), Ordering::Relaxed).wrapping_add(new.wrapping_sub(old));
        PEAK.fetch_max(now, Ordering::Relaxed);
    }
    ptr
}

// SAFETY: all is passed on to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's duties are the same.
        counted(unsafe { System.alloc(layout) }, 0, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's duties are the same.
        counted(unsafe { System.alloc_zeroed(layout) }, 0, layout.size())
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        counted(ptr, layout.size(), 0);
        // SAFETY: the caller's duties are the same.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's duties are the same.
        counted(unsafe { System.realloc(ptr, layout, new_size) }, layout.size(), new_size)
    }
}

fn time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Runs one input within the limits.
pub fn limited<T>(run: impl FnOnce() -> T) -> T {
    let (before, begun) = (NOW.load(Ordering::Relaxed), time());
    PEAK.store(before, Ordering::Relaxed);
    let result = run();
    let memory = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    let took = time() - begun;
    assert!(memory <= MEMORY, "this input had {memory} bytes allocated at once, over {MEMORY}");
    assert!(took <= TIME, "this input took {took:?} of processor time, over {TIME:?}");
    result
}

static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// From here on a panic does not end the process at once, which is what libFuzzer's hook has it do.
pub fn note_panics() {
    std::panic::set_hook(Box::new(|panic| {
        *LAST_PANIC.lock().unwrap() = panic.to_string();
    }));
}

pub fn last_panic() -> String {
    LAST_PANIC.lock().unwrap().clone()
}
