//! Runs a part of this program in a child process, which may end, hang, or take too much memory.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How long a child may print nothing.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// The limit of its address space in KiB.
const MEMORY: u32 = 8 << 20;

pub struct Running {
    pub process: Child,
    lines: Receiver<String>,
}

impl Running {
    pub fn start(args: &[&str]) -> Self {
        let mut process = Command::new("sh")
            .args(["-c", &format!("ulimit -v {MEMORY}; ulimit -c 0; exec \"$0\" \"$@\"")])
            .arg(std::env::current_exe().unwrap())
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (send, lines) = channel();
        let out: ChildStdout = process.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Running { process, lines }
    }

    /// The next line; `Err(true)` if none came in time, `Err(false)` if none will come.
    pub fn line(&self, patience: Duration) -> Result<String, bool> {
        self.lines.recv_timeout(patience).map_err(|e| e == RecvTimeoutError::Timeout)
    }

    pub fn kill(&mut self) -> ExitStatus {
        let _ = self.process.kill();
        self.process.wait().unwrap()
    }
}
