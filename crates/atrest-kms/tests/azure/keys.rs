//! Keys, versions and sets, on the fake.

use std::sync::Arc;
use std::time::Duration;

use atrest::key::{KeyId, KeyKind, WrapAlgorithm, WrappedDek};
use atrest::managed::{KnownVaults, VaultDescription};
use atrest::{Error, KeyVault};
use atrest_kms::{AzureKeyVault, AzureOptions};

use crate::conformance::{self, SetWorld, dek, forgeries};
use crate::cost;
use crate::peers::{pipe, python};
use crate::proxy::{Fate, Proxy};
use crate::server::{Fake, ID, application, options};

#[test]
fn the_vault_conforms_on_a_fake() {
    let Some(fake) = Fake::start() else { return };
    let vault = fake.vault();
    conformance::wraps_and_unwraps(&vault, "disks");
    conformance::rotates(&vault, "disks", &|| fake.rotate());
    conformance::serves_a_volume(&vault, "disks", &|| fake.rotate());
}

#[test]
fn a_managed_hsm_wraps_by_aes_on_a_fake() {
    let Some(fake) = Fake::start() else { return };
    let name = "https://contoso.managedhsm.azure.net";
    fake.tell(&format!(r#"{{"op":"state","name":"{name}","service":"https://managedhsm.azure.net"}}"#));
    fake.tell(r#"{"op":"new","key":"aes","kind":"AES"}"#);
    let hsm = AzureOptions::new(name, application(&fake.address())).endpoint(fake.address());
    let vault = AzureKeyVault::new(&hsm).unwrap();
    conformance::wraps_and_unwraps(&vault, "aes");
    let rotate = || drop(fake.tell(r#"{"op":"new","key":"aes","kind":"AES"}"#));
    conformance::rotates(&vault, "aes", &rotate);
    let wrapped = vault.wrap("aes", &dek()).unwrap();
    assert_eq!((wrapped.algorithm, wrapped.bytes.len()), (WrapAlgorithm::Aes256Kw, 72));
    let described = vault.describe("aes", None).unwrap().unwrap();
    assert_eq!((described.kind, described.authenticated), (KeyKind::Aes256, true));
    // Tokens for a vault aren't good for it.
    assert!(matches!(fake.vault().wrap("disks", &dek()), Err(Error::Vault(_))));
}

#[test]
fn forged_wrapped_keys_delay_no_honest_disk_on_a_fake() {
    let Some(fake) = Fake::start() else { return };
    let vault = || Arc::new(fake.vault()) as Arc<dyn KeyVault>;
    let old = vault().describe("disks", None).unwrap().unwrap().id;
    fake.rotate();
    let mut others = vec![old];
    for kind in ["EC", "RSA1024", "RSA3072"] {
        let told = fake.tell(&format!(r#"{{"op":"new","key":"{kind}","kind":"{kind}"}}"#));
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        others.push(KeyId::new(ID, kind, told["versions"][kind][0].as_str().unwrap()).unwrap());
    }
    forgeries::delay_no_honest_disk(&vault, "disks", &others);
}

#[test]
fn the_kinds_of_keys_are_told_apart() {
    let Some(fake) = Fake::start() else { return };
    let vault = fake.vault();
    for (kind, expected) in [("RSA3072", KeyKind::Rsa3072), ("RSA4096", KeyKind::Rsa4096)] {
        fake.tell(&format!(r#"{{"op":"new","key":"{kind}","kind":"{kind}"}}"#));
        let described = vault.describe(kind, None).unwrap().unwrap();
        assert_eq!((described.kind, described.authenticated), (expected, false));
        let wrapped = vault.wrap(kind, &dek()).unwrap();
        assert_eq!(wrapped.algorithm, WrapAlgorithm::RsaOaep256);
        assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap().expose(), conformance::DEK);
    }
    for kind in ["EC", "RSA1024"] {
        fake.tell(&format!(r#"{{"op":"new","key":"{kind}","kind":"{kind}"}}"#));
        let error = vault.wrap(kind, &dek()).unwrap_err();
        assert!(matches!(error, Error::Vault(_)) && error.to_string().contains("make one of RSA"), "{error}");
    }
}

/// The public half is all that wraps: another program does it, by an algorithm of old records too.
#[test]
fn what_another_program_wrapped_is_unwrapped() {
    let Some(fake) = Fake::start() else { return };
    let Some(python) = python("cryptography") else { return };
    let vault = fake.vault();
    let kek = vault.describe("disks", None).unwrap().unwrap().id;
    let proxy = Proxy::before(fake.port);
    proxy.record();
    AzureKeyVault::new(&options(proxy.port)).unwrap().describe("disks", None).unwrap();
    let recorded = String::from_utf8_lossy(&proxy.recorded()).into_owned();
    let modulus = recorded.split_once("\"n\": \"").unwrap().1.split_once('"').unwrap().0.to_owned();
    let script = "import sys, base64\n\
        from cryptography.hazmat.primitives import hashes\n\
        from cryptography.hazmat.primitives.asymmetric import padding, rsa\n\
        n = int.from_bytes(base64.urlsafe_b64decode(sys.argv[1] + '=='), 'big')\n\
        h = hashes.SHA1() if sys.argv[2] == 'RSA-OAEP' else hashes.SHA256()\n\
        p = padding.OAEP(mgf=padding.MGF1(h), algorithm=h, label=None)\n\
        sys.stdout.buffer.write(rsa.RSAPublicNumbers(65537, n).public_key().encrypt(sys.stdin.buffer.read(), p))";
    for algorithm in [WrapAlgorithm::RsaOaep256, WrapAlgorithm::RsaOaep] {
        let bytes = pipe(&python, &["-c", script, &modulus, algorithm.name()], conformance::DEK);
        let wrapped = WrappedDek::new(kek.clone(), algorithm, bytes);
        assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap().expose(), conformance::DEK);
    }
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    for algorithm in [WrapAlgorithm::RsaOaep, WrapAlgorithm::Rsa15, WrapAlgorithm::Opaque] {
        let found = vault.unwrap(&WrappedDek::new(wrapped.kek.clone(), algorithm, wrapped.bytes.clone()));
        assert!(matches!(found, Err(Error::UnwrapFailed)), "{found:?}");
    }
}

#[test]
fn names_that_are_no_names_of_azure_are_missing_or_refused() {
    let Some(fake) = Fake::start() else { return };
    let vault = fake.vault();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    let version = wrapped.kek.version();
    for (key, version) in [("typo", version), ("disks", "0123456789abcdef0123456789abcdef"), ("disks", "1")] {
        let kek = KeyId::new(ID, key, version).unwrap();
        for (call, error) in [
            ("wrap_version", vault.wrap_version(&kek, &dek()).unwrap_err()),
            (
                "unwrap",
                vault.unwrap(&WrappedDek::new(kek.clone(), wrapped.algorithm, wrapped.bytes.clone())).unwrap_err(),
            ),
            ("describe", vault.describe(key, Some(version)).unwrap_err()),
        ] {
            let Error::KeyRefused { reason, .. } = &error else { panic!("{call}: {error:?}") };
            assert_eq!(reason.name(), "no-such-key", "{call} {kek}");
        }
    }
    for key in ["..", "a/b", "a?b", "a_b", ""] {
        assert!(matches!(vault.wrap(key, &dek()), Err(Error::InvalidName(_))), "{key}");
        assert!(matches!(vault.describe(key, None), Err(Error::InvalidName(_))), "{key}");
    }
}

/// Behaviours 27, 35, 36 and 39, with a revocation in the vault.
#[test]
fn a_set_of_disks_outlives_an_outage_and_stops_at_each_revocation() {
    let Some(fake) = Fake::start() else { return };
    let set = |order: &'static str| move |fake: &Fake| drop(fake.tell(order));
    let rights = r#"{"op":"state","rights":["get","wrapkey","unwrapkey"]}"#;
    for (revoke, restore) in [
        (set(r#"{"op":"set","key":"disks","enabled":false}"#), set(r#"{"op":"set","key":"disks","enabled":true}"#)),
        (set(r#"{"op":"delete","key":"disks"}"#), set(r#"{"op":"recover","key":"disks"}"#)),
        (set(r#"{"op":"state","rights":[]}"#), set(rights)),
        (set(r#"{"op":"state","rights":["get"],"denial":"AccessDenied"}"#), set(rights)),
    ] {
        let proxy = Proxy::before(fake.port);
        let customer = AzureKeyVault::new(&options(proxy.port).deadline(Duration::from_secs(2))).unwrap();
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
    cost::disks_cost_few_calls("Azure Key Vault, on an unverified fake", Arc::new(fake.vault()), "disks", &|| {
        fake.rotate()
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_forked_child_leaves_the_vault_alone() {
    let Some(fake) = Fake::start() else { return };
    conformance::refuses_a_child(&fake.vault(), "disks", &|| Box::new(fake.vault()));
}
