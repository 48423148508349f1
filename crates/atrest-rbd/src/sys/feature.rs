//! Features of images, by their bits (`rbd/features.h`).

pub(crate) const LAYERING: u64 = 1 << 0;
pub(crate) const EXCLUSIVE_LOCK: u64 = 1 << 2;
pub(crate) const OBJECT_MAP: u64 = 1 << 3;
pub(crate) const FAST_DIFF: u64 = 1 << 4;
pub(crate) const DEEP_FLATTEN: u64 = 1 << 5;
