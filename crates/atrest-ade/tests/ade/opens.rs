//! Opening by a secret or a token.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use atrest::volume::Header;
use atrest::{Error, FileDevice, OpenOptions, Secret};
use atrest_ade::{
    Disk, FILE_NAME, Kek, KeyEncryptionKeys, Source, Tags, TokenPassphrase, Vaults, generate_passphrase, open, seal,
};
use atrest_ade::{SecretStore, TOKEN};

use crate::device::reopen;
use crate::memory::{ID, MemoryKek, MemorySecrets};
use crate::peers::{self, run, text};
use crate::volumes::{KEK, holds_content, luks_format, small, token};

pub fn source(version: Option<&str>, kek: Option<Kek>) -> Source {
    let slash = if version.is_some() { "/" } else { "" };
    let url = format!("{ID}/secrets/disk-1{slash}{}", version.unwrap_or_default());
    Source::Secret { url: url.parse().unwrap(), kek }
}

#[test]
fn passphrases_are_127_random_bytes_in_base64() {
    let (one, two) = (generate_passphrase().unwrap(), generate_passphrase().unwrap());
    assert!(one.len() == 172 && one.expose() != two.expose());
    assert_eq!(atrest_http::base64_decode(std::str::from_utf8(one.expose()).unwrap()).unwrap().len(), 127);
}

#[test]
fn a_disk_opens_by_its_secret_however_that_is_wrapped() {
    // Behaviours 66, 67
    let (secrets, passphrase) = (MemorySecrets::default(), generate_passphrase().unwrap());
    let disk = Disk::new(small(&passphrase, &[]));
    let vaults = Vaults { secrets: &[&secrets], keks: &[&MemoryKek] };
    let opens = |source: &Source| open(&disk, source, vaults, &OpenOptions::new()).map(|volume| holds_content(&volume));
    let mut versions = Vec::new();
    for algorithm in ["", "RSA-OAEP", "RSA-OAEP-256", "RSA1_5"] {
        let kek = (!algorithm.is_empty()).then(|| Kek::new(KEK, algorithm).unwrap());
        let value = seal(&passphrase, kek.as_ref(), &[&MemoryKek]).unwrap();
        let tags = Tags::new(kek, FILE_NAME, "vm-1");
        assert_eq!(Tags::read(&tags.to_map()).unwrap(), tags);
        versions.push(secrets.set("disk-1", &value, &tags.to_map()).unwrap());
        assert!(opens(&source(versions.last().map(String::as_str), None)).unwrap(), "{algorithm}");
        assert!(opens(&source(None, None)).unwrap(), "{algorithm}");
    }
    // Old secrets have no tag with the key's URL, and some programs store the passphrase as it is.
    let kek = Kek::new(KEK, "RSA1_5").unwrap();
    let value = seal(&passphrase, Some(&kek), &[&MemoryKek]).unwrap();
    secrets.set("disk-1", &value, &BTreeMap::new()).unwrap();
    assert!(matches!(opens(&source(None, None)), Err(Error::WrongPassphrase)));
    assert!(opens(&source(None, Some(kek))).unwrap());
    secrets.set("disk-1", &passphrase, &BTreeMap::new()).unwrap();
    assert!(opens(&source(None, None)).unwrap());
    // Another passphrase, a version that isn't there, a vault that isn't named, and one that is away.
    secrets.set("disk-1", &generate_passphrase().unwrap(), &BTreeMap::new()).unwrap();
    assert!(matches!(opens(&source(None, None)), Err(Error::WrongPassphrase)));
    assert!(matches!(opens(&source(Some("9"), None)), Err(Error::KeyRefused { .. })));
    let others = Vaults { secrets: &[], keks: &[&MemoryKek] };
    let wanted = open(&disk, &source(None, None), others, &OpenOptions::new());
    assert!(matches!(wanted, Err(Error::NotThisVault { wanted }) if wanted == format!("{ID}/secrets/disk-1")));
    secrets.is_down.store(true, Relaxed);
    assert!(matches!(opens(&source(None, None)), Err(Error::Vault(_))));
}

