//! The vault file: any body, with a checksum and MAC that are right unless the input says otherwise.
//!
//! An input is 4 bytes that say what is done, and the body.

#![no_main]

use atrest::key::KeyVault;
use atrest::vault::{FileVault, KeyInfo, Unlock, VaultOptions, VersionChange};
use atrest::{Dek, DekAlgorithm, Envelope};
use atrest_fuzz::{Input, json, limits, seeds, vault};
use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target};

const CONTROL: usize = 4;
const FILES: [&str; 5] = ["keys.vault", "keys.vault.bak", "keys.vault.audit", "keys.vault.new", "keys.vault.bak.new"];

fuzz_target!(init: seeds::write(seeds()), |data: &[u8]| -> Corpus {
    let readable = limits::limited(|| run(data));
    if readable { Corpus::Keep } else { Corpus::Reject }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    json::mutator(data, size, max_size, seed, CONTROL)
});

/// The bodies of the examples, and of a vault in which a key is in each state.
fn seeds() -> Vec<Vec<u8>> {
    let (path, key) = (vault::path("seed.vault"), vault::path("root.key"));
    let options = VaultOptions::new().refuse_expired(true).retention_days(7);
    let made = FileVault::create_with(&path, Unlock::KeyFile(&key), &options).unwrap();
    for name in ["disks", "deleted", "purged", "destroyed"] {
        made.create_key(name).unwrap();
        made.rotate_key(name).unwrap();
    }
    let [first, second] = ["1", "2"].map(|version| atrest::key::KeyId::new(made.id(), "disks", version).unwrap());
    made.set_version(&first, VersionChange::new().enabled(false)).unwrap();
    made.set_version(&second, VersionChange::new().not_before(Some(5)).expires(Some(1 << 40))).unwrap();
    made.delete_key("deleted").unwrap();
    made.delete_key("purged").unwrap();
    made.hazmat_purge_key("purged").unwrap();
    let destroyed = atrest::key::KeyId::new(made.id(), "destroyed", "1").unwrap();
    made.hazmat_destroy_version(&destroyed).unwrap();
    made.grant("disk-set-1", &[atrest::vault::KeyOperation::WrapKey]).unwrap();
    let made = vault::read(&path).unwrap();

    let mut seeds = Vec::new();
    for body in [vault::body(&made).to_vec(), vault::example("vault")] {
        for operation in 0..6 {
            seeds.push([&[0, operation, 0, 0][..], &body].concat());
        }
    }
    // By a passphrase, and with version 1 of the format.
    seeds.push([&[4, 0, 0, 0][..], &vault::example("passphrase-vault")].concat());
    seeds
}

fn run(data: &[u8]) -> bool {
    let mut input = Input(data);
    let [flags, operation, _, _] = [(); CONTROL].map(|()| input.byte());
    let body = input.rest();
    let (path, key) = (vault::path(FILES[0]), vault::path("root.key"));
    let by_passphrase = flags & 4 != 0;
    if by_passphrase && !is_cheap(body) {
        return false;
    }
    let unlock =
        || if by_passphrase { Unlock::Passphrase(b"correct horse battery staple") } else { Unlock::KeyFile(&key) };
    let (checksum, mac) = (flags & 48 != 48, flags & 192 != 192);
    let text = vault::seal(body, checksum, mac);
    for name in FILES {
        let _ = std::fs::remove_file(vault::path(name));
    }
    vault::write(&path, &text);

    let Ok(opened) = FileVault::open(&path, unlock()) else {
        assert_eq!(vault::read(&path), Some(text), "a vault was written to that did not open");
        assert!(!FILES[1..].iter().any(|name| vault::path(name).exists()), "it did not open, and left a file");
        return true;
    };
    // Of the passphrase's root key the harness has no MAC, so only the example itself can open by it.
    assert!(checksum && mac && !by_passphrase, "a vault file opened that was altered");
    look(&opened);
    let before = opened.keys().unwrap();
    wrap(&opened);
    let changed = match operation % 6 {
        1 => opened.create_key("another").map(drop),
        2 => opened.rotate_key("disks").map(drop),
        3 => opened.delete_key("disks"),
        4 => opened.grant("somebody", &[atrest::vault::KeyOperation::Get]),
        5 => opened.recover_key("deleted"),
        _ => Ok(()),
    };
    let after = opened.keys().expect("it was open");
    let again = FileVault::open(&path, unlock()).expect("it opens after a use and a change");
    assert_eq!(again.keys().unwrap(), after, "the file says otherwise than the handle");
    match (operation % 6, changed) {
        (_, Err(_)) | (0 | 4, Ok(())) => assert_eq!(after, before, "keys changed"),
        (1, Ok(())) => assert!(same(&before, &after, "another") && after.len() == before.len() + 1),
        (3, Ok(())) => assert!(same(&after, &before, "disks") && after.len() + 1 == before.len()),
        (2, Ok(())) => assert!(same(&before, &after, "disks") && after.len() == before.len()),
        (_, Ok(())) => assert!(same(&before, &after, "deleted") && after.len() == before.len() + 1),
    }
    true
}

/// Whether all keys of `some` but one are among those of `all`, as they are there.
fn same(some: &[KeyInfo], all: &[KeyInfo], but: &str) -> bool {
    some.iter().filter(|key| key.name != but).all(|key| all.contains(key))
}

/// Whether a body asks for no more of Argon2id than the examples.
fn is_cheap(body: &[u8]) -> bool {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let number = |name: &str| body["root"][name].as_u64().unwrap_or(0);
    number("memory_kib") <= 256 && number("passes") <= 2 && number("lanes") <= 4
}

fn look(vault: &FileVault) {
    let _ = (vault.id(), vault.deleted_keys(), vault.properties(), vault.grants(), vault.audit_head());
    let _ = (format!("{vault:?}"), vault.describe("disks", None), vault.describe("disks", Some("2")));
    if let Ok(log) = vault.audit() {
        log.for_each(drop);
    }
}

/// What it wraps it unwraps, for its owner.
fn wrap(vault: &FileVault) {
    let dek = Dek::generate(DekAlgorithm::Aes256Xts).unwrap();
    let Ok(envelope) = Envelope::seal(&dek, vault, "disks", b"") else { return };
    assert_eq!(envelope.unseal(vault, b"").expect("it has just wrapped it"), dek);
}
