//! PyKMIP as the server, and its own client as the owner of the keys.

mod common;
#[path = "../../../tests/common/conformance.rs"]
mod conformance;
#[path = "../../../tests/common/cost.rs"]
mod cost;
#[path = "common/encrypting.rs"]
mod encrypting;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atrest::key::{KeyId, WrapAlgorithm, WrappedDek};
use atrest::{Error, KeyRefusal, KeyVault, Secret};
use atrest_kmip::{KmipOptions, KmipVault, KmipVersion};

use common::PyKmip;
use conformance::forgeries;
use encrypting::hex;

#[test]
fn the_server_encrypts_by_aes_gcm() {
    let Some(kmip) = PyKmip::new() else { return };
    let versions = [KmipVersion::V1_4, KmipVersion::V2_0];
    let (options, owner) = (|| kmip.options("client"), |line: &str| kmip.owner(line));
    encrypting::wraps_by_aes_gcm(&versions, "2.0", kmip.folder.path(), kmip.port, &options, &owner);
}

#[test]
fn the_server_hands_out_a_key() {
    let Some(kmip) = PyKmip::new() else { return };
    let uid = kmip.owner("make disks 256 ENCRYPT|DECRYPT|WRAP_KEY");
    kmip.owner(&format!("activate {uid}"));
    let encrypts = kmip.vault();
    for version in [KmipVersion::V1_4, KmipVersion::V2_0] {
        let vault = KmipVault::new(kmip.options("client").version(version).fetch_keys(true)).unwrap();
        let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();
        assert_eq!((wrapped.algorithm, wrapped.bytes.len()), (WrapAlgorithm::Aes256Kw, 72));
        // The server wraps a DEK of its own to the same bytes.
        let short = Secret::copy_from(&conformance::DEK[..32]);
        let by_server = kmip.owner(&format!("wrapped {uid} {}", hex(short.expose())));
        assert_eq!(hex(&vault.wrap("disks", &short).unwrap().bytes), by_server);
        conformance::wraps_and_unwraps(&vault, "disks");
        // The server decrypts its own ciphertexts. But a header can't make it hand the key out.
        let other = encrypts.wrap("disks", &conformance::dek()).unwrap();
        assert_eq!(vault.unwrap(&other).unwrap().unwrap(), conformance::dek());
        assert!(matches!(encrypts.unwrap(&wrapped), Err(Error::UnwrapFailed)));
    }
}

/// Objects that are no key `disks`, by their names: some have the name, some are keys.
fn others(kmip: &PyKmip) -> Vec<KeyId> {
    let uids = [
        ("disks", kmip.owner("opaque disks")),
        ("disks", kmip.owner("secret disks")),
        ("disks", kmip.owner("opaque papers")),
        ("disks", kmip.owner("create tapes")),
        ("tapes", kmip.owner("create tapes")),
        ("disks", kmip.owner("make disks 128 ENCRYPT|DECRYPT")),
    ];
    uids.iter().map(|(key, uid)| KeyId::new(&format!("kmip://127.0.0.1:{}", kmip.port), key, uid).unwrap()).collect()
}

fn of(options: KmipOptions) -> impl Fn() -> Arc<dyn KeyVault> {
    move || Arc::new(KmipVault::new(options.clone()).unwrap())
}

#[test]
fn forged_wrapped_keys_delay_no_honest_disk() {
    let Some(kmip) = PyKmip::new() else { return };
    kmip.owner("create disks");
    let others = others(&kmip);
    forgeries::delay_no_honest_disk(&of(kmip.options("client")), "disks", &others);
}

#[test]
fn forged_wrapped_keys_delay_no_honest_disk_under_fetched_keys() {
    let Some(kmip) = PyKmip::new() else { return };
    kmip.owner("create disks");
    let others = others(&kmip);
    forgeries::delay_no_honest_disk(&of(kmip.options("client").fetch_keys(true)), "disks", &others);
}

/// Keys are fetched since the server can't encrypt.
#[test]
fn forged_wrapped_keys_delay_no_honest_disk_on_a_server_that_only_keeps_keys() {
    let Some(kmip) = PyKmip::without("ENCRYPT DECRYPT") else { return };
    kmip.owner("create disks");
    forgeries::delay_no_honest_disk(&of(kmip.options("client").fetch_keys(true)), "disks", &[]);
}

