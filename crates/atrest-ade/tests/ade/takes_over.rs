//! Taking disks over.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use atrest::volume::{Header, KeyslotOptions, ProtectorId};
use atrest::{Credential, Error, FileDevice, OpenOptions, Protector, Volume};
use atrest_ade::{
    Disk, FILE_NAME, Kek, KeyEncryptionKeys, SecretStore, Source, Tags, TakeOverOptions, TokenPassphrase,
};
use atrest_ade::{Vaults, generate_passphrase, open, seal, take_over};

use crate::memory::{MemoryKek, MemorySecrets};
use crate::opens::source;
use crate::peers;
use crate::vaults::MemoryVault;
use crate::volumes::{KEK, cheap, holds_content, luks_format, small, token};

#[test]
fn the_vault_opens_a_disk_afterwards_and_the_old_ways_are_gone() {
    let (secrets, passphrase, vault) =
        (MemorySecrets::default(), generate_passphrase().unwrap(), MemoryVault::new("memory:one"));
    let value = seal(&passphrase, None, &[]).unwrap();
    secrets.set("disk-1", &value, &Tags::new(None, FILE_NAME, "vm-1").to_map()).unwrap();
    let vaults = Vaults { secrets: &[&secrets], keks: &[&MemoryKek] };
    let kek = Kek::new(KEK, "RSA-OAEP-256").unwrap();
    let wrapped = MemoryKek.wrap(&kek.id, kek.algorithm, &passphrase).unwrap();
    for (source, reencrypt) in
        [(source(None, None), false), (Source::Token, false), (source(None, None), true), (Source::Token, true)]
    {
        let device = small(&passphrase, &[token(TokenPassphrase::Wrapped(wrapped.clone())).to_json()]);
        let disk = Disk::new(device.clone());
        let before = open(&disk, &source, vaults, &OpenOptions::new()).unwrap().fingerprint().unwrap();
        let options = TakeOverOptions::new().reencrypt(reencrypt);
        let taken = take_over(&disk, &source, vaults, &vault, "disks", &options).unwrap();
        assert!(holds_content(&taken.volume) && taken.left.is_empty(), "{:?}", taken.left);
        assert_eq!(taken.removed.iter().any(|id| matches!(id, ProtectorId::Keyslot(0))), !reencrypt);
        assert_eq!(taken.volume.fingerprint().unwrap() == before, !reencrypt);
        drop(taken);
        let header = Header::load(&*device).unwrap();
        assert!(header.keyslots().is_empty() && header.tokens().len() == 1, "{header:?}");
        let old = Volume::open(device.clone(), Credential::Passphrase(passphrase.expose()), &OpenOptions::new());
        assert!(matches!(old, Err(Error::NoSuchProtector(_))), "{:?}", old.err());
        // Once more, it does nothing.
        let bytes = device.bytes();
        let again = take_over(&disk, &source, vaults, &vault, "disks", &options).unwrap();
        assert!(holds_content(&again.volume) && again.removed.is_empty() && device.bytes() == bytes);
    }
}

#[test]
fn keyslots_of_others_stay_unless_the_disk_is_reencrypted() {
    let (secrets, passphrase, vault) =
        (MemorySecrets::default(), generate_passphrase().unwrap(), MemoryVault::new("memory:one"));
    secrets.set("disk-1", &seal(&passphrase, None, &[]).unwrap(), &Default::default()).unwrap();
    let vaults = Vaults { secrets: &[&secrets], keks: &[] };
    for reencrypt in [false, true] {
        let disk = Disk::new(small(&passphrase, &[]));
        let volume = open(&disk, &source(None, None), vaults, &OpenOptions::new()).unwrap();
        volume.add_protector(Protector::Passphrase(b"an administrator's"), &cheap()).unwrap();
        drop(volume);
        let options = TakeOverOptions::new().reencrypt(reencrypt);
        let taken = take_over(&disk, &source(None, None), vaults, &vault, "disks", &options).unwrap();
        let expected: &[_] = if reencrypt { &[] } else { &[ProtectorId::Keyslot(1)] };
        assert_eq!(taken.left, expected);
    }
}

