//! A real Ceph cluster of one monitor and one OSD, in a folder of its own.

#![allow(dead_code)] // each test program uses its part

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/common/ceph.sh");

pub struct Cluster {
    folder: PathBuf,
    control: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    /// It ends when its input does: with this process.
    _script: Child,
    faults: RwLock<()>,
}

impl Cluster {
    /// Starts one, `store` being bluestore or memstore; `None` where Ceph isn't installed. `peer` says whether a program is there.
    pub fn start(store: &str, peer: impl Fn(&str) -> bool) -> Option<Self> {
        if !["ceph", "ceph-mon", "ceph-osd", "ceph-mgr", "rbd"].into_iter().all(peer) {
            return None;
        }
        let folder = tempfile::Builder::new().prefix("atrest-rbd-").tempdir().unwrap().keep();
        let port = free_port().to_string();
        let mut script = Command::new("bash")
            .args([SCRIPT, folder.to_str().unwrap(), &port, store])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let control = (script.stdin.take().unwrap(), BufReader::new(script.stdout.take().unwrap()));
        let cluster = Cluster { folder, control: Mutex::new(control), _script: script, faults: RwLock::default() };
        let mut line = String::new();
        cluster.control.lock().unwrap().1.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the cluster didn't start; run tests/common/ceph.sh by hand");
        Some(cluster)
    }

    /// Says that a test needs a cluster without faults.
    pub fn calm(&self) -> RwLockReadGuard<'_, ()> {
        self.faults.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that a test makes faults.
    pub fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.faults.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives an order to the script: see there.
    pub fn order(&self, order: &str) {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(control.0, "{order}").unwrap();
        let mut line = String::new();
        control.1.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
    }

    pub fn config(&self) -> PathBuf {
        self.folder.join("ceph.conf")
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The pool, for a user who has the least rights.
    pub fn url(&self) -> String {
        format!("rbd:rbd?conf={}&user=disks", self.config().display())
    }

    /// A program of Ceph, as the administrator.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("CEPH_CONF", self.config());
        command
    }

    /// Runs `rbd`, and returns what it printed.
    pub fn rbd(&self, arguments: &[&str]) -> String {
        run(self.command("rbd").args(arguments))
    }

    /// Runs `ceph`, and returns what it printed.
    pub fn ceph(&self, arguments: &[&str]) -> String {
        run(self.command("ceph").args(arguments))
    }

    /// A new image of a name that no other test has.
    pub fn image(&self, mib: u64) -> String {
        let name = format!("rbd/{}", unused_name());
        self.rbd(&["create", "--size", &format!("{mib}M"), &name]);
        name
    }
}

pub fn unused_name() -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    format!("image-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

pub fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed: {stdout}{stderr}");
    stdout.into_owned()
}

/// The first of some ports that nobody has.
fn free_port() -> u16 {
    let begin = 20_000 + (std::process::id() % 100) as u16 * 100;
    let ports = (begin..30_000).step_by(100).chain((20_000..begin).step_by(100));
    ports.into_iter().find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("no port is free")
}
