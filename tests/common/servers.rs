//! Servers that a fleet's store lies on, one of a test each: PostgreSQL and etcd.

#![allow(dead_code)] // each test file uses its part

// A program that has other servers, too, has it twice.
#[allow(clippy::duplicate_mod)]
#[path = "ports.rs"]
pub mod ports;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ports::free_port;

/// A server, which ends with this.
pub struct Server {
    /// Where it listens on this machine.
    pub port: u16,
    child: Child,
    folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// PostgreSQL, with the user `postgres` and the password `secret`; `None` if it isn't installed. `peer` says whether a program is there.
pub fn postgres(peer: impl Fn(&str) -> bool) -> Option<Server> {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.map(|version| version.unwrap().path().join("bin")).collect())
        .unwrap_or_default();
    found.sort();
    let bin = found.pop().unwrap_or_default();
    if !peer(bin.join("postgres").to_str().unwrap()) {
        return None;
    }
    // Root it refuses.
    let id = |user: &[&str]| {
        let output = Command::new("id").args(user).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse::<u32>().unwrap()
    };
    let owner = (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])));
    let folder = tempfile::tempdir().unwrap();
    let own = |path: &Path| {
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
        }
    };
    own(folder.path());
    let command = |program: &str| {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new(bin.join(program));
        command.current_dir("/").env("LC_ALL", "C").stdin(Stdio::null());
        if let Some((uid, gid)) = owner {
            command.uid(uid).gid(gid);
        }
        command
    };
    let (data, password) = (folder.path().join("data"), folder.path().join("password"));
    fs::write(&password, "secret").unwrap();
    own(&password);
    let mut init = command("initdb");
    init.arg("-D").arg(&data).args(["-U", "postgres", "-A", "scram-sha-256", "--no-sync", "-E", "UTF8", "--pwfile"]);
    run(init.arg(&password));
    for _ in 0..10 {
        let port = free_port();
        let mut start = command("postgres");
        start.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c"]);
        let log = fs::File::create(folder.path().join("log")).unwrap();
        start.arg(format!("unix_socket_directories={}", folder.path().display())).stdout(Stdio::null()).stderr(log);
        let mut child = start.spawn().unwrap();
        let is_up = || {
            let port = port.to_string();
            Command::new("pg_isready").args(["-q", "-h", "127.0.0.1", "-p", &port]).status().unwrap().success()
        };
        if waited(&mut child, is_up) {
            return Some(Server { port, child, folder });
        }
    }
    panic!("PostgreSQL doesn't start: {}", fs::read_to_string(folder.path().join("log")).unwrap_or_default());
}

/// One member of etcd, without users; `None` if it isn't installed.
pub fn etcd(peer: impl Fn(&str) -> bool) -> Option<Server> {
    if !peer("etcd") {
        return None;
    }
    for _ in 0..10 {
        let (folder, port, peers) = (tempfile::tempdir().unwrap(), free_port(), free_port());
        let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peers}"));
        let mut start = Command::new("etcd");
        start.args(["--name", "one", "--log-level", "error", "--data-dir"]).arg(folder.path().join("data"));
        start.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        start.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        start.args(["--initial-cluster", &format!("one={peer}")]);
        let mut child = start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if waited(&mut child, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()) {
            return Some(Server { port, child, folder });
        }
    }
    panic!("etcd doesn't start");
}

/// Whether a server comes to be up.
fn waited(child: &mut Child, is_up: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(60) {
        if is_up() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}
