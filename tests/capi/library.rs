//! The C libraries under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder with libatrest.a and libatrest.so, built anew if their sources changed.
///
/// Cargo builds no library for an integration test that can't link it as Rust, so this asks for it, in the profile that
/// the test itself was built in. It names a test, too: with the features that tests need of the dependencies, `cargo test`
/// has built these already. `ATREST_C_FEATURES` adds features of the libraries.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // TARGET/PROFILE/deps/TEST
        let test = std::env::current_exe().unwrap();
        let folder = test.ancestors().nth(2).unwrap();
        let profile = match folder.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            name => name,
        };
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--offline", "--lib", "--test", "header", "--profile", profile, "--target-dir"])
            .arg(folder.parent().unwrap())
            .args(std::env::var("ATREST_C_FEATURES").map(|features| format!("--features={features}")))
            .current_dir(root())
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        folder.to_owned()
    })
}

/// The top of the project.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
