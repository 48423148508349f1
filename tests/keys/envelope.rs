//! The record of a wrapped DEK: it opens to the right DEK, and nothing else opens.

use std::sync::atomic::Ordering;

use crate::common::vaults::{Lie, LyingVault, MemoryVault};
use crate::common::{hex, pipe, python, vault_at};
use atrest::key::{DekAlgorithm, MAX_CONTEXT, WrapAlgorithm};
use atrest::{Dek, Envelope, Error, KeyRefusal, hazmat};
use proptest::prelude::*;

const CONTEXT: &[u8] = b"disk-17";

/// A vault, a DEK, and an envelope of it.
fn sealed(algorithm: DekAlgorithm) -> (MemoryVault, Dek, Vec<u8>) {
    let vault = MemoryVault::new("memory:one");
    let dek = Dek::generate(algorithm).unwrap();
    let bytes = Envelope::seal(&dek, &vault, "disks", CONTEXT).unwrap().to_bytes();
    (vault, dek, bytes)
}

fn open(bytes: &[u8], vault: &MemoryVault) -> atrest::Result<Dek> {
    Envelope::from_bytes(bytes)?.unseal(vault, CONTEXT)
}

#[test]
fn an_envelope_gives_its_dek_back() {
    for algorithm in [DekAlgorithm::Aes128Xts, DekAlgorithm::Aes256Xts, DekAlgorithm::Aes256Ctr] {
        let (vault, dek, bytes) = sealed(algorithm);
        let envelope = Envelope::from_bytes(&bytes).unwrap();
        assert_eq!(envelope.to_bytes(), bytes);
        assert_eq!(envelope.kek().to_string(), "memory:one/keys/disks/1");
        assert_eq!(envelope.dek_algorithm(), algorithm);
        assert_eq!(envelope.wrap_algorithm(), WrapAlgorithm::Aes256Kw);
        assert_eq!(envelope.context(), CONTEXT);
        assert_eq!(envelope.unseal(&vault, CONTEXT).unwrap(), dek);
    }
}

#[test]
fn an_envelope_of_a_file_vault_outlives_a_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault_at(&folder.path().join("keys.vault"));
    let dek = Dek::generate(DekAlgorithm::Aes256Xts).unwrap();
    let before = Envelope::seal(&dek, &vault, "disks", b"").unwrap();
    vault.rotate_key("disks").unwrap();
    let after = Envelope::seal(&dek, &vault, "disks", b"").unwrap();
    assert_eq!((before.kek().version(), after.kek().version()), ("1", "2"));
    assert_eq!(before.unseal(&vault, b"").unwrap(), dek);
    assert_eq!(after.unseal(&vault, b"").unwrap(), dek);
}

#[test]
fn no_flip_of_a_bit_opens() {
    for algorithm in [DekAlgorithm::Aes128Xts, DekAlgorithm::Aes256Xts, DekAlgorithm::Aes256Ctr] {
        let (vault, _, mut bytes) = sealed(algorithm);
        // A version that a flip can name must exist, to get as far as the unwrapping.
        (0..8).for_each(|_| vault.rotate());
        let url = 20 + "memory:one/keys/disks/1".len();
        let (wrapped, context) = (url + algorithm.key_len() + 8, url + algorithm.key_len() + 8 + CONTEXT.len());
        for bit in 0..bytes.len() * 8 {
            let at = bit / 8;
            bytes[at] ^= 1 << (bit % 8);
            let error = open(&bytes, &vault).unwrap_err();
            let right = match at {
                10..14 => matches!(error, Error::UnsupportedAlgorithm(_) | Error::Vault(_)),
                _ if at < 20 => matches!(error, Error::InvalidEnvelope(_)),
                _ if at < url => matches!(
                    error,
                    Error::InvalidEnvelope(_)
                        | Error::NotThisVault { .. }
                        | Error::KeyRefused { reason: KeyRefusal::Missing, .. }
                        | Error::UnwrapFailed
                ),
                _ if at < wrapped => matches!(error, Error::UnwrapFailed),
                _ if at < context => matches!(error, Error::ContextMismatch),
                _ => matches!(error, Error::InvalidEnvelope(_)),
            };
            assert!(right, "bit {bit} of byte {at}: {error:?}");
            bytes[at] ^= 1 << (bit % 8);
        }
        open(&bytes, &vault).unwrap();
    }
}

