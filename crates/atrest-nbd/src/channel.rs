//! The two halves of a connection: bytes to the server and from it, by TLS or in the clear.

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use crate::socket::{Patience, Socket};
#[cfg(feature = "tls")]
use crate::tls::{Received, Session};

/// The sending half of a connection: plain or TLS.
pub(crate) struct Sender {
    socket: Arc<Socket>,
    #[cfg(feature = "tls")]
    session: Option<Arc<Session>>,
}

/// The receiving half of a connection: plain or TLS.
pub(crate) struct Receiver {
    socket: Arc<Socket>,
    #[cfg(feature = "tls")]
    session: Option<(Arc<Session>, Received)>,
}

pub(crate) fn plain(socket: &Arc<Socket>) -> (Sender, Receiver) {
    let sender = Sender {
        socket: socket.clone(),
        #[cfg(feature = "tls")]
        session: None,
    };
    let receiver = Receiver {
        socket: socket.clone(),
        #[cfg(feature = "tls")]
        session: None,
    };
    (sender, receiver)
}

#[cfg(feature = "tls")]
pub(crate) fn encrypted(socket: &Arc<Socket>, session: Session, received: Received) -> (Sender, Receiver) {
    let session = Arc::new(session);
    let sender = Sender { socket: socket.clone(), session: Some(session.clone()) };
    (sender, Receiver { socket: socket.clone(), session: Some((session, received)) })
}

impl Sender {
    /// Accepts as many bytes as it can within a tick, and returns their number. `WouldBlock`: none.
    pub(crate) fn send(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(session) = &self.session {
            return session.send(&self.socket, parts);
        }
        self.socket.send(parts)
    }

    /// Sends accepted bytes that aren't sent yet. `WouldBlock`: there are more.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(session) = &self.session {
            return session.flush(&self.socket);
        }
        Ok(())
    }
}

impl Receiver {
    /// Reads the bytes that are available. `WouldBlock` after a tick without any; 0 when the server has ended.
    pub(crate) fn recv(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some((session, received)) = &mut self.session {
            return session.recv(&self.socket, received, bytes);
        }
        self.socket.recv(bytes)
    }
}

/// Both halves during the handshake, until a point in time.
pub(crate) struct Both<'a> {
    pub(crate) sender: &'a mut Sender,
    pub(crate) receiver: &'a mut Receiver,
    pub(crate) patience: Patience<'a>,
}

impl Read for Both<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            self.patience.check()?;
            match self.receiver.recv(bytes) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

impl Write for Both<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.patience.check()?;
            match self.sender.send(&[IoSlice::new(bytes)]) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                sent => return sent,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        loop {
            self.patience.check()?;
            match self.sender.flush() {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }
}
