//! A server that is slow, cuts off, lies or talks nonsense. It needs no program but this one.

mod common;
#[path = "../../../tests/common/conformance.rs"]
mod conformance;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atrest::key::WrappedDek;
use atrest::{Error, KeyVault, SelfTest};
use atrest_kmip::KmipVault;

use common::answers::{operation, refusal, sound};
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
fn a_server_that_is_slow_is_away() {
    let fake = Fake::new(|request| Answer::Bytes(sound(request)));
    let vault = vault(&fake, Duration::from_millis(300));
    let wrapped = wrapped(&vault);
    fake.set(|_| Answer::Silence);
    conformance::is_away(&vault, &wrapped, LONG);
    // Bytes that come one by one prolong nothing.
    fake.set(|request| Answer::Drip(sound(request)));
    conformance::is_away(&vault, &wrapped, LONG);
    fake.set(|_| Answer::Drip(b"\x42\x00\x7b\x01\x00\x0f\xff\xf8".to_vec()));
    conformance::is_away(&vault, &wrapped, LONG);
    fake.set(|request| Answer::Bytes(sound(request)));
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
}

#[test]
fn a_server_that_cuts_off_is_away() {
    let fake = Fake::new(|request| Answer::Bytes(sound(request)));
    let vault = vault(&fake, LONG);
    let wrapped = wrapped(&vault);
    for len in [0, 1, 7, 8, 9, 100] {
        fake.set(move |request| Answer::Cut(sound(request)[..len].to_vec()));
        conformance::is_away(&vault, &wrapped, LONG);
    }
    // An answer that is whole may be the last one of its connection: the next call opens another.
    fake.set(|request| Answer::Cut(sound(request)));
    for _ in 0..3 {
        assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
    }
}

#[test]
fn what_a_server_says_unasked_is_no_answer() {
    let fake = Fake::new(|request| Answer::Bytes(sound(request)));
    let vault = vault(&fake, LONG);
    let wrapped = wrapped(&vault);
    assert_eq!(fake.connections(), 1, "a connection is kept for all calls");
    // Each answer comes twice. A request after it would get the second one, and each one after that the answer before its own.
    fake.set(|request| Answer::Bytes(sound(request).repeat(2)));
    for _ in 0..3 {
        assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
    }
    // An answer that isn't one to the request may be a late one: its connection isn't asked again.
    let is_first = std::sync::atomic::AtomicBool::new(true);
    fake.set(move |request| {
        let late = [b"\x42\x00\x5c\x05\x00\x00\x00\x04\x00\x00\x00".as_slice(), &[0x0A]].concat();
        Answer::Bytes(sound(if is_first.swap(false, Ordering::SeqCst) { &late } else { request }))
    });
    assert!(matches!(vault.unwrap(&wrapped), Err(Error::Vault(_))));
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
}

