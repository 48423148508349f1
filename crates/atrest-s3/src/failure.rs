//! The service's refusals, as errors of I/O.

use std::io;

use atrest_http::{Response, xml_elements};

pub(crate) fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text.into())
}

pub(crate) fn unexpected(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

pub(crate) fn late(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what}: the deadline is over"))
}

/// The service's code of an error, such as `NoSuchKey`; empty if there is none. It comes from outside.
pub(crate) fn code(answer: &Response) -> String {
    let mut code = String::new();
    let _ = xml_elements(&answer.body, |path, text| {
        if path == ["Error", "Code"] && text.len() <= 100 && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            code = text.to_owned();
        }
    });
    code
}

/// An answer that refuses.
pub(crate) fn refused(answer: &Response) -> io::Error {
    let code = code(answer);
    let (kind, advice) = match (answer.status, code.as_str()) {
        (401 | 403, "RequestTimeTooSkewed") => (io::ErrorKind::PermissionDenied, "; set this machine's clock"),
        (400 | 401 | 403, "SignatureDoesNotMatch" | "InvalidAccessKeyId" | "ExpiredToken" | "InvalidToken") => {
            (io::ErrorKind::PermissionDenied, "; check the access key, its secret, and the session's token")
        }
        (401 | 403, _) => (io::ErrorKind::PermissionDenied, "; the credential lacks a right for this"),
        (301 | 307 | 400, "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed") => {
            (io::ErrorKind::InvalidInput, "; the bucket is in another region: name its region and endpoint in the URL")
        }
        (404, "NoSuchBucket") => (io::ErrorKind::NotFound, "; create the bucket first"),
        (404, _) => (io::ErrorKind::NotFound, ""),
        (408 | 429 | 500 | 502..=599, _) => (io::ErrorKind::TimedOut, "; the service has trouble or too much to do"),
        (409 | 412, _) => (io::ErrorKind::ResourceBusy, ""),
        (501, _) => (io::ErrorKind::Unsupported, "; the service doesn't know conditional writes, which are needed"),
        _ => (io::ErrorKind::Other, ""),
    };
    io::Error::new(kind, format!("{}: {} {code}{advice}", answer.what(), answer.status))
}
