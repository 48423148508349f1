//! Take-overs that are killed at any write.

use std::sync::Arc;

use atrest::key::MAX_WRAPPED;
use atrest::{Credential, OpenOptions, Volume};
use atrest_ade::{Disk, Kek, KeyEncryptionKeys, SecretStore, Source, TakeOverOptions, TokenPassphrase, Vaults};
use atrest_ade::{generate_passphrase, open, seal, take_over};

use crate::device::{TestDevice, crash_images};
use crate::memory::{MemoryKek, MemorySecrets};
use crate::opens::source;
use crate::vaults::MemoryVault;
use crate::volumes::{KEK, holds_content, is_tried, small, token};

/// After a kill the old way opens the disk, or the vault does, and another call finishes.
#[test]
fn a_killed_take_over_leaves_a_way_in_and_is_finished_by_another() {
    let (secrets, passphrase, vault) =
        (MemorySecrets::default(), generate_passphrase().unwrap(), MemoryVault::new("memory:one"));
    secrets.set("disk-1", &seal(&passphrase, None, &[]).unwrap(), &Default::default()).unwrap();
    let kek = Kek::new(KEK, "RSA-OAEP-256").unwrap();
    let wrapped = MemoryKek.wrap(&kek.id, kek.algorithm, &passphrase).unwrap();
    assert!(wrapped.len() <= MAX_WRAPPED);
    let json = token(TokenPassphrase::Wrapped(wrapped)).to_json();
    let vaults = Vaults { secrets: &[&secrets], keks: &[&MemoryKek] };
    for (source, reencrypt, places) in
        [(source(None, None), false, 6), (Source::Token, false, 6), (Source::Token, true, 2)]
    {
        let device = small(&passphrase, std::slice::from_ref(&json));
        let before = device.bytes();
        let options = TakeOverOptions::new().reencrypt(reencrypt);
        drop(take_over(&Disk::new(device.clone()), &source, vaults, &vault, "disks", &options).unwrap());
        let log = device.take_log();
        let (mut old, mut new, mut seen) = (0, 0, 0);
        let count = crash_images(&before, &log, places, |what, image| {
            if !is_tried(what, &mut seen, 8) {
                return;
            }
            let device = Arc::new(TestDevice::new(image));
            let disk = Disk::new(device.clone());
            let by_vault = Volume::open(device.clone(), Credential::Vault(&vault), &OpenOptions::new());
            match by_vault {
                Ok(volume) => {
                    assert!(holds_content(&volume), "{what}");
                    new += 1;
                }
                Err(_) => {
                    let volume = open(&disk, &source, vaults, &OpenOptions::new());
                    assert!(volume.as_ref().is_ok_and(holds_content), "{what}: {:?}", volume.err());
                    old += 1;
                }
            }
            let taken = take_over(&disk, &source, vaults, &vault, "disks", &options);
            let taken = taken.unwrap_or_else(|e| panic!("{what}: {e:?}"));
            assert!(holds_content(&taken.volume) && taken.left.is_empty(), "{what}: {:?}", taken.left);
            let header = taken.volume.header();
            assert!(header.keyslots().is_empty() && header.tokens().len() == 1, "{what}: {header:?}");
        });
        println!(
            "{count} crash points, of which some are tried, of {source:?}, reencrypt {reencrypt}: {old} old, {new} new"
        );
        assert!(old > 0 && new > 0 && count > 100, "{count}");
    }
}
