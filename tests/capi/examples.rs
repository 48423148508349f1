//! The C programs of `examples/`, and `misuse_*.c`: compiled as C and as C++, linked with each library, and run.

#![cfg(target_os = "linux")]

#[path = "../common/peers.rs"]
mod common;
mod library;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::peer;
use library::{folder, root};

const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic"];
const C: [&str; 3] = ["-x", "c", "-std=c99"];
const CPP: [&str; 3] = ["-x", "c++", "-std=c++17"];

const PROGRAMS: [&str; 5] = [
    "examples/volume.c",
    "examples/sectors.c",
    "examples/custom_vault.c",
    "tests/capi/misuse_keys.c",
    "tests/capi/misuse_volumes.c",
];

/// What `--print native-static-libs` says, less what a C compiler adds by itself.
const NATIVE: [&str; 3] = ["-lpthread", "-ldl", "-lm"];

#[test]
fn volume() {
    for output in everywhere("examples/volume.c") {
        let lines: Vec<&str> = output.lines().collect();
        let [wrote, read, now] = lines[..] else { panic!("{output}") };
        assert!(
            wrote.starts_with("wrote a volume whose key is wrapped by urn:uuid:") && wrote.ends_with("/keys/disks/1")
        );
        assert_eq!(read, "read \"secret plans\"");
        assert!(now.ends_with("/keys/disks/2"), "{now}");
    }
}

#[test]
fn sectors() {
    for output in everywhere("examples/sectors.c") {
        let plain = "5a ".repeat(16);
        assert!(output.contains(&format!("plain : {plain}...\n")), "{output}");
        assert!(output.contains(&format!("again : {plain}...\n")), "{output}");
        assert!(!output.contains(&format!("cipher: {plain}...\n")), "{output}");
        assert!(output.ends_with("for another disk: ATREST_ERR_CONTEXT_MISMATCH\n"), "{output}");
    }
}

#[test]
fn custom_vault() {
    for output in everywhere("examples/custom_vault.c") {
        let urls =
            ["v0", "v1"].map(|v| format!("the volume opens with https://contoso.vault.example/keys/disks/{v}\n"));
        assert!(output.starts_with(&urls.concat()), "{output}");
        assert!(output.ends_with("the vault is gone\n"), "{output}");
    }
}

#[test]
fn misuse() {
    for program in ["tests/capi/misuse_keys.c", "tests/capi/misuse_volumes.c"] {
        for output in everywhere(program) {
            let passed = output.strip_suffix(" checks passed\n").unwrap();
            assert!(passed.parse::<u32>().unwrap() > 200, "{output}");
        }
    }
}

#[test]
fn clang_has_no_warnings() {
    let Some(clang) = peer("clang", &["--version"]) else { return };
    for program in PROGRAMS {
        for language in [C, CPP] {
            let mut command = Command::new(&clang);
            command.args(language).args(WARNINGS).arg("-fsyntax-only").arg("-I").arg(root().join("include"));
            succeed(command.arg(root().join(program)));
        }
    }
}

/// What the program prints, in each language with each library.
fn everywhere(program: &str) -> Vec<String> {
    let source = root().join(program);
    let cc = std::env::var("CC").unwrap_or("cc".into());
    let mut outputs = compiled(&cc, &C, &source);
    if let Some(cxx) = peer("c++", &["--version"]) {
        outputs.extend(compiled(&cxx, &CPP, &source));
    }
    outputs
}

fn compiled(compiler: &str, language: &[&str], source: &Path) -> Vec<String> {
    let folder = folder();
    let shared = || {
        let rpath = format!("-Wl,-rpath,{}", folder.display());
        vec!["-L".into(), folder.display().to_string(), "-latrest".into(), rpath]
    };
    let fixed = || {
        let mut flags = vec![folder.join("libatrest.a").display().to_string()];
        flags.extend(NATIVE.map(String::from));
        flags
    };
    let work = tempfile::tempdir().unwrap();
    let object = work.path().join("program.o");
    let mut command = Command::new(compiler);
    command.args(language).args(WARNINGS).arg("-I").arg(root().join("include")).arg("-c").arg(source);
    succeed(command.arg("-o").arg(&object));
    [shared(), fixed()].map(|library| run_linked(compiler, &object, &library)).into()
}

fn run_linked(compiler: &str, object: &Path, library: &[String]) -> String {
    let work = tempfile::tempdir().unwrap();
    let program: PathBuf = work.path().join("program");
    succeed(Command::new(compiler).arg(object).args(library).arg("-o").arg(&program));
    // A library of the same name that is installed must not take the place of ours.
    succeed(Command::new(&program).arg(work.path()).env_remove("LD_LIBRARY_PATH"))
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{stdout}{stderr}", output.status);
    stdout.into_owned()
}