#[test]
fn a_kept_connection_that_ended_is_asked_anew_once() {
    let fake = Fake::new(|request| Answer::Bytes(sound(request)));
    let vault = vault(&fake, LONG);
    let wrapped = wrapped(&vault);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    fake.set(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Answer::Cut(Vec::new())
    });
    assert!(matches!(vault.unwrap(&wrapped), Err(Error::Vault(_))));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert!(matches!(vault.unwrap(&wrapped), Err(Error::Vault(_))));
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[test]
fn answers_that_make_no_sense_are_outages() {
    let fake = Fake::new(|request| Answer::Bytes(sound(request)));
    let vault = vault(&fake, LONG);
    let wrapped = wrapped(&vault);
    let message = |len: u32, bytes: &[u8]| [&b"\x42\x00\x7b\x01"[..], &len.to_be_bytes(), bytes].concat();
    let garbage = [
        message(0, b""),
        message(8, b"\x42\x00\x7a\x01\0\0\0\0"),
        message(8, b"\x42\x00\x7a\x01\xff\xff\xff\xff"),
        message(16, &[0x42; 16]),
        // More than is read, and the most.
        message(u32::MAX, b""),
        message((1 << 20) + 1, &[0; 64]),
        message(1 << 20, &vec![0; 1 << 20]),
        // A structure in a structure, and so on.
        message(1 << 16, &b"\x42\x00\x0f\x01\0\0\xff\xf0".repeat(1 << 13)),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        b"\x15\x03\x03\x00\x02\x02\x28".to_vec(),
    ];
    for bytes in garbage {
        let shown = bytes[..bytes.len().min(32)].to_vec();
        fake.set(move |_| Answer::Cut(bytes.clone()));
        for (call, error) in conformance::failures(&vault, &wrapped) {
            assert!(matches!(error, Error::Vault(_)), "{shown:x?}: {call}: {error:?}");
        }
    }
    // The answer to another question.
    fake.set(|request| {
        let mut other = request.to_vec();
        let at = other.windows(5).position(|window| window == b"\x42\x00\x5c\x05\x00").unwrap();
        other[at + 11] = if other[at + 11] == 0x0B { 0x20 } else { 0x0B };
        Answer::Bytes(sound(&other))
    });
    conformance::is_away(&vault, &wrapped, LONG);
    // An answer about another object: no DEK is taken from it.
    fake.set(|request| {
        let mut answer = sound(request);
        if operation(request) == 0x20 {
            let at = answer.windows(9).position(|window| window == b"\x42\x00\x94\x07\0\0\0\x011").unwrap();
            answer[at + 8] = b'2';
        }
        Answer::Bytes(answer)
    });
    let found = vault.unwrap(&wrapped);
    assert!(matches!(&found, Err(Error::Vault(failure)) if failure.what().contains("another object")), "{found:?}");
}

#[test]
fn the_words_of_a_server() {
    let fake = Fake::new(|request| Answer::Bytes(sound(request)));
    let vault = vault(&fake, LONG);
    let wrapped = wrapped(&vault);
    for (reason, name) in [
        (0x01, "no-such-key"),
        (0x37, "no-such-key"),
        (0x36, "key-deleted"),
        (0x03, "access-denied"),
        (0x0C, "access-denied"),
        (0x39, "access-denied"),
        (0x0D, "key-disabled"),
        (0x43, "key-disabled"),
    ] {
        fake.set(move |request| Answer::Bytes(refusal(request, reason, "no")));
        conformance::refuses(&vault, &wrapped, name);
        // The key is there, and its use is refused.
        fake.set(move |request| {
            let refuses = [0x1F, 0x20].contains(&operation(request));
            Answer::Bytes(if refuses { refusal(request, reason, "no") } else { sound(request) })
        });
        let found = vault.unwrap(&wrapped);
        assert!(matches!(&found, Err(Error::KeyRefused { reason, .. }) if reason.name() == name), "{found:?}");
    }
    // Anything else says nothing of the key. The text is short, and without control characters.
    let text = format!("see \u{1b}[31m{}", "the log ".repeat(1000));
    for reason in [0x02, 0x04, 0x05, 0x07, 0x0A, 0x100, 0xFFFF_FFFF] {
        let text = text.clone();
        fake.set(move |request| Answer::Bytes(refusal(request, reason, &text)));
        for (call, error) in conformance::failures(&vault, &wrapped) {
            let shown = format!("{error:#}");
            assert!(matches!(error, Error::Vault(_)), "{call}: {error:?}");
            assert!(shown.len() < 600 && !shown.contains('\u{1b}') && shown.contains("the log"), "{shown}");
        }
    }
    assert!(matches!(vault.wrap("disks", &conformance::dek()), Err(Error::Vault(_))));
}

/// In a process of its own, since nothing of it is used any more.
#[test]
fn a_failed_self_test_is_told_by_name() {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_spoilt_process", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run by the test above, in a process where a self-test fails"]
fn a_spoilt_process() {
    static FAILS: SelfTest = SelfTest::new("a spoilt algorithm", || false);
    let fake = Fake::new(|request| Answer::Bytes(sound(request)));
    let options = common::options(fake.folder.path(), fake.port, "client").deadline(LONG).fetch_keys(true);
    let vault = KmipVault::new(options).unwrap();
    let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();
    FAILS.check().unwrap_err();
    for result in [vault.wrap("disks", &conformance::dek()).map(drop), vault.unwrap(&wrapped).map(drop)] {
        assert!(matches!(result, Err(Error::SelfTest { algorithm: "a spoilt algorithm" })), "{result:?}");
    }
}

