//! What machines have encrypted for themselves, from C: the examples, and the volumes that Windows made. The tests for a
//! library with the features `bitlocker` and `legacy` are there when this is built with them: `ATREST_C_FEATURES` names them
//! for the library, too.

#![cfg(target_os = "linux")]

#[path = "../common/peers.rs"]
mod common;
mod library;
mod programs;

use std::collections::BTreeMap;
use std::fs;

use atrest::Secret;
use atrest::vault::{FileVault, KdfCost, MAX_SECRET, Unlock, VaultOptions};
use common::{cryptsetup, pipe, python, run, text};
use programs::built_and_sanitized;

const DM_CRYPT: &str = concat!(
    include_str!("../common/dm_crypt.py"),
    "
key = hashlib.sha256(b'correct horse').digest()
plain = (b'secret plans' + bytes(500)) * 2048
open(sys.argv[1], 'wb').write(sectors('aes-cbc-essiv:sha256', key, 0, 512, plain))
"
);

/// The mapping that it reads is made by OpenSSL, after dm-crypt's documentation.
#[test]
fn plain_mapping() {
    let Some(python) = python("cryptography") else { return };
    for program in built_and_sanitized("examples/plain_mapping.c") {
        let image = program.folder().join("plain.img");
        run(&python, &["-c", DM_CRYPT, text(&image)]);
        let before = fs::read(&image).unwrap();
        assert_eq!(before.len(), 1 << 20);
        let output = program.run(&[text(program.folder())]);
        let weakness = "of aes-cbc-essiv:sha256: an attacker who can write to the disk can flip chosen bits";
        assert_eq!(output, format!("read \"secret plans\"\n{weakness}\n"));
        assert!(fs::read(&image).unwrap() == before, "the mapping was only read");
        let Some(cryptsetup) = cryptsetup() else { continue };
        let made = program.folder().join("luks.img");
        pipe(&cryptsetup, &["open", "--test-passphrase", "--key-file", "-", text(&made)], b"correct horse");
    }
}

/// A secret that Rust sets is read from C, and the other way.
#[test]
fn secrets_of_a_vault_file() {
    let tags = |pairs: [(&str, &str); 2]| pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    for program in built_and_sanitized("tests/capi/exchange_secrets.c") {
        let path = program.folder().join("vault");
        let options = VaultOptions::new().kdf(KdfCost::new(64, 1, 1).into());
        let vault = FileVault::create_with(&path, Unlock::Passphrase(b"passphrase"), &options).unwrap();
        let value: Vec<u8> = (0..MAX_SECRET).map(|i| (i * i / 7) as u8).collect();
        let backwards: Vec<u8> = value.iter().rev().copied().collect();
        vault.set_secret("from-rust", &Secret::copy_from(b"of an earlier version"), &BTreeMap::new()).unwrap();
        let set = tags([("MachineName", "guest-17"), ("Größe", "64 GiB")]);
        vault.set_secret("from-rust", &Secret::copy_from(&value), &set).unwrap();

        assert_eq!(program.run(&[text(program.folder())]), "1\n");
        let read = vault.secret("from-c", None).unwrap();
        assert_eq!((read.version.as_str(), read.value.expose()), ("1", &backwards[..]));
        assert_eq!(read.tags, tags([("guest-17", "MachineName"), ("64 GiB", "Größe")]));
    }
}

