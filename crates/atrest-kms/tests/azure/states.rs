//! States and times of versions, on the fake.

use atrest::{Error, KeyVault};

use crate::conformance::{self, dek};
use crate::server::Fake;

/// The name of the reason of a refusal.
fn reason<T: std::fmt::Debug>(result: atrest::Result<T>) -> &'static str {
    match result {
        Err(Error::KeyRefused { reason, .. }) => reason.name(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn disabled_deleted_missing_and_denied_are_told_apart() {
    let Some(fake) = Fake::start() else { return };
    let vault = fake.vault();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    for [get, wrap] in [[true, false], [true, true], [false, false], [false, true]] {
        fake.tell(&format!(r#"{{"op":"state","get_of_disabled":{get},"wrap_of_disabled":{wrap}}}"#));
        fake.tell(r#"{"op":"set","key":"disks","enabled":false}"#);
        conformance::refuses(&vault, &wrapped, "key-disabled");
        // A caller that may not list versions learns it too.
        fake.tell(r#"{"op":"state","rights":["get","wrapkey","unwrapkey"]}"#);
        conformance::refuses(&vault, &wrapped, "key-disabled");
        fake.tell(r#"{"op":"state","rights":["get","list","wrapkey","unwrapkey"]}"#);
        fake.tell(r#"{"op":"set","key":"disks","enabled":true}"#);
        assert!(vault.unwrap(&wrapped).unwrap().is_some());
    }
    fake.tell(r#"{"op":"delete","key":"disks"}"#);
    conformance::refuses(&vault, &wrapped, "key-deleted");
    fake.tell(r#"{"op":"recover","key":"disks"}"#);
    assert!(vault.unwrap(&wrapped).unwrap().is_some());
    for denial in ["ForbiddenByRbac", "ForbiddenByPolicy", "AccessDenied", ""] {
        fake.tell(&format!(r#"{{"op":"state","rights":[],"denial":"{denial}"}}"#));
        conformance::refuses(&vault, &wrapped, "access-denied");
    }
    // One right is taken away, in a way that isn't known.
    fake.tell(r#"{"op":"state","rights":["get","wrapkey"],"denial":"New"}"#);
    assert_eq!(reason(vault.unwrap(&wrapped)), "access-denied");
    assert!(vault.wrap("disks", &dek()).is_ok());
    // A firewall says nothing of the key.
    fake.tell(r#"{"op":"state","rights":[],"denial":"ForbiddenByFirewall"}"#);
    assert!(matches!(vault.unwrap(&wrapped), Err(Error::Vault(_))));
    fake.tell(r#"{"op":"state","rights":["get","list","wrapkey","unwrapkey"]}"#);
    fake.tell(r#"{"op":"delete","key":"disks"}"#);
    fake.tell(r#"{"op":"purge","key":"disks"}"#);
    conformance::refuses(&vault, &wrapped, "no-such-key");
}

/// Behaviour 40: the vault unwraps by an expired key. Whoever holds the lease learns the time by `describe`.
#[test]
fn times_are_told_and_an_expired_key_still_unwraps() {
    let Some(fake) = Fake::start() else { return };
    let vault = fake.vault();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    for (order, expected) in [
        (r#"{"op":"set","key":"disks","exp":-10}"#, "key-expired"),
        (r#"{"op":"set","key":"disks","exp":null,"nbf":100}"#, "key-not-yet-valid"),
    ] {
        fake.tell(order);
        assert_eq!(reason(vault.wrap("disks", &dek())), expected);
        assert_eq!(reason(vault.wrap_version(&wrapped.kek, &dek())), expected);
        assert!(vault.unwrap(&wrapped).unwrap().is_some());
        let described = vault.describe("disks", None).unwrap().unwrap();
        assert_eq!((described.id, described.enabled), (wrapped.kek.clone(), true));
        assert!(described.created.is_some());
        assert_eq!(
            (described.expires.is_some(), described.not_before.is_some()),
            (expected == "key-expired", expected != "key-expired")
        );
    }
}

#[test]
fn the_newest_version_that_may_wraps_wherever_it_is_in_the_list() {
    let Some(fake) = Fake::start() else { return };
    let vault = fake.vault();
    let first = vault.wrap("disks", &dek()).unwrap().kek;
    for _ in 0..4 {
        fake.rotate();
    }
    fake.tell(r#"{"op":"state","page":2}"#);
    let newest = vault.wrap("disks", &dek()).unwrap().kek;
    assert_ne!(newest, first);
    // The newest is disabled, two before it are expired, and one isn't valid yet.
    fake.tell(r#"{"op":"set","key":"disks","at":4,"enabled":false}"#);
    fake.tell(r#"{"op":"set","key":"disks","at":3,"exp":-5}"#);
    fake.tell(r#"{"op":"set","key":"disks","at":2,"nbf":500}"#);
    fake.tell(r#"{"op":"set","key":"disks","at":1,"exp":-5}"#);
    assert_eq!(vault.wrap("disks", &dek()).unwrap().kek, first);
    assert_eq!(vault.describe("disks", None).unwrap().unwrap().id, first);
    assert!(!vault.describe("disks", Some(newest.version())).unwrap().unwrap().enabled);
    // None may wrap: the newest that is enabled is told.
    fake.tell(r#"{"op":"set","key":"disks","at":0,"enabled":false}"#);
    let told = vault.describe("disks", None).unwrap().unwrap();
    assert!(told.enabled && told.expires.is_some());
    assert_eq!(reason(vault.wrap("disks", &dek())), "key-expired");
}

/// Keys end by the vault's clock.
#[test]
fn a_clock_that_is_off_by_an_hour_changes_no_state() {
    let Some(fake) = Fake::start() else { return };
    let vault = fake.vault();
    fake.tell(r#"{"op":"set","key":"disks","exp":1800}"#);
    for (skew, expired) in [(0, false), (3600, true), (-3600, false)] {
        fake.tell(&format!(r#"{{"op":"state","skew":{skew}}}"#));
        let found = vault.wrap("disks", &dek());
        assert_eq!(found.is_err(), expired, "{skew}: {found:?}");
        if expired {
            assert_eq!(reason(found), "key-expired");
        }
    }
}
