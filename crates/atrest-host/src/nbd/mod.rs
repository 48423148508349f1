//! NBD: a disk for hypervisors, for the kernel's own client, and for tools, over a Unix socket or TCP.
//!
//! Fixed newstyle handshake, structured replies, flush, FUA, trim, zeros, block status, and several connections for one disk, by
//! the specification of the NBD project.

mod negotiation;
mod replies;
mod requests;
#[cfg(feature = "tls")]
mod tls;
mod transmission;

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use atrest::Result;

use crate::Disk;
use crate::serve::{Serve, Served};
use crate::socket::{Listening, Server, Stream, is_gone};

use negotiation::{Agreed, Ended, Export, greet, negotiate};
#[cfg(feature = "tls")]
pub use tls::Tls;
use transmission::Transmission;

/// How long a handshake may take between two messages.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes that may be on their way to a client: several replies of 256 KiB. The system's default has room for less than one, and
/// a thread that can't send its reply whole sleeps and has to be woken.
const ROOM: usize = 1 << 20;

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
    #[cfg(feature = "tls")]
    Tls(String, Tls),
}

impl Nbd {
    /// At a Unix socket, accessible to this user alone. A stale socket that no server listens at is replaced.
    pub fn unix(socket: impl Into<PathBuf>) -> Self {
        Nbd { place: Place::Unix(socket.into()), connections: 16, parallel: 16 }
    }

    /// **At a TCP address, without TLS**: anyone who sees the network can read the data, and anyone who reaches the address can
    /// use the disk. It is for a private network, such as the loopback of a network namespace.
    pub fn hazmat_tcp(address: impl Into<String>) -> Self {
        Nbd { place: Place::HazmatTcp(address.into()), ..Self::unix("") }
    }

    /// At a TCP address, by TLS alone: a client has to show a certificate before it learns of anything.
    #[cfg(feature = "tls")]
    pub fn tls(address: impl Into<String>, tls: Tls) -> Self {
        Nbd { place: Place::Tls(address.into(), tls), ..Self::unix("") }
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
            #[cfg(feature = "tls")]
            Place::Tls(address, _) => Listening::tcp(address)?,
        };
        let place = self.place.clone();
        let (address, name, parallel) = (listening.address(), id.to_owned(), self.parallel);
        let server = Server::start(listening, id, self.connections, move |stream| {
            stream.ask_for_room(ROOM);
            if let Err(error) = talk(&stream, &place, &*disk, &name, parallel)
                && !is_gone(&error)
            {
                log::warn!("a client of the disk {name} is cut off: {error}");
            }
        })?;
        // A client sees another size when it reconnects. NBD has no message for it.
        let mut served = Served::new(Box::new(server), Box::new(|| ()));
        served.address = address;
        Ok(served)
    }
}

/// Talks to a client until it is gone.
fn talk(stream: &Stream, place: &Place, disk: &dyn Disk, name: &str, parallel: usize) -> io::Result<()> {
    stream.set_patience(Some(PATIENCE))?;
    let mut both = stream;
    let no_zeroes = greet(&mut both)?;
    let export = |offers_tls, requires_tls| Export { disk, name, offers_tls, requires_tls };
    let transmit = |agreed: Agreed| {
        stream.set_patience(None)?;
        Transmission::new(disk, agreed, parallel, Plain(stream), Plain(stream)).serve();
        Ok(())
    };
    match place {
        Place::Unix(_) | Place::HazmatTcp(_) => match negotiate(&mut both, &export(false, false), no_zeroes)? {
            Ended::Transmission(agreed) => transmit(agreed),
            Ended::StartTls | Ended::Gone => Ok(()),
        },
        #[cfg(feature = "tls")]
        Place::Tls(_, tls) => {
            let Ended::StartTls = negotiate(&mut both, &export(true, true), no_zeroes)? else { return Ok(()) };
            let mut encrypted = tls.accept(stream)?;
            let Ended::Transmission(agreed) = negotiate(&mut encrypted, &export(false, false), no_zeroes)? else {
                return Ok(());
            };
            stream.set_patience(None)?;
            let replies = encrypted.replies();
            Transmission::new(disk, agreed, parallel, encrypted, replies).serve();
            Ok(())
        }
    }
}

/// One half of a connection without TLS.
struct Plain<'a>(&'a Stream);

impl Read for Plain<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }

    fn read_vectored(&mut self, parts: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
        self.0.read_vectored(parts)
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

/// Talks to a client that sends bytes without looking at the replies.
#[cfg(feature = "fuzzing")]
pub(crate) fn converse(disk: &dyn Disk, sent: &[u8], got: &mut Vec<u8>) {
    struct Blind<'a>(&'a [u8], &'a mut Vec<u8>);

    impl Read for Blind<'_> {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.0.read(bytes)
        }
    }

    impl Write for Blind<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let export = Export { disk, name: "disk", offers_tls: false, requires_tls: false };
    let mut client = Blind(sent, got);
    let ended = greet(&mut client).and_then(|no_zeroes| negotiate(&mut client, &export, no_zeroes));
    if let Ok(Ended::Transmission(agreed)) = ended {
        let Blind(rest, got) = client;
        Transmission::new(disk, agreed, 1, rest, got).serve();
    }
}