/// A disk as ADE has it: cryptsetup makes it, with the passphrase of 172 characters and another keyslot of an administrator's.
#[cfg(feature = "ade")]
#[test]
fn ade_take_over() {
    let (Some(cryptsetup), Some(python)) = (cryptsetup(), python("base64")) else { return };
    // The passphrase and the secret's value, which is the passphrase in base64.
    const MAKE: &str = "
import base64, sys
passphrase = base64.b64encode(bytes(i * 7 % 256 for i in range(127)))
assert len(passphrase) == 172
open(sys.argv[1] + '/passphrase', 'wb').write(passphrase)
open(sys.argv[1] + '/secret', 'wb').write(base64.b64encode(passphrase))
";
    for program in built_and_sanitized("examples/ade_take_over.c") {
        let folder = text(program.folder()).to_owned();
        run(&python, &["-c", MAKE, &folder]);
        let (disk, key) = (format!("{folder}/disk.img"), format!("{folder}/passphrase"));
        run("truncate", &["-s", "32M", &disk]);
        let cheap = ["--batch-mode", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
        run(&cryptsetup, &[&["luksFormat", "--type", "luks2", "--key-file", &key], &cheap[..], &[&disk]].concat());
        fs::write(format!("{folder}/admin"), "administrator").unwrap();
        let admin = format!("{folder}/admin");
        run(&cryptsetup, &[&["luksAddKey", "--key-file", &key], &cheap[..], &[&disk, &admin]].concat());

        let secret = "https://contoso.vault.azure.net/secrets/b3284aaa/4387e9f3d6e14c459867679a90fd0f79";
        let output = program.run(&[&disk, secret, &format!("{folder}/secret"), &folder]);
        let left = "left keyslot 1: whoever has its passphrase opens the disk";
        assert_eq!(output, format!("removed keyslot 0\n{left}\nthe vault opens the disk, of 16777216 bytes\n"));
        let dump = run(&cryptsetup, &["luksDump", &disk]);
        assert!(
            dump.contains("  0: atrest\n") && !dump.contains("  0: luks2\n") && dump.contains("  1: luks2\n"),
            "{dump}"
        );
        run(&cryptsetup, &["open", "--test-passphrase", "--key-file", &admin, &disk]);
        let refused = common::run_any(&cryptsetup, &["open", "--test-passphrase", "--key-file", &key, &disk]);
        assert!(!refused.status.success());
    }
}

/// Without the feature, it says which one is missing.
#[cfg(not(feature = "bitlocker"))]
#[test]
fn bitlocker_is_missed_by_name() {
    use std::process::Command;
    for program in built_and_sanitized("examples/bitlocker.c") {
        let output = Command::new(program.folder().join("program")).arg(program.folder()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("feature `bitlocker`") && said.contains("(ATREST_ERR_UNSUPPORTED)"), "{said}");
    }
}

/// cryptsetup and dissect read what it made.
#[cfg(feature = "bitlocker")]
#[test]
fn bitlocker() {
    for program in built_and_sanitized("examples/bitlocker.c") {
        let output = program.run(&[text(program.folder())]);
        let listed = "BitLocker\nprotector 0: password\nprotector 1: recovery password\n";
        assert_eq!(output, format!("{listed}read \"secret plans\"\n"));
        let image = program.folder().join("windows.img");
        if let Some(cryptsetup) = cryptsetup() {
            let dump = run(&cryptsetup, &["bitlkDump", text(&image)]);
            assert!(dump.contains("VMK protected with passphrase") && dump.contains("recovery passphrase"), "{dump}");
        }
        let Some(python) = python("dissect.fve") else { continue };
        let hashes =
            run(&python, &[&peer_script(), "dissect", text(&image), "password", "correct horse", "1048576+4096"]);
        fs::write(program.folder().join("expected"), [&b"secret plans"[..], &[0; 4084]].concat()).unwrap();
        assert_eq!(hashes.trim(), sha256(&program.folder().join("expected")));
    }
}

/// By each kind of credential, held against dissect.
#[cfg(feature = "bitlocker")]
#[test]
fn volumes_of_windows() {
    const IMAGES: [(&str, &str, &str, &str); 6] = [
        ("aes-xts_256", "password", "password12!@", "aes-xts-plain64"),
        ("aes_128_diffuser", "password", "password12!@", "aes-cbc-elephant"),
        ("recovery_password", "recovery", "284867-596541-514998-422114-660297-261613-215424-199408", "aes-xts-plain64"),
        ("startup_key", "file", "startup_key.bek", "aes-xts-plain64"),
        ("suspended", "clear", "", "aes-xts-plain64"),
        ("eow_partial", "password", "password12!@", "aes-cbc-eboiv"),
    ];
    let Some(folder) = images() else { return };
    let programs = built_and_sanitized("tests/capi/open_bitlocker.c");
    let program = programs.last().unwrap();
    for (name, kind, secret, cipher) in IMAGES {
        let image = folder.join(name).with_extension("bin");
        let file = folder.join(secret);
        let secret = if kind == "file" { text(&file) } else { secret };
        let shown = program.folder().join("shown");
        let output = program.run(&[text(&image), kind, secret, text(&shown)]);
        assert_eq!(output.trim(), cipher, "{name}");
        let Some(python) = python("dissect.fve") else { continue };
        let theirs = run(&python, &[&peer_script(), "dissect", text(&image), kind, secret, "0+65536"]);
        assert_eq!(theirs.trim(), sha256(&shown), "{name}");
    }
}

#[cfg(feature = "bitlocker")]
fn peer_script() -> String {
    library::root().join("tests/bitlocker/peer.py").to_str().unwrap().to_owned()
}

#[cfg(feature = "bitlocker")]
fn sha256(path: &std::path::Path) -> String {
    run("sha256sum", &[text(path)]).split(' ').next().unwrap().to_owned()
}

/// The images that tests/bitlocker/get fetches; if they aren't there, that is said aloud.
#[cfg(feature = "bitlocker")]
fn images() -> Option<std::path::PathBuf> {
    let folder = library::root().join("target/bitlocker/dissect");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(
        std::env::var_os("ATREST_REQUIRE_PEERS").is_none_or(|v| v != "1"),
        "tests/bitlocker/get fetches the images"
    );
    use std::io::Write;
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED volumes_of_windows: there are no images; tests/bitlocker/get fetches them"
    );
    None
}
