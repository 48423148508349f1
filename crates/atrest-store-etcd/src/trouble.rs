//! Why a call has no result.

use std::io;

use atrest::Error;

/// The reason for a missing result.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Nothing happened, and another attempt may do better.
    Again(String),
    /// Nothing happened, and another attempt can't do better.
    Final(io::ErrorKind, String),
    /// The server doesn't take the token.
    Token(String),
    /// The answer is longer than allowed.
    TooLong(String),
    /// The request may have been carried out.
    Unknown(String),
}

impl Trouble {
    pub fn into_error(self, what: &str) -> Error {
        let (kind, text) = match self {
            Trouble::Again(text) => (io::ErrorKind::TimedOut, format!("{text}; nothing was changed")),
            Trouble::Final(kind, text) => (kind, text),
            Trouble::Token(text) => (io::ErrorKind::PermissionDenied, text),
            Trouble::TooLong(text) => (io::ErrorKind::InvalidData, text),
            Trouble::Unknown(text) => {
                (io::ErrorKind::TimedOut, format!("{text}; it may have happened: read the records again"))
            }
        };
        Error::Io { what: format!("{what} in etcd"), source: io::Error::new(kind, text) }
    }
}
