//! The C libraries of Ceph behind safe types. All unsafe code of the crate is here.

mod api;
mod cluster;
mod image;
mod operation;

pub(crate) use cluster::{Cluster, Pool};
pub(crate) use image::{Image, NewImage};
pub(crate) use operation::Operation;

/// Features of images, by their bits (`rbd/features.h`).
pub(crate) mod feature {
    pub(crate) const LAYERING: u64 = 1 << 0;
    pub(crate) const EXCLUSIVE_LOCK: u64 = 1 << 2;
    pub(crate) const OBJECT_MAP: u64 = 1 << 3;
    pub(crate) const FAST_DIFF: u64 = 1 << 4;
    pub(crate) const DEEP_FLATTEN: u64 = 1 << 5;
}

/// Error numbers of Linux that the libraries return, negated.
pub(crate) mod errno {
    pub(crate) const ENOENT: i32 = 2;
    pub(crate) const EAGAIN: i32 = 11;
    pub(crate) const EBUSY: i32 = 16;
    pub(crate) const EEXIST: i32 = 17;
    pub(crate) const EINVAL: i32 = 22;
    pub(crate) const ENOSPC: i32 = 28;
    pub(crate) const EROFS: i32 = 30;
    pub(crate) const ERANGE: i32 = 34;
    /// Also named EBLOCKLISTED by Ceph.
    pub(crate) const ESHUTDOWN: i32 = 108;
    pub(crate) const ETIMEDOUT: i32 = 110;
    pub(crate) const EDQUOT: i32 = 122;
}

/// What a call returned that is below zero: an error number.
pub(crate) type Errno = i32;

/// A result of a call: negative values are error numbers.
fn checked(returned: i32) -> Result<i32, Errno> {
    if returned < 0 { Err(returned.saturating_neg()) } else { Ok(returned) }
}
