//! NBD by TLS (the option `STARTTLS` of the specification), with certificates on both sides.
//!
//! Requests are read and replies written by different threads at once. The state of the connection is behind a lock, which no
//! thread holds while it waits for the socket.

use core::ops::Range;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atrest::{Error, Result, Secret};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use crate::socket::Stream;

/// As much is read from the socket at once: a little more than the longest record.
const RECORD: usize = 17 << 10;

/// The most bytes of a file with certificates or a key.
const LONGEST_FILE: usize = 1 << 20;

/// The certificates of a server, and those of the CAs whose clients it accepts.
///
/// Data that passes through a connection stays for a while in buffers of the crate `rustls` that aren't wiped.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// The server's certificate chain, its key, and the certificates of the CAs that sign clients' certificates, each a PEM
    /// file. A client without such a certificate is refused.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a file that isn't what it should be; [`Error::Io`].
    pub fn from_pem_files(
        certificates: impl AsRef<Path>,
        key: impl AsRef<Path>,
        clients: impl AsRef<Path>,
    ) -> Result<Self> {
        let certificates = certificates_of(certificates.as_ref())?;
        let key_found = PrivateKeyDer::from_pem_slice(read(key.as_ref())?.expose());
        let key = key_found.map_err(|e| unfit(key.as_ref(), e))?;
        let mut roots = RootCertStore::empty();
        for root in certificates_of(clients.as_ref())? {
            roots.add(root).map_err(|e| unfit(clients.as_ref(), e))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let verifier = verifier.build().map_err(|e| unfit(clients.as_ref(), e))?;
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|e| Error::InvalidOption(format!("TLS can't be used: {e}")))?;
        let config = config.with_client_cert_verifier(verifier).with_single_cert(certificates, key);
        let config =
            config.map_err(|e| Error::InvalidOption(format!("the server's certificate can't be used: {e}")))?;
        Ok(Tls { config: Arc::new(config) })
    }

    /// Agrees with a client on keys, after it has asked for that.
    pub(super) fn accept<'a>(&self, stream: &'a Stream) -> io::Result<Encrypted<'a>> {
        let mut connection = ServerConnection::new(self.config.clone()).map_err(io::Error::other)?;
        let mut both = stream;
        while connection.is_handshaking() {
            // Data behind the handshake stays in the connection until it is read.
            connection.complete_io(&mut both)?;
        }
        let connection = Arc::new(Mutex::new(connection));
        Ok(Encrypted { stream, connection, turn: Arc::default(), buffer: Vec::new(), received: 0..0 })
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

fn unfit(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::InvalidOption(format!("the file {} can't be used for TLS: {error}", path.display()))
}

/// A connection by TLS, or one half of it.
pub(super) struct Encrypted<'a> {
    stream: &'a Stream,
    connection: Arc<Mutex<ServerConnection>>,
    /// Held while records are sent, so that they come in the order of their numbers.
    turn: Arc<Mutex<()>>,
    /// Bytes read from the socket, and the part of them that the connection has not taken yet.
    buffer: Vec<u8>,
    received: Range<usize>,
}

impl<'a> Encrypted<'a> {
    /// The half that replies are written to.
    pub(super) fn replies(&self) -> Encrypted<'a> {
        let (connection, turn) = (self.connection.clone(), self.turn.clone());
        Encrypted { stream: self.stream, connection, turn, buffer: Vec::new(), received: 0..0 }
    }

    fn connection(&self) -> MutexGuard<'_, ServerConnection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the connection's pending output.
    fn send(&self) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records = Vec::new();
        let mut connection = self.connection();
        while connection.wants_write() {
            connection.write_tls(&mut records)?;
        }
        drop(connection);
        let mut stream = self.stream;
        stream.write_all(&records)
    }
}

impl Read for Encrypted<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection().reader().read(bytes) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            if self.received.is_empty() {
                self.buffer.resize(RECORD, 0);
                let mut stream = self.stream;
                let len = stream.read(&mut self.buffer)?;
                self.received = 0..len;
            }
            // The reader reports an end without goodbye. The connection takes no more than it has room for.
            let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
            self.received.start += connection.read_tls(&mut &self.buffer[self.received.clone()])?;
            connection.process_new_packets().map_err(io::Error::other)?;
            let answers = connection.wants_write();
            drop(connection);
            if answers {
                self.send()?;
            }
        }
    }
}

impl Write for Encrypted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.connection().writer().write(bytes)?;
        self.send()?;
        Ok(written)
    }

    /// All parts in as few records as they fit in.
    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let written = self.connection().writer().write_vectored(parts)?;
        self.send()?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}
