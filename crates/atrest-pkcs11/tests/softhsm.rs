//! SoftHSM 2 as the token, and pkcs11-tool as the one who administers it.

mod common;
#[path = "../../../tests/common/conformance.rs"]
mod conformance;
#[path = "../../../tests/common/cost.rs"]
mod cost;
#[allow(dead_code)] // this test program uses a part
#[path = "../../../tests/common/vaults.rs"]
mod vaults;

use std::sync::Arc;
use std::time::Duration;

use atrest::key::{KeyId, KeyKind, WrapAlgorithm, WrappedDek, wrap};
use atrest::managed::{KnownVaults, VaultDescription};
use atrest::{Error, KeyRefusal, KeyVault, ManualClock, Secret};
use atrest_pkcs11::{Pkcs11Options, Pkcs11Vault};
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::types::Date;

use common::peers::{peer, run};
use common::{SoftHsm, softhsm};
use conformance::{SetWorld, forgeries};
use vaults::MemoryVault;

const KEK: [u8; 32] = *b"\x01\x23\x45\x67\x89\xab\xcd\xef0123456789abcdefghijklmn";

#[test]
fn wraps_as_rfc_3394_has_it() {
    let Some(hsm) = softhsm("wraps_as_rfc_3394_has_it") else { return };
    hsm.token("t");
    // A key whose bytes are known here, so that the token's answer can be compared.
    let file = hsm.folder.join("kek");
    std::fs::write(&file, KEK).unwrap();
    let write = ["--write-object", file.to_str().unwrap(), "--type", "secrkey", "--key-type", "AES:32"];
    hsm.tool("t", &[&write[..], &["--usage-wrap", "--label", "disks", "--id", "0a"]].concat());

    let vault = hsm.vault("t");
    for len in [32, 64] {
        let dek = Secret::random(len).unwrap();
        let wrapped = vault.wrap("disks", &dek).unwrap();
        assert_eq!(wrapped.kek.to_string(), "pkcs11:token=t/keys/disks/0a");
        assert_eq!(wrapped.algorithm, WrapAlgorithm::Aes256Kw);
        let mut room = vec![0; len + 8];
        assert_eq!(wrapped.bytes, wrap::aes_kw_wrap(&KEK, dek.expose(), &mut room).unwrap());
        assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), dek);
    }
    conformance::wraps_and_unwraps(&vault, "disks");

    // The same by a URI.
    let (library, pin) = (hsm.library.to_str().unwrap(), hsm.pin_file());
    let uri = format!("pkcs11:token=t?module-path={library}&pin-source=file:{}", pin.to_str().unwrap());
    let opened = atrest_pkcs11::open(&uri).unwrap();
    let wrapped = opened.wrap("disks", &conformance::dek()).unwrap();
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
}

#[test]
fn volumes_and_rotation() {
    let Some(hsm) = softhsm("volumes_and_rotation") else { return };
    hsm.token("t").aes("t", "disks", "01");
    let vault = hsm.vault("t");
    conformance::wraps_and_unwraps(&vault, "disks");
    conformance::rotates(&vault, "disks", &|| hsm.aes("t", "disks", "02"));
    // As a number, 0103 is more than ff.
    conformance::serves_a_volume(&vault, "disks", &|| hsm.aes("t", "disks", "0103"));
    hsm.aes("t", "disks", "ff");
    assert_eq!(vault.wrap("disks", &conformance::dek()).unwrap().kek.version(), "0103");
}

/// Wraps and unwraps are refused for this reason, and `get` tells of it.
fn refuses(vault: &dyn KeyVault, wrapped: &WrappedDek, reason: &str) {
    let dek = conformance::dek();
    let wraps = [vault.wrap("disks", &dek), vault.wrap_version(&wrapped.kek, &dek)].map(|result| result.map(drop));
    for result in wraps.into_iter().chain([vault.unwrap(wrapped).map(drop)]) {
        let Err(Error::KeyRefused { reason: found, .. }) = &result else { panic!("{result:?}") };
        assert_eq!(found.name(), reason);
    }
    let description = vault.describe("disks", Some(wrapped.kek.version())).unwrap().unwrap();
    assert_eq!(description.enabled, reason != "key-disabled");
}

fn day(text: &str) -> Date {
    Date::new_from_str_slice(&text[..4], &text[4..6], &text[6..]).unwrap()
}

