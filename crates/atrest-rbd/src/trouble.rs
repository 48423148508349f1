//! Errors of Ceph's libraries, as errors that say what to do next.

use std::io;

use atrest::Error;

use crate::name::Name;
use crate::sys::{Errno, errno};

/// The reason why a device ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It isn't known whether a write has happened, or will.
    Unknown,
    /// Another client has the lock, or the cluster has shut this one out.
    Fenced,
}

impl End {
    pub(crate) fn error(self, name: &Name) -> io::Error {
        match self {
            End::Unknown => io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "a write to the RBD image {name} took longer than its deadline and may still happen, so this device does \
                     nothing any more; open the image again, which shuts out the late write"
                ),
            ),
            End::Fenced => io::Error::new(
                io::ErrorKind::StaleNetworkFileHandle,
                format!(
                    "the RBD image {name} was taken over by another client, or the cluster has shut this client out; this device \
                     never writes again; make sure that nobody else uses the image before you open it again"
                ),
            ),
        }
    }

    /// The end of the device that an operation's error number means, if any.
    pub(crate) fn of(code: Errno) -> Option<Self> {
        match code {
            errno::ESHUTDOWN | errno::EROFS => Some(End::Fenced),
            _ => None,
        }
    }
}

/// The error of an operation.
pub(crate) fn io_error(what: &str, name: &Name, code: Errno) -> io::Error {
    let source = io::Error::from_raw_os_error(code);
    let advice = match code {
        errno::ENOSPC => "; the cluster is full: add room, or remove what nobody needs",
        errno::EDQUOT => "; the pool's quota is used up: raise it (ceph osd pool set-quota), or remove images",
        errno::ETIMEDOUT => "; look whether all OSDs are up (ceph -s)",
        _ => "",
    };
    // An errno that Rust gives no kind of its own still has its number in the text.
    io::Error::new(source.kind(), format!("{what} the RBD image {name} failed: {source}{advice}"))
}

/// A call that has a deadline took longer.
pub(crate) fn timed_out(what: &str, name: &Name) -> io::Error {
    let text =
        format!("{what} the RBD image {name} took longer than its deadline; look whether all OSDs are up (ceph -s)");
    io::Error::new(io::ErrorKind::TimedOut, text)
}

/// The error of a call that isn't an operation on an open device.
pub(crate) fn error(what: &str, name: &Name, code: Errno) -> Error {
    match code {
        errno::ENOENT => Error::NotFound { what: "RBD image", path: name.to_string().into() },
        errno::EEXIST => Error::AlreadyExists { what: "RBD image", path: name.to_string().into() },
        _ => Error::Io { what: format!("{what} the RBD image {name}"), source: io_error(what, name, code) },
    }
}

/// The error of a step towards the cluster.
pub(crate) fn cluster_error(what: String, code: Errno) -> Error {
    Error::Io { what, source: io::Error::from_raw_os_error(code) }
}
