//! Servers of other projects, as processes.

#![allow(dead_code)] // each test uses its part

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use atrest_nbd::{NbdDevice, NbdOptions};
use rustix::process::{Pid, Signal, kill_process};

/// A server at a Unix socket, which ends with this.
pub struct Server {
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that is stopped doesn't hear of another signal.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts a program, and waits until it listens.
    pub fn start(command: &mut Command, socket: &Path) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let server = Server { child: command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}")) };
        let began = Instant::now();
        while UnixStream::connect(socket).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "{command:?} doesn't listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        server
    }

    /// `nbdkit` with these arguments, at a socket.
    pub fn nbdkit(socket: &Path, arguments: &[&str]) -> Self {
        let _ = std::fs::remove_file(socket);
        let mut command = Command::new("nbdkit");
        // Without a log on stderr: tests make it fail on purpose.
        command.args(["-f", "--log=null", "-U"]).arg(socket).args(arguments);
        Self::start(&mut command, socket)
    }

    /// `qemu-nbd` of a raw file, at a socket.
    pub fn qemu(socket: &Path, file: &Path, arguments: &[&str]) -> Self {
        let _ = std::fs::remove_file(socket);
        let mut command = Command::new("qemu-nbd");
        command.args(["-t", "-e", "16", "-f", "raw", "-k"]).arg(socket).args(arguments).arg(file);
        Self::start(&mut command, socket)
    }

    pub fn of(child: Child) -> Self {
        Server { child }
    }

    /// Its number among processes.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops it in the middle of whatever it does.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

pub fn uri(socket: &Path, export: &str) -> String {
    format!("nbd+unix:///{export}?socket={}", socket.display())
}

/// Connects with a deadline that a busy machine may miss.
pub fn connect(url: &str, options: &NbdOptions) -> NbdDevice {
    let began = Instant::now();
    loop {
        match NbdDevice::connect_with(url, options) {
            Ok(device) => return device,
            Err(e) => assert!(began.elapsed() < Duration::from_secs(60), "{e:#}"),
        }
    }
}

/// A file of zeros.
pub fn zeros(path: PathBuf, size: u64) -> PathBuf {
    std::fs::File::create(&path).unwrap().set_len(size).unwrap();
    path
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