#[test]
fn keys_that_may_not_be_used() {
    let Some(hsm) = softhsm("keys_that_may_not_be_used") else { return };
    hsm.token("t").aes_with_dates("t", "disks", "01");
    hsm.aes("t", "private", "01");
    let clock = Arc::new(ManualClock::new(1_795_910_400)); // 2026-11-29
    let vault = Pkcs11Vault::new(hsm.options("t").clock(clock.clone())).unwrap();
    let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();
    let admin = hsm.admin("t");

    admin.set("disks", 1, &[Attribute::Wrap(false), Attribute::Unwrap(false)]);
    refuses(&vault, &wrapped, "key-disabled");
    admin.set("disks", 1, &[Attribute::Wrap(true), Attribute::Unwrap(true), Attribute::EndDate(day("20261129"))]);
    assert!(vault.unwrap(&wrapped).unwrap().is_some(), "it may be used on its last day");
    let description = vault.describe("disks", None).unwrap().unwrap();
    assert_eq!((description.expires, description.enabled), (Some(1_795_996_800), true));
    clock.advance(Duration::from_secs(86_400));
    refuses(&vault, &wrapped, "key-expired");
    admin.set("disks", 1, &[Attribute::EndDate(day("20991231")), Attribute::StartDate(day("20261201"))]);
    refuses(&vault, &wrapped, "key-not-yet-valid");
    clock.advance(Duration::from_secs(86_400));
    assert!(vault.unwrap(&wrapped).unwrap().is_some());

    // A younger date is newer than a higher id.
    hsm.aes("t", "disks", "02");
    assert_eq!(vault.wrap("disks", &conformance::dek()).unwrap().kek.version(), "01");
    // A token that forgets who is logged in hides its keys. That isn't a key that is gone.
    for _ in 0..2 {
        admin.session.logout().unwrap();
        assert!(vault.unwrap(&wrapped).unwrap().is_some());
        admin.session.logout().unwrap();
        assert!(vault.wrap("private", &conformance::dek()).is_ok());
    }
    // Another part of the program ends the library, and with it all sessions.
    admin.library.clone().finalize().unwrap();
    assert!(vault.unwrap(&wrapped).unwrap().is_some());

    let admin = hsm.admin("t");
    admin.objects("disks", 1).into_iter().for_each(|object| admin.session.destroy_object(object).unwrap());
    let error = vault.unwrap(&wrapped).unwrap_err();
    assert!(matches!(&error, Error::KeyRefused { reason: KeyRefusal::Missing, .. }), "{error:?}");
    assert_eq!(vault.wrap("disks", &conformance::dek()).unwrap().kek.version(), "02");
    for key in ["none", "Disks"] {
        let error = vault.wrap(key, &conformance::dek()).unwrap_err();
        assert!(matches!(&error, Error::KeyRefused { reason: KeyRefusal::Missing, .. }), "{error:?}");
    }
    // Two keys of one name: which of them is meant?
    hsm.aes("t", "disks", "02");
    assert!(matches!(vault.wrap("disks", &conformance::dek()), Err(Error::Vault(_))));
}

#[test]
fn aes_gcm_where_a_key_only_encrypts() {
    let Some(hsm) = softhsm("aes_gcm_where_a_key_only_encrypts") else { return };
    hsm.token("t");
    let admin = hsm.admin("t");
    let make = |id| {
        hsm.aes("t", "disks", &format!("{id:02x}"));
        let ways =
            [Attribute::Wrap(false), Attribute::Unwrap(false), Attribute::Encrypt(true), Attribute::Decrypt(true)];
        admin.set("disks", id, &ways);
    };
    make(1);
    let error = hsm.vault("t").wrap("disks", &conformance::dek()).unwrap_err();
    assert!(matches!(&error, Error::KeyRefused { reason: KeyRefusal::Disabled, .. }), "{error:?}");
    let vault = Pkcs11Vault::new(hsm.options("t").encrypt_mechanisms(true)).unwrap();
    let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();
    assert_eq!((wrapped.algorithm, wrapped.bytes.len()), (WrapAlgorithm::Opaque, 4 + 1 + 12 + 64 + 16));
    conformance::wraps_and_unwraps(&vault, "disks");
    conformance::rotates(&vault, "disks", &|| make(2));
    conformance::serves_a_volume(&vault, "disks", &|| make(3));
    // It may wrap again, but no longer decrypt. A vault that saw it decrypt knows that this was taken away.
    for wraps in [false, true] {
        admin.set("disks", 1, &[Attribute::Wrap(wraps), Attribute::Unwrap(true), Attribute::Decrypt(false)]);
        let error = vault.unwrap(&wrapped).unwrap_err();
        assert!(matches!(&error, Error::KeyRefused { reason: KeyRefusal::Disabled, .. }), "{error:?}");
    }
    // For one that didn't, whoever wrote the header may have chosen what the key never did.
    let error = hsm.vault("t").unwrap(&wrapped).unwrap_err();
    assert!(matches!(&error, Error::UnwrapFailed), "{error:?}");
}

