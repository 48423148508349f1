//! NBD: a disk for hypervisors, for the kernel's own client, and for tools, over a Unix socket or TCP.
//!
//! Fixed newstyle handshake, structured replies, flush, FUA, trim, zeros, block status, and several connections for one disk, by
//! the specification of the NBD project.

mod negotiation;
mod transmission;
mod wire;

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use atrest::Result;

use crate::Disk;
use crate::serve::{Serve, Served};
use crate::socket::{Listening, Server, Stream, is_gone};

use negotiation::{Agreed, Ended, Export, greet, negotiate};
use transmission::{Requests, Transmission};

/// How long a handshake may take between two messages.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves a disk by NBD. Its id is the name of the export, and the empty name is another one for it.
///
/// ```text
/// nbdinfo 'nbd+unix:///?socket=/run/vm1.sock'
/// qemu-system-x86_64 -drive 'file=nbd+unix:///?socket=/run/vm1.sock,format=raw,if=virtio'
/// nbd-client -unix /run/vm1.sock /dev/nbd0
/// ```
#[derive(Debug, Clone)]
pub struct Nbd {
    place: Place,
    connections: usize,
    parallel: usize,
}

#[derive(Debug, Clone)]
enum Place {
    Unix(PathBuf),
    HazmatTcp(String),
}

impl Nbd {
    /// At a Unix socket, made with access for this user alone. A socket that nobody listens at any more is replaced.
    pub fn unix(socket: impl Into<PathBuf>) -> Self {
        Nbd { place: Place::Unix(socket.into()), connections: 16, parallel: 16 }
    }

    /// **At a TCP address, in the clear**: who sees the network sees the data, and who reaches the address has the disk. It is for
    /// a network that nobody else is in, such as the loopback of a network namespace.
    pub fn hazmat_tcp(address: impl Into<String>) -> Self {
        Nbd { place: Place::HazmatTcp(address.into()), ..Self::unix("") }
    }

    /// The most clients at once; more wait. The default is 16.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// The most requests of a connection that are served at once, each by a thread with a buffer of a MiB. The default is 16.
    pub fn parallel(mut self, parallel: usize) -> Self {
        self.parallel = parallel.max(1);
        self
    }
}

impl Serve for Nbd {
    fn serve(&self, disk: Arc<dyn Disk>, id: &str) -> Result<Served> {
        let listening = match &self.place {
            Place::Unix(path) => Listening::unix(path)?,
            Place::HazmatTcp(address) => Listening::tcp(address)?,
        };
        let (address, name, parallel) = (listening.address(), id.to_owned(), self.parallel);
        let server = Server::start(listening, id, self.connections, move |stream| {
            if let Err(error) = talk(stream, &*disk, &name, parallel)
                && !is_gone(&error)
            {
                log::warn!("a client of the disk {name} is cut off: {error}");
            }
        })?;
        // A client sees another size when it connects again. There is no message for it.
        Ok(Served { server, address, resized: Box::new(|| ()) })
    }
}

/// Talks to a client until it is gone.
fn talk(stream: Stream, disk: &dyn Disk, name: &str, parallel: usize) -> io::Result<()> {
    stream.set_patience(Some(PATIENCE))?;
    let mut both = &stream;
    let no_zeroes = greet(&mut both)?;
    let export = Export { disk, name, offers_tls: false, requires_tls: false };
    match negotiate(&mut both, &export, no_zeroes)? {
        Ended::Gone => Ok(()),
        Ended::StartTls => Err(io::ErrorKind::Unsupported.into()),
        Ended::Transmission(agreed) => {
            stream.set_patience(None)?;
            transmit(&stream, disk, agreed, parallel);
            Ok(())
        }
    }
}

fn transmit(stream: &Stream, disk: &dyn Disk, agreed: Agreed, parallel: usize) {
    Transmission::new(disk, agreed, parallel, Plain(stream), Plain(stream)).serve();
}

/// One half of a connection without TLS.
struct Plain<'a>(&'a Stream);

impl Read for Plain<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl Write for Plain<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Requests for Plain<'_> {
    fn more(&self) -> bool {
        self.0.has_more()
    }
}
