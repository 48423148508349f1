//! The name by which programs find the shared library that they were linked with.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    // Windows has no such names, Android knows libraries without versions only, and Apple's linker has its own way.
    let (family, system) = (variable("CARGO_CFG_TARGET_FAMILY"), variable("CARGO_CFG_TARGET_OS"));
    if family != "unix" || system == "android" || variable("CARGO_CFG_TARGET_VENDOR") == "apple" {
        return;
    }

    // What takes a rebuild of programs, by semantic versioning: before 1.0 a new minor version, afterwards a new major
    // one. cargo-c goes by the same rule, and so do CMakeLists.txt and tests/abi/run.
    let [major, minor] = ["CARGO_PKG_VERSION_MAJOR", "CARGO_PKG_VERSION_MINOR"].map(variable);
    let name = format!("libatrest.so.{}", if major == "0" { format!("0.{minor}") } else { major });
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,{name}");

    // Programs that are linked with the library where cargo puts it look for it there by that name.
    let output = variable("OUT_DIR");
    if let Some(build) = Path::new(&output).ancestors().find(|folder| folder.ends_with("build")) {
        link(&build.with_file_name(name));
    }
}

#[cfg(unix)]
fn link(path: &Path) {
    if path.symlink_metadata().is_err() {
        // Without it, the library can be linked with all the same, and be installed.
        let _ = std::os::unix::fs::symlink("libatrest.so", path);
    }
}

#[cfg(not(unix))]
fn link(_: &Path) {}