#[test]
fn nothing_shows_a_secret() {
    let fake = Fake::new(|request| Answer::Bytes(sound(request)));
    let vault = vault(&fake, LONG);
    let key = std::fs::read_to_string(fake.folder.path().join("client.key")).unwrap();
    let secret = key.lines().nth(1).unwrap();
    assert!(!format!("{vault:?}").contains(&secret[..20]));
    // A server that repeats the request, as it is or in hexadecimal digits.
    let digits: String = conformance::DEK.iter().map(|byte| format!("{byte:02X}")).collect();
    let dek = String::from_utf8(conformance::DEK.to_vec()).unwrap();
    for (text, secret) in
        [(dek.clone(), &dek[..16]), (digits.clone(), &digits[..32]), (digits[8..].into(), &digits[16..48])]
    {
        let said = format!("can't decode {text}");
        fake.set(move |request| {
            Answer::Bytes(if operation(request) == 0x1F { refusal(request, 0x100, &said) } else { sound(request) })
        });
        let error = vault.wrap("disks", &conformance::dek()).unwrap_err();
        let shown = conformance::shown(&error);
        assert!(
            matches!(error, Error::Vault(_)) && !shown.contains(secret) && shown.contains("General Failure"),
            "{shown}"
        );
    }
    fake.set(|request| Answer::Bytes(sound(request)));
    drop(vault);
    let vault = self::vault(&fake, LONG);
    // A key file with something else in it, whose words aren't repeated.
    std::fs::write(fake.folder.path().join("client.key"), "hunter2").unwrap();
    let error = vault.wrap("disks", &conformance::dek()).unwrap_err();
    assert!(matches!(error, Error::Vault(_)) && !conformance::shown(&error).contains("hunter2"), "{error:?}");
    let missing = KmipVault::new(common::options(fake.folder.path(), fake.port, "client"));
    assert!(matches!(missing, Err(Error::InvalidOption(_))));
    let name = KmipVault::new(common::options(fake.folder.path(), fake.port, "other").id("white space"));
    assert!(matches!(name, Err(Error::InvalidName(_))));
}

#[test]
fn nobody_listens() {
    let fake = Fake::new(|request| Answer::Bytes(sound(request)));
    let vault = vault(&fake, LONG);
    let good = wrapped(&vault);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for host in ["127.0.0.1", "no-such-host.invalid"] {
        let file = |name: &str| fake.folder.path().join(name);
        let options = atrest_kmip::KmipOptions::new(host, file("ca.pem"), file("client.pem"), file("client.key"));
        let away = KmipVault::new(options.port(closed).id(vault.id())).unwrap();
        conformance::is_away(&away, &good, LONG);
    }
    // One that accepts and says nothing, not even TLS.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let options = common::options(fake.folder.path(), port, "client").id(vault.id());
    let away = KmipVault::new(options.deadline(Duration::from_millis(200))).unwrap();
    conformance::is_away(&away, &good, LONG);
}

#[cfg(target_os = "linux")]
#[test]
fn the_connection_of_a_parent_goes_on_after_its_child() {
    use conformance::fork::{forked, in_child, so};

    let fake = Fake::new(|request| Answer::Bytes(sound(request)));
    let vault = vault(&fake, LONG);
    let wrapped = wrapped(&vault);
    let mut vault = Some(vault);
    let ended = in_child(|| {
        let parents = vault.take().unwrap();
        so!(forked(parents.unwrap(&wrapped)));
        drop(parents);
        Ok(())
    });
    assert_eq!(ended, 0, "the child");
    assert_eq!(vault.unwrap().unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
    assert_eq!(fake.connections(), 1);
}
