//! SoftHSM behind a library that gives the answers of broken and missing tokens: see `common/faulty.c`.

mod common;
#[path = "../../../tests/common/conformance.rs"]
mod conformance;

use std::sync::Arc;
use std::time::Duration;

use atrest::key::{WrapAlgorithm, WrappedDek, wrap};
use atrest::{Error, KeyRefusal, KeyVault};
use atrest_pkcs11::{Pin, Pkcs11Vault};
use cryptoki::object::Attribute;

use common::softhsm;
use conformance::{dek, failures, shown};

/// Answers by their numbers in PKCS#11 3.2.
const GENERAL_ERROR: &str = "5";
const DEVICE_ERROR: &str = "30";
const LOST: [(&str, &str); 5] = [
    ("CKR_DEVICE_REMOVED", "32"),
    ("CKR_SESSION_CLOSED", "b0"),
    ("CKR_SESSION_HANDLE_INVALID", "b3"),
    ("CKR_TOKEN_NOT_PRESENT", "e0"),
    ("CKR_USER_NOT_LOGGED_IN", "101"),
];

#[test]
fn a_token_that_went_away_and_came_back() {
    let Some(hsm) = softhsm("a_token_that_went_away_and_came_back") else { return };
    hsm.token("t").aes("t", "disks", "01");
    let vault = Pkcs11Vault::new(hsm.faulty("t")).unwrap();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    for (name, rv) in LOST {
        // It went away and is back already: nobody notices.
        for function in ["C_FindObjectsInit", "C_UnwrapKey", "C_GetAttributeValue"] {
            hsm.fault(&format!("{function} {rv} once"));
            assert!(vault.unwrap(&wrapped).unwrap().is_some(), "{name} of {function}");
        }
        // It stays away: an outage. It is back: it works.
        hsm.fault(&format!("C_FindObjectsInit {rv}"));
        for (call, error) in failures(&vault, &wrapped) {
            assert!(matches!(error, Error::Vault(_)), "{name}, {call}: {error:?}");
            assert!(format!("{error:#}").contains(name), "{error:#}");
        }
        hsm.fault("");
        assert!(vault.unwrap(&wrapped).unwrap().is_some(), "after {name}");
    }
    // No token at all, and a reader that fails.
    for fault in ["C_GetTokenInfo e0\nC_FindObjectsInit b3", "C_GetSlotList 30\nC_FindObjectsInit b3"] {
        hsm.fault(fault);
        conformance::is_away(&vault, &wrapped, Duration::from_secs(100));
    }
    hsm.fault("");
    assert!(vault.unwrap(&wrapped).unwrap().is_some());
    // Many at once, while sessions are lost now and then.
    let vault = Arc::new(vault);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..20).for_each(|_| assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), dek())));
        }
    });
}

