//! Cosmian KMS as the server, by KMIP 2.1, and its own API in JSON for the owner of the keys.

mod common;
#[path = "../../../tests/common/conformance.rs"]
mod conformance;
#[path = "../../../tests/common/cost.rs"]
mod cost;
#[path = "common/encrypting.rs"]
mod encrypting;

use std::sync::Arc;
use std::time::Duration;

use atrest::key::{KeyId, WrapAlgorithm, WrappedDek};
use atrest::{Error, KeyRefusal, KeyVault};
use atrest_kmip::{KmipVault, KmipVersion};

use common::cosmian::Cosmian;
use conformance::forgeries;

/// A new version of a key. Dates are in seconds, and identifiers are in no order: a version of the same second may be the older one.
fn rotate(kmip: &Cosmian) {
    std::thread::sleep(Duration::from_millis(1100));
    kmip.owner("create disks");
}

#[test]
fn the_server_encrypts_by_aes_gcm() {
    let Some(kmip) = Cosmian::new() else { return };
    let versions = [KmipVersion::V2_1, KmipVersion::V2_0, KmipVersion::V1_4];
    let (options, owner) = (|| kmip.options("client"), |line: &str| kmip.owner(line));
    encrypting::wraps_by_aes_gcm(&versions, "2.1", kmip.folder.path(), kmip.port, &options, &owner);
}

#[test]
fn the_server_hands_out_a_key() {
    let Some(kmip) = Cosmian::new() else { return };
    kmip.owner("create disks");
    let vault = KmipVault::new(kmip.options("client").fetch_keys(true)).unwrap();
    let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();
    assert_eq!((wrapped.algorithm, wrapped.bytes.len()), (WrapAlgorithm::Aes256Kw, 72));
    conformance::wraps_and_unwraps(&vault, "disks");
    // It is not made to hand the key out by a header.
    assert!(matches!(kmip.vault().unwrap(&wrapped), Err(Error::UnwrapFailed)));
}

#[test]
fn forged_wrapped_keys_delay_no_honest_disk() {
    let Some(kmip) = Cosmian::new() else { return };
    kmip.owner("create disks");
    let uids = [
        ("disks", kmip.owner("create tapes")),
        ("tapes", kmip.owner("create tapes")),
        ("disks", kmip.owner("make disks 128 ENCRYPT|DECRYPT")),
    ];
    let name = |(key, uid): &(&str, String)| KeyId::new(kmip.vault().id(), key, uid).unwrap();
    let others: Vec<_> = uids.iter().map(name).collect();
    for fetch in [false, true] {
        let options = kmip.options("client").fetch_keys(fetch);
        let vault = || Arc::new(KmipVault::new(options.clone()).unwrap()) as Arc<dyn KeyVault>;
        forgeries::delay_no_honest_disk(&vault, "disks", &others);
    }
}

#[test]
fn volumes_and_rotation() {
    let Some(kmip) = Cosmian::new() else { return };
    kmip.owner("create disks");
    let vault = kmip.vault();
    conformance::rotates(&vault, "disks", &|| rotate(&kmip));
    conformance::serves_a_volume(&vault, "disks", &|| rotate(&kmip));
    // A key that is made and not yet active is not the latest.
    let latest = vault.wrap("disks", &conformance::dek()).unwrap().kek;
    std::thread::sleep(Duration::from_millis(1100));
    let made = kmip.owner("make disks 256 ENCRYPT|DECRYPT");
    assert_eq!(vault.wrap("disks", &conformance::dek()).unwrap().kek, latest);
    kmip.owner(&format!("activate {made}"));
    assert_eq!(vault.wrap("disks", &conformance::dek()).unwrap().kek.version(), made);
    // Nor is one that isn't what it should be.
    std::thread::sleep(Duration::from_millis(1100));
    for other in ["disks 128 ENCRYPT|DECRYPT", "disks 256 ENCRYPT"] {
        let uid = kmip.owner(&format!("make {other}"));
        kmip.owner(&format!("activate {uid}"));
        assert_eq!(vault.wrap("disks", &conformance::dek()).unwrap().kek.version(), made);
    }
}

#[test]
fn keys_that_may_not_be_used() {
    let Some(kmip) = Cosmian::new() else { return };
    let vault = kmip.vault();
    for (name, commands, by_name, by_version) in [
        ("one", &["deactivate"][..], "key-disabled", "key-disabled"),
        ("two", &["compromise"], "key-disabled", "key-disabled"),
        // It locates no object that was destroyed.
        ("three", &["deactivate", "destroy"], "no-such-key", "key-deleted"),
        ("four", &["compromise", "destroy"], "no-such-key", "key-deleted"),
    ] {
        let uid = kmip.owner(&format!("create {name}"));
        let wrapped = vault.wrap(name, &conformance::dek()).unwrap();
        for command in commands {
            kmip.owner(&format!("{command} {uid}"));
        }
        for (call, error) in conformance::failures(&vault, &wrapped) {
            let Error::KeyRefused { reason, .. } = &error else { panic!("{call}: {error:?}") };
            let expected = if ["wrap", "describe"].contains(&call) { by_name } else { by_version };
            assert_eq!(reason.name(), expected, "{name}, {call}: {error}");
        }
    }
    // Names and versions that aren't there, and an object of another name.
    let uid = kmip.owner("create five");
    let wrapped = vault.wrap("five", &conformance::dek()).unwrap();
    for (key, version) in [("six", &*uid), ("five", "999"), ("five", "c0ffee00-0000-4000-8000-000000000000")] {
        let kek = KeyId::new(vault.id(), key, version).unwrap();
        let found = vault.unwrap(&WrappedDek::new(kek.clone(), wrapped.algorithm, wrapped.bytes.clone()));
        assert!(matches!(&found, Err(Error::KeyRefused { reason: KeyRefusal::Missing, .. })), "{kek}: {found:?}");
    }
    let missing = vault.wrap("six", &conformance::dek());
    assert!(matches!(&missing, Err(Error::KeyRefused { reason: KeyRefusal::Missing, .. })), "{missing:?}");
    // Somebody else's key.
    let other = KmipVault::new(kmip.options("other").identity("another host")).unwrap();
    // The server hides it.
    for refused in [other.unwrap(&wrapped).map(|_| ()), other.wrap("five", &conformance::dek()).map(|_| ())] {
        assert!(matches!(&refused, Err(Error::KeyRefused { reason: KeyRefusal::Missing, .. })), "{refused:?}");
    }
}

#[test]
fn a_server_that_dies_and_comes_back() {
    let Some(kmip) = Cosmian::new() else { return };
    kmip.owner("create disks");
    let vault = KmipVault::new(kmip.options("client").deadline(Duration::from_secs(10))).unwrap();
    let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();
    kmip.kill();
    conformance::is_away(&vault, &wrapped, Duration::from_secs(60));
    kmip.start();
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
    // A certificate that another authority signed gets nothing.
    let stranger = KmipVault::new(kmip.options("stranger")).unwrap();
    assert!(matches!(stranger.unwrap(&wrapped), Err(Error::Vault(_))));
}

#[test]
fn disks_cost_their_vault_few_calls() {
    let Some(kmip) = Cosmian::new() else { return };
    kmip.owner("create disks");
    cost::disks_cost_few_calls("KMIP 2.1, on Cosmian KMS", Arc::new(kmip.vault()), "disks", &|| rotate(&kmip));
}
