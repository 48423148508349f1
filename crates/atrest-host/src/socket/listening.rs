//! Sockets that are listened at.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use atrest::{Error, Result};
use rustix::fs::{Mode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};

use super::stream::Stream;
use crate::disk::io;

pub(super) enum Listener {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
}

impl Listener {
    pub(super) fn accept(&self) -> io::Result<Stream> {
        Ok(match self {
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(false)?;
                Stream::Unix(stream)
            }
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(false)?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
        })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Unix(listener, _) => listener.as_fd(),
            Listener::Tcp(listener) => listener.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(_, path) = self {
            // A leftover socket does no harm: the next server replaces it.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A socket that is listened at.
pub(crate) struct Listening {
    pub(super) listener: Listener,
}

impl Listening {
    /// At a path, with access for this user alone.
    pub(crate) fn unix(path: &Path) -> Result<Self> {
        let failed = |e| io(format!("listening at {}", path.display()), e);
        match bind_unix(path) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => remove_stale(path)?,
            Err(e) => return Err(failed(e)),
            Ok(listener) => return Ok(Listening { listener: Listener::Unix(listener, path.to_owned()) }),
        }
        let listener = bind_unix(path).map_err(failed)?;
        Ok(Listening { listener: Listener::Unix(listener, path.to_owned()) })
    }

    /// At an address.
    pub(crate) fn tcp(address: impl ToSocketAddrs + std::fmt::Display) -> Result<Self> {
        let listener = TcpListener::bind(&address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listener = listener.map_err(|e| io(format!("listening at {address}"), e))?;
        Ok(Listening { listener: Listener::Tcp(listener) })
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(..) => None,
        }
    }
}

/// Binds with mode 0600: on Linux the socket's file gets the mode of the socket, so that no other user can open it before.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, 128)?;
    Ok(socket.into())
}

/// Removes a stale socket, as a killed server leaves behind.
fn remove_stale(path: &Path) -> Result<()> {
    let failed = |e| io(format!("listening at {}", path.display()), e);
    let found = std::fs::symlink_metadata(path).map_err(failed)?;
    if !found.file_type().is_socket() {
        return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file, which is no socket")));
    }
    match UnixStream::connect(path) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(failed),
        _ => Err(Error::Busy { what: format!("the socket {}", path.display()) }),
    }
}
