//! What secrets are aligned to.

/// A cache line, and the widest register.
pub(super) const ALIGNMENT: usize = 64;