/// A token with a key `disks`, and with things of other kinds, by their names.
fn with_others(hsm: &SoftHsm) -> [KeyId; 3] {
    hsm.token("t").aes("t", "disks", "01");
    hsm.tool("t", &["--keypairgen", "--key-type", "rsa:2048", "--usage-decrypt", "--label", "rsa", "--id", "01"]);
    hsm.tool("t", &["--keygen", "--key-type", "AES:16", "--usage-wrap", "--label", "short", "--id", "01"]);
    hsm.aes("t", "tapes", "01");
    ["rsa", "short", "tapes"].map(|key| KeyId::new("pkcs11:token=t", key, "01").unwrap())
}

fn of(options: Pkcs11Options) -> impl Fn() -> Arc<dyn KeyVault> {
    move || Arc::new(Pkcs11Vault::new(options.clone()).unwrap())
}

#[test]
fn forged_wrapped_keys_delay_no_honest_disk() {
    let Some(hsm) = softhsm("forged_wrapped_keys_delay_no_honest_disk") else { return };
    let others = with_others(&hsm);
    forgeries::delay_no_honest_disk(&of(hsm.options("t")), "disks", &others);
    forgeries::delay_no_honest_disk(&of(hsm.options("t").encrypt_mechanisms(true)), "disks", &others);
}

#[test]
fn forged_wrapped_keys_delay_no_honest_disk_by_aes_gcm() {
    let Some(hsm) = softhsm("forged_wrapped_keys_delay_no_honest_disk_by_aes_gcm") else { return };
    let others = with_others(&hsm);
    hsm.aes("t", "gcm", "01");
    let ways = [Attribute::Wrap(false), Attribute::Unwrap(false), Attribute::Encrypt(true), Attribute::Decrypt(true)];
    hsm.admin("t").set("gcm", 1, &ways);
    forgeries::delay_no_honest_disk(&of(hsm.options("t").encrypt_mechanisms(true)), "gcm", &others);
}

#[test]
fn forged_wrapped_keys_delay_no_honest_disk_by_rsa() {
    let Some(hsm) = softhsm("forged_wrapped_keys_delay_no_honest_disk_by_rsa") else { return };
    let others = with_others(&hsm);
    forgeries::delay_no_honest_disk(&of(hsm.options("t").allow_sha1(true)), "rsa", &others[1..]);
}

/// There is nothing to try such a key on before it has unwrapped something.
#[test]
fn forged_wrapped_keys_delay_no_honest_disk_of_a_key_that_only_unwraps() {
    let Some(hsm) = softhsm("forged_wrapped_keys_delay_no_honest_disk_of_a_key_that_only_unwraps") else { return };
    let others = with_others(&hsm);
    let admin = hsm.admin("t");
    let tries = |options: Pkcs11Options, key: &str, others: &[KeyId], end: &dyn Fn()| {
        let vault = of(options);
        let known = vault();
        let honest = known.wrap(key, &conformance::dek()).unwrap();
        end();
        forgeries::delay_none(
            &known,
            &vault,
            &honest,
            forgeries::of_bytes(&honest, 0),
            forgeries::of_names(&honest, others),
        );
    };
    let only_unwraps = || admin.set("disks", 1, &[Attribute::Wrap(false)]);
    tries(hsm.options("t"), "disks", &others, &only_unwraps);
    // An RSA key without its public half.
    let public = [Attribute::Label("rsa".into()), Attribute::Class(ObjectClass::PUBLIC_KEY)];
    let destroy = || {
        let found = admin.session.find_objects(&public).unwrap();
        found.into_iter().for_each(|object| admin.session.destroy_object(object).unwrap());
    };
    tries(hsm.options("t").allow_sha1(true), "rsa", &others[1..], &destroy);
    // A token that takes no keys from outside can't wrap them.
    let no_keys = || hsm.fault("C_CreateObject 70");
    tries(hsm.faulty("t"), "tapes", &[], &no_keys);
}

