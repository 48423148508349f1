//! How a server is talked to.

use std::time::Duration;

use atrest::{Error, Result};

#[cfg(feature = "tls")]
use crate::Tls;

/// How [`NbdDevice::connect_with`](crate::NbdDevice::connect_with) talks to a server.
#[derive(Debug, Clone)]
#[must_use]
pub struct NbdOptions {
    pub(crate) deadline: Duration,
    pub(crate) connections: usize,
    pub(crate) replay_log: usize,
    pub(crate) read_only: bool,
    pub(crate) hazmat_without_flush: bool,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
}

impl Default for NbdOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl NbdOptions {
    /// The defaults: a deadline of 30 seconds, up to 4 connections, 64 MiB for changes that aren't flushed.
    pub fn new() -> Self {
        NbdOptions {
            deadline: Duration::from_secs(30),
            connections: 4,
            replay_log: 64 << 20,
            read_only: false,
            hazmat_without_flush: false,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// How long a call waits for the server, reconnections included. A call that needs several requests of the protocol has
    /// this time for each. After it the call fails with [`TimedOut`](std::io::ErrorKind::TimedOut): its data may have been
    /// written, or may be written later. From 100 ms to an hour; the default is 30 seconds.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The most connections. More than one are made where the server says that all of them see the same (`CAN_MULTI_CONN`). From
    /// 1 to 64; the default is 4.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// How many bytes of acknowledged writes are kept for a server that is killed before it has flushed them. When they are
    /// more, a flush is sent. From 16 MiB to 16 GiB; the default is 64 MiB.
    pub fn replay_log(mut self, bytes: usize) -> Self {
        self.replay_log = bytes;
        self
    }

    /// Whether the export is only read. Many may have it open so. An export that the server declares read-only is so anyway.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// **Whether to accept a server without a flush.** No write is durable then, whatever [`sync`](atrest::BlockDevice::sync)
    /// returns: the device keeps nothing for a server that is killed, and flushes nothing. For data that may be lost.
    pub fn hazmat_without_flush(mut self, hazmat_without_flush: bool) -> Self {
        self.hazmat_without_flush = hazmat_without_flush;
        self
    }

    /// The certificates for `nbds:`. Without this, the URL has to name their folder, as `tls-certificates=FOLDER`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let fits = |fits: bool, what: &str| if fits { Ok(()) } else { Err(Error::InvalidOption(what.into())) };
        let deadline = Duration::from_millis(100)..=Duration::from_secs(3600);
        fits(deadline.contains(&self.deadline), "the deadline of NBD is from 100 ms to an hour")?;
        fits((1..=64).contains(&self.connections), "the connections of NBD are from 1 to 64")?;
        let log = (16 << 20)..=(16u64 << 30);
        fits(log.contains(&(self.replay_log as u64)), "the replay log of NBD is from 16 MiB to 16 GiB")
    }
}