#[test]
fn a_broken_token_is_an_outage_and_altered_bytes_are_not() {
    let Some(hsm) = softhsm("a_broken_token_is_an_outage_and_altered_bytes_are_not") else { return };
    hsm.token("t").aes("t", "disks", "01");
    let vault = Pkcs11Vault::new(hsm.faulty("t")).unwrap();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    let mut altered = wrapped.clone();
    altered.bytes[7] ^= 1;
    // SoftHSM answers CKR_GENERAL_ERROR for these, before and after it has unwrapped anything.
    assert!(matches!(vault.unwrap(&altered), Err(Error::UnwrapFailed)));
    // The token wraps once to find that out, and not for each.
    hsm.fault("C_WrapKey 5");
    assert!(matches!(vault.unwrap(&altered), Err(Error::UnwrapFailed)));
    hsm.fault("");
    assert!(vault.unwrap(&wrapped).unwrap().is_some());
    assert!(matches!(vault.unwrap(&altered), Err(Error::UnwrapFailed)));
    for rv in [GENERAL_ERROR, DEVICE_ERROR] {
        hsm.fault(&format!("C_UnwrapKey {rv}"));
        for bytes in [&wrapped, &altered] {
            let error = vault.unwrap(bytes).unwrap_err();
            assert!(matches!(error, Error::Vault(_)), "{error:?}");
        }
        hsm.fault(&format!("C_WrapKey {rv}"));
        assert!(matches!(vault.wrap("disks", &dek()), Err(Error::Vault(_))));
        hsm.fault("");
        assert!(vault.unwrap(&wrapped).unwrap().is_some());
    }
    // An owner's policy in the HSM.
    hsm.fault("C_UnwrapKey 1b");
    let error = vault.unwrap(&wrapped).unwrap_err();
    assert!(matches!(&error, Error::KeyRefused { reason: KeyRefusal::AccessDenied { .. }, .. }), "{error:?}");
    hsm.fault("C_UnwrapKey 68");
    let error = vault.unwrap(&wrapped).unwrap_err();
    assert!(matches!(&error, Error::KeyRefused { reason: KeyRefusal::Disabled, .. }), "{error:?}");
    // It is told even where nothing is known of the key but its attributes.
    hsm.admin("t").set("disks", 1, &[Attribute::Wrap(false)]);
    let new = Pkcs11Vault::new(hsm.faulty("t")).unwrap();
    let error = new.unwrap(&wrapped).unwrap_err();
    assert!(matches!(&error, Error::KeyRefused { reason: KeyRefusal::Disabled, .. }), "{error:?}");
    hsm.fault("C_UnwrapKey 1b");
    let error = new.unwrap(&wrapped).unwrap_err();
    assert!(matches!(&error, Error::KeyRefused { reason: KeyRefusal::AccessDenied { .. }, .. }), "{error:?}");
    // A token that is gone is gone, whatever the bytes.
    hsm.fault("C_UnwrapKey 30\nC_GetTokenInfo e0");
    assert!(matches!(new.unwrap(&altered), Err(Error::Vault(_))));
}

/// The owner destroyed it and made another key of its name, while the vault remembers what the first one has unwrapped.
#[test]
fn altered_bytes_are_no_outage_of_a_key_that_was_made_anew() {
    let Some(hsm) = softhsm("altered_bytes_are_no_outage_of_a_key_that_was_made_anew") else { return };
    hsm.token("t").aes("t", "disks", "01");
    let vault = Pkcs11Vault::new(hsm.options("t")).unwrap();
    let altered = |wrapped: &WrappedDek| {
        let mut bytes = wrapped.bytes.clone();
        bytes[7] ^= 1;
        WrappedDek::new(wrapped.kek.clone(), wrapped.algorithm, bytes)
    };
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), dek());
    assert!(matches!(vault.unwrap(&altered(&wrapped)), Err(Error::UnwrapFailed)));
    let admin = hsm.admin("t");
    admin.objects("disks", 1).into_iter().for_each(|object| admin.session.destroy_object(object).unwrap());
    hsm.aes("t", "disks", "01");
    let new = vault.wrap("disks", &dek()).unwrap();
    assert_eq!(new.kek, wrapped.kek);
    assert_eq!(vault.unwrap(&new).unwrap().unwrap(), dek());
    for bytes in [&wrapped, &altered(&new)] {
        let error = vault.unwrap(bytes).unwrap_err();
        assert!(matches!(error, Error::UnwrapFailed), "{error:?}");
    }
}

