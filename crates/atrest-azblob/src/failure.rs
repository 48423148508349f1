//! The service's refusals, as errors of I/O.

use std::io;

use atrest_http::Response;

pub(crate) fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text.into())
}

pub(crate) fn unexpected(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

pub(crate) fn late(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what}: the deadline is over"))
}

/// The service's code of an error, such as `BlobNotFound`; empty if there is none. It comes from outside.
pub(crate) fn code(answer: &Response) -> &str {
    let code = answer.header("x-ms-error-code").unwrap_or_default();
    if code.len() <= 100 && code.bytes().all(|byte| byte.is_ascii_alphanumeric()) { code } else { "" }
}

/// An answer that refuses.
pub(crate) fn refused(answer: &Response) -> io::Error {
    let (kind, advice) = match (answer.status, code(answer)) {
        (401 | 403, "AuthenticationFailed") => {
            (io::ErrorKind::PermissionDenied, "; check the key, the SAS, and this machine's clock")
        }
        (401 | 403, _) => (io::ErrorKind::PermissionDenied, "; the credential lacks a right for this"),
        (404, "ContainerNotFound") => (io::ErrorKind::NotFound, "; create the container first"),
        (404, _) => (io::ErrorKind::NotFound, ""),
        (409, "BlobAlreadyExists") => (io::ErrorKind::AlreadyExists, ""),
        (409 | 412, "SnapshotsPresent") => {
            (io::ErrorKind::DirectoryNotEmpty, "; delete the blob's snapshots first, if nobody needs them")
        }
        (409 | 412, _) => (io::ErrorKind::ResourceBusy, ""),
        (416, _) => (io::ErrorKind::UnexpectedEof, "; the blob is smaller than it was"),
        (408 | 429 | 500..=599, _) => (io::ErrorKind::TimedOut, "; the service has trouble or too much to do"),
        _ => (io::ErrorKind::Other, ""),
    };
    io::Error::new(kind, format!("{}: {} {}{advice}", answer.what(), answer.status, code(answer)))
}
