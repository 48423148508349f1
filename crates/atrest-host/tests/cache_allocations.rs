//! A read that the cache answers allocates nothing, and the index takes the memory that it says.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use atrest::{MemoryDevice, Secret};
use atrest_host::cache::{CacheMode, CacheOptions, CachePlace};
use atrest_host::{Cache, Disk, HazmatPlain};

struct Counting;

thread_local! {
    /// How often this thread allocated. Other threads are the test harness's own.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    /// How many bytes it has allocated and not given back.
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn count(size: isize) {
    // While a thread ends, its counts may be gone already.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + usize::from(size > 0)));
    let _ = HELD.try_with(|held| held.set(held.get() + size));
}

// SAFETY: every call goes to the system's allocator with the same arguments; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above; `ptr` came from the system's allocator.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BLOCKS: u64 = 4096;

#[test]
fn a_hit_allocates_nothing() {
    for mode in [CacheMode::ReadOnly, CacheMode::WriteThrough, CacheMode::WriteBack] {
        let disk = Arc::new(HazmatPlain(MemoryDevice::new(BLOCKS as usize * 4096)));
        let file = Arc::new(MemoryDevice::new(BLOCKS as usize * 4096));
        let place = CachePlace::Device(file);
        let keeper = Arc::new(Secret::copy_from(&[7; 32]));
        let before = HELD.get();
        let options = CacheOptions::new(mode, BLOCKS * 4096);
        let cache = Cache::attach(disk, keeper, place, &options).unwrap();
        // Beside the index, it has its keys, its names and a thread.
        let (held, most) = (HELD.get() - before, BLOCKS as isize * Cache::BYTES_PER_BLOCK as isize);
        assert!((most / 2..most + 16384).contains(&held), "{held} bytes of {most}");
        let mut sectors = vec![1; 4 * 4096];
        cache.write_at(0, &mut sectors).unwrap();
        cache.read_at(0, &mut sectors).unwrap();
        let before = ALLOCATIONS.get();
        cache.read_at(4096, &mut sectors[..4096]).unwrap();
        cache.read_at(512, &mut sectors[..1024]).unwrap();
        cache.read_at(0, &mut sectors).unwrap();
        assert_eq!(ALLOCATIONS.get() - before, 0, "{mode:?}");
        assert_eq!(sectors, [1; 4 * 4096]);
    }
}
