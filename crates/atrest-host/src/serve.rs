//! Parts shared by all ways to serve a disk.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atrest::{NotInherited, OwningProcess, Result};

use crate::Disk;

/// A way to serve a disk: a protocol, and the place where its clients come to.
pub trait Serve {
    /// Begins to serve a disk. `id` names it to clients: a serial number, or the name of an export.
    ///
    /// # Errors
    /// [`Error::Io`](atrest::Error::Io) if the place can't be listened at; [`Error::Busy`](atrest::Error::Busy) if another
    /// server listens there.
    fn serve(&self, disk: Arc<dyn Disk>, id: &str) -> Result<Served>;
}

/// A disk that is being served, until this is dropped: then connections end, after the requests that are under way. A forked
/// child ends nothing of its parent's: the threads that serve it aren't there.
pub struct Served {
    owner: OwningProcess,
    /// The server, which ends when it is dropped.
    server: NotInherited<Box<dyn Send + Sync>>,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) device: Option<PathBuf>,
    resized: NotInherited<Box<dyn Fn() + Send + Sync>>,
}

impl Served {
    /// A server that ends when it is dropped, and what tells its clients of a new size.
    pub(crate) fn new(server: Box<dyn Send + Sync>, resized: Box<dyn Fn() + Send + Sync>) -> Self {
        let (server, resized) = (NotInherited::new(server), NotInherited::new(resized));
        Served { owner: OwningProcess::current(), server, address: None, device: None, resized }
    }

    /// Tells clients that the size of the disk has changed, where their protocol has a way to.
    pub fn resized(&self) {
        if self.owner.is_current() {
            (self.resized)();
        }
    }

    /// The address, of one that was served by TCP: it says which port it became.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The block device, of one that is served to this machine itself.
    pub fn device(&self) -> Option<&Path> {
        self.device.as_deref()
    }

    /// Stops to serve it, as dropping it does.
    pub fn stop(self) {
        drop(self.server);
    }
}
