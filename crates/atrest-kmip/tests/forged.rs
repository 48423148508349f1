//! Forged wrapped keys on a server that the test writes: neither they nor the server are taken for the other. It needs no program but this one.

mod common;
#[path = "../../../tests/common/conformance.rs"]
mod conformance;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atrest::key::{KeyId, WrappedDek};
use atrest::{Error, KeyVault};
use atrest_kmip::KmipVault;

use common::answers::{altered, bytes_of, operation, refusal, sound};
use common::fake::{Answer, Fake};

fn vault(fake: &Fake, deadline: Duration) -> KmipVault {
    KmipVault::new(common::options(fake.folder.path(), fake.port, "client").deadline(deadline)).unwrap()
}

fn wrapped(vault: &KmipVault) -> WrappedDek {
    let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
    wrapped
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_failed_decryption_is_told_from_a_server_that_fails() {
    let fake = Fake::new(|request| Answer::Bytes(sound(request)));
    let vault = vault(&fake, LONG);
    let good = wrapped(&vault);
    let mut altered = good.clone();
    *altered.bytes.last_mut().unwrap() ^= 1;
    let is_good = {
        let data = good.bytes[32..].to_vec();
        move |request: &[u8]| request.windows(data.len()).any(|window| window == data)
    };
    // It decrypts what is right, and fails for what is altered.
    let (decrypts, encrypted) = (is_good.clone(), Arc::new(AtomicUsize::new(0)));
    let count = encrypted.clone();
    fake.set(move |request| {
        count.fetch_add(usize::from(operation(request) == 0x1F), Ordering::SeqCst);
        let fails = operation(request) == 0x20 && !decrypts(request);
        Answer::Bytes(if fails { refusal(request, 0x100, "see the log") } else { sound(request) })
    });
    assert!(matches!(vault.unwrap(&altered), Err(Error::UnwrapFailed)));
    // A vault that has unwrapped nothing yet has the server encrypt once to find that out, and not for each.
    let new = self::vault(&fake, LONG);
    for _ in 0..5 {
        assert!(matches!(new.unwrap(&altered), Err(Error::UnwrapFailed)));
    }
    assert_eq!(encrypted.load(Ordering::SeqCst), 1);
    // It decrypts nothing: that isn't the fault of these bytes.
    fake.set(|request| {
        let fails = operation(request) == 0x20;
        Answer::Bytes(if fails { refusal(request, 0x100, "see the log") } else { sound(request) })
    });
    for bytes in [&good, &altered] {
        assert!(matches!(vault.unwrap(bytes), Err(Error::Vault(_))));
    }
}

/// Re-key leaves an old version without a name, so that it is one of each key, and a forged header can name any.
#[test]
fn forged_names_of_a_version_cost_one_encryption_in_all() {
    let fake = Fake::new(|request| Answer::Bytes(sound(request)));
    let good = wrapped(&vault(&fake, LONG));
    let mut forged = good.clone();
    *forged.bytes.last_mut().unwrap() ^= 1;
    // As AES-GCM does, it decrypts what it has encrypted, and under the same additional data only.
    let (data, encrypted) = (good.bytes[32..].to_vec(), Arc::new(Mutex::new(Vec::new())));
    let (known, of_good) = (encrypted.clone(), good.kek.to_string().into_bytes());
    fake.set(move |request| {
        let aad = || bytes_of(request, [0x42, 0x00, 0xFE]);
        let mut known = known.lock().unwrap();
        Answer::Bytes(match operation(request) {
            0x0B => altered(sound(request), b"\x00\x04Name", b"\x00\x04Mane"),
            0x1F => {
                known.push(aad());
                sound(request)
            }
            0x20 if bytes_of(request, [0x42, 0x00, 0xC2]) != data || aad() != of_good && !known.contains(&aad()) => {
                refusal(request, 0x100, "see the log")
            }
            _ => sound(request),
        })
    });
    let vault = vault(&fake, LONG);
    let named = |name: &str, forged: &WrappedDek| {
        let kek = KeyId::new(vault.id(), name, forged.kek.version()).unwrap();
        WrappedDek::new(kek, forged.algorithm, forged.bytes.clone())
    };
    for i in 0..20 {
        let found = vault.unwrap(&named(&format!("name-{i}"), &forged));
        assert!(matches!(found, Err(Error::UnwrapFailed)), "{i}: {found:?}");
    }
    assert_eq!(encrypted.lock().unwrap().len(), 1);
    // Nor do they displace what the honest one has shown.
    for _ in 0..2 {
        assert_eq!(vault.unwrap(&good).unwrap().unwrap(), conformance::dek());
        for forged in [named("another", &good), named("another", &forged), forged.clone()] {
            assert!(matches!(vault.unwrap(&forged), Err(Error::UnwrapFailed)));
        }
    }
    assert_eq!(encrypted.lock().unwrap().len(), 1);
}

#[test]
fn a_server_that_does_not_decrypt_is_asked_to_encrypt_once() {
    let fake = Fake::new(|request| Answer::Bytes(sound(request)));
    let vault = vault(&fake, LONG);
    let good = vault.wrap("disks", &conformance::dek()).unwrap();
    let encrypted = Arc::new(AtomicUsize::new(0));
    let count = encrypted.clone();
    fake.set(move |request| {
        count.fetch_add(usize::from(operation(request) == 0x1F), Ordering::SeqCst);
        Answer::Bytes(if operation(request) == 0x20 { refusal(request, 0x100, "no") } else { sound(request) })
    });
    for _ in 0..5 {
        assert!(matches!(vault.unwrap(&good), Err(Error::Vault(_))));
    }
    assert_eq!(encrypted.load(Ordering::SeqCst), 1);
}

/// A caller with the right of Decrypt alone, or a version that is no longer for wraps, has nothing to try the key on.
#[test]
fn a_refusal_to_encrypt_is_no_outage_for_forged_bytes() {
    let fake = Fake::new(|request| Answer::Bytes(sound(request)));
    let good = wrapped(&vault(&fake, LONG));
    let mut forged = good.clone();
    *forged.bytes.last_mut().unwrap() ^= 1;
    let data = good.bytes[32..].to_vec();
    let is_good = move |request: &[u8]| request.windows(data.len()).any(|window| window == data);
    // Authentication Not Successful, Permission Denied, Wrong Key Lifecycle State, Usage Limit Exceeded; and three that say nothing of the
    // key: Operation Not Supported, Internal Server Error, General Failure.
    for (reason, is_of_key) in
        [(0x03, true), (0x0C, true), (0x43, true), (0x1A, true), (0x05, false), (0x2A, false), (0x100, false)]
    {
        let decrypts = is_good.clone();
        fake.set(move |request| {
            Answer::Bytes(match operation(request) {
                0x1F => refusal(request, reason, "no"),
                0x20 if !decrypts(request) => refusal(request, 0x100, "see the log"),
                _ => sound(request),
            })
        });
        let vault = vault(&fake, LONG);
        let found = vault.unwrap(&forged).unwrap_err();
        assert_eq!(matches!(found, Error::UnwrapFailed), is_of_key, "{reason:#x}: {found:?}");
        assert_eq!(matches!(found, Error::Vault(_)), !is_of_key, "{reason:#x}: {found:?}");
        assert_eq!(vault.unwrap(&good).unwrap().unwrap(), conformance::dek());
        assert!(matches!(vault.unwrap(&forged), Err(Error::UnwrapFailed)), "{reason:#x}");
    }
    // After its Protect Stop Date a version isn't asked to encrypt at all.
    fake.set(move |request| {
        Answer::Bytes(match operation(request) {
            0x0B => {
                let policy = b"\x07\0\0\0\x15Operation Policy Name\0\0\0\x42\0\x0b\x07\0\0\0\x07default\0";
                let stop =
                    b"\x07\0\0\0\x11Protect Stop Date\0\0\0\0\0\0\0\x42\0\x0b\x09\0\0\0\x08\0\0\0\0\x3b\x9a\xca\0";
                altered(sound(request), policy, stop)
            }
            0x1F => panic!("it was asked to encrypt"),
            0x20 if !is_good(request) => refusal(request, 0x100, "see the log"),
            _ => sound(request),
        })
    });
    let vault = vault(&fake, LONG);
    let wrapped = vault.wrap("disks", &conformance::dek());
    assert!(matches!(&wrapped, Err(Error::KeyRefused { reason, .. }) if reason.name() == "key-expired"), "{wrapped:?}");
    assert!(matches!(vault.unwrap(&forged), Err(Error::UnwrapFailed)));
    assert_eq!(vault.unwrap(&good).unwrap().unwrap(), conformance::dek());
}

#[test]
fn a_server_that_hands_out_keys_and_does_not_decrypt_is_there() {
    let fake = Fake::new(|request| Answer::Bytes(sound(request)));
    let by_server = wrapped(&vault(&fake, LONG));
    let options = common::options(fake.folder.path(), fake.port, "client").deadline(LONG);
    // Permission Denied, Operation Not Supported, Wrong Key Lifecycle State, General Failure.
    for reason in [0x0C, 0x05, 0x43, 0x100] {
        let fetches = KmipVault::new(options.clone().fetch_keys(true)).unwrap();
        let honest = fetches.wrap("disks", &conformance::dek()).unwrap();
        fake.set(move |request| {
            let refuses = [0x1F, 0x20].contains(&operation(request));
            Answer::Bytes(if refuses { refusal(request, reason, "no") } else { sound(request) })
        });
        // Its own way works, and whoever wrote the header chose the other one.
        assert!(matches!(fetches.unwrap(&by_server), Err(Error::UnwrapFailed)), "{reason:#x}");
        assert_eq!(fetches.unwrap(&honest).unwrap().unwrap(), conformance::dek());
        // It hands out no keys any more: that isn't the fault of these bytes.
        fake.set(move |request| {
            let refuses = [0x0A, 0x1F, 0x20].contains(&operation(request));
            Answer::Bytes(if refuses { refusal(request, reason, "no") } else { sound(request) })
        });
        for wrapped in [&by_server, &honest] {
            let error = fetches.unwrap(wrapped).unwrap_err();
            assert!(matches!(error, Error::Vault(_) | Error::KeyRefused { .. }), "{reason:#x}: {error:?}");
        }
        fake.set(|request| Answer::Bytes(sound(request)));
    }
}
