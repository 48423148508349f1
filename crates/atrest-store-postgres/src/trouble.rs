//! Why a call has no result.

use std::io;

use atrest::Error;
use tokio_postgres::error::SqlState;

/// The reason for a missing result.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Nothing happened, and another attempt may do better.
    Again(String),
    /// Nothing happened, and another attempt can't do better.
    Final(io::ErrorKind, String),
    /// A commit was sent, and how it ended isn't known.
    Unknown(String),
}

impl Trouble {
    /// The error of a request that has changed nothing.
    pub fn of(error: &tokio_postgres::Error) -> Self {
        let text = text(error);
        match error.code() {
            Some(code) if is_passing(code) => Trouble::Again(text),
            Some(code) => Trouble::Final(kind(code), text),
            // No connection, or it broke.
            None => Trouble::Again(text),
        }
    }

    pub fn into_error(self, what: &str) -> Error {
        let (kind, text) = match self {
            Trouble::Again(text) => (io::ErrorKind::TimedOut, format!("{text}; nothing was changed")),
            Trouble::Final(kind, text) => (kind, text),
            Trouble::Unknown(text) => {
                (io::ErrorKind::TimedOut, format!("{text}; it may have happened: read the records again"))
            }
        };
        Error::Io { what: format!("{what} in PostgreSQL"), source: io::Error::new(kind, text) }
    }
}

fn kind(code: &SqlState) -> io::ErrorKind {
    match code.code() {
        "42501" => io::ErrorKind::PermissionDenied,
        code if code.starts_with("28") => io::ErrorKind::PermissionDenied,
        "53100" => io::ErrorKind::StorageFull,
        _ => io::ErrorKind::Other,
    }
}

/// Whether a server that says this may say something else soon, or another host may.
fn is_passing(code: &SqlState) -> bool {
    let code = code.code();
    let class = ["08", "40", "57"].iter().any(|class| code.starts_with(class));
    // Too many connections; time limits; a primary that has become a standby; recovery.
    class || ["53300", "55P03", "25006", "25P02", "25P03", "25P04", "XX000", "58000", "58030"].contains(&code)
}

/// Whether the server says that this transaction lost against another, and was undone.
pub(crate) fn lost_a_race(error: &tokio_postgres::Error) -> bool {
    error
        .code()
        .is_some_and(|code| *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED)
}

/// Whether the server says, before a commit, that others stand in the way of this transaction. The connection is sound.
pub(crate) fn others_were_first(error: &tokio_postgres::Error) -> bool {
    let waited =
        error.code().is_some_and(|code| *code == SqlState::LOCK_NOT_AVAILABLE || *code == SqlState::QUERY_CANCELED);
    waited || lost_a_race(error)
}

/// The server's error if another host made or migrated the same schema or table at this moment.
pub(crate) fn made_at_once(error: &tokio_postgres::Error) -> Option<String> {
    let code = error.code()?.code();
    ["42P06", "42P07", "42710", "23505", "40001", "40P01"].contains(&code).then(|| text(error))
}

/// The text of an error. It has no values and no parameters.
pub(crate) fn text(error: &tokio_postgres::Error) -> String {
    if let Some(told) = error.as_db_error() {
        return format!("{} ({})", told.message(), told.code().code());
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}