#[test]
fn rsa() {
    let Some(hsm) = softhsm("rsa") else { return };
    hsm.token("t");
    let make = ["--keypairgen", "--key-type", "rsa:2048", "--usage-decrypt", "--label", "disks", "--id"];
    hsm.tool("t", &[&make[..], &["01"]].concat());
    // SoftHSM has OAEP with SHA-1 alone.
    let error = hsm.vault("t").wrap("disks", &conformance::dek()).unwrap_err();
    assert!(matches!(error, Error::Vault(_)), "{error:?}");
    let vault = Pkcs11Vault::new(hsm.options("t").allow_sha1(true)).unwrap();
    let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();
    assert_eq!((wrapped.algorithm, wrapped.bytes.len()), (WrapAlgorithm::RsaOaep, 256));
    let description = vault.describe("disks", None).unwrap().unwrap();
    assert_eq!((description.kind, description.authenticated), (KeyKind::Rsa2048, false));
    conformance::wraps_and_unwraps(&vault, "disks");
    conformance::rotates(&vault, "disks", &|| drop(hsm.tool("t", &[&make[..], &["02"]].concat())));

    // OpenSSL wraps with the public half, and the token unwraps.
    let at = |name: &str| hsm.folder.join(name).to_str().unwrap().to_owned();
    hsm.tool("t", &["--read-object", "--type", "pubkey", "--label", "disks", "--id", "01", "-o", &at("public.der")]);
    std::fs::write(at("dek"), conformance::DEK).unwrap();
    let Some(openssl) = peer("openssl", &["version"]) else { return };
    let oaep = ["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha1", "-pkeyopt", "rsa_mgf1_md:sha1"];
    let (public, dek, out) = (at("public.der"), at("dek"), at("wrapped"));
    let encrypt = ["pkeyutl", "-encrypt", "-pubin", "-keyform", "DER", "-inkey", &public, "-in", &dek, "-out", &out];
    run(&openssl, &[&encrypt[..], &oaep].concat());
    let wrapped = WrappedDek::new(wrapped.kek, wrapped.algorithm, std::fs::read(&out).unwrap());
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap().expose(), conformance::DEK);
}

#[test]
fn a_set_on_a_token() {
    let Some(hsm) = softhsm("a_set_on_a_token") else { return };
    hsm.token("t").aes("t", "disks", "01");
    let vaults = Arc::new(KnownVaults::new());
    let kept = VaultDescription::new("north", "contoso").soft_delete(true).purge_protection(true);
    vaults.add(Arc::new(Pkcs11Vault::new(hsm.faulty("t").id("hsm")).unwrap()), kept.clone()).unwrap();
    let again = vaults.add(Arc::new(Pkcs11Vault::new(hsm.faulty("t").id("hsm")).unwrap()), kept).unwrap_err();
    assert!(matches!(again, Error::ResourceExists(_)));
    let admin = hsm.admin("t");
    let usable = |may| admin.set("disks", 1, &[Attribute::Wrap(may), Attribute::Unwrap(may)]);
    conformance::serves_a_set(&SetWorld {
        directory: vaults,
        id: "hsm",
        key: "disks",
        platform: Arc::new(MemoryVault::new("platform")),
        revoke: &|| usable(false),
        restore: &|| usable(true),
        // The token is taken out.
        stop: &|| hsm.fault("C_FindObjectsInit 32\nC_GetSlotList 32"),
        start: &|| hsm.fault(""),
    });
}

#[test]
fn the_files_of_a_token_are_taken_away() {
    let Some(hsm) = softhsm("the_files_of_a_token_are_taken_away") else { return };
    hsm.token("t").aes("t", "disks", "01");
    hsm.token("u").aes("u", "disks", "01");
    let vault = Pkcs11Vault::new(hsm.options("t").start_again(true)).unwrap();
    let neighbour = hsm.vault("u");
    let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();
    let of_neighbour = neighbour.wrap("disks", &conformance::dek()).unwrap();
    let (there, away) = (hsm.folder.join("tokens"), hsm.folder.join("away"));
    for _ in 0..2 {
        std::fs::rename(&there, &away).unwrap();
        // SoftHSM finds no keys then. That must not look as if their owner had deleted them.
        conformance::is_away(&vault, &wrapped, Duration::from_secs(100));
        std::fs::create_dir(&there).unwrap();
        conformance::is_away(&vault, &wrapped, Duration::from_secs(100));
        std::fs::remove_dir(&there).unwrap();
        std::fs::rename(&away, &there).unwrap();
        assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
        assert_eq!(neighbour.unwrap(&of_neighbour).unwrap().unwrap(), conformance::dek());
    }
}

#[test]
fn disks_cost_their_vault_few_calls() {
    let Some(hsm) = softhsm("disks_cost_their_vault_few_calls") else { return };
    hsm.token("t").aes("t", "disks", "01");
    cost::disks_cost_few_calls("PKCS#11, on SoftHSM", Arc::new(hsm.vault("t")), "disks", &|| {
        hsm.aes("t", "disks", "02")
    });
}
