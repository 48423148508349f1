//! Builds the two libraries that are loaded at run time, each under its users' release profile: `libatrest`, called
//! through its C ABI, and the peers over the `aes` crate, which need codegen-units = 1.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for changed in ["build.rs", "rustcrypto", "../../src", "../../Cargo.toml", "../../Cargo.lock"] {
        println!("cargo::rerun-if-changed={changed}");
    }
    library("C_ABI", &here.join("../../crates/atrest-c"), "atrest", &out.join("atrest"));
    library("RUSTCRYPTO", &here.join("rustcrypto"), "rustcrypto_peers", &out.join("rustcrypto"));
}

/// Builds a package's shared library and passes on its path, or the reason why there is none.
fn library(name: &str, package: &Path, file: &str, target_dir: &Path) {
    let built = Command::new(env::var_os("CARGO").expect("cargo sets it"))
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target_dir)
        // Otherwise `cargo clippy` of this package would affect this build.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .output();
    let why = match built {
        Ok(output) if output.status.success() => {
            let file = format!("{}{file}{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
            println!("cargo::rustc-env={name}={}", target_dir.join("release").join(file).display());
            return;
        }
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            text.lines().find(|line| line.starts_with("error")).unwrap_or("cargo failed").to_owned()
        }
        Err(error) => error.to_string(),
    };
    println!("cargo::warning={file} will be missing: {why}");
    println!("cargo::rustc-env={name}_MISSING={why}");
}
