//! A folder to work in, and the program in it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_atrest");

/// A key derivation that takes no time.
pub const CHEAP: [&str; 4] = ["--pbkdf-force-iterations", "4", "--pbkdf-memory", "64"];

/// What a run of the program did.
pub struct Ran {
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ran {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Fails the test unless the program ended so, and said something of this.
    pub fn failed(&self, status: i32, said: &str) {
        let stdout = String::from_utf8_lossy(&self.stdout);
        assert_eq!(self.status, status, "{stdout}{}", self.stderr);
        assert!(self.stderr.contains(said), "{:?} is not in: {}", said, self.stderr);
    }
}

/// A folder to work in.
pub struct Place {
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Place {
    pub fn new() -> Self {
        Place { folder: tempfile::tempdir().unwrap(), variables: Vec::new() }
    }

    /// With a vault `keys.vault`, its root key file `root.key` and its key `disks`, which all commands use.
    pub fn with_vault() -> Self {
        let mut place = Place::new();
        place.ok(&["vault", "init", "keys.vault", "--vault-key-file", "root.key", "--key", "disks"]);
        place.variables.push(("ATREST_VAULT", "keys.vault".into()));
        place.variables.push(("ATREST_VAULT_KEY_FILE", "root.key".into()));
        place
    }

    /// Sets an environment variable for all commands.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.variables.push((name, value.into()));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// The names of its files, in order.
    pub fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root()).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// An image whose every sector is another.
    pub fn image(&self, name: &str, len: usize) -> Vec<u8> {
        let bytes = noise(len);
        self.write(name, &bytes);
        bytes
    }

    /// The program, in the folder, with nothing of the environment that would change what it does.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(args);
        self.prepare(&mut command);
        command
    }

    pub fn prepare(&self, command: &mut Command) {
        command.current_dir(self.root()).stdin(Stdio::null());
        for name in [
            "ATREST_VAULT",
            "ATREST_VAULT_KEY_FILE",
            "ATREST_FLEET_STORE",
            "ATREST_FLEET_HOST",
            "ATREST_FLEET_LEASE",
            "PGPASSWORD",
            "ETCDCTL_PASSWORD",
            "ATREST_FLEET_DISKS",
            "ATREST_FLEET_KEY",
            "NO_COLOR",
        ] {
            command.env_remove(name);
        }
        let folder = Path::new(PROGRAM).parent().unwrap().display();
        command.env("PATH", format!("{folder}:{}", std::env::var("PATH").unwrap()));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        ran(self.command(args))
    }

    /// Runs the program, which must succeed, and returns what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.status, 0, "{args:?}: {}", ran.stderr);
        ran.text()
    }

    /// Runs the program with `--json`, and checks the result against its schema. `name` is the command.
    pub fn json(&self, name: &str, args: &[&str]) -> Value {
        let args = [args, &["--json"]].concat();
        let text = self.ok(&args);
        assert_eq!(text.matches('\n').count(), 1, "{args:?}: not one line: {text}");
        conforms(name, serde_json::from_str(&text).unwrap())
    }

    /// Runs the program with something on standard input.
    pub fn fed(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut command = self.command(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It need not read it.
        let _ = child.stdin.take().unwrap().write_all(input);
        of(child.wait_with_output().unwrap())
    }

    /// Runs a shell script, in which the program has its name.
    pub fn shell(&self, script: &str) -> Ran {
        let mut command = Command::new("bash");
        command.args(["-c", script]);
        self.prepare(&mut command);
        ran(command)
    }

    /// Encrypts a new image under the vault's key; returns the plaintext.
    pub fn encrypted(&self, name: &str, len: usize) -> Vec<u8> {
        let plain = self.image("plain.img", len);
        self.ok(&["encrypt", "plain.img", name]);
        plain
    }
}

fn ran(mut command: Command) -> Ran {
    of(command.output().unwrap())
}

fn of(output: std::process::Output) -> Ran {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    // A person at a shell has no use for the names of functions, and no program panics.
    for word in ["hazmat_", "reencrypt_step", "OpenOptions", "panicked"] {
        assert!(!stderr.contains(word), "{stderr}");
    }
    Ran { status: output.status.code().unwrap_or(-1), stdout: output.stdout, stderr }
}

/// Bytes without a pattern.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| next().to_le_bytes()).collect();
    bytes.truncate(len);
    bytes
}

/// The schemas that the program prints.
pub static SCHEMAS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
    let output = Command::new(PROGRAM).arg("schema").output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
});

/// Checks a result against the schema of its command.
pub fn conforms(name: &str, value: Value) -> Value {
    let schema = SCHEMAS.get(name).unwrap_or_else(|| panic!("no schema of {name}"));
    let validator = jsonschema::validator_for(schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{name}: {errors:?} in {value}");
    value
}

/// Another program, if it is installed. If not, it says so in a way that `cargo test` can't hide, and fails with
/// `ATREST_REQUIRE_PEERS=1`.
pub fn peer(program: &str) -> bool {
    peer_that(program, &["--version"])
}

/// Python with a module.
pub fn python(module: &str) -> bool {
    peer_that("python3", &["-c", &format!("import {module}")])
}

/// The same, by arguments with which it succeeds.
pub fn peer_that(program: &str, probe: &[&str]) -> bool {
    let found = Command::new(program).args(probe).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return true;
    }
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let required = std::env::var_os("ATREST_REQUIRE_PEERS").is_some_and(|value| value == "1");
    assert!(!required, "{test} needs {program}, which is missing");
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {program} does not work here");
    false
}

/// Runs another program in the folder, and returns what it printed.
pub fn by_peer(place: &Place, program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).current_dir(place.root()).stdin(Stdio::null()).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {args:?}: {stdout}{stderr}");
    stdout.into_owned()
}

/// Starts what goes on until it is stopped, and returns the first line that it prints.
pub fn started(command: &mut Command) -> (Child, String) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line)
}

/// Sends a signal to what was started, and returns its status.
pub fn stop(mut child: Child, signal: Signal) -> Option<i32> {
    kill_process(Pid::from_child(&child), signal).unwrap();
    ended(&mut child)
}

/// The status of a program that ends by itself, and soon.
pub fn ended(child: &mut Child) -> Option<i32> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    panic!("it does not end");
}
