//! New passphrases for disks that stay under Azure Disk Encryption.

use std::sync::Arc;

use atrest::volume::{Header, ProtectorId};
use atrest::{Error, OpenOptions};
use atrest_ade::{
    AdeToken, BACKUP_TOKEN, Disk, FILE_NAME, Kek, KeyEncryptionKeys, ReplaceOptions, SecretStore, SecretUrl,
};
use atrest_ade::{
    Source, TOKEN, Tags, TokenPassphrase, Vaults, generate_passphrase, open, replace_secret, replace_token, seal,
};

use crate::device::{TestDevice, crash_images};
use crate::memory::{ID, MemoryKek, MemorySecrets};
use crate::volumes::{KEK, cheap, holds_content, is_tried, small, token};

fn options() -> ReplaceOptions {
    ReplaceOptions::new().keyslot(cheap())
}

fn at(url: &SecretUrl) -> Source {
    Source::Secret { url: url.clone(), kek: None }
}

fn opens(disk: &Disk, source: &Source, vaults: Vaults<'_>) -> bool {
    open(disk, source, vaults, &OpenOptions::new()).is_ok_and(|volume| holds_content(&volume))
}

#[test]
fn a_secret_is_replaced_and_a_killed_call_is_finished_by_another() {
    for algorithm in [None, Some("RSA-OAEP")] {
        let (secrets, passphrase) = (MemorySecrets::default(), generate_passphrase().unwrap());
        let kek = algorithm.map(|algorithm| Kek::new(KEK, algorithm).unwrap());
        let tags = Tags::new(kek.clone(), FILE_NAME, "vm-1").to_map();
        let value = seal(&passphrase, kek.as_ref(), &[&MemoryKek]).unwrap();
        let version = secrets.set("disk-1", &value, &tags).unwrap();
        let url: SecretUrl = format!("{ID}/secrets/disk-1/{version}").parse().unwrap();
        let vaults = Vaults { secrets: &[&secrets], keks: &[&MemoryKek] };
        let device = small(&passphrase, &[]);
        let (disk, before) = (Disk::new(device.clone()), device.bytes());
        let new = replace_secret(&disk, &url, None, vaults, &options()).unwrap();
        let log = device.take_log();
        assert!(new != url && opens(&disk, &at(&new), vaults) && !opens(&disk, &at(&url), vaults));
        assert_eq!(secrets.get("disk-1", None).unwrap().tags, tags);
        if algorithm.is_none() {
            continue;
        }
        // Each of these disks was killed after the secret had its new version.
        let (mut old, mut moved, mut seen) = (0, 0, 0);
        let count = crash_images(&before, &log, 2, |what, image| {
            if !is_tried(what, &mut seen, 20) {
                return;
            }
            let device = Arc::new(TestDevice::new(image));
            let disk = Disk::new(device.clone());
            let (by_old, by_new) = (opens(&disk, &at(&url), vaults), opens(&disk, &at(&new), vaults));
            assert!(by_old || by_new, "{what}");
            (old, moved) = (old + usize::from(by_old), moved + usize::from(by_new));
            assert_eq!(replace_secret(&disk, &url, None, vaults, &options()).unwrap(), new, "{what}");
            assert!(opens(&disk, &at(&new), vaults) && !opens(&disk, &at(&url), vaults), "{what}");
            assert_eq!(Header::load(&*device).unwrap().keyslots().len(), 1, "{what}");
        });
        println!("{count} crash points, of which some are tried: {old} by the old version, {moved} by the new one");
        assert!(old > 0 && moved > 0 && count > 100);
    }
}

#[test]
fn the_tags_of_a_replaced_secret_name_the_key_that_wraps_it() {
    let (secrets, passphrase) = (MemorySecrets::default(), generate_passphrase().unwrap());
    let kek = Kek::new(KEK, "RSA-OAEP-256").unwrap();
    let other = Kek::new(&KEK.replace("/keys/", "/keys/former-"), "RSA-OAEP").unwrap();
    let value = seal(&passphrase, Some(&kek), &[&MemoryKek]).unwrap();
    let vaults = Vaults { secrets: &[&secrets], keks: &[&MemoryKek] };
    // The tags were lost, or name a key that doesn't wrap it.
    for (name, tags) in [("lost", Default::default()), ("wrong", Tags::new(Some(other), FILE_NAME, "vm-1").to_map())] {
        let disk = Disk::new(small(&passphrase, &[]));
        let version = secrets.set(name, &value, &tags).unwrap();
        let url: SecretUrl = format!("{ID}/secrets/{name}/{version}").parse().unwrap();
        let new = replace_secret(&disk, &url, Some(&kek), vaults, &options()).unwrap();
        assert!(opens(&disk, &at(&new), vaults), "{name}");
        let told = secrets.get(name, None).unwrap().tags;
        assert_eq!(Tags::read(&told).unwrap().kek.as_ref(), Some(&kek), "{name}");
        let kept = |tags: &std::collections::BTreeMap<String, String>| tags.get("MachineName").cloned();
        assert_eq!(kept(&told), kept(&tags), "{name}");
    }
}

