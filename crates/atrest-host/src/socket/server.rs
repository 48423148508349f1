//! The threads that talk to clients.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::Duration;

use atrest::Result;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::listening::Listening;
use super::stream::Stream;
use crate::disk::io;

/// Serves clients until it is dropped. Then it ends their connections, and waits for requests under way.
pub(crate) struct Server {
    clients: Arc<Clients>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves up to `most` clients at once, each in a thread of its own. More wait.
    pub(crate) fn start(
        listening: Listening,
        name: &str,
        most: usize,
        serve: impl Fn(Stream) + Send + Sync + 'static,
    ) -> Result<Self> {
        let starting = |e| io("starting to serve a disk", e);
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| starting(e.into()))?;
        let clients = Arc::new(Clients { most, wake, stopping: AtomicBool::new(false), open: Mutex::default() });
        let (shared, serve, name) = (clients.clone(), Arc::new(serve), name.to_owned());
        let thread = Builder::new().name(name.clone()).spawn(move || {
            let mut threads = Vec::new();
            while shared.wait(&listening) {
                if shared.is_full() {
                    continue;
                }
                match listening.listener.accept() {
                    Ok(stream) => threads.extend(shared.clone().serve(stream, &name, serve.clone())),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    Err(e) => {
                        // Such as too many open files. Nothing is gained by asking again at once.
                        log::warn!("a client could not be let in: {e}");
                        sleep(Duration::from_millis(100));
                    }
                }
                threads.retain(|thread: &JoinHandle<()>| !thread.is_finished());
            }
            for thread in threads {
                // Its own thread has reported a panic.
                let _ = thread.join();
            }
        });
        Ok(Server { clients, thread: Some(thread.map_err(starting)?) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.clients.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The connected clients.
struct Clients {
    most: usize,
    wake: OwnedFd,
    stopping: AtomicBool,
    open: Mutex<HashMap<u64, Stream>>,
}

/// A connected client, as long as this lives.
struct Client {
    clients: Arc<Clients>,
    number: u64,
}

impl Clients {
    /// Waits until a client knocks and there is room. Returns `false` once the server stops.
    fn wait(&self, listening: &Listening) -> bool {
        let of_listener = if self.is_full() { PollFlags::empty() } else { PollFlags::IN };
        let mut events = [PollFd::new(&self.wake, PollFlags::IN), PollFd::new(&listening.listener, of_listener)];
        // A failure, such as an interruption, shows again where the connection is accepted.
        let _ = poll(&mut events, None);
        // It never blocks.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        !self.stopping.load(Ordering::Acquire)
    }

    fn is_full(&self) -> bool {
        self.open().len() >= self.most
    }

    /// Ends the wait.
    fn wake(&self) {
        let woken = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        debug_assert!(woken.is_ok(), "an eventfd takes a one");
    }

    fn serve(
        self: Arc<Self>,
        stream: Stream,
        name: &str,
        serve: Arc<impl Fn(Stream) + Send + Sync + 'static>,
    ) -> Option<JoinHandle<()>> {
        let client = self.admit(&stream)?;
        let thread = Builder::new().name(name.to_owned()).spawn(move || {
            let _client = client;
            serve(stream);
        });
        thread.inspect_err(|e| log::warn!("a client was turned away, because it can't have a thread: {e}")).ok()
    }

    fn admit(self: Arc<Self>, stream: &Stream) -> Option<Client> {
        let kept = stream.try_clone().inspect_err(|e| log::warn!("a client could not be let in: {e}")).ok()?;
        let mut open = self.open();
        if self.stopping.load(Ordering::Acquire) {
            return None;
        }
        let number = (0..).find(|number| !open.contains_key(number))?;
        open.insert(number, kept);
        drop(open);
        Some(Client { clients: self, number })
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake();
        self.open().values().for_each(Stream::shutdown);
    }

    /// The map of connections is valid even if a thread panicked while it was locked.
    fn open(&self) -> MutexGuard<'_, HashMap<u64, Stream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.clients.open().remove(&self.number);
        self.clients.wake();
    }
}
