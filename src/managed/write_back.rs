//! Layers above a disk that keep writes back.

use crate::Result;

/// A layer above a disk that answers writes before the disk has them, such as a host's cache: see
/// [`OpenDisk::set_write_back`](crate::managed::OpenDisk::set_write_back).
pub trait WriteBack: Send + Sync {
    /// Writes to the disk all writes that were answered before this call. Calls `act` once while the layer writes nothing to the
    /// disk: `act` sees the disk at one instant.
    ///
    /// # Errors
    /// The errors of the disk. `act` isn't called then.
    fn settled(&self, act: &mut dyn FnMut()) -> Result<()>;
}