#[test]
fn what_fails_leaves_the_old_ways() {
    let (secrets, passphrase, vault) =
        (MemorySecrets::default(), generate_passphrase().unwrap(), MemoryVault::new("memory:one"));
    secrets.set("disk-1", &seal(&passphrase, None, &[]).unwrap(), &Default::default()).unwrap();
    let vaults = Vaults { secrets: &[&secrets], keks: &[] };
    let device = small(&passphrase, &[]);
    let (disk, before) = (Disk::new(device.clone()), device.bytes());
    let take = |key| take_over(&disk, &source(None, None), vaults, &vault, key, &TakeOverOptions::new());
    assert!(matches!(take("no-such-key"), Err(Error::KeyRefused { .. })));
    secrets.is_down.store(true, Relaxed);
    assert!(matches!(take("disks"), Err(Error::Vault(_))));
    assert!(device.bytes() == before);
    secrets.is_down.store(false, Relaxed);
    // The vault loses its key once the token is there: the keyslot must stay.
    let volume = open(&disk, &source(None, None), vaults, &OpenOptions::new()).unwrap();
    volume.add_protector(Protector::Vault(&vault, "disks"), &KeyslotOptions::new()).unwrap();
    drop(volume);
    vault.destroy(1);
    let before = device.bytes();
    assert!(matches!(take("disks"), Err(Error::KeyRefused { .. })));
    assert!(device.bytes() == before);
    assert!(holds_content(&open(&disk, &source(None, None), vaults, &OpenOptions::new()).unwrap()));
}

#[test]
fn disks_of_cryptsetup_are_taken_over_attached_and_detached() {
    // Behaviour 66
    let Some(cryptsetup) = peers::cryptsetup() else { return };
    let (secrets, passphrase, vault) =
        (MemorySecrets::default(), generate_passphrase().unwrap(), MemoryVault::new("memory:one"));
    secrets.set("disk-1", &seal(&passphrase, None, &[]).unwrap(), &Default::default()).unwrap();
    let vaults = Vaults { secrets: &[&secrets], keks: &[] };
    for (kind, is_detached) in [("luks2", false), ("luks2", true), ("luks1", true)] {
        let folder = tempfile::tempdir().unwrap();
        luks_format(folder.path(), &passphrase, kind, is_detached);
        let at = folder.path().join(if is_detached { "osluksheader" } else { "disk" });
        let mut disk = Disk::new(Arc::new(FileDevice::open(folder.path().join("disk")).unwrap()));
        let header = Arc::new(FileDevice::open(&at));
        if is_detached {
            let header = Arc::new(Arc::try_unwrap(header).unwrap().unwrap());
            disk = disk.header(header.clone());
            let volume = open(&disk, &source(None, None), vaults, &OpenOptions::new()).unwrap();
            volume.write_at(0, &[7; 4096]).unwrap();
            drop(volume);
            if kind == "luks1" {
                let refused =
                    take_over(&disk, &source(None, None), vaults, &vault, "disks", &TakeOverOptions::new()).err();
                assert!(
                    matches!(refused, Some(Error::UnsupportedHeader(ref e)) if e.contains("convert")),
                    "{refused:?}"
                );
                Header::load(&*header).unwrap().convert_to_luks2().unwrap();
            }
        } else {
            open(&disk, &source(None, None), vaults, &OpenOptions::new()).unwrap().write_at(0, &[7; 4096]).unwrap();
        }
        let taken = take_over(&disk, &source(None, None), vaults, &vault, "disks", &TakeOverOptions::new()).unwrap();
        let mut bytes = [0; 4096];
        taken.volume.read_at(0, &mut bytes).unwrap();
        assert_eq!((bytes, taken.removed.len(), taken.left.len()), ([7; 4096], 1, 0));
        drop((taken, disk));
        // Others see a sound header without a keyslot.
        let dump = peers::run(&cryptsetup, &["luksDump", peers::text(&at)]);
        assert!(dump.contains("atrest") && !dump.contains("0: luks2"), "{dump}");
        let key = folder.path().join("LinuxPassPhraseFileName");
        let args = ["open", "--test-passphrase", "--key-file", peers::text(&key), peers::text(&at)];
        assert!(!peers::run_any(&cryptsetup, &args).status.success());
    }
}