/// There is nothing to try such a key on before it has decrypted something.
#[test]
fn forged_wrapped_keys_delay_no_honest_disk_of_a_key_that_only_decrypts() {
    let Some(kmip) = PyKmip::new() else { return };
    let (uid, vault) = (kmip.owner("create disks"), of(kmip.options("client")));
    let known = vault();
    let honest = known.wrap("disks", &conformance::dek()).unwrap();
    kmip.owner(&format!("mask {uid} DECRYPT"));
    forgeries::delay_none(&known, &vault, &honest, forgeries::of_bytes(&honest, 0), Vec::new());
}

#[test]
fn volumes_and_rotation() {
    let Some(kmip) = PyKmip::new() else { return };
    kmip.owner("create disks");
    let vault = kmip.vault();
    conformance::rotates(&vault, "disks", &|| drop(kmip.owner("create disks")));
    conformance::serves_a_volume(&vault, "disks", &|| drop(kmip.owner("create disks")));
    // A key that is made and not yet active is not the latest.
    let latest = vault.wrap("disks", &conformance::dek()).unwrap().kek;
    let made = kmip.owner("make disks 256 ENCRYPT|DECRYPT");
    assert_eq!(vault.wrap("disks", &conformance::dek()).unwrap().kek, latest);
    kmip.owner(&format!("activate {made}"));
    assert_eq!(vault.wrap("disks", &conformance::dek()).unwrap().kek.version(), made);
    // Nor is one that isn't what it should be.
    for other in ["disks 128 ENCRYPT|DECRYPT", "disks 256 ENCRYPT"] {
        let uid = kmip.owner(&format!("make {other}"));
        kmip.owner(&format!("activate {uid}"));
        assert_eq!(vault.wrap("disks", &conformance::dek()).unwrap().kek.version(), made);
    }
}

#[test]
fn keys_that_may_not_be_used() {
    let Some(kmip) = PyKmip::new() else { return };
    let vault = kmip.vault();
    let new = |name: &str| {
        let uid = kmip.owner(&format!("create {name}"));
        (uid, vault.wrap(name, &conformance::dek()).unwrap())
    };
    let refuses = |wrapped: &WrappedDek, reason: &str| conformance::refuses(&vault, wrapped, reason);

    for (name, command, reason) in
        [("one", "deactivate", "key-disabled"), ("two", "compromise", "key-disabled"), ("three", "destroy", "")]
    {
        let (uid, wrapped) = new(name);
        if command == "destroy" {
            kmip.owner(&format!("deactivate {uid}"));
        }
        kmip.owner(&format!("{command} {uid}"));
        // PyKMIP forgets what is destroyed.
        refuses(&wrapped, if reason.is_empty() { "no-such-key" } else { reason });
        if let Ok(Some(described)) = vault.describe(name, Some(&uid)) {
            assert!(!described.enabled);
        }
    }
    for (state, reason) in
        [("PRE_ACTIVE", "key-disabled"), ("DESTROYED", "key-deleted"), ("DESTROYED_COMPROMISED", "key-deleted")]
    {
        let (uid, wrapped) = new(&state.to_lowercase());
        kmip.owner(&format!("state {uid} {state}"));
        refuses(&wrapped, reason);
        kmip.owner(&format!("state {uid} ACTIVE"));
        assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
    }

    // Names and versions that aren't there, and an object of another name.
    let (uid, wrapped) = new("four");
    for (key, version) in [("five", &*uid), ("four", "999"), ("four", "no-number")] {
        let kek = KeyId::new(vault.id(), key, version).unwrap();
        let found = vault.unwrap(&WrappedDek::new(kek.clone(), wrapped.algorithm, wrapped.bytes.clone()));
        assert!(matches!(&found, Err(Error::KeyRefused { reason: KeyRefusal::Missing, .. })), "{kek}: {found:?}");
    }
    let missing = vault.wrap("six", &conformance::dek());
    assert!(matches!(&missing, Err(Error::KeyRefused { reason: KeyRefusal::Missing, .. })), "{missing:?}");

    // A key that only decrypts unwraps and doesn't wrap. Altered bytes are told from an outage even so, once it has unwrapped.
    let (uid, wrapped) = new("seven");
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
    kmip.owner(&format!("mask {uid} DECRYPT"));
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
    conformance::refuses_altered(&vault, &wrapped, 0);
    for result in [vault.wrap("seven", &conformance::dek()), vault.wrap_version(&wrapped.kek, &conformance::dek())] {
        assert!(matches!(&result, Err(Error::KeyRefused { reason: KeyRefusal::Disabled, .. })), "{result:?}");
    }
    let other = KmipVault::new(kmip.options("other").identity("another host")).unwrap();
    let denied = other.unwrap(&wrapped);
    let Err(Error::KeyRefused { reason: KeyRefusal::AccessDenied { identity, operation }, .. }) = denied else {
        panic!("{denied:?}")
    };
    assert_eq!((&*identity, &*operation), ("another host", "unwrapKey"));
    let denied = other.wrap("seven", &conformance::dek());
    assert!(
        matches!(denied, Err(Error::KeyRefused { reason: KeyRefusal::Missing, .. })),
        "PyKMIP hides it: {denied:?}"
    );
}

