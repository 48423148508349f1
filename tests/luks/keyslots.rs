//! Passphrases: keyslots added, changed and removed by either side, and by both in turn.

use std::path::Path;
use std::sync::Arc;

use crate::common::device::reopen;
use crate::common::{cryptsetup, run, run_any, text, vault_at};
use atrest::key::{HashAlgorithm, Kdf};
use atrest::volume::{Header, KeyslotOptions, ProtectorId};
use atrest::volume::{LuksVersion, Priority};
use atrest::{Credential, Error, FileDevice, FormatOptions, OpenOptions, Protector, Volume, hazmat};

fn cheap() -> KeyslotOptions {
    KeyslotOptions::new().kdf(Kdf::Argon2id { memory_kib: 32, passes: 4, lanes: 1 })
}

fn cheap_pbkdf2() -> KeyslotOptions {
    KeyslotOptions::new().kdf(Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 })
}

fn opens(image: &str, passphrase: &str) -> bool {
    let device = reopen(|| FileDevice::open(image)).unwrap();
    match Volume::open(device, Credential::Passphrase(passphrase.as_bytes()), &OpenOptions::new()) {
        Ok(_) => true,
        Err(Error::WrongPassphrase) => false,
        Err(e) => panic!("{e}"),
    }
}

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Files { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> String {
        text(&self.folder.path().join(name)).to_owned()
    }

    /// A file whose bytes are the passphrase.
    fn key(&self, passphrase: &str) -> String {
        let path = self.path(&format!("key-{passphrase}"));
        std::fs::write(&path, passphrase).unwrap();
        path
    }
}

#[test]
fn cryptsetup_opens_ours_and_we_open_its_changes() {
    let Some(cryptsetup) = cryptsetup() else { return };
    for version in [LuksVersion::Luks1, LuksVersion::Luks2] {
        let files = Files::new();
        let image = files.path("image");
        let cost = if version == LuksVersion::Luks1 { cheap_pbkdf2() } else { cheap() };
        let device = FileDevice::create(&image, 20 << 20).unwrap();
        let options = FormatOptions::new().version(version).keyslot(cost.clone());
        let volume = Volume::format(device, Protector::Passphrase(b"one"), &options).unwrap();
        volume.write_at(0, &[7; 512]).unwrap();
        volume.add_protector(Protector::KeyFile(Path::new(&files.key("two"))), &cost).unwrap();
        let dek = hazmat::dek_bytes(&volume.dek()).expose().to_vec();
        drop(volume);

        let theirs = |key: &str| {
            let out = run_any(&cryptsetup, &["open", "--test-passphrase", "--key-file", &files.key(key), &image]);
            out.status.success()
        };
        assert!(theirs("one") && theirs("two") && !theirs("three"), "{version}");
        let out = files.path("dek");
        run(
            &cryptsetup,
            &[
                "luksDump",
                "-q",
                "--dump-volume-key",
                "--volume-key-file",
                &out,
                "--key-file",
                &files.key("one"),
                &image,
            ],
        );
        assert_eq!(std::fs::read(&out).unwrap(), dek, "{version}");

        // They add, we open; they change, we open; we change, they open.
        let fast = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
        let add = ["luksAddKey", "-q", "--key-file", &files.key("one"), &image, &files.key("three")];
        run(&cryptsetup, &[&add[..], &fast].concat());
        assert!(opens(&image, "three") && theirs("three"), "{version}");
        let change = ["luksChangeKey", "-q", "--key-file", &files.key("two"), &image, &files.key("four")];
        run(&cryptsetup, &[&change[..], &fast].concat());
        assert!(opens(&image, "four") && !opens(&image, "two"), "{version}");
        let open = |key: &[u8]| {
            let device = reopen(|| FileDevice::open(&image)).unwrap();
            Volume::open(device, Credential::Passphrase(key), &OpenOptions::new()).unwrap()
        };
        let volume = open(b"four");
        let id = volume.change_keyslot(0, Protector::Passphrase(b"five"), &cost).unwrap();
        assert_ne!(id, 0);
        assert!(matches!(
            volume.change_keyslot(17, Protector::Passphrase(b"x"), &cost),
            Err(Error::NoSuchProtector(_))
        ));
        drop(volume);
        assert!(theirs("five") && !theirs("one") && theirs("three"), "{version}");
        run(&cryptsetup, &["luksRemoveKey", "-q", &image, &files.key("three")]);
        let ids: Vec<u32> = Header::load(&reopen(|| FileDevice::open(&image)).unwrap())
            .unwrap()
            .keyslots()
            .iter()
            .map(|k| k.id)
            .collect();
        assert_eq!(ids.len(), 2, "{version}: {ids:?}");
        {
            let device = reopen(|| FileDevice::open(&image)).unwrap();
            let mut header = Header::load(&device).unwrap();
            let four = ids.iter().copied().find(|&other| other != id).unwrap();
            header.remove_protector(ProtectorId::Keyslot(four)).unwrap();
            assert!(matches!(header.remove_protector(ProtectorId::Keyslot(id)), Err(Error::LastProtector)));
        }
        assert!(theirs("five") && !theirs("four"), "{version}");
        let volume = open(b"five");
        let mut sector = [0; 512];
        volume.read_at(0, &mut sector).unwrap();
        assert_eq!(sector, [7; 512]);
        drop(volume);
        let device = reopen(|| FileDevice::open(&image)).unwrap();
        Header::load(&device).unwrap().erase().unwrap();
        drop(device);
        assert!(!theirs("five"));
    }
}

