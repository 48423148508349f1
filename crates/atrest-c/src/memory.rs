//! THE MEMORY OF SECRETS
//!
//! Keys, also expanded ones, lie in pages that stay in memory, are left out of core dumps, and are zeros in a forked
//! child, if the system supports it.

use crate::failure::run;
use crate::status::atrest_status;

/// The bytes of pages with secrets of this process: `locked` counts those that stay in memory, `unlocked` those that
/// may be written to swap because the system refused to lock them. A process may lock as much as RLIMIT_MEMLOCK says;
/// an open volume takes about 1 KiB, a vault too. With ATREST_OPEN_REQUIRE_LOCKED_MEMORY a volume is refused unless
/// `unlocked` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_memory_protection(locked: *mut u64, unlocked: *mut u64) -> atrest_status {
    run(|| {
        let (locked, unlocked) = (out!(locked), out!(unlocked));
        let memory = atrest::memory_protection();
        locked.set(memory.locked);
        unlocked.set(memory.unlocked);
        Ok(())
    })
}
