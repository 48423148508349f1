//! How to reach a cluster, and how long to wait for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use atrest::{Error, Result};

/// How to reach a cluster, and how long to wait for it.
///
/// The key of the user is read by librados from the keyring that the configuration names. It is never in a URL.
#[derive(Debug, Clone)]
pub struct RbdOptions {
    pub(crate) config: Option<PathBuf>,
    pub(crate) monitors: Option<String>,
    pub(crate) keyring: Option<PathBuf>,
    pub(crate) user: Option<String>,
    pub(crate) deadline: Duration,
    pub(crate) take_over: bool,
    pub(crate) trust_lock: Duration,
    pub(crate) piece: usize,
    pub(crate) depth: usize,
}

impl Default for RbdOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl RbdOptions {
    /// The configuration where Ceph looks for it (`$CEPH_CONF`, `/etc/ceph/ceph.conf`), the user `admin`, 30 seconds.
    pub fn new() -> Self {
        RbdOptions {
            config: None,
            monitors: None,
            keyring: None,
            user: None,
            deadline: Duration::from_secs(30),
            take_over: false,
            trust_lock: Duration::from_secs(300),
            piece: 1 << 20,
            depth: 16,
        }
    }

    /// The configuration file to read.
    pub fn config(mut self, path: impl AsRef<Path>) -> Self {
        self.config = Some(path.as_ref().to_owned());
        self
    }

    /// The monitors, as `mon_host` of a configuration has them: addresses with commas between them. A configuration file is read
    /// only if [`config`](Self::config) names one too.
    pub fn monitors(mut self, addresses: &str) -> Self {
        self.monitors = Some(addresses.to_owned());
        self
    }

    /// The file with the key of the user, instead of the one that the configuration names.
    pub fn keyring(mut self, path: impl AsRef<Path>) -> Self {
        self.keyring = Some(path.as_ref().to_owned());
        self
    }

    /// The user, without `client.` before it: `disks` for `client.disks`.
    pub fn user(mut self, id: &str) -> Self {
        self.user = Some(id.to_owned());
        self
    }

    /// How long a call may take: 100 milliseconds to one hour; the default is 30 seconds. Opening counts as one call.
    /// [`write_zeroes`](atrest::BlockDevice::write_zeroes) and [`discard`](atrest::BlockDevice::discard) may take this long for
    /// each 256 MiB.
    ///
    /// A write that takes longer ends the use of the device: see [the crate](crate#time-outs). Ceph takes about 30 seconds to
    /// replace an OSD that doesn't answer. A service whose disks must outlive that needs 60 seconds or more.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Takes the image from a client that has it open: its lock is broken, and it is put on the blocklist. This is for a
    /// scheduler that knows that the other host is lost, and doesn't want to wait for Ceph to notice.
    pub fn take_over(mut self, take_over: bool) -> Self {
        self.take_over = take_over;
        self
    }

    /// How long a device trusts that it holds the lock, after an answer of the cluster that proves it: up to 30 minutes; the
    /// default is 5. After that it asks before its next write. Time in which the machine slept counts.
    ///
    /// Ceph shuts out a client that lost a lock for one hour (`mon_osd_blocklist_default_expire`), and this must be less. So a
    /// machine that was paused through that hour doesn't write to an image that another client owns by now.
    pub fn trust_lock(mut self, time: Duration) -> Self {
        self.trust_lock = time;
        self
    }

    /// The most bytes of one operation of librbd: 4096 bytes to 32 MiB, a multiple of 4096; the default is 1 MiB. A longer read
    /// or write is split into such pieces, of which up to [`depth`](Self::depth) are under way.
    pub fn piece(mut self, bytes: usize) -> Self {
        self.piece = bytes;
        self
    }

    /// How many pieces of one call are under way at once: 1 to 256; the default is 16.
    pub fn depth(mut self, pieces: usize) -> Self {
        self.depth = pieces;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |text: &str| Err(Error::InvalidOption(text.into()));
        if !(Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&self.deadline) {
            return wrong("the deadline of an RBD device is 100 milliseconds to one hour");
        }
        if self.trust_lock > Duration::from_secs(1800) {
            return wrong("an RBD device may trust its lock for up to 30 minutes");
        }
        if !(4096..=32 << 20).contains(&self.piece) || !self.piece.is_multiple_of(4096) {
            return wrong("the pieces of an RBD device have 4096 bytes to 32 MiB, in multiples of 4096");
        }
        if !(1..=256).contains(&self.depth) {
            return wrong("the depth of an RBD device is 1 to 256 pieces");
        }
        Ok(())
    }
}
