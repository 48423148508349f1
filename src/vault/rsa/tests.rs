//! Pairs that don't match, and their consequences.

use super::*;
use crate::key::spoilt;
use crate::vault::{FileVault, Unlock};
use crate::{Dek, DekAlgorithm, Envelope};

fn key() -> RsaKey {
    RsaKey(PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap())
}

#[test]
fn halves_of_two_keys_are_no_pair() {
    let [one, other] = [key(), key()];
    assert!(unwraps_of(&one, &one) && unwraps_of(&other, &other));
    assert!(!unwraps_of(&one, &other) && !unwraps_of(&other, &one));
}

/// In a process of its own, in which nothing works any more.
#[test]
fn a_generated_pair_that_fails_latches_and_refuses_everything_by_name() {
    spoilt::passes("vault::rsa::tests::a_process_that_makes_no_pair", "RSA-OAEP (pairwise)");
}

#[test]
#[ignore = "run by the test above, in a process where no generated pair matches"]
fn a_process_that_makes_no_pair() {
    fn refused<T>(result: Result<T>) {
        match result {
            Err(Error::SelfTest { algorithm }) => assert_eq!(algorithm, "RSA-OAEP (pairwise)"),
            Err(e) => panic!("{e:?}"),
            Ok(_) => panic!("it isn't refused"),
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let (root, path) = (folder.path().join("root.key"), folder.path().join("keys.vault"));
    FileVault::generate_key_file(&root).unwrap();
    let vault = FileVault::create(&path, Unlock::KeyFile(&root)).unwrap();
    vault.create_key("aes").unwrap();
    // A key that is brought in is judged by itself, and goes on until then.
    let brought = to_pkcs8(&key().0).unwrap();
    vault.import_rsa_key("brought", brought.expose()).unwrap();
    let dek = Dek::generate(DekAlgorithm::Aes256Xts).unwrap();
    let envelopes = ["aes", "brought"].map(|name| Envelope::seal(&dek, &vault, name, b"7").unwrap());
    let open = key();
    let (algorithm, wrapped) = open.wrap(&Secret::copy_from(&[7; 32])).unwrap();

    refused(vault.create_key_of("generated", KeyKind::Rsa2048));
    // From here on nothing is done for any key, be it RSA or not.
    refused(RsaKey::generate(KeyKind::Rsa2048));
    refused(open.wrap(&Secret::copy_from(&[7; 32])));
    refused(open.unwrap(algorithm, &wrapped));
    for envelope in &envelopes {
        refused(envelope.unseal(&vault, b"7"));
    }
    for name in ["aes", "brought"] {
        refused(Envelope::seal(&dek, &vault, name, b"7"));
        refused(vault.rotate_key(name));
    }
    refused(vault.create_key("another"));
    refused(FileVault::open(&path, Unlock::KeyFile(&root)));
    refused(Dek::generate(DekAlgorithm::Aes256Xts));
    refused(crate::self_test());
}
