//! Keys, their versions, and what their owner does with them.

use std::sync::Arc;

use atrest::key::{KeyId, WrappedDek};
use atrest::managed::{KnownVaults, VaultDescription};
use atrest::{Error, KeyVault};
use atrest_http::Method;
use atrest_kms::{TransitAuth, TransitVault};

use crate::conformance::{self, SetWorld, dek, forgeries};
use crate::cost;
use crate::server::{Bao, ROOT, options};

#[test]
fn the_vault_conforms() {
    let Some(bao) = Bao::start() else { return };
    let vault = bao.vault();
    conformance::wraps_and_unwraps(&vault, "disks");
    conformance::rotates(&vault, "disks", &|| bao.rotate("disks"));
    conformance::serves_a_volume(&vault, "disks", &|| bao.rotate("disks"));
}

#[test]
fn derived_keys_conform() {
    let Some(bao) = Bao::start() else { return };
    bao.post("transit/keys/derived", r#"{"derived":true}"#);
    let wrapped = bao.vault().wrap("derived", &dek()).unwrap();
    assert_eq!(bao.vault().unwrap(&bao.vault().rewrap(&wrapped).unwrap()).unwrap().unwrap().expose(), conformance::DEK);
    let other = bao.post("transit/encrypt/derived", r#"{"plaintext":"AAAA","context":"b3RoZXI="}"#);
    let other =
        WrappedDek::new(wrapped.kek, wrapped.algorithm, crate::server::field(&other, "ciphertext").into_bytes());
    assert!(matches!(bao.vault().unwrap(&other), Err(Error::UnwrapFailed)), "a ciphertext for another purpose");
    conformance::wraps_and_unwraps(&bao.vault(), "derived");
    conformance::rotates(&bao.vault(), "derived", &|| bao.rotate("derived"));
}

#[test]
fn keys_under_other_names_do_not_unwrap() {
    let Some(bao) = Bao::start() else { return };
    bao.post("transit/keys/tapes", "{}");
    let vault = bao.vault();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    let tapes = KeyId::new(vault.id(), "tapes", "1").unwrap();
    let found = vault.unwrap(&WrappedDek::new(tapes, wrapped.algorithm, wrapped.bytes));
    assert!(matches!(found, Err(Error::UnwrapFailed)), "{found:?}");
}

#[test]
fn forged_wrapped_keys_delay_no_honest_disk() {
    let Some(bao) = Bao::start() else { return };
    // Keys of other types, none of which wraps DEKs.
    let kinds = ["rsa-2048", "ecdsa-p256", "ed25519", "chacha20-poly1305", "aes128-gcm96", "hmac"];
    for kind in kinds {
        let size = if kind == "hmac" { r#","key_size":32"# } else { "" };
        bao.post(&format!("transit/keys/{kind}"), &format!(r#"{{"type":"{kind}"{size}}}"#));
    }
    bao.post("transit/keys/tapes", "{}");
    bao.post("transit/keys/derived", r#"{"derived":true}"#);
    let vault = || Arc::new(bao.vault()) as Arc<dyn KeyVault>;
    let id = vault().id().to_owned();
    let others = kinds.iter().chain(&["tapes", "derived"]).map(|key| KeyId::new(&id, key, "1").unwrap());
    let others: Vec<_> = others.collect();
    forgeries::delay_no_honest_disk(&vault, "disks", &others);
    forgeries::delay_no_honest_disk(&vault, "derived", &[KeyId::new(&id, "disks", "1").unwrap()]);
}

#[test]
fn missing_keys_are_missing_and_not_made() {
    let Some(bao) = Bao::start() else { return };
    let vault = bao.vault();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    let kek = KeyId::new(vault.id(), "typo", "1").unwrap();
    conformance::refuses(&vault, &WrappedDek::new(kek, wrapped.algorithm, wrapped.bytes.clone()), "no-such-key");
    // The engine would have made it.
    assert_eq!(bao.ask(Method::Get, "transit/keys/typo", "").0, 404);
    let missing = vault.describe("disks", Some("2"));
    assert!(matches!(missing, Err(Error::KeyRefused { .. })), "{missing:?}");
    let elsewhere = TransitVault::new(&options(&bao.address(), TransitAuth::token(ROOT)).mount("nowhere")).unwrap();
    let kek = KeyId::new(elsewhere.id(), "disks", "1").unwrap();
    conformance::refuses(&elsewhere, &WrappedDek::new(kek, wrapped.algorithm, wrapped.bytes), "no-such-key");
}

#[test]
fn old_versions_can_be_disabled_and_wrapped_again_before() {
    let Some(bao) = Bao::start() else { return };
    let vault = bao.vault();
    let old = vault.wrap("disks", &dek()).unwrap();
    bao.rotate("disks");
    assert_eq!(vault.wrap_version(&old.kek, &dek()).unwrap().kek, old.kek);
    let new = vault.rewrap(&old).unwrap();
    assert_eq!((old.kek.version(), new.kek.version()), ("1", "2"));
    bao.configure("disks", r#"{"min_decryption_version":2}"#);
    let refused = |error: Error| match error {
        Error::KeyRefused { reason, .. } => reason.name(),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(vault.unwrap(&old).unwrap_err()), "key-disabled");
    assert_eq!(refused(vault.rewrap(&old).unwrap_err()), "key-disabled");
    assert_eq!(refused(vault.wrap_version(&old.kek, &dek()).unwrap_err()), "key-disabled");
    assert!(!vault.describe("disks", Some("1")).unwrap().unwrap().enabled);
    assert!(vault.describe("disks", Some("2")).unwrap().unwrap().enabled);
    assert_eq!(vault.unwrap(&new).unwrap().unwrap().expose(), conformance::DEK);
}

#[test]
fn deleted_keys_are_told_and_come_back() {
    let Some(bao) = Bao::start() else { return };
    let vault = bao.vault();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    assert!((200..300).contains(&bao.ask(Method::Delete, "transit/keys/disks/soft-delete", "").0));
    conformance::refuses(&vault, &wrapped, "key-deleted");
    bao.post("transit/keys/disks/soft-delete-restore", "{}");
    assert!(vault.unwrap(&wrapped).unwrap().is_some());
    bao.configure("disks", r#"{"deletion_allowed":true}"#);
    assert_eq!(bao.ask(Method::Delete, "transit/keys/disks", "").0, 204);
    conformance::refuses(&vault, &wrapped, "no-such-key");
}

#[test]
fn keys_of_other_types_are_not_used() {
    let Some(bao) = Bao::start() else { return };
    bao.post("transit/keys/rsa", r#"{"type":"rsa-2048"}"#);
    let error = bao.vault().wrap("rsa", &dek()).unwrap_err();
    assert!(matches!(error, Error::Vault(_)) && error.to_string().contains("aes256-gcm96"), "{error}");
}

#[test]
fn namespaces_are_part_of_the_name() {
    let Some(bao) = Bao::start() else { return };
    bao.post("sys/namespaces/team", "{}");
    bao.post("team/sys/mounts/transit", r#"{"type":"transit"}"#);
    bao.post("team/transit/keys/inner", "{}");
    let inner = options(&bao.address(), TransitAuth::token(ROOT)).namespace("team/");
    let inner = TransitVault::new(&inner).unwrap();
    assert_eq!(inner.id(), format!("vault+{}/team/transit", bao.address()));
    let wrapped = inner.wrap("inner", &dek()).unwrap();
    assert!(inner.unwrap(&wrapped).unwrap().is_some());
    assert!(bao.vault().unwrap(&wrapped).unwrap().is_none());
}

#[test]
fn a_set_of_disks_outlives_an_outage_and_stops_at_a_revocation() {
    let Some(bao) = Bao::start() else { return };
    let proxy = crate::proxy::Proxy::before(bao.port);
    bao.policy("disks");
    let token = bao.token("disks", "");
    let customer = options(&crate::server::address(proxy.port), TransitAuth::token(&token));
    let customer: Arc<dyn KeyVault> =
        Arc::new(TransitVault::new(&customer.deadline(std::time::Duration::from_secs(2))).unwrap());
    let id = customer.id().to_owned();
    let vaults = KnownVaults::new();
    let description = VaultDescription::new("north", "contoso").soft_delete(true).purge_protection(true);
    vaults.add(customer, description).unwrap();
    conformance::serves_a_set(&SetWorld {
        directory: Arc::new(vaults),
        id: &id,
        key: "disks",
        platform: Arc::new(bao.vault()),
        revoke: &|| drop(bao.ask(Method::Delete, "sys/policies/acl/disks", "")),
        restore: &|| bao.policy("disks"),
        stop: &|| proxy.rule(|_| crate::proxy::Fate::Reset),
        start: &|| proxy.rule(|_| crate::proxy::Fate::Forward),
    });
}

#[test]
fn disks_cost_their_vault_few_calls() {
    let Some(bao) = Bao::start() else { return };
    cost::disks_cost_few_calls("transit, on OpenBao", Arc::new(bao.vault()), "disks", &|| bao.rotate("disks"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_forked_child_leaves_the_vault_alone() {
    let Some(bao) = Bao::start() else { return };
    conformance::refuses_a_child(&bao.vault(), "disks", &|| Box::new(bao.vault()));
}