#[test]
fn a_key_is_not_made_one_for_another_mode() {
    for (algorithm, other) in [(DekAlgorithm::Aes128Xts, 7), (DekAlgorithm::Aes256Ctr, 1)] {
        let (vault, dek, mut bytes) = sealed(algorithm);
        assert_eq!(dek.algorithm().key_len(), DekAlgorithm::from_code(other).unwrap().key_len());
        bytes[10..12].copy_from_slice(&other.to_be_bytes());
        assert!(matches!(open(&bytes, &vault), Err(Error::InvalidEnvelope(_))));
    }
}

#[test]
fn no_envelope_opens_that_was_cut_off_or_has_more_behind_it() {
    let (vault, _, bytes) = sealed(DekAlgorithm::Aes256Xts);
    for len in 0..bytes.len() {
        let error = open(&bytes[..len], &vault).unwrap_err();
        assert!(matches!(&error, Error::InvalidEnvelope(what) if what.contains(&len.to_string())), "{len}: {error}");
    }
    for more in 1..=Envelope::MAX_LEN - bytes.len() {
        let longer = [&bytes[..], &vec![0; more]].concat();
        assert!(matches!(open(&longer, &vault), Err(Error::InvalidEnvelope(_))), "{more} more");
    }
}

#[test]
fn another_context_is_refused_before_the_vault_is_asked() {
    let (vault, _, bytes) = sealed(DekAlgorithm::Aes256Xts);
    let asked = vault.asked.load(Ordering::Relaxed);
    for context in [&b""[..], b"disk-1", b"disk-18", b"disk-17\0"] {
        let result = Envelope::from_bytes(&bytes).unwrap().unseal(&vault, context);
        assert!(matches!(result, Err(Error::ContextMismatch)));
    }
    assert_eq!(vault.asked.load(Ordering::Relaxed), asked);
}

#[test]
fn a_context_that_is_too_long_is_refused() {
    let (vault, dek, _) = sealed(DekAlgorithm::Aes128Xts);
    let error = Envelope::seal(&dek, &vault, "disks", &[1; MAX_CONTEXT + 1]).unwrap_err();
    assert!(matches!(error, Error::ContextLength { len: 1025 }));
    assert!(error.to_string().contains("1024") && error.to_string().contains("1025"), "{error}");
    let longest = Envelope::seal(&dek, &vault, "disks", &[1; MAX_CONTEXT]).unwrap();
    assert!(longest.to_bytes().len() <= Envelope::MAX_LEN);
    assert_eq!(Envelope::from_bytes(&longest.to_bytes()).unwrap().unseal(&vault, &[1; MAX_CONTEXT]).unwrap(), dek);
}

#[test]
fn another_vault_is_refused_and_the_right_one_named() {
    let (_, _, bytes) = sealed(DekAlgorithm::Aes256Xts);
    let error = open(&bytes, &MemoryVault::new("memory:two")).unwrap_err();
    assert!(matches!(&error, Error::NotThisVault { wanted } if wanted == "memory:one/keys/disks/1"), "{error:?}");
    assert!(error.to_string().contains("memory:one/keys/disks/1"));
}

#[test]
fn a_key_that_is_gone_is_named() {
    let (vault, dek, bytes) = sealed(DekAlgorithm::Aes256Xts);
    vault.rotate();
    vault.destroy(1);
    let error = open(&bytes, &vault).unwrap_err();
    assert!(
        matches!(&error, Error::KeyRefused { key, reason: KeyRefusal::Missing } if key == "memory:one/keys/disks/1"),
        "{error:?}"
    );
    assert!(matches!(
        Envelope::seal(&dek, &vault, "tapes", b""),
        Err(Error::KeyRefused { reason: KeyRefusal::Missing, .. })
    ));
    assert!(matches!(Envelope::seal(&dek, &vault, "no/key", b""), Err(Error::InvalidName(_))));
}

#[test]
fn version_1_takes_keys_for_xts_only() {
    let (vault, _, mut bytes) = sealed(DekAlgorithm::Aes128Xts);
    let asked = vault.asked.load(Ordering::Relaxed);
    for algorithm in [DekAlgorithm::Aes128Cbc, DekAlgorithm::Aes192Cbc, DekAlgorithm::Aes256Cbc] {
        let dek = Dek::generate(algorithm).unwrap();
        let error = Envelope::seal(&dek, &vault, "disks", CONTEXT).unwrap_err();
        assert!(matches!(&error, Error::UnsupportedAlgorithm(name) if name == algorithm.name()), "{error:?}");
        bytes[10..12].copy_from_slice(&algorithm.code().to_be_bytes());
        assert!(matches!(Envelope::from_bytes(&bytes), Err(Error::UnsupportedAlgorithm(_))));
    }
    assert_eq!(vault.asked.load(Ordering::Relaxed), asked);
}

