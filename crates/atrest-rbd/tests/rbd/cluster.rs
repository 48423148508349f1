//! A real Ceph cluster, shared by the tests of this program.

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use atrest_rbd::{RbdBackend, RbdOptions};

pub use crate::ceph::Cluster;
use crate::peers;

/// The cluster of this program, started by the first test that needs it; `None` where Ceph isn't installed.
pub fn cluster() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    CLUSTER.get_or_init(|| start("bluestore")).as_ref()
}

/// A new cluster, `store` being bluestore or memstore.
pub fn start(store: &str) -> Option<Cluster> {
    Cluster::start(store, |program| peers::peer(program, &["--version"]).is_some())
}

impl Cluster {
    /// Options of a user who has the least rights.
    pub fn options(&self) -> RbdOptions {
        RbdOptions::new().config(self.config()).user("disks").deadline(Duration::from_secs(60))
    }

    pub fn backend(&self) -> RbdBackend {
        RbdBackend::from_url(&self.url()).unwrap()
    }
}

/// Python with the modules of Ceph, which Debian has for its own Python only.
pub fn python() -> Option<&'static str> {
    let has_modules = |python: &&str| {
        let probe = Command::new(python).args(["-c", "import rados, rbd"]).output();
        probe.is_ok_and(|output| output.status.success())
    };
    let found = ["python3", "/usr/bin/python3"].into_iter().find(has_modules);
    found.or_else(|| peers::python("rbd").map(|_| "python3"))
}
