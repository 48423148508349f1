//! The client of the owner of a server's keys: a script in Python, which does what lines ask for.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::end;

/// It starts when it is asked first.
pub struct Owner {
    script: &'static str,
    folder: PathBuf,
    port: u16,
    process: Mutex<Option<(Child, ChildStdin, BufReader<ChildStdout>)>>,
}

impl Owner {
    /// `script` lies beside this file; it is told of the folder with the certificates, and of the port.
    pub fn new(script: &'static str, folder: &Path, port: u16) -> Self {
        Owner { script, folder: folder.into(), port, process: Mutex::new(None) }
    }

    /// Has it do something, and returns what it answers.
    pub fn ask(&self, line: &str) -> String {
        let log = self.folder.join("owner");
        let mut process = self.process.lock().unwrap();
        let (_, input, output) = process.get_or_insert_with(|| {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common").join(self.script);
            let mut command = Command::new("python3");
            command.arg("-W").arg("ignore").arg(script).arg(&self.folder).arg(self.port.to_string());
            let log = File::create(&log).unwrap();
            let mut child =
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).process_group(0).spawn().unwrap();
            let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            (child, input, BufReader::new(output))
        });
        writeln!(input, "{line}").unwrap();
        let mut answer = String::new();
        output.read_line(&mut answer).unwrap();
        let done = answer.trim().strip_prefix("ok ").map(str::to_owned);
        done.unwrap_or_else(|| panic!("{line}: {answer}{}", std::fs::read_to_string(log).unwrap()))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // A lock that a failed test has poisoned must not keep its process alive.
        if let Some((child, ..)) = self.process.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            end(child);
        }
    }
}