#[test]
fn a_refused_pin_is_tried_once() {
    let Some(hsm) = softhsm("a_refused_pin_is_tried_once") else { return };
    hsm.token("t").aes("t", "disks", "01");
    let good = Pkcs11Vault::new(hsm.options("t")).unwrap();
    let wrapped = good.wrap("disks", &dek()).unwrap();
    drop(good); // its login holds for the whole process
    let vault = Pkcs11Vault::new(hsm.faulty("t")).unwrap();
    hsm.set_pin("00112233");
    for (call, error) in failures(&vault, &wrapped).into_iter().chain(failures(&vault, &wrapped)) {
        let Error::KeyRefused { reason: KeyRefusal::AccessDenied { identity, .. }, .. } = &error else {
            panic!("{call}: {error:?}")
        };
        assert!(identity.contains("the PIN is wrong"), "{identity}");
        assert!(!shown(&error).contains("00112233"));
    }
    assert_eq!(hsm.logins(), 1);
    vault.retry_pin();
    assert!(vault.unwrap(&wrapped).is_err());
    assert_eq!(hsm.logins(), 2);
    // Another vault on the same token doesn't try it either.
    let another = Pkcs11Vault::new(hsm.faulty("t").id("another")).unwrap();
    assert!(matches!(another.wrap("disks", &dek()), Err(Error::KeyRefused { .. })));
    assert_eq!(hsm.logins(), 2);
    // A token that says that one try is left isn't asked at all.
    let another = Pkcs11Vault::new(hsm.faulty("t")).unwrap();
    hsm.fault("FLAGS 20000");
    hsm.set_pin("99887766");
    let error = another.unwrap(&wrapped).unwrap_err();
    assert!(format!("{error}").contains("one try is left"), "{error}");
    assert_eq!(hsm.logins(), 2);
    hsm.fault("");
    // Another PIN is another try.
    hsm.set_pin(common::PIN);
    assert!(vault.unwrap(&wrapped).unwrap().is_some());
    assert_eq!(hsm.logins(), 3);
    assert!(!format!("{vault:?}").contains(common::PIN));

    // Locked, for a token that says so.
    let vault = Pkcs11Vault::new(hsm.faulty("t")).unwrap();
    hsm.fault("C_Login a4");
    for _ in 0..3 {
        let error = vault.unwrap(&wrapped).unwrap_err();
        assert!(matches!(&error, Error::KeyRefused { reason: KeyRefusal::AccessDenied { .. }, .. }), "{error:?}");
    }
    assert_eq!(hsm.logins(), 4);
    vault.retry_pin();
    // A token that fails to log in hasn't refused anything.
    let vault = Pkcs11Vault::new(hsm.faulty("t")).unwrap();
    hsm.fault("C_Login 30");
    assert!(matches!(vault.unwrap(&wrapped), Err(Error::Vault(_))));
    hsm.fault("");
    assert!(vault.unwrap(&wrapped).unwrap().is_some());
    // A PIN that can't be had is no refusal either.
    let missing = hsm.folder.join("missing");
    for pin in [Pin::File(missing), Pin::Env("ATREST_NO_SUCH_PIN".into())] {
        let vault = Pkcs11Vault::new(hsm.faulty("t").pin(pin)).unwrap();
        assert!(matches!(vault.unwrap(&wrapped), Err(Error::Vault(_))));
    }
    let logged = common::LOGS.text();
    assert!(logged.contains("this PIN is not tried again"), "{logged}");
    assert!(!logged.contains("00112233") && !logged.contains(common::PIN), "{logged}");
    // Nor is one that panics, and it takes no session away.
    let vault =
        Pkcs11Vault::new(hsm.faulty("t").sessions(1).pin(Pin::Callback(Arc::new(|| panic!("a test"))))).unwrap();
    for _ in 0..3 {
        assert!(matches!(vault.unwrap(&wrapped), Err(Error::Vault(_))));
    }
    let asks = Pin::Callback(Arc::new(|| Ok(atrest::Secret::copy_from(common::PIN.as_bytes()))));
    let vault = Pkcs11Vault::new(hsm.faulty("t").pin(asks)).unwrap();
    assert!(vault.unwrap(&wrapped).unwrap().is_some());
}

#[test]
fn a_library_that_never_answers() {
    let Some(hsm) = softhsm("a_library_that_never_answers") else { return };
    hsm.token("t").aes("t", "disks", "01");
    let wrapped = hsm.vault("t").wrap("disks", &dek()).unwrap();
    let vault = Pkcs11Vault::new(hsm.faulty("t").deadline(Duration::from_millis(300)).sessions(2)).unwrap();
    hsm.fault("C_FindObjectsInit hang");
    // The third one waits for a session, since both hang.
    for _ in 0..3 {
        conformance::is_away(&vault, &wrapped, Duration::from_secs(100));
    }
}

