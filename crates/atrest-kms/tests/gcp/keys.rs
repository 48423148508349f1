//! Keys, versions, states and sets, on the fake.

use std::sync::Arc;
use std::time::Duration;

use atrest::key::{KeyId, WrappedDek};
use atrest::managed::{KnownVaults, VaultDescription};
use atrest::{Error, KeyVault};
use atrest_kms::GcpKms;

use crate::conformance::{self, SetWorld, dek, forgeries};
use crate::cost;
use crate::proxy::{Fate, Proxy};
use crate::server::{Fake, ID, options};

/// The name of the reason of a refusal.
fn reason<T: std::fmt::Debug>(result: atrest::Result<T>) -> &'static str {
    match result {
        Err(Error::KeyRefused { reason, .. }) => reason.name(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_vault_conforms_on_a_fake() {
    let Some(fake) = Fake::start() else { return };
    let vault = fake.vault();
    conformance::wraps_and_unwraps(&vault, "disks");
    conformance::rotates(&vault, "disks", &|| fake.rotate());
    conformance::serves_a_volume(&vault, "disks", &|| fake.rotate());
}

#[test]
fn forged_wrapped_keys_delay_no_honest_disk_on_a_fake() {
    let Some(fake) = Fake::start() else { return };
    fake.rotate();
    fake.tell(r#"{"op":"new","key":"signs","purpose":"ASYMMETRIC_SIGN"}"#);
    fake.tell(r#"{"op":"new","key":"tapes"}"#);
    let vault = || Arc::new(fake.vault()) as Arc<dyn KeyVault>;
    let others = [("disks", "1"), ("signs", "1"), ("tapes", "1")].map(|(key, n)| KeyId::new(ID, key, n).unwrap());
    forgeries::delay_no_honest_disk(&vault, "disks", &others);
}

#[test]
fn states_of_versions_are_told_apart() {
    let Some(fake) = Fake::start() else { return };
    let vault = fake.vault();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    let rights = |names: &str| drop(fake.tell(&format!(r#"{{"op":"state","rights":[{names}]}}"#)));
    for (state, expected) in
        [("DISABLED", "key-disabled"), ("DESTROY_SCHEDULED", "key-deleted"), ("DESTROYED", "key-deleted")]
    {
        fake.set(0, state);
        conformance::refuses(&vault, &wrapped, expected);
        // A caller that may not look at versions learns it from the error.
        rights(r#""get","encrypt","decrypt""#);
        conformance::refuses(&vault, &wrapped, expected);
        rights(r#""get","getversion","encrypt","decrypt""#);
    }
    for state in ["PENDING_GENERATION", "PENDING_IMPORT", "IMPORT_FAILED", "NEW_ONE"] {
        fake.set(0, state);
        conformance::is_away(&vault, &wrapped, Duration::from_secs(120));
    }
    fake.set(0, "DISABLED");
    assert!(!vault.describe("disks", Some("1")).unwrap().unwrap().enabled);
    assert_eq!(reason(vault.describe("disks", None)), "key-disabled");
    fake.set(0, "ENABLED");
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap().expose(), conformance::DEK);
    for reason in ["IAM_PERMISSION_DENIED", ""] {
        fake.tell(&format!(r#"{{"op":"state","rights":[],"reason":"{reason}"}}"#));
        conformance::refuses(&vault, &wrapped, "access-denied");
    }
}

#[test]
fn an_older_primary_version_wraps_and_old_ones_unwrap() {
    let Some(fake) = Fake::start() else { return };
    let vault = fake.vault();
    let first = vault.wrap("disks", &dek()).unwrap();
    fake.rotate();
    let second = vault.wrap("disks", &dek()).unwrap();
    assert_eq!((first.kek.version(), second.kek.version()), ("1", "2"));
    fake.tell(r#"{"op":"primary","key":"disks","number":1}"#);
    assert_eq!(vault.wrap("disks", &dek()).unwrap().kek, first.kek);
    assert_eq!(vault.wrap_version(&second.kek, &dek()).unwrap().kek, second.kek);
    let described = vault.describe("disks", Some("2")).unwrap().unwrap();
    assert!(described.created.is_some_and(|created| created > 1_700_000_000) && described.authenticated);
    fake.set(0, "DISABLED");
    assert_eq!(reason(vault.unwrap(&first)), "key-disabled");
    assert!(vault.unwrap(&second).unwrap().is_some());
    // Bytes of a disabled version under the name of one that is enabled: whoever wrote the header is at fault, not the key.
    let mixed = vault.unwrap(&WrappedDek::new(second.kek.clone(), first.algorithm, first.bytes.clone()));
    assert!(matches!(mixed, Err(Error::UnwrapFailed)), "{mixed:?}");
    fake.tell(r#"{"op":"state","rights":["get","encrypt","decrypt"]}"#);
    let mixed = vault.unwrap(&WrappedDek::new(second.kek, first.algorithm, first.bytes));
    assert!(matches!(mixed, Err(Error::UnwrapFailed)), "{mixed:?}");
}

#[test]
fn what_is_missing_or_of_another_purpose_is_not_used() {
    let Some(fake) = Fake::start() else { return };
    let vault = fake.vault();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    let kek = KeyId::new(ID, "typo", "1").unwrap();
    conformance::refuses(&vault, &WrappedDek::new(kek, wrapped.algorithm, wrapped.bytes.clone()), "no-such-key");
    for version in ["0", "01", "x", "9"] {
        let kek = KeyId::new(ID, "disks", version).unwrap();
        assert_eq!(reason(vault.wrap_version(&kek, &dek())), "no-such-key", "{version}");
        assert_eq!(reason(vault.describe("disks", Some(version))), "no-such-key", "{version}");
    }
    for key in ["..", "a/b", "a.b", "", &"k".repeat(64)] {
        assert!(matches!(vault.wrap(key, &dek()), Err(Error::InvalidName(_))), "{key}");
    }
    fake.tell(r#"{"op":"new","key":"signs","purpose":"ASYMMETRIC_SIGN"}"#);
    fake.tell(r#"{"op":"new","key":"raw","algorithm":"AES_256_GCM"}"#);
    for key in ["signs", "raw"] {
        let error = vault.wrap(key, &dek()).unwrap_err();
        assert!(matches!(error, Error::Vault(_)) && error.to_string().contains("symmetric"), "{error}");
    }
}

#[test]
fn a_set_of_disks_outlives_an_outage_and_stops_at_each_revocation() {
    let Some(fake) = Fake::start() else { return };
    let all = r#"{"op":"state","rights":["get","getversion","encrypt","decrypt"]}"#;
    let set = |order: &'static str| move |fake: &Fake| drop(fake.tell(order));
    for (revoke, restore) in [
        (
            set(r#"{"op":"set","key":"disks","state":"DISABLED"}"#),
            set(r#"{"op":"set","key":"disks","state":"ENABLED"}"#),
        ),
        (
            set(r#"{"op":"set","key":"disks","state":"DESTROY_SCHEDULED"}"#),
            set(r#"{"op":"set","key":"disks","state":"ENABLED"}"#),
        ),
        (set(r#"{"op":"state","rights":["get","getversion"]}"#), set(all)),
    ] {
        let proxy = Proxy::before(fake.port);
        let customer = GcpKms::new(&options(proxy.port).deadline(Duration::from_secs(2))).unwrap();
        let vaults = KnownVaults::new();
        let description = VaultDescription::new("north", "contoso").soft_delete(true).purge_protection(true);
        vaults.add(Arc::new(customer), description).unwrap();
        let Some(platform) = Fake::start() else { return };
        conformance::serves_a_set(&SetWorld {
            directory: Arc::new(vaults),
            id: ID,
            key: "disks",
            platform: Arc::new(platform.vault()),
            revoke: &|| revoke(&fake),
            restore: &|| restore(&fake),
            stop: &|| proxy.rule(|_| Fate::Reset),
            start: &|| proxy.rule(|_| Fate::Forward),
        });
    }
}

#[test]
fn disks_cost_their_vault_few_calls() {
    let Some(fake) = Fake::start() else { return };
    cost::disks_cost_few_calls("Google Cloud KMS, on an unverified fake", Arc::new(fake.vault()), "disks", &|| {
        fake.rotate()
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_forked_child_leaves_the_vault_alone() {
    let Some(fake) = Fake::start() else { return };
    conformance::refuses_a_child(&fake.vault(), "disks", &|| Box::new(fake.vault()));
}
