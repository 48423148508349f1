//! Runs of a test program by itself, in processes in which a self-test fails: nothing works there afterwards.

use std::process::Command;
use std::sync::LazyLock;

/// Whether this program starts itself: not where another one runs it, such as an emulator.
static STARTS_ITSELF: LazyLock<bool> = LazyLock::new(|| {
    let list = Command::new(std::env::current_exe().unwrap()).arg("--list").output();
    list.is_ok_and(|list| String::from_utf8_lossy(&list.stdout).contains(": test"))
});

/// Runs an ignored test by its whole name in a process of its own, in which the self-test of `algorithm` fails.
pub fn passes(test: &str, algorithm: &str) {
    if !*STARTS_ITSELF {
        eprintln!("SKIPPED {test}, {algorithm}: a program can't start itself here");
        return;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("ATREST_SPOIL", algorithm)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && text.contains("1 passed"), "{algorithm}: {text}");
}
