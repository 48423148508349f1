//! A vault file as seen by identities other than its owner.

use std::sync::Arc;

use crate::common::{PASSPHRASE, vault_at};
use atrest::key::{KeyVault, WrappedDek};
use atrest::vault::{FileVault, KeyOperation, Unlock};
use atrest::{Dek, DekAlgorithm, Envelope, Error, KeyRefusal, Secret};

fn outcomes(vault: &dyn KeyVault, wrapped: &WrappedDek) -> [Result<(), Error>; 3] {
    let dek = Secret::copy_from(&[7; 32]);
    [vault.describe("disks", None).map(drop), vault.wrap("disks", &dek).map(drop), vault.unwrap(wrapped).map(drop)]
}

#[test]
fn each_operation_needs_its_own_grant() {
    // Behaviour 17
    let folder = tempfile::tempdir().unwrap();
    let vault = vault_at(&folder.path().join("keys.vault"));
    let wrapped = vault.wrap("disks", &Secret::copy_from(&[9; 32])).unwrap();
    let set = vault.as_identity("set-1");
    assert_eq!((set.id(), set.name()), (vault.id(), "set-1"));
    for bits in 0..8u32 {
        vault.revoke("set-1").unwrap();
        let granted: Vec<_> = (0..3).filter(|i| bits >> i & 1 == 1).map(|i| KeyOperation::ALL[i]).collect();
        if bits != 0 {
            vault.grant("set-1", &granted).unwrap();
        }
        for (operation, outcome) in KeyOperation::ALL.into_iter().zip(outcomes(&set, &wrapped)) {
            match outcome {
                Ok(()) => assert!(granted.contains(&operation), "{bits} {operation:?}"),
                Err(Error::KeyRefused { reason: KeyRefusal::AccessDenied { identity, operation: denied }, .. }) => {
                    assert!(!granted.contains(&operation), "{bits} {operation:?}");
                    assert_eq!((identity.as_str(), denied.as_str()), ("set-1", operation.name()));
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        // Nobody else gains access by it, and the owner needs no grant.
        assert!(outcomes(&vault.as_identity("set-2"), &wrapped).iter().all(Result::is_err));
        assert!(outcomes(&vault.as_identity("set-"), &wrapped).iter().all(Result::is_err));
        assert!(outcomes(&vault, &wrapped).iter().all(Result::is_ok));
    }
}

#[test]
fn what_another_process_revokes_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let owner = vault_at(&path);
    owner.grant("set-1", &KeyOperation::ALL).unwrap();
    // An owner of the handle is not needed: a disk encryption set keeps only this.
    let service: Arc<dyn KeyVault> = {
        let vault = FileVault::open(&path, Unlock::Passphrase(PASSPHRASE)).unwrap();
        Arc::new(vault.as_identity("set-1"))
    };
    let dek = Dek::generate(DekAlgorithm::Aes256Xts).unwrap();
    let envelope = Envelope::seal(&dek, &*service, "disks", b"").unwrap();
    assert_eq!(envelope.unseal(&*service, b"").unwrap(), dek);
    owner.revoke_operations("set-1", &[KeyOperation::UnwrapKey]).unwrap();
    let error = envelope.unseal(&*service, b"").unwrap_err();
    assert!(error.is_revocation() && error.to_string().contains("unwrapKey"), "{error}");
    service.describe("disks", None).unwrap();
    owner.revoke("set-1").unwrap();
    assert!(matches!(
        service.describe("disks", None),
        Err(Error::KeyRefused { reason: KeyRefusal::AccessDenied { .. }, .. })
    ));
    owner.grant("set-1", &KeyOperation::ALL).unwrap();
    assert_eq!(envelope.unseal(&*service, b"").unwrap(), dek);
    // While the vault can't be read, revocation is unknown: this is an outage, not a revocation.
    std::fs::rename(&path, folder.path().join("away")).unwrap();
    let error = envelope.unseal(&*service, b"").unwrap_err();
    assert!(!error.is_revocation(), "{error:?}");
}

#[test]
fn a_denied_identity_learns_nothing_of_the_keys() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault_at(&folder.path().join("keys.vault"));
    let set = vault.as_identity("set-1");
    for key in ["disks", "no such key"] {
        assert!(
            matches!(set.describe(key, None), Err(Error::KeyRefused { reason: KeyRefusal::AccessDenied { .. }, .. })),
            "{key}"
        );
        assert!(
            matches!(
                set.wrap(key, &Secret::zeroed(32)),
                Err(Error::KeyRefused { reason: KeyRefusal::AccessDenied { .. }, .. })
            ),
            "{key}"
        );
    }
}

#[test]
fn grants_are_listed_and_their_names_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let vault = vault_at(&path);
    vault.grant("b", &[KeyOperation::UnwrapKey, KeyOperation::Get, KeyOperation::Get]).unwrap();
    vault.grant("a", &[KeyOperation::WrapKey]).unwrap();
    vault.grant("b", &[KeyOperation::WrapKey]).unwrap();
    vault.revoke_operations("b", &[KeyOperation::Get]).unwrap();
    vault.revoke("nobody").unwrap();
    let again = FileVault::open(&path, Unlock::Passphrase(PASSPHRASE)).unwrap();
    let grants = again.grants().unwrap();
    let listed: Vec<_> = grants.iter().map(|grant| (grant.identity.as_str(), &*grant.operations)).collect();
    let (wrap, unwrap) = (KeyOperation::WrapKey, KeyOperation::UnwrapKey);
    assert_eq!(listed, [("b", &[wrap, unwrap][..]), ("a", &[wrap])]);
    vault.revoke_operations("b", &[wrap, unwrap]).unwrap();
    assert_eq!(again.grants().unwrap().len(), 1);
    for name in ["", "two words", "é", &"x".repeat(257)] {
        assert!(matches!(vault.grant(name, &KeyOperation::ALL), Err(Error::InvalidName(_))), "{name:?}");
    }
    assert!(matches!(vault.grant("c", &[]), Err(Error::InvalidOption(_))));
}
