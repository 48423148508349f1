//! A forked child leaves its parent's caches alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use atrest_host::Disk;
use atrest_host::cache::CacheMode;

use crate::common::device::TestDevice;
use crate::common::fork::{forked, in_child, so};
use crate::support::*;

#[test]
fn a_child_waits_for_no_thread_and_no_lock_of_its_parents_cache() {
    for mode in [CacheMode::ReadOnly, CacheMode::WriteThrough, CacheMode::WriteBack] {
        let disk = PlainDisk::new(1 << 20, 512);
        let device = Arc::new(TestDevice::new(vec![0; 2 << 20]));
        let cache = on(&device, &disk, &options(mode, 2 << 20)).unwrap();
        write(&cache, 0, &[1; 4096]);
        let (mut cache, done) = (Some(cache), AtomicBool::new(false));
        let hung = std::thread::scope(|scope| {
            let shared = cache.as_ref().unwrap();
            for at in 1..3 {
                let done = &done;
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        write(shared, at * 4096, &[7; 4096]);
                        shared.flush().unwrap();
                    }
                });
            }
            let hung = (0..50).filter(|_| {
                0 != in_child(|| {
                    so!(forked(shared.read_at(0, &mut [0; 4096])) && forked(shared.write_at(0, &mut [2; 4096])));
                    so!(forked(shared.write_zeroes(0, 4096)) && forked(shared.discard(0, 4096)));
                    so!(forked(shared.flush()) && forked(shared.drain()) && forked(shared.detach()));
                    so!(shared.dirty() == 0 && !shared.holds_keys());
                    Ok(())
                })
            });
            let hung = hung.count();
            done.store(true, Ordering::Relaxed);
            hung
        });
        assert_eq!(hung, 0, "of 50 children, {mode:?}");
        let ended = in_child(|| {
            drop(cache.take());
            Ok(())
        });
        assert_eq!(ended, 0, "the child that drops it, {mode:?}");
        let cache = cache.unwrap();
        assert_eq!(read(&cache, 0, 4096), [1; 4096]);
        cache.detach().unwrap();
        assert_eq!(read(&*disk, 0, 4096), [1; 4096]);
    }
}
