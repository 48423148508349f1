//! A forked child leaves its parent's caches alone.

use std::sync::Arc;

use atrest_host::Disk;
use atrest_host::cache::CacheMode;

use crate::common::device::TestDevice;
use crate::common::fork::{failed_of, forked, in_child, so};
use crate::support::*;

#[test]
fn a_child_waits_for_no_thread_and_no_lock_of_its_parents_cache() {
    for mode in [CacheMode::ReadOnly, CacheMode::WriteThrough, CacheMode::WriteBack] {
        let disk = PlainDisk::new(1 << 20, 512);
        let device = Arc::new(TestDevice::new(vec![0; 2 << 20]));
        let cache = on(&device, &disk, &options(mode, 2 << 20)).unwrap();
        write(&cache, 0, &[1; 4096]);
        let shared = &cache;
        let busy = [1, 2].map(|at| {
            move || {
                write(shared, at * 4096, &[7; 4096]);
                shared.flush().unwrap();
            }
        });
        let failed = failed_of(50, &busy.each_ref().map(|busy| busy as _), || {
            so!(forked(shared.read_at(0, &mut [0; 4096])) && forked(shared.write_at(0, &mut [2; 4096])));
            so!(forked(shared.write_zeroes(0, 4096)) && forked(shared.discard(0, 4096)));
            so!(forked(shared.flush()) && forked(shared.drain()) && forked(shared.detach()));
            so!(shared.dirty() == 0 && !shared.holds_keys());
            Ok(())
        });
        assert_eq!(failed, 0, "of 50 children, {mode:?}");
        let mut cache = Some(cache);
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