#[test]
fn a_vault_that_lies_is_caught() {
    let (vault, dek, bytes) = sealed(DekAlgorithm::Aes256Xts);
    let unseal = |lie| Envelope::from_bytes(&bytes).unwrap().unseal(&LyingVault(&vault, lie), CONTEXT).unwrap_err();
    assert!(matches!(unseal(Lie::AnotherKey), Error::InvalidEnvelope(_)));
    assert!(matches!(unseal(Lie::EqualHalves), Error::EqualKeyHalves));
    assert!(matches!(unseal(Lie::NotMine), Error::NotThisVault { .. }));
    for len in [0, 1, 32, 63, 65, 4096] {
        let error = unseal(Lie::KeyOfLength(len));
        assert!(
            matches!(&error, Error::Vault(failure) if failure.what().contains(&format!("{len} bytes"))),
            "{len}: {error:?}"
        );
    }
    let seal = |lie| Envelope::seal(&dek, &LyingVault(&vault, lie), "disks", b"").unwrap_err();
    for (lie, says) in [
        (Lie::AnotherName, "memory:one/keys/tapes/1"),
        (Lie::AnotherVault, "memory:another/keys/disks/1"),
        (Lie::WrappedOfLength(0), "0 bytes"),
        (Lie::WrappedOfLength(1025), "1025 bytes"),
    ] {
        let error = seal(lie);
        assert!(matches!(&error, Error::Vault(failure) if failure.what().contains(says)), "{lie:?}: {error:?}");
    }
}

#[test]
fn python_takes_an_envelope_apart_and_finds_the_same_mac() {
    let Some(python) = python("hmac") else { return };
    // HKDF (RFC 5869) and HMAC from the standard library, the layout from the specification of the format.
    const SCRIPT: &str = "
import sys, hmac, struct
env, dek = bytes.fromhex(sys.argv[1]), bytes.fromhex(sys.argv[2])
sha = lambda key, data: hmac.new(key, data, 'sha256').digest()
version, algorithm, wrap, *lengths = struct.unpack('>8x6H', env[:20])
parts, at = [], 20
for length in lengths:
    parts.append(env[at:at + length]); at += length
key = sha(sha(bytes(32), dek), b'atrest envelope v1' + b'\\x01')
assert env[:8] == b'atrestEV' and len(env) == at + 32, 'layout'
assert hmac.compare_digest(env[at:], sha(key, env[:at])), 'mac'
print(version, algorithm, wrap, parts[0].decode(), len(parts[1]), parts[2].decode())
";
    for (algorithm, says) in [
        (DekAlgorithm::Aes128Xts, "1 1 1 memory:one/keys/disks/1 40 disk-17"),
        (DekAlgorithm::Aes256Xts, "1 2 1 memory:one/keys/disks/1 72 disk-17"),
    ] {
        let (_, dek, bytes) = sealed(algorithm);
        let (envelope, dek) = (hex(&bytes), hex(hazmat::dek_bytes(&dek).expose()));
        let printed = pipe(&python, &["-c", SCRIPT, &envelope, &dek], b"");
        assert_eq!(String::from_utf8(printed).unwrap().trim(), says);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Envelope::from_bytes(&bytes).is_err());
        // The same behind a sound head, so that the later fields are checked too.
        let head = *b"atrestEV\0\x01\0\x02\0\x01";
        prop_assert!(Envelope::from_bytes(&[&head[..], &bytes].concat()).is_err());
        let url = b"memory:one/keys/disks/1";
        let lengths = [0, url.len() as u8, 0, 8, (bytes.len() >> 8) as u8, bytes.len() as u8];
        let whole = [&head[..], &lengths, url, &[7; 8], &bytes, &[9; 32]].concat();
        let envelope = Envelope::from_bytes(&whole).unwrap();
        prop_assert_eq!(envelope.context(), &bytes[..]);
        let vault = MemoryVault::new("memory:one");
        prop_assert!(envelope.unseal(&vault, &bytes).is_err());
    }
}
