//! Error numbers of Linux, which the libraries return negated.

pub(crate) const ENOENT: Errno = 2;
pub(crate) const EAGAIN: Errno = 11;
pub(crate) const EBUSY: Errno = 16;
pub(crate) const EEXIST: Errno = 17;
pub(crate) const EINVAL: Errno = 22;
pub(crate) const ENOSPC: Errno = 28;
pub(crate) const EROFS: Errno = 30;
pub(crate) const ERANGE: Errno = 34;
/// Also named EBLOCKLISTED by Ceph.
pub(crate) const ESHUTDOWN: Errno = 108;
pub(crate) const ETIMEDOUT: Errno = 110;
pub(crate) const EDQUOT: Errno = 122;

/// An error number.
pub(crate) type Errno = i32;

/// A result of a call: negative values are error numbers.
pub(crate) fn checked(returned: i32) -> Result<i32, Errno> {
    if returned < 0 { Err(returned.saturating_neg()) } else { Ok(returned) }
}
