//! The alignment of secrets.

/// The size of a cache line and of the widest register.
pub(super) const ALIGNMENT: usize = 64;
