//! [`BeforeWrite`]: the hook by which a copy in progress copies data before a write.

use crate::managed::layers::Layers;

/// A copy in progress of a resource as of one instant. It is called before data is overwritten.
pub(in crate::managed) trait BeforeWrite: Send + Sync {
    /// Copies the data that is about to be overwritten, unless it is copied already.
    fn before_write(&self, disk: &Layers, offset: u64, len: u64);
}
