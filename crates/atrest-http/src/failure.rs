//! Requests without an answer.

use std::{fmt, io};

use atrest::Error;

/// A request that got no answer.
#[derive(Debug)]
pub struct Failure {
    what: String,
    reason: String,
    kind: io::ErrorKind,
    sent: bool,
    /// Why no server can help: this process computes wrongly, or it is a child of the one that made the client.
    own: Option<Box<Error>>,
}

impl Failure {
    /// Whether the server may have got the request: it may have done it, and may do it later.
    pub fn may_have_happened(&self) -> bool {
        self.sent
    }

    /// Whether another attempt can't end otherwise: the server's certificate isn't trusted, the request isn't well formed, a self-test of
    /// this process failed, or the client belongs to the parent of this process.
    pub fn is_final(&self) -> bool {
        !self.sent
            && (self.own.is_some()
                || matches!(self.kind, io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput))
    }

    /// A request that couldn't be made: its signature or token failed.
    pub fn unsent(what: impl Into<String>, error: &io::Error) -> Self {
        let own = error.get_ref().and_then(|inner| inner.downcast_ref()).and_then(of_self_test).map(Box::new);
        Failure { what: what.into(), reason: error.to_string(), kind: error.kind(), sent: false, own }
    }

    /// The client belongs to the parent of this process.
    pub(crate) fn forked(what: impl Into<String>) -> Self {
        let (what, reason) = (what.into(), Error::Forked.to_string());
        Failure { what, reason, kind: io::ErrorKind::Other, sent: false, own: Some(Box::new(Error::Forked)) }
    }

    /// The deadline was over before the request was sent.
    pub(crate) fn late(what: String) -> Self {
        Failure { what, reason: "the deadline is over".into(), kind: io::ErrorKind::TimedOut, sent: false, own: None }
    }

    /// An answer whose body is too long.
    pub(crate) fn too_long(what: String, most: usize) -> Self {
        let reason = format!("the answer is longer than {most} bytes");
        Failure { what, reason, kind: io::ErrorKind::InvalidData, sent: true, own: None }
    }

    /// An error of `ureq`. Its texts aren't shown if they may hold the URL.
    pub(crate) fn from_ureq(what: String, error: ureq::Error) -> Self {
        use ureq::{Error as E, Timeout as T};
        let (kind, sent, reason) = match error {
            E::Io(e) if is_bad_certificate(&e) => {
                let reason = format!("{e}; if it is a server of one's own, trust the root of its certificate");
                (io::ErrorKind::PermissionDenied, false, reason)
            }
            E::Io(e) => {
                let unconnected = [
                    io::ErrorKind::ConnectionRefused,
                    io::ErrorKind::HostUnreachable,
                    io::ErrorKind::NetworkUnreachable,
                    io::ErrorKind::AddrNotAvailable,
                ];
                (e.kind(), !unconnected.contains(&e.kind()), e.to_string())
            }
            E::Timeout(at @ (T::Resolve | T::Connect)) => {
                (io::ErrorKind::TimedOut, false, format!("no connection in time ({at})"))
            }
            E::Timeout(_) => (io::ErrorKind::TimedOut, true, "no answer in time; it may still be done".into()),
            E::HostNotFound => (io::ErrorKind::NotFound, false, "the host's name can't be resolved".into()),
            E::ConnectionFailed => (io::ErrorKind::ConnectionRefused, false, "no connection".into()),
            E::BadUri(_) | E::Http(_) => {
                (io::ErrorKind::InvalidInput, false, "the URL or a header isn't well formed".into())
            }
            E::LargeResponseHeader(_, most) => {
                (io::ErrorKind::InvalidData, true, format!("the answer's head is longer than {most} bytes"))
            }
            E::Rustls(e) => (io::ErrorKind::ConnectionAborted, true, format!("TLS: {e}")),
            E::Protocol(e) => (io::ErrorKind::InvalidData, true, format!("the answer isn't HTTP/1.1: {e}")),
            _ => (io::ErrorKind::Other, true, "the HTTP client failed".into()),
        };
        Failure { what, reason, kind, sent, own: None }
    }

    /// The error of a self-test, if one failed: this is no outage of the server.
    pub fn self_test(&self) -> Option<Error> {
        self.own.as_deref().and_then(of_self_test)
    }

    pub(crate) fn after(self, attempts: u32) -> Self {
        if attempts < 2 {
            return self;
        }
        Failure { reason: format!("{} ({attempts} attempts)", self.reason), ..self }
    }
}

fn of_self_test(error: &Error) -> Option<Error> {
    let Error::SelfTest { algorithm } = error else { return None };
    Some(Error::SelfTest { algorithm })
}

/// Whether the server's certificate was refused: then no request was sent.
fn is_bad_certificate(error: &io::Error) -> bool {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::InvalidCertificate(_)))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.reason)
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure.own {
            Some(own) => io::Error::other(*own),
            None => io::Error::new(failure.kind, failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_self_test_is_final_and_no_failure_of_the_server() {
        let failed = || io::Error::other(Error::SelfTest { algorithm: "SHA-256" });
        let failure = Failure::unsent("signing a request", &failed());
        assert!(failure.is_final() && !failure.may_have_happened());
        assert!(matches!(failure.self_test(), Some(Error::SelfTest { algorithm: "SHA-256" })));
        let error = io::Error::from(failure);
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        assert!(matches!(inner, Some(Error::SelfTest { algorithm: "SHA-256" })));
        let other = Failure::unsent("signing a request", &io::Error::other("no token"));
        assert!(!other.is_final() && other.self_test().is_none());
    }
}
