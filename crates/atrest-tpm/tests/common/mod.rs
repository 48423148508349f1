//! swtpm, a TPM in software, and tpm2-tools as another client of it.

#![allow(dead_code)] // each test file uses its part

#[path = "../../../../tests/common/peers.rs"]
pub mod peers;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use atrest_tpm::{TpmAddress, TpmAuth, TpmOptions, TpmVault};
use tempfile::TempDir;

/// The template of the storage key, as tpm2-tools say it.
const PARENT: &str = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt";

pub struct Swtpm {
    pub folder: TempDir,
    child: Mutex<Option<Child>>,
}

impl Swtpm {
    /// A new one; `None` if swtpm or tpm2-tools aren't installed.
    pub fn new() -> Option<Self> {
        peers::peer("swtpm", &["--version"])?;
        peers::peer("tpm2_getcap", &["--version"])?;
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("state")).unwrap();
        std::fs::create_dir(folder.path().join("keys")).unwrap();
        std::fs::write(folder.path().join("auth"), "a value of a test\n").unwrap();
        let swtpm = Swtpm { folder, child: Mutex::new(None) };
        swtpm.start();
        Some(swtpm)
    }

    pub fn start(&self) {
        let socket = self.path("socket");
        let control = self.path("socket.ctrl");
        for old in [&socket, &control] {
            let _ = std::fs::remove_file(old);
        }
        let state = format!("dir={}", self.path("state").display());
        let channel = |path: &Path| format!("type=unixio,path={}", path.display());
        let mut command = Command::new("swtpm");
        command.args(["socket", "--tpm2", "--tpmstate", &state]);
        command.args(["--server", &channel(&socket), "--ctrl", &channel(&control)]);
        command.args(["--flags", "not-need-init,startup-clear"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while [&control, &socket].iter().any(|path| UnixStream::connect(path).is_err()) {
            assert!(child.try_wait().unwrap().is_none(), "swtpm doesn't start");
            std::thread::sleep(Duration::from_millis(10));
        }
        *self.child.lock().unwrap() = Some(child);
    }

    /// Kills it, as `kill -9` does. What was loaded is gone; what was sealed can be unsealed after the next start.
    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn address(&self) -> TpmAddress {
        TpmAddress::unix(self.path("socket"))
    }

    pub fn options(&self) -> TpmOptions {
        TpmOptions::new("tpm:test", self.address(), self.path("keys")).deadline(Duration::from_secs(60))
    }

    pub fn options_with_auth(&self) -> TpmOptions {
        self.options().auth(TpmAuth::File(self.path("auth")))
    }

    pub fn vault(&self) -> TpmVault {
        TpmVault::new(self.options()).unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a program of tpm2-tools in the folder, and gives its output even if it fails.
    pub fn any(&self, line: &str) -> Output {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        command.args(words).current_dir(self.folder.path());
        command.env("TPM2TOOLS_TCTI", format!("swtpm:path={}", self.path("socket").display()));
        command.output().unwrap()
    }

    /// Runs a program of tpm2-tools that must succeed, and flushes what it left.
    pub fn tool(&self, line: &str) -> Vec<u8> {
        let output = self.any(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        if !line.starts_with("tpm2_startauthsession") {
            self.any("tpm2_flushcontext -t");
        }
        output.stdout
    }

    /// Makes the storage key anew, as `parent.ctx`.
    pub fn parent(&self) {
        self.tool(&format!("tpm2_createprimary -Q -C o -g sha256 -G ecc256:aes128cfb -a {PARENT} -c parent.ctx"));
    }

    /// The handles of loaded objects and sessions.
    pub fn loaded(&self) -> String {
        let handles = |kind| String::from_utf8(self.any(&format!("tpm2_getcap {kind}")).stdout).unwrap();
        handles("handles-transient") + &handles("handles-loaded-session")
    }

    /// The fields of a key's file, as bytes.
    pub fn field(&self, file: &str, name: &str) -> Vec<u8> {
        let text = std::fs::read_to_string(self.path("keys").join(file)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap();
        (0..line.len()).step_by(2).map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap()).collect()
    }

    /// Writes a field with its length before it, as tpm2-tools have it.
    pub fn write_sized(&self, to: &str, bytes: &[u8]) {
        std::fs::write(self.path(to), [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()).unwrap();
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A TPM in the middle: it passes commands on, and a test looks at them and alters them.
pub struct Middle {
    pub address: TpmAddress,
}

/// Handles a command and its answer: `None` ends the connection.
pub type Alter = dyn Fn(&[u8], &mut dyn FnMut(&[u8]) -> Vec<u8>) -> Option<Vec<u8>> + Send + Sync;

impl Middle {
    /// `alter` gets each command and a way to the TPM at this socket, and returns the answer.
    pub fn new(real: impl Into<PathBuf>, alter: Box<Alter>) -> Self {
        let real = real.into();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = TpmAddress::tcp(listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut socket in listener.incoming().map_while(Result::ok) {
                let mut real = UnixStream::connect(&real).ok();
                let mut ask = |command: &[u8]| ask(real.as_mut().unwrap(), command);
                while let Some(command) = message(&mut socket) {
                    match alter(&command, &mut ask) {
                        Some(answer) if socket.write_all(&answer).is_ok() => {}
                        _ => break,
                    }
                }
            }
        });
        Middle { address }
    }
}

/// Asks a TPM.
pub fn ask(tpm: &mut UnixStream, command: &[u8]) -> Vec<u8> {
    tpm.write_all(command).unwrap();
    message(tpm).unwrap()
}

/// Reads one command or answer.
fn message(stream: &mut impl Read) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 6];
    stream.read_exact(&mut bytes).ok()?;
    let len = u32::from_be_bytes(bytes[2..6].try_into().unwrap());
    bytes.resize(len as usize, 0);
    stream.read_exact(&mut bytes[6..]).ok()?;
    Some(bytes)
}

/// The code of a command.
pub fn code(command: &[u8]) -> u32 {
    u32::from_be_bytes(command[6..10].try_into().unwrap())
}
