//! A server whose answers the test writes, byte by byte.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

/// The server's reaction to a request.
#[derive(Clone)]
pub enum Answer {
    /// Sends these bytes.
    Bytes(Vec<u8>),
    /// Sends these bytes and ends the connection.
    Cut(Vec<u8>),
    /// Sends these bytes one at a time, slowly, and for ever.
    Drip(Vec<u8>),
    /// Says nothing.
    Silence,
}

type Behaviour = dyn Fn(&[u8]) -> Answer + Send + Sync;

pub struct Fake {
    pub folder: TempDir,
    pub port: u16,
    behaviour: Arc<Mutex<Arc<Behaviour>>>,
    connections: Arc<AtomicUsize>,
}

impl Fake {
    pub fn new(behaviour: impl Fn(&[u8]) -> Answer + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        super::certificates(folder.path());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let behaviour: Arc<Mutex<Arc<Behaviour>>> = Arc::new(Mutex::new(Arc::new(behaviour)));
        let (config, of_thread) = (config(folder.path()), behaviour.clone());
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let (config, behaviour) = (config.clone(), of_thread.clone());
                std::thread::spawn(move || serve(socket, config, &behaviour));
            }
        });
        Fake { folder, port, behaviour, connections }
    }

    /// How many connections came.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn set(&self, behaviour: impl Fn(&[u8]) -> Answer + Send + Sync + 'static) {
        *self.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(behaviour);
    }
}

fn config(folder: &Path) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let own = CertificateDer::from_pem_file(folder.join("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    Arc::new(config.with_client_cert_verifier(verifier).with_single_cert(vec![own], key).unwrap())
}

fn serve(socket: TcpStream, config: Arc<ServerConfig>, behaviour: &Mutex<Arc<Behaviour>>) -> Option<()> {
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
    loop {
        let request = message(&mut stream).ok()?;
        let behaviour = behaviour.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match behaviour(&request) {
            Answer::Bytes(bytes) => stream.write_all(&bytes).ok()?,
            Answer::Cut(bytes) => return stream.write_all(&bytes).ok(),
            Answer::Drip(bytes) => {
                for byte in bytes.into_iter().cycle() {
                    stream.write_all(&[byte]).ok()?;
                    stream.flush().ok()?;
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
            Answer::Silence => {
                let _ = stream.read(&mut [0]);
                return None;
            }
        }
        stream.flush().ok()?;
    }
}

/// Reads one message.
pub fn message(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut message = vec![0; 8];
    stream.read_exact(&mut message)?;
    let len = u32::from_be_bytes(message[4..8].try_into().unwrap());
    message.resize(8 + len as usize, 0);
    stream.read_exact(&mut message[8..])?;
    Ok(message)
}
