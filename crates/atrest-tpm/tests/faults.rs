//! Somebody between this program and the TPM: who reads along, alters answers, gives none, or plays a TPM.

mod common;
#[path = "../../../tests/common/conformance.rs"]
mod conformance;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atrest::key::WrappedDek;
use atrest::{Error, KeyVault};
use atrest_tpm::{TpmAddress, TpmOptions, TpmVault};

use common::{Middle, Swtpm, code};

const CREATE_PRIMARY: u32 = 0x131;
const LOAD: u32 = 0x157;
const UNSEAL: u32 = 0x15E;
const FLUSH_CONTEXT: u32 = 0x165;
const START_AUTH_SESSION: u32 = 0x176;
const POLICY_PCR: u32 = 0x17F;

/// An answer that is a code alone.
fn only(code: u32) -> Vec<u8> {
    [&0x8001u16.to_be_bytes()[..], &10u32.to_be_bytes(), &code.to_be_bytes()].concat()
}

/// A key with a policy and an authorisation value at a real TPM.
fn sealed() -> Option<(Swtpm, WrappedDek)> {
    let tpm = Swtpm::new()?;
    let vault = TpmVault::new(tpm.options_with_auth()).unwrap();
    vault.create_key("disks", Some("sha256:16".parse().unwrap())).unwrap();
    let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();
    Some((tpm, wrapped))
}

fn through(middle: &Middle, tpm: &Swtpm, deadline: Duration) -> TpmVault {
    let options = TpmOptions::new("tpm:test", middle.address.clone(), tpm.path("keys"));
    let auth = atrest_tpm::TpmAuth::File(tpm.path("auth"));
    TpmVault::new(options.auth(auth).deadline(deadline)).unwrap()
}

const LONG: Duration = Duration::from_secs(60);

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn no_secret_crosses_the_bus() {
    let Some(tpm) = Swtpm::new() else { return };
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = seen.clone();
    let middle = Middle::new(
        tpm.path("socket"),
        Box::new(move |command, ask| {
            let answer = ask(command);
            record.lock().unwrap().extend([command, &answer].concat());
            Some(answer)
        }),
    );
    let vault = through(&middle, &tpm, LONG);
    vault.create_key("disks", None).unwrap();
    let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
    // tpm2-tools say what the KEK is.
    tpm.parent();
    tpm.write_sized("key.pub", &tpm.field("disks@1.tpm", "public"));
    tpm.write_sized("key.priv", &tpm.field("disks@1.tpm", "private"));
    tpm.tool("tpm2_load -Q -C parent.ctx -u key.pub -r key.priv -c key.ctx");
    let kek = tpm.tool("tpm2_unseal -c key.ctx -p hex:612076616c7565206f6620612074657374");
    assert_eq!(kek.len(), 32);
    let seen = seen.lock().unwrap();
    assert!(holds(&seen, &tpm.field("disks@1.tpm", "public")), "what is no secret is there");
    for secret in [&kek[..8], &kek[24..], b"a value", conformance::DEK] {
        assert!(!holds(&seen, secret));
    }
}

