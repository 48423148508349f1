//! A server, by connections that are kept open.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atrest::{OwningProcess, VaultFailure};
use zeroize::Zeroizing;

use crate::connection::{Connection, Deadline};
use crate::options::KmipOptions;
use crate::trouble::Trouble;

/// As many connections are kept for later calls.
const MOST_IDLE: usize = 4;

/// A connection that was idle for longer is not used again: firewalls forget such connections without a word.
const LONGEST_IDLE: Duration = Duration::from_secs(60);

pub(crate) struct Client {
    /// A child must not use its connections: both would write into one stream.
    pub(crate) owner: OwningProcess,
    pub(crate) id: String,
    pub(crate) options: KmipOptions,
    idle: Mutex<Vec<Connection>>,
}

impl Client {
    pub(crate) fn new(options: KmipOptions) -> Self {
        Client { owner: OwningProcess::current(), id: options.vault_id(), options, idle: Mutex::default() }
    }

    /// Sends a request and receives its answer.
    ///
    /// A kept connection may have ended meanwhile. Requests here change nothing at the server, so a failed one is repeated by a
    /// new connection.
    pub(crate) fn ask(&self, request: &[u8], deadline: Deadline) -> Result<Zeroizing<Vec<u8>>, Trouble> {
        let failed = |what: &str, error: io::Error| {
            Trouble::Failed(VaultFailure::new(format!("{what} {}", self.id)).caused_by(error))
        };
        if let Some(mut connection) = self.kept() {
            match connection.ask(request, deadline) {
                Ok(answer) => return Ok(self.keep(connection, answer)),
                Err(e) if is_lost(&e) => log::debug!("{}: a kept connection has ended: {e}", self.id),
                Err(e) => return Err(failed("asking", e)),
            }
            // The others most likely ended with it.
            self.idle().clear();
        }
        let opened = Connection::open(&self.options, deadline);
        let mut connection = opened.map_err(|e| failed("connecting to", e))?;
        let answer = connection.ask(request, deadline).map_err(|e| failed("asking", e))?;
        Ok(self.keep(connection, answer))
    }

    fn kept(&self) -> Option<Connection> {
        let mut idle = self.idle();
        while let Some(mut connection) = idle.pop() {
            if connection.is_usable(LONGEST_IDLE) {
                return Some(connection);
            }
        }
        None
    }

    /// Ends the kept connections: one has given an answer that doesn't belong to its request, and its next answers may be late as well.
    pub(crate) fn end_kept(&self) {
        self.idle().clear();
    }

    fn keep<T>(&self, connection: Connection, answer: T) -> T {
        let mut idle = self.idle();
        if idle.len() < MOST_IDLE {
            idle.push(connection);
        }
        answer
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the other side has ended the connection.
fn is_lost(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
}