#[test]
fn no_secret_is_made_for_a_disk_that_it_does_not_open() {
    let (secrets, passphrase) = (MemorySecrets::default(), generate_passphrase().unwrap());
    let value = seal(&generate_passphrase().unwrap(), None, &[]).unwrap();
    let version = secrets.set("disk-1", &value, &Default::default()).unwrap();
    let vaults = Vaults { secrets: &[&secrets], keks: &[] };
    let disk = Disk::new(small(&passphrase, &[]));
    let replace = |url: String| replace_secret(&disk, &url.parse().unwrap(), None, vaults, &options());
    assert!(matches!(replace(format!("{ID}/secrets/disk-1/{version}")), Err(Error::WrongPassphrase)));
    assert!(matches!(replace(format!("{ID}/secrets/disk-1")), Err(Error::InvalidOption(_))));
    assert_eq!(secrets.get("disk-1", None).unwrap().version, version);
}

/// Whether what the extension reads opens the disk: the first token of its type, or else the backup.
fn extension_opens(device: &Arc<TestDevice>, vaults: Vaults<'_>) -> bool {
    let tokens = Header::load(&**device).unwrap().tokens();
    let first = |kind| tokens.iter().find(|token| token.kind == kind);
    let found = first(TOKEN).or(first(BACKUP_TOKEN)).unwrap();
    let alone = Arc::new(TestDevice::new(device.bytes()));
    let mut header = Header::load(&*alone).unwrap();
    for token in tokens.iter().filter(|token| token.id != found.id) {
        header.remove_protector(ProtectorId::Token(token.id)).unwrap();
    }
    opens(&Disk::new(alone), &Source::Token, vaults)
}

#[test]
fn a_token_is_replaced_and_the_extension_finds_one_that_opens_at_any_time() {
    let vaults = Vaults { secrets: &[], keks: &[&MemoryKek] };
    let kek = Kek::new(KEK, "RSA-OAEP-256").unwrap();
    let passphrase = generate_passphrase().unwrap();
    let wrapped = MemoryKek.wrap(&kek.id, kek.algorithm, &passphrase).unwrap();
    let first = token(TokenPassphrase::Wrapped(wrapped));
    let device = small(&passphrase, &[first.to_json()]);
    let (disk, before) = (Disk::new(device.clone()), device.bytes());
    replace_token(&disk, vaults, &options()).unwrap();
    let log = device.take_log();
    let is_replaced = |device: &Arc<TestDevice>, what: &str| {
        let header = Header::load(&**device).unwrap();
        let (keyslots, tokens) = (header.keyslots().len(), header.tokens());
        assert!(keyslots == 1 && tokens.len() == 1 && tokens[0].kind == TOKEN, "{what}: {header:?}");
        let now = AdeToken::read(&tokens[0].json_bytes).unwrap();
        assert!(now.to_json() != first.to_json() && now.vault_resource == first.vault_resource, "{what}");
        assert!(extension_opens(device, vaults), "{what}");
    };
    is_replaced(&device, "whole");
    let mut seen = 0;
    let count = crash_images(&before, &log, 2, |what, image| {
        if !is_tried(what, &mut seen, 20) {
            return;
        }
        let device = Arc::new(TestDevice::new(image));
        let disk = Disk::new(device.clone());
        assert!(opens(&disk, &Source::Token, vaults) && extension_opens(&device, vaults), "{what}");
        replace_token(&disk, vaults, &options()).unwrap_or_else(|e| panic!("{what}: {e:?}"));
        is_replaced(&device, what);
    });
    println!("{count} crash points, of which some are tried");
    assert!(count > 100);
}