#[test]
fn altered_answers_unwrap_nothing_else() {
    let Some((tpm, wrapped)) = sealed() else { return };
    // One byte of one answer of each call is altered: which, a counter says.
    let (round, in_call) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (of_middle, commands) = (round.clone(), in_call.clone());
    let middle = Middle::new(
        tpm.path("socket"),
        Box::new(move |command, ask| {
            let mut answer = ask(command);
            let round = of_middle.load(Ordering::SeqCst);
            if code(command) != FLUSH_CONTEXT && commands.fetch_add(1, Ordering::SeqCst) == round % 6 {
                let mut random = (round as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                random ^= random >> 29;
                let at = random as usize % answer.len();
                answer[at] ^= 1 << (random >> 40 & 7);
                // An answer that is cut off is a case of its own.
                let len = answer.len() as u32;
                answer[2..6].copy_from_slice(&len.to_be_bytes());
            }
            Some(answer)
        }),
    );
    let (mut right, mut wrong) = (0, 0);
    for number in 0..240 {
        round.store(number, Ordering::SeqCst);
        in_call.store(0, Ordering::SeqCst);
        let vault = through(&middle, &tpm, LONG);
        match vault.unwrap(&wrapped) {
            Ok(Some(dek)) => {
                assert_eq!(dek, conformance::dek());
                right += 1;
            }
            Err(Error::Vault(_) | Error::KeyRefused { .. }) => wrong += 1,
            other => panic!("{number}: {other:?}"),
        }
        // If a handle was altered, the wrong one was flushed.
        tpm.any("tpm2_flushcontext -t");
        tpm.any("tpm2_flushcontext -l");
        // An altered nonce makes this side's MACs wrong, which the TPM counts as wrong authorisation values.
        tpm.any("tpm2_dictionarylockout --clear-lockout");
    }
    // Not every byte is looked at: the ticket of a storage key, for example.
    assert!(wrong > 120, "{right} unwrapped, {wrong} didn't");
    // The answer of Unseal itself has a MAC over all but its head.
    let middle = Middle::new(
        tpm.path("socket"),
        Box::new(|command, ask| {
            let mut answer = ask(command);
            if code(command) == UNSEAL {
                answer[20] ^= 1; // of the sealed bytes
            }
            Some(answer)
        }),
    );
    let error = through(&middle, &tpm, LONG).unwrap(&wrapped).unwrap_err();
    assert!(matches!(&error, Error::Vault(failure) if failure.what().contains("wrong MAC")), "{error:?}");
    assert_eq!(tpm.loaded(), "");
}

#[test]
fn a_storage_key_of_somebody_else() {
    let Some((tpm, wrapped)) = sealed() else { return };
    let other = Swtpm::new().unwrap();
    // Somebody answers with a storage key whose private half is theirs, to read what is salted for it.
    let theirs = other.path("socket");
    let middle = Middle::new(
        tpm.path("socket"),
        Box::new(move |command, ask| {
            let answer = ask(command);
            if code(command) != CREATE_PRIMARY {
                return Some(answer);
            }
            let mut theirs = std::os::unix::net::UnixStream::connect(&theirs).unwrap();
            Some(common::ask(&mut theirs, command))
        }),
    );
    let error = through(&middle, &tpm, LONG).unwrap(&wrapped).unwrap_err();
    assert!(matches!(&error, Error::Vault(failure) if failure.what().contains("another TPM")), "{error:?}");
}

#[test]
fn what_was_loaded_is_flushed_after_errors() {
    let Some((tpm, wrapped)) = sealed() else { return };
    for command in [CREATE_PRIMARY, LOAD, START_AUTH_SESSION, POLICY_PCR, UNSEAL] {
        // TPM_RC_FAILURE, TPM_RC_COMMAND_CODE, TPM_RC_OBJECT_MEMORY, TPM_RC_SESSION_MEMORY, and a code that nobody knows.
        for answer in [0x101, 0x143, 0x902, 0x903, 0xFFFF_FFFF] {
            let middle = Middle::new(
                tpm.path("socket"),
                Box::new(move |asked, ask| Some(if code(asked) == command { only(answer) } else { ask(asked) })),
            );
            let error = through(&middle, &tpm, LONG).unwrap(&wrapped).unwrap_err();
            assert!(matches!(error, Error::Vault(_)), "{command:#x}, {answer:#x}: {error:?}");
            assert_eq!(tpm.loaded(), "", "{command:#x}, {answer:#x}");
        }
    }
}

#[test]
fn a_tpm_that_is_busy_is_asked_again() {
    let Some((tpm, wrapped)) = sealed() else { return };
    // TPM_RC_RETRY, TPM_RC_YIELDED, TPM_RC_TESTING, TPM_RC_NV_RATE; each command the first two times.
    for answer in [0x922, 0x908, 0x90A, 0x920] {
        let asked = AtomicUsize::new(0);
        let middle = Middle::new(
            tpm.path("socket"),
            Box::new(move |command, ask| {
                let busy = asked.fetch_add(1, Ordering::SeqCst) % 3 < 2;
                Some(if busy { only(answer) } else { ask(command) })
            }),
        );
        assert_eq!(through(&middle, &tpm, LONG).unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
        assert_eq!(tpm.loaded(), "");
    }
    // For ever: until the deadline.
    let middle = Middle::new(tpm.path("socket"), Box::new(|_, _| Some(only(0x922))));
    let start = Instant::now();
    assert!(matches!(through(&middle, &tpm, Duration::from_millis(200)).unwrap(&wrapped), Err(Error::Vault(_))));
    assert!(start.elapsed() < LONG);
    // The registers change while they are looked at (TPM_RC_PCR_CHANGED): they are looked at again, three times at most.
    for (changes, opens) in [(2, true), (3, false)] {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let middle = Middle::new(
            tpm.path("socket"),
            Box::new(move |command, ask| {
                let changed = code(command) == UNSEAL && count.fetch_add(1, Ordering::SeqCst) < changes;
                Some(if changed { only(0x128) } else { ask(command) })
            }),
        );
        assert_eq!(through(&middle, &tpm, LONG).unwrap(&wrapped).is_ok(), opens);
        assert_eq!(tpm.loaded(), "");
    }
}

#[test]
fn a_tpm_that_is_killed_or_silent_in_a_call() {
    let Some((tpm, wrapped)) = sealed() else { return };
    for command in [CREATE_PRIMARY, LOAD, START_AUTH_SESSION, POLICY_PCR, UNSEAL] {
        for answer in [None, Some(&b""[..]), Some(b"\x80\x01\0\0"), Some(b"\x80\x01\0\0\0\x0a\0\0")] {
            let middle = Middle::new(
                tpm.path("socket"),
                Box::new(move |asked, ask| {
                    if code(asked) != command {
                        return Some(ask(asked));
                    }
                    ask(asked);
                    if answer == Some(b"") {
                        std::thread::sleep(Duration::from_millis(400)); // longer than the deadline
                    }
                    answer.map(<[u8]>::to_vec)
                }),
            );
            let vault = through(&middle, &tpm, Duration::from_millis(200));
            let error = vault.unwrap(&wrapped).unwrap_err();
            assert!(matches!(error, Error::Vault(_)), "{command:#x}: {error:?}");
            // Nobody could flush it: that is what a resource manager is for.
            tpm.any("tpm2_flushcontext -t");
            tpm.any("tpm2_flushcontext -l");
        }
    }
    let vault = TpmVault::new(tpm.options_with_auth()).unwrap();
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
    // Killed in the middle of a call.
    let tpm = Arc::new(tpm);
    // The thread in the middle outlives the test, and must not keep the TPM.
    let victim = Arc::downgrade(&tpm);
    let middle = Middle::new(
        tpm.path("socket"),
        Box::new(move |command, ask| {
            if code(command) == UNSEAL {
                victim.upgrade()?.kill();
                return None;
            }
            Some(ask(command))
        }),
    );
    assert!(matches!(through(&middle, &tpm, LONG).unwrap(&wrapped), Err(Error::Vault(_))));
    tpm.start();
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
}

/// Needs no TPM.
#[test]
fn answers_that_make_no_sense() {
    let folder = tempfile::tempdir().unwrap();
    let head = |len: u32, code: u32| [&b"\x80\x02"[..], &len.to_be_bytes(), &code.to_be_bytes()].concat();
    let answers = [
        Vec::new(),
        vec![0; 4096],
        vec![0xFF; 4096],
        head(9, 0),
        head(10, 0),
        head(10, 0x101),
        head(14, 0),
        [head(14, 0), vec![0x80, 0, 0, 0]].concat(),
        [head(18, 0), vec![0x80, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]].concat(),
        [head(20, 0), vec![0x80, 0, 0, 0, 0, 0, 0, 2, 0xFF, 0xFF]].concat(),
        head(4097, 0),
        head(u32::MAX, 0),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
    ];
    for answer in answers {
        let shown = answer[..answer.len().min(24)].to_vec();
        let middle = Middle::new("/nonexistent", Box::new(move |_, _| Some(answer.clone())));
        let options = TpmOptions::new("tpm:test", middle.address.clone(), folder.path());
        let vault = TpmVault::new(options.deadline(Duration::from_millis(300))).unwrap();
        let made = vault.create_key("disks", None);
        assert!(matches!(made, Err(Error::Vault(_))), "{shown:x?}: {made:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is written");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [TpmAddress::tcp(closed), TpmAddress::unix("/nonexistent"), TpmAddress::device("/nonexistent")] {
        let vault = TpmVault::new(TpmOptions::new("tpm:test", address, folder.path())).unwrap();
        assert!(matches!(vault.create_key("disks", None), Err(Error::Vault(_))));
    }
}