#[test]
fn a_disk_opens_by_its_token() {
    let passphrase = generate_passphrase().unwrap();
    let none = Vaults { secrets: &[], keks: &[] };
    let vaults = Vaults { secrets: &[], keks: &[&MemoryKek] };
    for algorithm in ["RSA-OAEP-256", "RSA-OAEP"] {
        let kek = Kek::new(KEK, algorithm).unwrap();
        let wrapped = MemoryKek.wrap(&kek.id, kek.algorithm, &passphrase).unwrap();
        let disk = Disk::new(small(&passphrase, &[token(TokenPassphrase::Wrapped(wrapped)).to_json()]));
        assert!(holds_content(&open(&disk, &Source::Token, vaults, &OpenOptions::new()).unwrap()));
        let refused = open(&disk, &Source::Token, none, &OpenOptions::new());
        assert!(matches!(refused, Err(Error::NotThisVault { .. })));
    }
    let plain = TokenPassphrase::Plain(Secret::copy_from(passphrase.expose()));
    let disk = Disk::new(small(&passphrase, &[token(plain).to_json()]));
    assert!(holds_content(&open(&disk, &Source::Token, none, &OpenOptions::new()).unwrap()));
    let disk = Disk::new(small(&passphrase, &[]));
    assert!(matches!(open(&disk, &Source::Token, vaults, &OpenOptions::new()), Err(Error::NoSuchProtector(_))));
}

#[test]
fn disks_of_cryptsetup_open_attached_and_detached_and_it_takes_the_tokens() {
    let Some(_) = peers::cryptsetup() else { return };
    let (secrets, passphrase) = (MemorySecrets::default(), generate_passphrase().unwrap());
    let value = seal(&passphrase, None, &[]).unwrap();
    secrets.set("disk-1", &value, &Tags::new(None, FILE_NAME, "vm-1").to_map()).unwrap();
    let vaults = Vaults { secrets: &[&secrets], keks: &[&MemoryKek] };
    let kek = Kek::new(KEK, "RSA-OAEP-256").unwrap();
    let wrapped = MemoryKek.wrap(&kek.id, kek.algorithm, &passphrase).unwrap();
    let json = token(TokenPassphrase::Wrapped(wrapped)).to_json();
    for (kind, is_detached) in [("luks2", false), ("luks2", true), ("luks1", false), ("luks1", true)] {
        let folder = tempfile::tempdir().unwrap();
        luks_format(folder.path(), &passphrase, kind, is_detached);
        let at = folder.path().join(if is_detached { "osluksheader" } else { "disk" });
        let mut disk = Disk::new(Arc::new(FileDevice::open(folder.path().join("disk")).unwrap()));
        if is_detached {
            disk = disk.header(Arc::new(reopen(|| FileDevice::open(&at)).unwrap()));
        }
        let volume = open(&disk, &source(None, None), vaults, &OpenOptions::new()).unwrap();
        volume.write_at(0, &[7; 4096]).unwrap();
        drop((volume, disk));
        if kind == "luks1" {
            continue;
        }
        let file = folder.path().join("token.json");
        std::fs::write(&file, &json).unwrap();
        run("cryptsetup", &["token", "import", "--token-id", "5", "--json-file", text(&file), text(&at)]);
        let exported = run("cryptsetup", &["token", "export", "--token-id", "5", text(&at)]);
        let tokens = Header::load(&reopen(|| FileDevice::open(&at)).unwrap()).unwrap().tokens();
        assert_eq!((tokens[0].id, tokens[0].kind.as_str(), tokens[0].json.as_str()), (5, TOKEN, exported.trim()));
        let mut disk = Disk::new(Arc::new(reopen(|| FileDevice::open(folder.path().join("disk"))).unwrap()));
        if is_detached {
            disk = disk.header(Arc::new(reopen(|| FileDevice::open(&at)).unwrap()));
        }
        let volume = open(&disk, &Source::Token, vaults, &OpenOptions::new()).unwrap();
        let mut bytes = [0; 4096];
        volume.read_at(0, &mut bytes).unwrap();
        assert_eq!(bytes, [7; 4096]);
    }
}
