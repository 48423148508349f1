//! A thread that keeps the leases of keys.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use atrest::Result;
use atrest::managed::DiskService;

use crate::disk::io as failed;

/// Maintains services until it is dropped.
pub(crate) struct Maintenance {
    /// Nothing is sent. The thread ends when this goes.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Maintenance {
    pub(crate) fn start(services: [Arc<DiskService>; 2], interval: Duration) -> Result<Self> {
        let (stop, stopped) = channel::<()>();
        let thread = Builder::new().name("maintenance".into()).spawn(move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                services.iter().for_each(|service| service.maintain());
            }
        });
        let thread = thread.map_err(|e: io::Error| failed("starting to keep the leases of keys", e))?;
        Ok(Maintenance { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its own thread has reported a panic.
            let _ = thread.join();
        }
    }
}