#[test]
fn mechanisms_are_known_by_what_they_do() {
    let Some(hsm) = softhsm("mechanisms_are_known_by_what_they_do") else { return };
    hsm.token("t");
    let kek = *b"known here, and in the token too";
    let file = hsm.folder.join("kek");
    std::fs::write(&file, kek).unwrap();
    let write = ["--write-object", file.to_str().unwrap(), "--type", "secrkey", "--key-type", "AES:32"];
    hsm.tool("t", &[&write[..], &["--usage-wrap", "--label", "disks", "--id", "0a"]].concat());

    // SoftHSM 2.6's CKM_AES_KEY_WRAP_PAD (0x210A) is RFC 5649. Without the other two, it is found out and used.
    hsm.fault("C_WrapKey:2109 70");
    let vault = Pkcs11Vault::new(hsm.faulty("t")).unwrap();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    assert_eq!(wrapped.algorithm, WrapAlgorithm::Aes256Kwp);
    let mut room = [0; 72];
    assert_eq!(wrapped.bytes, wrap::aes_kwp_wrap(&kek, dek().expose(), &mut room).unwrap());
    conformance::wraps_and_unwraps(&vault, "disks");

    // A token that takes no AES keys from outside can't be tried. What it wraps has no name then, and unwraps.
    hsm.fault("C_CreateObject:1f 13");
    let vault = Pkcs11Vault::new(hsm.faulty("t")).unwrap();
    let unnamed = vault.wrap("disks", &dek()).unwrap();
    assert_eq!((unnamed.algorithm, &unnamed.bytes[..9]), (WrapAlgorithm::Opaque, &b"P11\x01\x02\0\0\x21\x09"[..]));
    conformance::wraps_and_unwraps(&vault, "disks");

    // A token that takes no keys at all can't be tried, nor wrap what comes from outside: an outage, not a lie.
    hsm.fault("C_CreateObject 70");
    let vault = Pkcs11Vault::new(hsm.faulty("t")).unwrap();
    assert!(matches!(vault.wrap("disks", &dek()), Err(Error::Vault(_))));
    // It unwraps all the same.
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), dek());
}

#[test]
fn nothing_stays_in_the_token() {
    let Some(hsm) = softhsm("nothing_stays_in_the_token") else { return };
    hsm.token("t").aes("t", "disks", "01");
    let vault = Pkcs11Vault::new(hsm.faulty("t")).unwrap();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    let admin = hsm.admin("t");
    let left = || admin.session.find_objects(&[Attribute::Token(false)]).unwrap().len();
    assert_eq!(left(), 0, "after a wrap");
    vault.unwrap(&wrapped).unwrap().unwrap();
    assert_eq!(left(), 0, "after an unwrap");
    for fault in ["C_WrapKey 5", "C_UnwrapKey 5", "C_GetAttributeValue 5", "C_GetAttributeValue 5 once"] {
        hsm.fault(fault);
        let _ = (vault.wrap("disks", &dek()), vault.unwrap(&wrapped));
        hsm.fault("");
        assert_eq!(left(), 0, "after {fault}");
    }
    let mut altered = wrapped.clone();
    altered.bytes[0] ^= 1;
    assert!(vault.unwrap(&altered).is_err());
    assert_eq!(left(), 0, "after altered bytes");
}

#[test]
fn hidden_keys_are_not_missing() {
    let Some(hsm) = softhsm("hidden_keys_are_not_missing") else { return };
    hsm.token("t").aes("t", "disks", "01");
    let vault = Pkcs11Vault::new(hsm.options("t").pin(Pin::None)).unwrap();
    let error = vault.wrap("disks", &dek()).unwrap_err();
    assert!(matches!(error, Error::Vault(_)) && error.to_string().contains("after a login"), "{error:?}");
}
