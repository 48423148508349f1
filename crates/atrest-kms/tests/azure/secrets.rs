//! Secrets, and what others wrapped, on the fake.

use std::collections::BTreeMap;

use atrest::key::{KeyId, WrapAlgorithm, WrappedDek};
use atrest::{Error, KeyVault, Secret};
use atrest_kms::AzureSecrets;

use crate::proxy::Proxy;
use crate::server::{self, Fake, options};

const VALUE: &str = "a secret value of a test, which no error repeats";

fn tags() -> BTreeMap<String, String> {
    [("MachineName", "vm-1"), ("DiskEncryptionKeyFileName", "LinuxPassPhraseFileName")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

fn reason<T: std::fmt::Debug>(result: atrest::Result<T>) -> &'static str {
    match result {
        Err(Error::KeyRefused { key, reason }) => {
            assert!(key.starts_with("https://contoso.vault.azure.net/secrets/disk"), "{key}");
            reason.name()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn secrets_have_versions_tags_and_states() {
    let Some(fake) = Fake::start() else { return };
    let secrets = AzureSecrets::new(&options(fake.port)).unwrap();
    assert_eq!(reason(secrets.get("disk", None)), "no-such-key");
    let first = secrets.set("disk", &Secret::copy_from(VALUE.as_bytes()), "BEK", &tags()).unwrap();
    let second = secrets.set("disk", &Secret::copy_from(b"newer"), "BEK", &BTreeMap::new()).unwrap();
    let found = secrets.get("disk", Some(&first)).unwrap();
    assert_eq!((found.value.expose(), &found.tags, &found.version), (VALUE.as_bytes(), &tags(), &first));
    assert!(!format!("{found:?} {secrets:?}").contains("secret value"), "{found:?}");
    let newest = secrets.get("disk", None).unwrap();
    assert_eq!((newest.value.expose(), newest.version), (&b"newer"[..], second));
    for version in ["0123456789abcdef0123456789abcdef", "1", "../x"] {
        assert_eq!(reason(secrets.get("disk", Some(version))), "no-such-key");
    }
    for (order, expected) in [
        (r#""enabled":false"#, "key-disabled"),
        (r#""enabled":true,"exp":-5"#, "key-expired"),
        (r#""exp":null,"nbf":100"#, "key-not-yet-valid"),
    ] {
        fake.tell(&format!(r#"{{"op":"set-secret","secret":"disk",{order}}}"#));
        assert_eq!(reason(secrets.get("disk", None)), expected);
        assert!(secrets.get("disk", Some(&first)).is_ok());
    }
    fake.tell(r#"{"op":"state","rights":["set"]}"#);
    assert_eq!(reason(secrets.get("disk", Some(&first))), "access-denied");
    fake.tell(r#"{"op":"state","rights":["get"]}"#);
    assert_eq!(reason(secrets.set("disk", &Secret::copy_from(b"x"), "", &tags())), "access-denied");
    fake.tell(r#"{"op":"state","rights":["get","set"]}"#);
    fake.tell(r#"{"op":"delete-secret","secret":"disk"}"#);
    assert_eq!(reason(secrets.get("disk", Some(&first))), "key-deleted");
    assert_eq!(reason(secrets.set("disk", &Secret::copy_from(b"x"), "", &tags())), "key-deleted");
    fake.tell(r#"{"op":"purge-secret","secret":"disk"}"#);
    assert_eq!(reason(secrets.get("disk", Some(&first))), "no-such-key");
    for name in ["", "a/b", "..", "a?b", "ä"] {
        assert!(matches!(secrets.get(name, None), Err(Error::InvalidName(_))), "{name}");
    }
    let long = Secret::copy_from(&[b'x'; 26 << 10]);
    assert!(matches!(secrets.set("disk", &long, "", &tags()), Err(Error::InvalidOption(_))));
    let long = [("x".to_owned(), "y".repeat(300))].into();
    assert!(matches!(secrets.set("disk", &Secret::copy_from(b"x"), "", &long), Err(Error::InvalidOption(_))));
}

/// An answer that is none is an outage, and repeats nothing that was sent.
#[test]
fn outages_and_hostile_answers_are_no_refusals() {
    let Some(fake) = Fake::start() else { return };
    let secrets = AzureSecrets::new(&options(fake.port)).unwrap();
    let version = secrets.set("disk", &Secret::copy_from(VALUE.as_bytes()), "", &tags()).unwrap();
    let proxy = Proxy::before(fake.port);
    let hasty = server::hasty(fake.port).endpoint(format!("http://127.0.0.1:{}", proxy.port));
    let secrets = AzureSecrets::new(&hasty).unwrap();
    let other = format!(
        r#"{{"id":"https://contoso.vault.azure.net/secrets/other/{version}","value":"{VALUE}","attributes":{{}}}}"#
    );
    let echo = format!(r#"{{"error":{{"code":"BadParameter","message":"{VALUE} {VALUE}"}}}}"#);
    for (status, body) in [
        ("503 Service Unavailable", ""),
        ("404 Not Found", "<html>"),
        ("200 OK", "{}"),
        ("200 OK", other.as_str()),
        ("400 Bad Request", echo.as_str()),
    ] {
        proxy.rule({
            let (status, body) = (status.to_owned(), body.to_owned());
            move |_| crate::fake::answer(&status, &body)
        });
        for result in [
            secrets.get("disk", Some(&version)).map(drop),
            secrets.set("disk", &Secret::copy_from(VALUE.as_bytes()), "", &tags()).map(drop),
        ] {
            match result {
                Err(Error::Vault(e)) => {
                    let is_of_get = body == echo;
                    assert!(is_of_get || !format!("{e:#} {e:?}").contains("secret value"), "{e:#}");
                }
                other => panic!("{status}: {other:?}"),
            }
        }
    }
}

#[test]
fn what_others_wrapped_by_rsa_is_unwrapped_and_rsa1_5_only_on_demand() {
    let Some(fake) = Fake::start() else { return };
    let vault = fake.vault();
    let secret = Secret::copy_from(&[b'p'; 172]);
    let kek = vault.describe("disks", None).unwrap().unwrap().id;
    for algorithm in [WrapAlgorithm::RsaOaep, WrapAlgorithm::RsaOaep256, WrapAlgorithm::Rsa15] {
        let mut wrapped = vault.wrap_foreign(&kek, algorithm, &secret).unwrap();
        assert_eq!((wrapped.bytes.len(), &wrapped.kek), (256, &kek));
        assert_eq!(vault.unwrap_foreign(&wrapped).unwrap().unwrap().expose(), secret.expose());
        let usual = vault.unwrap(&wrapped);
        assert_eq!(matches!(usual, Err(Error::UnwrapFailed)), algorithm == WrapAlgorithm::Rsa15, "{usual:?}");
        wrapped.bytes.clear();
        assert!(matches!(vault.unwrap_foreign(&wrapped), Err(Error::UnwrapFailed)));
    }
    assert!(matches!(vault.wrap_foreign(&kek, WrapAlgorithm::Aes256Kw, &secret), Err(Error::InvalidOption(_))));
    let elsewhere = KeyId::new("https://other.vault.azure.net", kek.key(), kek.version()).unwrap();
    let wrapped = WrappedDek::new(elsewhere, WrapAlgorithm::RsaOaep, vec![1]);
    assert!(vault.unwrap_foreign(&wrapped).unwrap().is_none());
}

#[cfg(target_os = "linux")]
#[test]
fn a_forked_child_leaves_the_secrets_alone() {
    use crate::conformance::fork::{forked, in_child, so};

    let Some(fake) = Fake::start() else { return };
    let secrets = AzureSecrets::new(&options(fake.port)).unwrap();
    secrets.set("disk", &Secret::copy_from(b"first"), "BEK", &tags()).unwrap();
    let ended = in_child(|| {
        so!(forked(secrets.get("disk", None)));
        so!(forked(secrets.set("disk", &Secret::copy_from(b"second"), "BEK", &tags())));
        let own = AzureSecrets::new(&options(fake.port)).map_err(|_| line!())?;
        so!(own.get("disk", None).is_ok_and(|found| found.value.expose() == b"first"));
        Ok(())
    });
    assert_eq!(ended, 0, "the child");
    assert_eq!(secrets.get("disk", None).unwrap().value.expose(), b"first");
}
