//! Decoded bytes are wiped when they are freed, also if the text turns out to be invalid base64.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use atrest_http::{base64, base64_decode, base64url_decode};

struct Watching;

const SECRET: &[u8; 30] = b"the key that nobody is to find";

thread_local! {
    /// How many blocks with the secret this thread has freed. Other threads are the test harness's own.
    static FOUND: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator with the same arguments. Looking at a block allocates nothing.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the block is the caller's until it is freed below, of this size, and `alloc` has filled it.
        let block = unsafe { std::slice::from_raw_parts(ptr, layout.size()) };
        if block.windows(SECRET.len()).any(|window| window == SECRET) {
            // While a thread ends, its count may be gone already.
            let _ = FOUND.try_with(|found| found.set(found.get() + 1));
        }
        // SAFETY: as above; `ptr` came from the system's allocator.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

fn freed(work: impl FnOnce()) -> usize {
    let before = FOUND.get();
    work();
    FOUND.get() - before
}

#[test]
fn what_is_decoded_is_wiped() {
    assert_eq!(freed(|| drop(SECRET.to_vec())), 1);
    let text = base64(SECRET);
    // The last four characters are no base64, in either alphabet; those before them are the secret.
    let spoilt = format!("{text}AA!A");
    assert_eq!(freed(|| drop(base64_decode(&text).filter(|bytes| **bytes == *SECRET).unwrap())), 0);
    assert_eq!(freed(|| drop(base64url_decode(&text).filter(|bytes| **bytes == *SECRET).unwrap())), 0);
    assert_eq!(freed(|| assert!(base64_decode(&spoilt).is_none())), 0);
    assert_eq!(freed(|| assert!(base64url_decode(&spoilt).is_none())), 0);
}