#[test]
fn a_server_that_dies() {
    let Some(kmip) = PyKmip::new() else { return };
    kmip.owner("create disks");
    let vault = kmip.vault();
    let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();
    let limit = Duration::from_secs(300);
    kmip.kill();
    conformance::is_away(&vault, &wrapped, limit);
    // The connections that were kept have ended; new ones are opened without a word.
    for _ in 0..2 {
        kmip.start();
        assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
        kmip.kill();
    }
    kmip.start();

    // Calls from several threads, while it is killed and comes back.
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    match vault.unwrap(&wrapped) {
                        Ok(Some(dek)) if dek == conformance::dek() => {}
                        Err(Error::Vault(_)) => std::thread::sleep(Duration::from_millis(20)),
                        other => wrong.lock().unwrap().push(format!("{other:?}")),
                    }
                }
            });
        }
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(100));
            kmip.kill();
            kmip.start();
        }
    });
    assert_eq!(wrong.into_inner().unwrap(), Vec::<String>::new());
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
}

#[test]
fn certificates_that_are_wrong() {
    let Some(kmip) = PyKmip::new() else { return };
    kmip.owner("create disks");
    let wrapped = kmip.vault().wrap("disks", &conformance::dek()).unwrap();
    let limit = Duration::from_secs(300);
    // A client whom the server doesn't know, and a server whom the client doesn't know: neither says anything of the key.
    let stranger = KmipVault::new(kmip.options("stranger")).unwrap();
    conformance::is_away(&stranger, &wrapped, limit);
    let file = |name: &str| kmip.folder.path().join(name);
    let roots = file("stranger-ca.pem");
    let options = atrest_kmip::KmipOptions::new("127.0.0.1", roots, file("client.pem"), file("client.key"));
    conformance::is_away(&KmipVault::new(options.port(kmip.port)).unwrap(), &wrapped, limit);
    // Files that are renewed are read again.
    let vault = KmipVault::new(kmip.options("stranger").id(wrapped.kek.vault())).unwrap();
    assert!(matches!(vault.unwrap(&wrapped), Err(Error::Vault(_))));
    for end in ["pem", "key"] {
        std::fs::copy(file(&format!("client.{end}")), file(&format!("stranger.{end}"))).unwrap();
    }
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
    std::fs::remove_file(file("ca.pem")).unwrap();
    assert!(
        matches!(KmipVault::new(kmip.options("client")), Err(Error::InvalidOption(text)) if text.contains("ca.pem"))
    );
}

#[test]
fn disks_cost_their_vault_few_calls() {
    let Some(kmip) = PyKmip::new() else { return };
    kmip.owner("create disks");
    cost::disks_cost_few_calls("KMIP, on PyKMIP", Arc::new(kmip.vault()), "disks", &|| {
        drop(kmip.owner("create disks"))
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_forked_child_leaves_the_vault_alone() {
    let Some(kmip) = PyKmip::new() else { return };
    kmip.owner("create disks");
    conformance::refuses_a_child(&kmip.vault(), "disks", &|| Box::new(kmip.vault()));
}