#[test]
fn a_volume_of_cryptsetup_moves_under_a_vault() {
    // Behaviours 66, 72
    let Some(cryptsetup) = cryptsetup() else { return };
    let files = Files::new();
    let (image, header) = (files.path("image"), files.path("header"));
    std::fs::File::create(&image).unwrap().set_len(4 << 20).unwrap();
    std::fs::File::create(&header).unwrap().set_len(16 << 20).unwrap();
    let fast = ["--pbkdf", "argon2i", "--pbkdf-force-iterations", "4", "--pbkdf-memory", "32"];
    let format = ["luksFormat", "-q", "--type", "luks2", "--key-file", &files.key("one"), "--header", &header, &image];
    run(&cryptsetup, &[&format[..], &fast].concat());
    let vault = vault_at(Path::new(&files.path("vault")));
    let detached = || OpenOptions::new().header(Arc::new(reopen(|| FileDevice::open(&header)).unwrap()));
    let open = |credential| Volume::open(reopen(|| FileDevice::open(&image)).unwrap(), credential, &detached());

    let volume = open(Credential::Passphrase(b"one")).unwrap();
    assert_eq!(volume.size(), 4 << 20);
    assert_eq!(volume.add_protector(Protector::Vault(&vault, "disks"), &cheap()).unwrap(), ProtectorId::Token(0));
    volume.write_at(0, &[9; 4096]).unwrap();
    drop(volume);
    let volume = open(Credential::Vault(&vault)).unwrap();
    volume.header().set_priority(0, Priority::Ignore).unwrap();
    drop(volume);
    let error = open(Credential::Passphrase(b"one")).map(drop).unwrap_err();
    assert!(matches!(error, Error::NoSuchProtector(_)), "{error:?}");
    let named = detached().keyslot(0);
    Volume::open(reopen(|| FileDevice::open(&image)).unwrap(), Credential::Passphrase(b"one"), &named).unwrap();
    drop(named); // it holds the header
    let volume = open(Credential::Vault(&vault)).unwrap();
    volume.header().remove_protector(ProtectorId::Keyslot(0)).unwrap();
    assert!(matches!(volume.header().remove_protector(ProtectorId::Token(0)), Err(Error::LastProtector)));
    let mut sectors = [0; 4096];
    volume.read_at(0, &mut sectors).unwrap();
    assert_eq!(sectors, [9; 4096]);
}

#[test]
fn a_keyslot_of_another_key_is_no_way_in() {
    let Some(cryptsetup) = cryptsetup() else { return };
    let files = Files::new();
    let (image, key) = (files.path("unbound"), files.key("one"));
    std::fs::File::create(&image).unwrap().set_len(20 << 20).unwrap();
    let costs = ["-q", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file", &key];
    run(&cryptsetup, &[&["luksFormat", "--type", "luks2"], &costs[..], &[&image]].concat());
    let unbound = ["luksAddKey", "--unbound", "--key-size", "512"];
    run(&cryptsetup, &[&unbound, &costs[..], &[&image, &key]].concat());

    let device = reopen(|| FileDevice::open(&image)).unwrap();
    let mut header = Header::load(&device).unwrap();
    // It has a digest of its own, but no data for it.
    let keyslots = header.keyslots();
    assert_eq!(keyslots.iter().map(|k| (k.id, k.holds_data_key)).collect::<Vec<_>>(), [(0, true), (1, false)]);
    let digests = header.digests();
    assert_eq!(digests.iter().map(|d| &*d.keyslots).collect::<Vec<_>>(), [[0], [1]]);
    assert_eq!(digests.iter().map(|d| d.segments.len()).collect::<Vec<_>>(), [1, 0]);
    assert!(matches!(header.remove_protector(ProtectorId::Keyslot(0)), Err(Error::LastProtector)));
    header.remove_protector(ProtectorId::Keyslot(1)).unwrap();
    assert_eq!(header.keyslots().len(), 1);
}
