//! Other people's programs to compare with.

#![allow(dead_code)] // each test file uses its part

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// An external program, if it is installed. If not, it says so in a way that `cargo test` can't hide, and fails with
/// `ATREST_REQUIRE_PEERS=1`.
pub fn peer(program: &str, probe: &[&str]) -> Option<String> {
    let found = Command::new(program).args(probe).output().is_ok_and(|output| output.status.success());
    if found {
        return Some(program.to_owned());
    }
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(
        std::env::var_os("ATREST_REQUIRE_PEERS").is_none_or(|v| v != "1"),
        "{test} needs {program}, which is missing"
    );
    // Not `eprintln!`: `cargo test` hides its output if a test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {program} {} does not work here", probe.join(" "));
    None
}

pub fn cryptsetup() -> Option<String> {
    peer("cryptsetup", &["--version"])
}

/// Python with a module.
pub fn python(module: &str) -> Option<String> {
    peer("python3", &["-c", &format!("import {module}")])
}

/// A folder of BitLocker images that `tests/bitlocker/get` has filled; if it isn't there, that is said aloud.
pub fn bitlocker_images(of: &str) -> Option<PathBuf> {
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let root = folders.find(|folder| folder.join("tests/bitlocker/get").is_file()).unwrap();
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let folder = root.join(target).join("bitlocker").join(of);
    if folder.is_dir() {
        return Some(folder);
    }
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let required = std::env::var_os("ATREST_REQUIRE_PEERS").is_some_and(|v| v == "1");
    assert!(!required, "{test} needs the images that tests/bitlocker/get fetches");
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: there are no images; tests/bitlocker/get fetches them");
    None
}

/// Runs a program and returns what it printed; fails the test if it fails.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = run_any(program, args);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?} failed: {stdout}{stderr}");
    stdout
}

/// Runs a program and returns its output, even if it fails.
pub fn run_any(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"))
}

/// Runs a program without its output, and says whether it succeeded; `None` if it had to be killed after `limit`.
pub fn run_within(program: &str, args: &[&str], limit: Duration) -> Option<bool> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{program}: {e}"));
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status.success());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = child.kill();
    child.wait().unwrap();
    None
}

/// Runs a program on some input and returns what it wrote, as bytes; fails the test if it fails.
pub fn pipe(program: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{program}: {e}"));
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // Write and read at the same time: a pipe holds little, and one side could block for ever.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{program} {args:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
