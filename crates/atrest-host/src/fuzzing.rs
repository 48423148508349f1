//! Ways in for the fuzzers of this project. They may change in any release.

use std::sync::Arc;

use atrest::Result;
use vm_memory::{GuestAddress, GuestMemoryMmap};

use crate::Disk;
use crate::cache::{Cache, CacheKeeper, CacheOptions, CachePlace};
use crate::nbd;
use crate::vhost_user;

/// Talks NBD with a client that sends these bytes whatever it receives, and returns the bytes it received.
pub fn nbd(disk: &dyn Disk, sent: &[u8]) -> Vec<u8> {
    let mut got = Vec::new();
    nbd::converse(disk, sent, &mut got);
    got
}

/// Executes the request of a guest whose first descriptor is `head` of the table at the address 0. Returns the number of bytes
/// written to the guest's memory, if the chain was a request.
pub fn request(disk: &dyn Disk, memory: &GuestMemoryMmap, queue_size: u16, head: u16) -> Option<u32> {
    vhost_user::execute(disk, memory, GuestAddress(0), queue_size, head)
}

/// Attaches a cache without its thread, which takes most of the time of a cache that isn't used for long.
///
/// # Errors
/// As [`Cache::attach`].
pub fn attach(
    disk: Arc<dyn Disk>,
    keeper: Arc<dyn CacheKeeper>,
    place: CachePlace,
    options: &CacheOptions,
) -> Result<Cache> {
    Cache::attach_idle(disk, keeper, place, options)
}
