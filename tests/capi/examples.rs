//! The C programs of `examples/`, and `misuse_*.c`: compiled as C and as C++, linked with each library, and run.

#![cfg(target_os = "linux")]

#[path = "../common/peers.rs"]
mod common;
mod library;
mod programs;

use std::process::Command;

use common::{cryptsetup, peer, pipe, run, text};
use library::root;
use programs::{C, CPP, WARNINGS, built, everywhere, succeed};

const PROGRAMS: [&str; 9] = [
    "examples/volume.c",
    "examples/sectors.c",
    "examples/custom_vault.c",
    "examples/luks_dump.c",
    "examples/luks_keyslots.c",
    "tests/capi/misuse_keys.c",
    "tests/capi/misuse_vaults.c",
    "tests/capi/misuse_volumes.c",
    "tests/capi/misuse_headers.c",
];

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
fn luks_keyslots() {
    let cryptsetup = cryptsetup();
    for program in built("examples/luks_keyslots.c") {
        let output = program.run(&[text(program.folder())]);
        assert_eq!(output, KEYSLOTS, "{output}");

        let Some(cryptsetup) = &cryptsetup else { continue };
        let image = program.folder().join("keyslots.img");
        pipe(cryptsetup, &["open", "--test-passphrase", "--key-file", "-", text(&image)], b"third");
        let dump = run(cryptsetup, &["luksDump", text(&image)]);
        assert!(dump.contains("  2: luks2\n") && !dump.contains("  0: luks2\n") && !dump.contains("  1: luks2\n"));
    }
}

const KEYSLOTS: &str = "\
the second passphrase has keyslot 1, the changed one 2
keyslot 1: pbkdf2, 1000 iterations
keyslot 2: pbkdf2, 1000 iterations
with \"first\": ATREST_ERR_WRONG_PASSPHRASE
with \"second\": ATREST_OK
with \"third\": ATREST_OK
with \"third\": ATREST_ERR_NO_SUCH_PROTECTOR
read \"secret plans\"
removing the last: ATREST_ERR_LAST_PROTECTOR
";

#[test]
fn misuse() {
    for program in [
        "tests/capi/misuse_keys.c",
        "tests/capi/misuse_vaults.c",
        "tests/capi/misuse_volumes.c",
        "tests/capi/misuse_headers.c",
    ] {
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
