//! vhost-user-blk: a disk for a virtual machine, over a Unix socket and the guest's own memory.
//!
//! The messages are those of the crate `vhost`; the rings those of `virtio-queue`. The back end is our own: the one of
//! `vhost-user-backend` doesn't track requests under way, so a guest would lose some when this process dies.

mod backend;
mod chain;
mod channel;
mod crew;
mod device;
mod flights;
mod inflight;
mod lent;
mod mapped;
mod polling;
mod request;
mod ring;
mod transfer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atrest::Result;
use vhost::vhost_user::{BackendReqHandler, Error};

use crate::Disk;
use crate::serve::{Serve, Served};
use crate::socket::{Listening, Server, Stream};

use backend::Backend;
use channel::Channel;

/// The threads that help a queue's own, by default and at most.
const HELPERS: usize = 3;
const MOST_HELPERS: usize = 64;

/// Serves a disk to a virtual machine as vhost-user-blk, at a Unix socket. One machine at a time can be connected.
///
/// QEMU, of at least version 6, is told of it so, with the guest's memory shared:
/// ```text
/// -object memory-backend-memfd,id=mem,size=2G,share=on -machine memory-backend=mem
/// -chardev socket,id=disk,path=/run/vm1.sock,reconnect=1 -device vhost-user-blk-pci,chardev=disk
/// ```
#[derive(Debug, Clone)]
pub struct VhostUser {
    socket: PathBuf,
    queues: u16,
    polling: Duration,
    helpers: usize,
}

impl VhostUser {
    /// `socket` is accessible to this user alone. A stale socket that no server listens at is replaced.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        let helpers = if polling::cpus() == 1 { 0 } else { HELPERS };
        VhostUser { socket: socket.into(), queues: 1, polling: Duration::from_micros(50), helpers }
    }

    /// The most queues that a machine may use, each with a thread of its own. The default is 1.
    pub fn queues(mut self, queues: u16) -> Self {
        self.queues = queues.clamp(1, 64);
        self
    }

    /// The longest time that the thread of a queue polls for the next request before it sleeps; zero: it sleeps at once. The
    /// default is 50 µs, about the time it takes to wake a thread on an idle CPU, so that polling in vain costs no more than it
    /// could gain.
    ///
    /// The actual polling time grows while requests come soon, and falls to zero when none do: an idle guest costs nothing. At
    /// most half of the CPUs that this process may use poll at once, and a thread that lost its CPU meanwhile stops polling for
    /// a while, because other programs need it.
    pub fn polling(mut self, most: Duration) -> Self {
        self.polling = most;
        self
    }

    /// The most threads of each queue beside its own that do large requests, of 128 KiB and more, while a guest has several
    /// under way. They start when there is work for them, and end with the queue. The default is 3, because they also wait for
    /// data outside the page cache; it is 0 if this process has one CPU.
    pub fn helpers(mut self, helpers: usize) -> Self {
        self.helpers = helpers.min(MOST_HELPERS);
        self
    }
}

impl Serve for VhostUser {
    fn serve(&self, disk: Arc<dyn Disk>, id: &str) -> Result<Served> {
        let (id, queues, polling, helpers): (Arc<str>, _, _, _) = (id.into(), self.queues, self.polling, self.helpers);
        let channel = Channel::default();
        let told = channel.clone();
        let server = Server::start(Listening::unix(&self.socket)?, id.clone().as_ref(), 1, move |stream| {
            let backend = Arc::new(Mutex::new(Backend::new(disk.clone(), id.clone(), queues, polling, helpers)));
            if let Err(error) = talk(stream, &backend, &channel) {
                log::warn!("the connection of the disk {id} ends: {error}");
            }
            channel.close();
            backend.lock().unwrap_or_else(PoisonError::into_inner).stop();
        })?;
        Ok(Served::new(Box::new(server), Box::new(move || told.tell_of_change())))
    }
}

/// Handles the front end's messages until it is gone.
fn talk(stream: Stream, backend: &Arc<Mutex<Backend>>, channel: &Channel) -> Result<(), Error> {
    let Stream::Unix(stream) = stream else { return Ok(()) };
    let looked_at = stream.try_clone().map_err(Error::ReqHandlerError)?;
    let mut handler = BackendReqHandler::from_stream(stream, backend.clone());
    loop {
        channel.look(&looked_at);
        match handler.handle_request() {
            Ok(()) => {}
            Err(Error::Disconnected | Error::SocketBroken(_)) => return Ok(()),
            // The front end learns of it from the answer, if there is one, and may continue.
            Err(Error::ReqHandlerError(error)) => log::warn!("a front end's message was refused: {error}"),
            Err(error) => return Err(error),
        }
    }
}

/// Does one request of a guest's queue.
#[cfg(feature = "fuzzing")]
pub(crate) fn execute(
    disk: &dyn Disk,
    memory: &vm_memory::GuestMemoryMmap,
    table: vm_memory::GuestAddress,
    queue_size: u16,
    head: u16,
) -> Option<u32> {
    let mut chain = chain::Chain::default();
    chain.read(memory, table, queue_size, head).ok()?;
    Some(request::Executor::new(disk, "disk").execute(memory, &chain))
}
