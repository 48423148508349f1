//! A connected socket, whose calls return within a tick even if nothing happens.

use std::io::{self, IoSlice, Read};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, SendAncillaryBuffer, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};

use crate::url::Address;

/// A connected socket. A call that can do nothing fails with `WouldBlock` after a tick, so that deadlines are seen.
pub(crate) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    /// Connects until `until`. `deadline` is that of later calls.
    pub(crate) fn connect(address: &Address, until: Instant, deadline: Duration) -> io::Result<Self> {
        let socket = match address {
            Address::Unix(path) => Socket::Unix(connect_unix(path, until)?),
            Address::Tcp { host, port } => Socket::Tcp(connect_tcp(host, *port, until, deadline)?),
        };
        socket.with_tick(deadline)
    }

    pub(crate) fn with_tick(self, deadline: Duration) -> io::Result<Self> {
        let tick = Some((deadline / 8).clamp(Duration::from_millis(5), Duration::from_millis(100)));
        match &self {
            Socket::Unix(socket) => socket.set_read_timeout(tick).and_then(|()| socket.set_write_timeout(tick))?,
            Socket::Tcp(socket) => socket.set_read_timeout(tick).and_then(|()| socket.set_write_timeout(tick))?,
        }
        Ok(self)
    }

    /// Reads the available bytes, and waits a tick for them.
    pub(crate) fn recv(&self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self {
                Socket::Unix(socket) => (&*socket).read(bytes),
                Socket::Tcp(socket) => (&*socket).read(bytes),
            };
            match read {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::TimedOut => return Err(io::ErrorKind::WouldBlock.into()),
                read => return read,
            }
        }
    }

    /// Writes as much as fits within a tick. A server that is gone gives an error, and no signal.
    pub(crate) fn send(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            match net::sendmsg(self.as_fd(), parts, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
                Ok(sent) => return Ok(sent),
            }
        }
    }

    /// Ends both directions, and wakes pending reads and writes.
    pub(crate) fn shutdown(&self) {
        // It fails if the server is gone already.
        let _ = match self {
            Socket::Unix(socket) => socket.shutdown(Shutdown::Both),
            Socket::Tcp(socket) => socket.shutdown(Shutdown::Both),
        };
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Unix(socket) => socket.as_fd(),
            Socket::Tcp(socket) => socket.as_fd(),
        }
    }
}

/// When to give up.
#[derive(Clone, Copy)]
pub(crate) struct Patience<'a> {
    pub(crate) until: Instant,
    /// Whether the operation has no waiting caller any more.
    pub(crate) is_over: &'a dyn Fn() -> bool,
}

impl Patience<'_> {
    pub(crate) fn check(&self) -> io::Result<()> {
        if (self.is_over)() {
            return Err(io::Error::other("nobody waits for it any more"));
        }
        if Instant::now() >= self.until {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the server doesn't answer"));
        }
        Ok(())
    }
}

/// `UnixStream::connect` waits for ever if a server is stopped and its queue is full.
fn connect_unix(path: &Path, until: Instant) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    loop {
        match net::connect(&socket, &address) {
            Ok(()) => break,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(e) => return Err(e.into()),
        }
    }
    let socket = UnixStream::from(socket);
    socket.set_nonblocking(false)?;
    Ok(socket)
}

fn connect_tcp(host: &str, port: u16, until: Instant, deadline: Duration) -> io::Result<TcpStream> {
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                // A host that is gone doesn't end its connections. The kernel finds out, and we then connect again.
                sockopt::set_socket_keepalive(&socket, true)?;
                let idle = (deadline / 3).clamp(Duration::from_secs(1), Duration::from_secs(10));
                sockopt::set_tcp_keepidle(&socket, idle)?;
                sockopt::set_tcp_keepintvl(&socket, (idle / 3).max(Duration::from_secs(1)))?;
                sockopt::set_tcp_keepcnt(&socket, 3)?;
                sockopt::set_tcp_user_timeout(&socket, deadline.as_millis() as u32)?;
                return Ok(socket);
            }
            Err(e) => error = e,
        }
    }
    Err(error)
}
