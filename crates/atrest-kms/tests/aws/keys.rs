//! Keys and aliases.

use std::sync::Arc;

use atrest::key::{KeyId, WrappedDek};
use atrest::managed::{KnownVaults, VaultDescription};
use atrest::{Error, KeyVault};
use atrest_kms::AwsKms;

use crate::conformance::{self, SetWorld, dek, forgeries};
use crate::cost;
use crate::proxy::{Fate, Proxy};
use crate::server::{Moto, error, options};

#[test]
fn the_vault_conforms() {
    let Some(moto) = Moto::start() else { return };
    let vault = moto.vault();
    // moto's blobs begin with the key's id. Of another key's it says only that access is denied; KMS says more: see `errors`.
    conformance::wraps_and_unwraps_after(&vault, "disks", 36);
    conformance::rotates(&vault, "disks", &|| moto.rotate());
    conformance::serves_a_volume(&vault, "disks", &|| moto.rotate());
}

#[test]
fn keys_are_named_by_id_too_and_in_an_account() {
    let Some(moto) = Moto::start() else { return };
    let key = moto.create_key();
    let vault = moto.vault();
    let wrapped = vault.wrap(&key, &dek()).unwrap();
    assert_eq!(wrapped.kek, KeyId::new("awskms://us-east-1", &key, &key).unwrap());
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap().expose(), conformance::DEK);
    let account = AwsKms::new(&options(moto.port).account("123456789012")).unwrap();
    assert_eq!(account.id(), "awskms://us-east-1/123456789012");
    for name in [&key[..], "disks"] {
        let wrapped = account.wrap(name, &dek()).unwrap();
        assert!(account.unwrap(&wrapped).unwrap().is_some());
        assert!(vault.unwrap(&wrapped).unwrap().is_none());
    }
}

#[test]
fn a_dek_is_wrapped_again_without_coming_here() {
    let Some(moto) = Moto::start() else { return };
    let vault = moto.vault();
    let old = vault.wrap("disks", &dek()).unwrap();
    moto.rotate();
    let new = vault.rewrap(&old).unwrap();
    assert_ne!(new.kek.version(), old.kek.version());
    assert_eq!(vault.unwrap(&new).unwrap().unwrap().expose(), conformance::DEK);
}

#[test]
fn the_encryption_context_is_bound() {
    let Some(moto) = Moto::start() else { return };
    let vault = AwsKms::new(&options(moto.port).context("fleet", "north")).unwrap();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    assert!(vault.unwrap(&wrapped).unwrap().is_some());
    assert!(matches!(moto.vault().unwrap(&wrapped), Err(Error::UnwrapFailed)));
    for name in ["aws:x", "atrest:purpose"] {
        assert!(matches!(AwsKms::new(&options(1).context(name, "x")), Err(Error::InvalidOption(_))));
    }
}

#[test]
fn forged_wrapped_keys_delay_no_honest_disk() {
    let Some(moto) = Moto::start() else { return };
    let vault = || Arc::new(moto.vault()) as Arc<dyn KeyVault>;
    let known = vault();
    let honest = known.wrap("disks", &dek()).unwrap();
    // A blob of moto's begins with its key's id: see `the_vault_conforms`.
    // The key's name is that of an alias, which may have been renamed since. What counts is the id behind it.
    let mut names = forgeries::of_names(&honest, &[]);
    names.retain(|(_, forged)| forged.kek.version() != honest.kek.version());
    forgeries::delay_none(&known, &vault, &honest, forgeries::of_bytes(&honest, 36), names);
}

#[test]
fn missing_keys_are_missing() {
    let Some(moto) = Moto::start() else { return };
    let vault = moto.vault();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    let missing = "00000000-0000-0000-0000-000000000000";
    let kek = KeyId::new(vault.id(), "typo", missing).unwrap();
    conformance::refuses(&vault, &WrappedDek::new(kek, wrapped.algorithm, wrapped.bytes.clone()), "no-such-key");
    let kek = KeyId::new(vault.id(), "typo", "1").unwrap();
    conformance::refuses(&vault, &WrappedDek::new(kek, wrapped.algorithm, wrapped.bytes), "no-such-key");
}

/// moto tells a key's state, though it doesn't act by it.
#[test]
fn the_states_of_keys_are_described() {
    let Some(moto) = Moto::start() else { return };
    let (vault, key) = (moto.vault(), moto.create_key());
    let reason = |version| match vault.describe(&key, version) {
        Err(Error::KeyRefused { reason, .. }) => reason.name(),
        other => panic!("{other:?}"),
    };
    assert!(vault.describe(&key, None).unwrap().unwrap().enabled);
    moto.ask("DisableKey", &format!(r#"{{"KeyId":"{key}"}}"#));
    assert_eq!(reason(None), "key-disabled");
    assert!(!vault.describe(&key, Some(&key)).unwrap().unwrap().enabled);
    moto.ask("ScheduleKeyDeletion", &format!(r#"{{"KeyId":"{key}","PendingWindowInDays":7}}"#));
    assert_eq!((reason(None), reason(Some(&key))), ("key-deleted", "key-deleted"));
}

/// The revocation is played back, since moto doesn't know one.
#[test]
fn a_set_of_disks_outlives_an_outage_and_stops_at_a_revocation() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::before(moto.port);
    let deadline = std::time::Duration::from_secs(2);
    let customer: Arc<dyn KeyVault> = Arc::new(AwsKms::new(&options(proxy.port).deadline(deadline)).unwrap());
    let vaults = KnownVaults::new();
    let description = VaultDescription::new("north", "contoso").soft_delete(true).purge_protection(true);
    vaults.add(customer, description).unwrap();
    conformance::serves_a_set(&SetWorld {
        directory: Arc::new(vaults),
        id: "awskms://us-east-1",
        key: "disks",
        platform: Arc::new(moto.vault()),
        revoke: &|| proxy.rule(|_| error("DisabledException", "arn:aws:kms:us-east-1:1:key/1 is disabled.")),
        restore: &|| proxy.rule(|_| Fate::Forward),
        stop: &|| proxy.rule(|_| Fate::Reset),
        start: &|| proxy.rule(|_| Fate::Forward),
    });
}

#[test]
fn disks_cost_their_vault_few_calls() {
    let Some(moto) = Moto::start() else { return };
    cost::disks_cost_few_calls("AWS KMS, on moto", Arc::new(moto.vault()), "disks", &|| moto.rotate());
}

#[cfg(target_os = "linux")]
#[test]
fn a_forked_child_leaves_the_vault_alone() {
    let Some(moto) = Moto::start() else { return };
    conformance::refuses_a_child(&moto.vault(), "disks", &|| Box::new(moto.vault()));
}
