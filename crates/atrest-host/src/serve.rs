//! What all ways to serve a disk have in common.

use std::net::SocketAddr;
use std::sync::Arc;

use atrest::Result;

use crate::Disk;
use crate::socket::Server;

/// A way to serve a disk: a protocol, and the place where its clients come to.
pub trait Serve {
    /// Begins to serve a disk. `id` names it to clients: a serial number, or the name of an export.
    ///
    /// # Errors
    /// [`Error::Io`](atrest::Error::Io) if the place can't be listened at; [`Error::Busy`](atrest::Error::Busy) if another
    /// server listens there.
    fn serve(&self, disk: Arc<dyn Disk>, id: &str) -> Result<Served>;
}

/// A disk that is being served, until this is dropped: then connections end, after the requests that are under way.
pub struct Served {
    pub(crate) server: Server,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) resized: Box<dyn Fn() + Send + Sync>,
}

impl Served {
    /// Tells clients that the size of the disk has changed, where their protocol has a way to.
    pub fn resized(&self) {
        (self.resized)();
    }

    /// The address, of one that was served by TCP: it says which port it became.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Stops to serve it, as dropping it does.
    pub fn stop(self) {
        drop(self.server);
    }
}
