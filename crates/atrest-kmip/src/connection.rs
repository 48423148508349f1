//! One connection by TLS, whose reads and writes end by a deadline.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use atrest::{Error, Result, Secret};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use zeroize::Zeroizing;

use crate::message::LONGEST_ANSWER;
use crate::options::KmipOptions;
use crate::ttlv::HEAD;

/// The most bytes of a file with certificates or a key.
const LONGEST_FILE: usize = 1 << 20;

/// The moment until which a call has to end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn after(time: Duration) -> Self {
        Deadline(Instant::now() + time.min(Duration::from_secs(86400)))
    }

    fn left(self) -> io::Result<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

/// A socket, each of whose operations may take the time left until the deadline.
struct Timed {
    socket: TcpStream,
    deadline: Deadline,
}

/// A socket reports a time-out as if it didn't block.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

impl Read for Timed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.deadline.left()?))?;
        self.socket.read(bytes).map_err(timed_out)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.deadline.left()?))?;
        self.socket.write(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection that has authenticated.
pub(crate) struct Connection {
    stream: StreamOwned<ClientConnection, Timed>,
    last_used: Instant,
}

impl Connection {
    pub(crate) fn open(options: &KmipOptions, deadline: Deadline) -> io::Result<Self> {
        let config = config(options).map_err(io::Error::other)?;
        let name = ServerName::try_from(options.host.clone())
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, format!("the host {:?}: {e}", options.host)))?;
        let socket = connect(&options.host, options.port, deadline)?;
        socket.set_nodelay(true)?;
        let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, Timed { socket, deadline });
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Connection { stream, last_used: Instant::now() })
    }

    /// Whether it may serve another call.
    pub(crate) fn is_usable(&mut self, idle: Duration) -> bool {
        self.last_used.elapsed() < idle && self.is_quiet()
    }

    /// Whether the server has sent nothing since its last answer. Answers have no numbers: an unasked one would be taken for
    /// the answer to the next request.
    fn is_quiet(&mut self) -> bool {
        let read = self.stream.conn.process_new_packets();
        let socket = &self.stream.sock.socket;
        let waiting = socket.set_nonblocking(true).and_then(|()| socket.peek(&mut [0]));
        let nothing = matches!(waiting, Err(e) if e.kind() == io::ErrorKind::WouldBlock);
        nothing && socket.set_nonblocking(false).is_ok() && read.is_ok_and(|state| state.plaintext_bytes_to_read() == 0)
    }

    /// Sends a request and receives its answer. After an error the connection is of no use.
    pub(crate) fn ask(&mut self, request: &[u8], deadline: Deadline) -> io::Result<Zeroizing<Vec<u8>>> {
        self.stream.sock.deadline = deadline;
        self.stream.write_all(request)?;
        self.stream.flush()?;
        let mut head = [0; HEAD];
        self.stream.read_exact(&mut head)?;
        let len = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if len > LONGEST_ANSWER {
            let text = format!("the answer is said to have {len} bytes, where {LONGEST_ANSWER} are allowed");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        // At its full length at once: it may hold a DEK, and a buffer that moves leaves its bytes behind.
        let mut answer = Zeroizing::new(vec![0; HEAD + len]);
        answer[..HEAD].copy_from_slice(&head);
        self.stream.read_exact(&mut answer[HEAD..])?;
        self.last_used = Instant::now();
        Ok(answer)
    }
}

/// The CAs that the client trusts, and its certificate. The files are read each time, since certificates are renewed.
pub(crate) fn config(options: &KmipOptions) -> Result<ClientConfig> {
    let unfit = |path: &std::path::Path, error: &dyn std::fmt::Display| {
        Error::InvalidOption(format!("the file {} can't be used for TLS: {error}", path.display()))
    };
    let read = |path: &std::path::Path| Secret::read_file(path, LONGEST_FILE).map_err(|e| unfit(path, &e));
    let certificates = |path: &std::path::Path| -> Result<Vec<CertificateDer<'static>>> {
        let file = read(path)?;
        let all = CertificateDer::pem_slice_iter(file.expose()).collect::<Result<Vec<_>, _>>();
        let all = all.map_err(|e| unfit(path, &e))?;
        if all.is_empty() { Err(unfit(path, &"it has no certificate in PEM")) } else { Ok(all) }
    };
    let mut store = RootCertStore::empty();
    for root in certificates(&options.roots)? {
        store.add(root).map_err(|e| unfit(&options.roots, &e))?;
    }
    let own = certificates(&options.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(read(&options.key)?.expose()).map_err(|e| unfit(&options.key, &e))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|e| Error::InvalidOption(format!("TLS can't be used: {e}")))?;
    let config = config.with_root_certificates(store).with_client_auth_cert(own, key);
    config.map_err(|e| unfit(&options.certificate, &e))
}

fn connect(host: &str, port: u16, deadline: Deadline) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in addresses(host, port, deadline)? {
        match TcpStream::connect_timeout(&address, deadline.left()?) {
            Ok(socket) => return Ok(socket),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// The addresses of a host. The system's resolver has no deadline, so it runs in a thread of its own.
fn addresses(host: &str, port: u16, deadline: Deadline) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (sender, receiver) = mpsc::channel();
    let host = host.to_owned();
    std::thread::Builder::new().name("kmip-resolver".into()).spawn(move || {
        let found = (&*host, port).to_socket_addrs().map(Vec::from_iter);
        // After the deadline the receiver is gone.
        let _ = sender.send(found);
    })?;
    receiver.recv_timeout(deadline.left()?).map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_in_place_of_a_certificate_or_key_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let own = rcgen::generate_simple_self_signed(["kmip.example".to_owned()]).unwrap();
        std::fs::write(path("cert"), own.cert.pem()).unwrap();
        std::fs::write(path("key"), own.signing_key.serialize_pem()).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        config(&KmipOptions::new("kmip.example", path("cert"), path("cert"), path("key"))).unwrap();
        for names in [["pipe", "cert", "key"], ["cert", "pipe", "key"], ["cert", "cert", "pipe"]] {
            let [roots, certificate, key] = names.map(path);
            let (done, waiting) = mpsc::channel();
            let options = KmipOptions::new("kmip.example", roots, certificate, key);
            std::thread::spawn(move || done.send(config(&options).err()));
            let text = waiting.recv_timeout(Duration::from_secs(20)).expect("it waits").unwrap().to_string();
            assert!(text.contains("/pipe can't be used for TLS: ") && text.contains("FIFO"), "{text}");
        }
    }
}
