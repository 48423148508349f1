//! THE MEMORY OF SECRETS
//!
//! Keys, expanded ones too, lie in pages that stay in memory, are left out of core dumps, and are zeros in a child that
//! is forked, where the system allows it.

use crate::failure::run;
use crate::status::atrest_status;

/// How many bytes of pages hold secrets of this process: `locked` is of those that stay in memory, `unlocked` of those that
/// may be written to swap, since the system refused to lock them. A process may lock as much as RLIMIT_MEMLOCK says; an
/// open volume takes about 1 KiB, a vault too. ATREST_OPEN_REQUIRE_LOCKED_MEMORY refuses a volume where `unlocked`
/// isn't 0.
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
