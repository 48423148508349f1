//! NBD by TLS (the option `STARTTLS` of the specification), with certificates on both sides.
//!
//! Requests are sent and replies received by different threads at once. The state of the connection is behind a lock, which no
//! thread holds while it waits for the socket.

use core::ops::Range;
use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atrest::{Error, OwningProcess, Result, Secret};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::socket::{Patience, Socket};

/// As much is read from the socket at once: a little more than the longest record.
const RECORD: usize = 17 << 10;

/// The most bytes of a file with certificates or a key.
const LONGEST_FILE: usize = 1 << 20;

/// As much is encrypted at once.
const PART: usize = 256 << 10;

/// The CAs that a client trusts, and the certificate that it presents.
///
/// Data that passes through a connection stays for a while in buffers of the crate `rustls` that aren't wiped; with a volume on
/// the device it is ciphertext. A forked child reads the files again, for one of its own.
#[derive(Clone)]
pub struct Tls {
    /// Its sessions are behind a lock, which a child may not take.
    owner: OwningProcess,
    config: Arc<ClientConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Trusts the CAs of a PEM file. The client presents no certificate of its own.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a file that isn't valid.
    pub fn trusting(roots: impl AsRef<Path>) -> Result<Self> {
        Self::new(roots.as_ref(), None)
    }

    /// As [`trusting`](Self::trusting), with the client's certificate and those above it, and its key, each a file in PEM.
    ///
    /// # Errors
    /// As [`trusting`](Self::trusting).
    pub fn with_certificate(
        roots: impl AsRef<Path>,
        certificates: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self> {
        Self::new(roots.as_ref(), Some((certificates.as_ref(), key.as_ref())))
    }

    /// Reads a folder as other NBD tools do: `ca-cert.pem`, and `client-cert.pem` with `client-key.pem` if they are there.
    ///
    /// # Errors
    /// As [`trusting`](Self::trusting).
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self> {
        let path = |name| folder.as_ref().join(name);
        let (certificates, key) = (path("client-cert.pem"), path("client-key.pem"));
        let own = certificates.exists().then_some((&*certificates, &*key));
        Self::new(&path("ca-cert.pem"), own)
    }

    fn new(roots: &Path, own: Option<(&Path, &Path)>) -> Result<Self> {
        let mut store = RootCertStore::empty();
        for root in certificates_of(roots)? {
            store.add(root).map_err(|e| unfit(roots, e))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|e| Error::InvalidOption(format!("TLS can't be used: {e}")))?;
        let config = config.with_root_certificates(store);
        let config = match own {
            None => config.with_no_client_auth(),
            Some((certificates, key)) => {
                let own = certificates_of(certificates)?;
                let key = PrivateKeyDer::from_pem_slice(read(key)?.expose()).map_err(|e| unfit(key, e))?;
                config.with_client_auth_cert(own, key).map_err(|e| unfit(certificates, e))?
            }
        };
        Ok(Tls { owner: OwningProcess::current(), config: Arc::new(config) })
    }

    pub(crate) fn owner(&self) -> OwningProcess {
        self.owner
    }

    /// Agrees with a server on keys, after it has said that it will.
    pub(crate) fn begin(&self, socket: &Socket, name: &str, patience: Patience<'_>) -> io::Result<(Session, Received)> {
        let name = ServerName::try_from(name.to_owned()).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        let connection = ClientConnection::new(self.config.clone(), name).map_err(io::Error::other)?;
        let session = Session { inner: Mutex::new(Inner { connection, unsent: Vec::new(), sent: 0 }) };
        let mut received = Received::default();
        while session.inner().connection.is_handshaking() {
            patience.check()?;
            match session.flush(socket).and_then(|()| {
                let handshakes = session.inner().connection.is_handshaking();
                if handshakes { session.take(socket, &mut received) } else { Ok(()) }
            }) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                done => done?,
            }
        }
        // The last message of the client.
        loop {
            patience.check()?;
            match session.flush(socket) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
                Ok(()) => return Ok((session, received)),
            }
        }
    }
}

fn certificates_of(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let file = read(path)?;
    let all = CertificateDer::pem_slice_iter(file.expose());
    all.collect::<Result<Vec<_>, _>>().map_err(|e| unfit(path, e))
}

fn read(path: &Path) -> Result<Secret> {
    Secret::read_file(path, LONGEST_FILE).map_err(|e| unfit(path, e))
}

fn unfit(path: &Path, error: impl fmt::Display) -> Error {
    Error::InvalidOption(format!("the file {} can't be used for TLS: {error}", path.display()))
}

/// Bytes read from the socket, and the part of them that the connection has not taken yet.
#[derive(Default)]
pub(crate) struct Received {
    buffer: Vec<u8>,
    range: Range<usize>,
}

/// A connection by TLS, for one thread that sends and one that receives.
pub(crate) struct Session {
    inner: Mutex<Inner>,
}

struct Inner {
    connection: ClientConnection,
    /// Records that were made and aren't sent, from `sent` on. Only the thread that sends takes them.
    unsent: Vec<u8>,
    sent: usize,
}

impl Session {
    /// A state that a panic left half-made isn't used: the connection says so itself.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn send(&self, socket: &Socket, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        // Earlier records go first, so that they don't pile up.
        self.flush(socket)?;
        let mut taken = 0;
        let mut inner = self.inner();
        for part in parts {
            let part = &part[..part.len().min(PART - taken)];
            let mut done = 0;
            while done < part.len() {
                let now = inner.connection.writer().write(&part[done..])?;
                if now == 0 {
                    inner.make()?;
                }
                done += now;
            }
            taken += done;
            if taken == PART {
                break;
            }
        }
        inner.make()?;
        drop(inner);
        match self.flush(socket) {
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => Err(e),
            _ => Ok(taken),
        }
    }

    pub(crate) fn flush(&self, socket: &Socket) -> io::Result<()> {
        loop {
            let mut inner = self.inner();
            inner.make()?;
            let (unsent, from) = (std::mem::take(&mut inner.unsent), std::mem::take(&mut inner.sent));
            drop(inner);
            if from == unsent.len() {
                return Ok(());
            }
            let sent = socket.send(&[IoSlice::new(&unsent[from..])]);
            let mut inner = self.inner();
            // Records that the other thread made meanwhile come behind.
            let behind = std::mem::replace(&mut inner.unsent, unsent);
            inner.unsent.extend(behind);
            inner.sent = from + *sent.as_ref().unwrap_or(&0);
            if inner.sent == inner.unsent.len() {
                inner.unsent.clear();
                inner.sent = 0;
            }
            sent?;
        }
    }

    pub(crate) fn recv(&self, socket: &Socket, received: &mut Received, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.inner().connection.reader().read(bytes) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            self.take(socket, received)?;
        }
    }

    /// Receives some records, or takes some that were received.
    fn take(&self, socket: &Socket, received: &mut Received) -> io::Result<()> {
        if received.range.is_empty() {
            received.buffer.resize(RECORD, 0);
            let len = socket.recv(&mut received.buffer)?;
            if len == 0 {
                // Without the message that ends a connection, something may have been cut off. Either way it has ended.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            received.range = 0..len;
        }
        let mut rest = &received.buffer[received.range.clone()];
        let mut inner = self.inner();
        // It takes no more than it has room for.
        inner.connection.read_tls(&mut rest)?;
        received.range.start = received.range.end - rest.len();
        let processed = inner.connection.process_new_packets();
        processed.map(|_| ()).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }
}

impl Inner {
    /// Makes TLS records of the pending output.
    fn make(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.unsent)?;
        }
        Ok(())
    }
}
