//! The way to a TPM: a device of the kernel, or a socket of swtpm.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::{Errno, FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, socket};
use zeroize::Zeroizing;

use crate::wire::LONGEST;

/// The address of a TPM.
#[derive(Clone, PartialEq, Eq)]
pub struct TpmAddress(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Device(PathBuf),
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl TpmAddress {
    /// A device of the kernel. Use `/dev/tpmrm0`, which goes through the kernel's resource manager. `/dev/tpm0` admits one
    /// program at a time, and objects that a program leaves there stay.
    pub fn device(path: impl AsRef<Path>) -> Self {
        TpmAddress(Kind::Device(path.as_ref().into()))
    }

    /// The data channel of `swtpm socket --server type=unixio`. There is no resource manager: objects that a killed program
    /// left there stay.
    pub fn unix(path: impl AsRef<Path>) -> Self {
        TpmAddress(Kind::Unix(path.as_ref().into()))
    }

    /// The data channel of `swtpm socket --server type=tcp`, for tests. Anyone on the network path sees all data that sessions
    /// don't encrypt.
    pub fn tcp(address: SocketAddr) -> Self {
        TpmAddress(Kind::Tcp(address))
    }
}

impl fmt::Debug for TpmAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for TpmAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Device(path) => write!(f, "{}", path.display()),
            Kind::Unix(path) => write!(f, "unix:{}", path.display()),
            Kind::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

/// The moment until which a call has to end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn after(time: Duration) -> Self {
        Deadline(Instant::now() + time.min(Duration::from_secs(86400)))
    }

    pub(crate) fn left(self) -> io::Result<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

/// An open way to a TPM.
pub(crate) struct Transport {
    stream: Stream,
    pub(crate) deadline: Deadline,
}

enum Stream {
    Device(File),
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Transport {
    pub(crate) fn open(address: &TpmAddress, deadline: Deadline) -> io::Result<Self> {
        let stream = match &address.0 {
            Kind::Device(path) => {
                let flags = OFlags::NONBLOCK.bits() as i32;
                Stream::Device(File::options().read(true).write(true).custom_flags(flags).open(path)?)
            }
            Kind::Unix(path) => Stream::Unix(connect(path, deadline)?),
            Kind::Tcp(address) => Stream::Tcp(TcpStream::connect_timeout(address, deadline.left()?)?),
        };
        Ok(Transport { stream, deadline })
    }

    /// Sends a command and receives its answer: a tag of 2 bytes, a length of 4, a code of 4, and more.
    pub(crate) fn ask(&mut self, command: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        // At its full length at once: a buffer that moves leaves its bytes behind.
        let mut answer = Zeroizing::new(vec![0; LONGEST]);
        let have = if let Stream::Device(device) = &mut self.stream {
            // A device takes a command at once, and gives its answer at once.
            wait(device, PollFlags::OUT, self.deadline)?;
            if device.write(command)? != command.len() {
                return Err(io::Error::new(io::ErrorKind::WriteZero, "the device takes only a part of a command"));
            }
            wait(device, PollFlags::IN, self.deadline)?;
            device.read(&mut answer)?
        } else {
            self.send(command)?;
            self.fill(&mut answer, 0, HEAD)?
        };
        let said = answer.get(2..6).and_then(|len| len.try_into().ok()).map(u32::from_be_bytes).unwrap_or(0) as usize;
        if have < HEAD || !(HEAD..=LONGEST).contains(&said) {
            let text = format!("an answer is said to have {said} bytes, where {HEAD} to {LONGEST} are allowed");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let have = if matches!(self.stream, Stream::Device(_)) { have } else { self.fill(&mut answer, have, said)? };
        if have != said {
            let text = format!("an answer has {have} bytes, and says that it has {said}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        answer.truncate(said);
        Ok(answer)
    }

    fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let left = Some(self.deadline.left()?);
            let sent = match &mut self.stream {
                Stream::Unix(socket) => socket.set_write_timeout(left).and_then(|()| socket.write(bytes)),
                Stream::Tcp(socket) => socket.set_write_timeout(left).and_then(|()| socket.write(bytes)),
                Stream::Device(device) => device.write(bytes),
            };
            match sent.map_err(timed_out)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                sent => bytes = &bytes[sent..],
            }
        }
        Ok(())
    }

    /// Receives up to `until` bytes, of which `have` are there already. Returns their number.
    fn fill(&mut self, bytes: &mut [u8], mut have: usize, until: usize) -> io::Result<usize> {
        while have < until {
            let (left, room) = (Some(self.deadline.left()?), &mut bytes[have..until]);
            let received = match &mut self.stream {
                Stream::Unix(socket) => socket.set_read_timeout(left).and_then(|()| socket.read(room)),
                Stream::Tcp(socket) => socket.set_read_timeout(left).and_then(|()| socket.read(room)),
                Stream::Device(device) => device.read(room),
            };
            match received {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(timed_out(e)),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(received) => have += received,
            }
        }
        Ok(have)
    }
}

const HEAD: usize = 10;

/// A socket reports a time-out as if it didn't block.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

/// The delay before a server with a full queue is asked again.
const FULL: Duration = Duration::from_millis(20);

/// Connects to a socket of Unix. The standard library waits for ever if the server's queue is full.
fn connect(path: &Path, deadline: Deadline) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    loop {
        let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
        ioctl_fionbio(&socket, true)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => {
                ioctl_fionbio(&socket, false)?;
                return Ok(socket.into());
            }
            Err(Errno::AGAIN | Errno::INTR) => std::thread::sleep(FULL.min(deadline.left()?)),
            Err(e) => return Err(e.into()),
        }
    }
}

/// Waits until the device is ready.
fn wait(device: &File, flags: PollFlags, deadline: Deadline) -> io::Result<()> {
    loop {
        let left = deadline.left()?;
        let time = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ };
        match poll(&mut [PollFd::new(device, flags)], Some(&time)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn a_server_whose_queue_is_full_is_waited_for_until_the_deadline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let server: OwnedFd = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&server, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&server, 0).unwrap();
        let short = || Deadline::after(Duration::from_millis(50));
        // The queue has room for some.
        let waiting: Vec<_> = (0..64).map_while(|_| Transport::open(&TpmAddress::unix(&path), short()).ok()).collect();
        assert!(!waiting.is_empty());
        let full = Transport::open(&TpmAddress::unix(&path), short()).map(drop);
        assert_eq!(full.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(rustix::net::accept(&server).unwrap());
        Transport::open(&TpmAddress::unix(&path), Deadline::after(Duration::from_secs(60))).map(drop).unwrap();
    }
}
