//! Disks of Windows: BitLocker volumes, and their startup keys in secrets.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use atrest::volume::{BitLockerOptions, Header, KeyslotOptions, StartupKey};
use atrest::{BlockDevice, Credential, Error, FileDevice, KeyVault, OpenOptions, Protector, Secret, Volume};
use atrest_ade::{
    Disk, DiskCredential, FILE_NAME, Kek, KeyEncryptionKeys, ReplaceOptions, SecretStore, SecretUrl, Source, Tags,
    TakeOverOptions, TokenPassphrase, Vaults, add_secret, add_token, credential, generate_passphrase, open,
    replace_secret, seal, take_over,
};
use atrest_kms::AzureSecrets;

use crate::device::{TestDevice, crash_images, reopen};
use crate::memory::{ID, MemoryKek, MemorySecrets};
use crate::opens::source;
use crate::peers::{self, bitlocker_images, peer, pipe, python, run, text};
use crate::server::{Fake, options};
use crate::vaults::MemoryVault;
use crate::volumes::{KEK, content, holds_content, small, token};

const FILE: &str = "DiskEncryptionKeyFileName";

/// A volume that opens by this startup key, with the content.
fn small_bitlocker(file: &Secret) -> Arc<TestDevice> {
    let device = Arc::new(TestDevice::new(vec![0; 2 << 20]));
    let by = Protector::StartupKeyBytes(file.expose());
    let volume = Volume::format_bitlocker(device.clone(), by, &BitLockerOptions::new()).unwrap();
    volume.write_at(0, &content()).unwrap();
    drop(volume);
    device.take_log();
    device
}

fn key() -> (Secret, String) {
    let key = StartupKey::generate().unwrap();
    (key.bytes(), key.file_name())
}

fn by<D: BlockDevice>(device: D, file: &Secret) -> Volume<D> {
    Volume::open(device, Credential::StartupKeyBytes(file.expose()), &OpenOptions::new()).unwrap()
}

fn url() -> SecretUrl {
    format!("{ID}/secrets/disk-1").parse().unwrap()
}

fn at(url: &SecretUrl) -> Source {
    Source::Secret { url: url.clone(), kek: None }
}

fn opens(device: &Arc<TestDevice>, source: &Source, vaults: Vaults<'_>) -> bool {
    open(&Disk::new(device.clone()), source, vaults, &OpenOptions::new()).is_ok_and(|volume| holds_content(&volume))
}

fn protectors(device: &Arc<TestDevice>) -> usize {
    Header::load(&**device).unwrap().keyslots().len()
}

/// The tags of a secret as the extension for Windows has them.
fn tags(kek: Option<Kek>) -> Tags {
    let mut tags = Tags::default();
    (tags.kek, tags.machine_name) = (kek, Some("vm-1".into()));
    (tags.volume_letter, tags.volume_label) = (Some("F:\\".into()), Some("data".into()));
    tags
}

fn with_file(tags: &Tags, name: &str) -> BTreeMap<String, String> {
    let mut all = tags.to_map();
    all.insert(FILE.into(), name.into());
    all
}

#[test]
fn a_disk_opens_by_its_startup_key_however_that_is_wrapped() {
    // Behaviours 65, 66, 67
    let (secrets, (file, name)) = (MemorySecrets::default(), key());
    let device = small_bitlocker(&file);
    let vaults = Vaults { secrets: &[&secrets], keks: &[&MemoryKek] };
    let before = device.bytes();
    for algorithm in ["", "RSA-OAEP", "RSA-OAEP-256", "RSA1_5"] {
        let kek = (!algorithm.is_empty()).then(|| Kek::new(KEK, algorithm).unwrap());
        let value = seal(&file, kek.as_ref(), &[&MemoryKek]).unwrap();
        let tags = tags(kek.clone());
        let named = with_file(&tags, &name);
        let read = Tags::read(&named).unwrap();
        assert_eq!((read.to_map(), read.file_name.as_ref()), (named.clone(), Some(&name)));
        secrets.set("disk-1", &value, &named).unwrap();
        assert!(opens(&device, &source(None, None), vaults), "{algorithm}");
        // The content identifies a startup key; a copied secret may have lost its tags.
        secrets.set("disk-1", &value, &BTreeMap::new()).unwrap();
        assert!(opens(&device, &source(None, kek), vaults), "{algorithm}");
    }
    // The file of 156 bytes in base64, as the documented script decodes it; or in the other alphabet, as wrapped ones are.
    let value = String::from_utf8(pipe("base64", &["-w", "0"], file.expose())).unwrap();
    assert_eq!((file.len(), value.len()), (156, 208));
    for value in [value.clone(), value.replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned()] {
        secrets.set("disk-1", &Secret::copy_from(value.as_bytes()), &BTreeMap::new()).unwrap();
        assert!(opens(&device, &source(None, None), vaults));
    }
    let found = credential(&Disk::new(device.clone()), &source(None, None), vaults).unwrap();
    assert!(matches!(&found, DiskCredential::StartupKey(bytes) if bytes.expose() == file.expose()));
    assert!(Volume::open(device.clone(), found.credential(), &OpenOptions::new()).is_ok());
    assert!(device.bytes() == before);
}

#[test]
fn secrets_of_linux_and_of_windows_and_of_other_volumes_are_told_apart() {
    let (secrets, (file, name), passphrase) = (MemorySecrets::default(), key(), generate_passphrase().unwrap());
    let vaults = Vaults { secrets: &[&secrets], keks: &[&MemoryKek] };
    let (windows, linux) = (Disk::new(small_bitlocker(&file)), Disk::new(small(&passphrase, &[])));
    let (other, other_name) = key();
    let kek = Kek::new(KEK, "RSA-OAEP").unwrap();
    let plain = |secret: &Secret| seal(secret, None, &[]).unwrap();
    let cut = Secret::copy_from(&file.expose()[..155]);
    let mut damaged = Secret::copy_from(file.expose());
    damaged.expose_mut()[155] ^= 1;
    let bek = |kek: Option<&Kek>| with_file(&tags(kek.cloned()), &name);
    let of_linux = Tags::new(None, FILE_NAME, "vm-1").to_map();
    let no_tags = BTreeMap::new();
    let long = Secret::copy_from(&[b'A'; 100 << 10]);
    let wrapped = seal(&file, Some(&kek), &[&MemoryKek]).unwrap();
    let id = |name: &str| name.trim_end_matches(".BEK").to_lowercase();
    let (this_id, other_id) = (id(&name), id(&other_name));
    type Case<'c> = (&'c Disk, Secret, &'c BTreeMap<String, String>, Vec<&'c str>);
    let cases: Vec<Case<'_>> = vec![
        (
            &windows,
            plain(&passphrase),
            &of_linux,
            vec!["BitLocker, as Windows has it", "passphrase of a disk of Linux"],
        ),
        (&linux, plain(&file), &no_tags, vec!["LUKS2, as Linux has it", &name, "of Windows"]),
        (&linux, plain(&file), &of_linux, vec!["as Linux has it", &name]),
        // Each protector has its identifier.
        (&windows, plain(&other), &no_tags, vec![&other_id, "doesn't have", &this_id]),
        // Wrapped by a key that nobody names.
        (&windows, wrapped.clone(), &no_tags, vec!["no startup key", "wrapped by a key that its tags don't name"]),
        (&windows, plain(&damaged), &no_tags, vec!["wrong: it opens nothing"]),
        (&windows, plain(&cut), &no_tags, vec!["no startup key"]),
    ];
    let named = bek(None);
    let by_kek = bek(Some(&kek));
    let not_one: Vec<Case<'_>> = vec![
        (&windows, plain(&cut), &named, vec![".BEK", "155 bytes", "name that key, or another version"]),
        (&windows, wrapped.clone(), &named, vec![".BEK", "wrapped by a key that they don't name"]),
        (&windows, Secret::copy_from(b"no base64!"), &named, vec![".BEK", "10 bytes"]),
        (&windows, Secret::copy_from(b""), &named, vec![".BEK", "0 bytes"]),
        (&windows, long, &named, vec![".BEK", "more than 65536"]),
        (&windows, plain(&passphrase), &named, vec![".BEK", "no known version"]),
        (&windows, Secret::copy_from(b"no base64!"), &by_kek, vec!["fails its integrity check"]),
    ];
    for (disk, value, tags, said) in cases.into_iter().chain(not_one) {
        secrets.set("disk-1", &value, tags).unwrap();
        let opened = open(disk, &source(None, None), vaults, &OpenOptions::new()).map(drop).unwrap_err();
        let text = opened.to_string();
        assert!(said.iter().all(|part| text.contains(part)), "{said:?}: {text}");
        let found = credential(disk, &source(None, None), vaults).unwrap_err();
        assert_eq!(found.to_string(), text);
        assert!(!format!("{opened:?}").contains("AAAAAAAA"));
    }
    // A tag that is wrong keeps nobody from what opens the disk.
    for kek in [None, Some(&kek)] {
        secrets.set("disk-1", &seal(&passphrase, kek, &[&MemoryKek]).unwrap(), &bek(kek)).unwrap();
        assert!(holds_content(&open(&linux, &source(None, None), vaults, &OpenOptions::new()).unwrap()));
        secrets
            .set("disk-1", &seal(&file, kek, &[&MemoryKek]).unwrap(), &Tags::new(kek.cloned(), FILE_NAME, "").to_map())
            .unwrap();
        assert!(holds_content(&open(&windows, &source(None, None), vaults, &OpenOptions::new()).unwrap()));
    }
    // Any byte changed, any cut: opened by the right bytes only.
    for at in 0..file.len() {
        let mut bytes = Secret::copy_from(file.expose());
        bytes.expose_mut()[at] ^= 0x11;
        for bytes in [bytes, Secret::copy_from(&file.expose()[..at])] {
            secrets.set("disk-1", &plain(&bytes), &named).unwrap();
            let opened = open(&windows, &source(None, None), vaults, &OpenOptions::new());
            assert!(opened.is_err() || bytes.len() == file.len(), "{at}");
        }
    }
    // Tokens are of LUKS.
    let opened = open(&windows, &Source::Token, vaults, &OpenOptions::new()).map(drop);
    assert!(matches!(opened, Err(Error::NoSuchProtector(_))), "{opened:?}");
    // It has no place for a vault's key.
    secrets.set("disk-1", &plain(&file), &named).unwrap();
    let vault = MemoryVault::new("memory:one");
    let taken = take_over(&windows, &source(None, None), vaults, &vault, "disks", &TakeOverOptions::new());
    let refused = taken.map(drop).unwrap_err();
    assert!(matches!(&refused, Error::UnsupportedHeader(text) if text.contains("copy its data")), "{refused}");
}

#[test]
fn a_disk_gets_its_first_startup_key_and_a_killed_call_is_finished_by_another() {
    for algorithm in [None, Some("RSA-OAEP"), Some("RSA1_5")] {
        let (secrets, (own, _)) = (MemorySecrets::default(), key());
        let tags = tags(algorithm.map(|algorithm| Kek::new(KEK, algorithm).unwrap()));
        let vaults = Vaults { secrets: &[&secrets], keks: &[&MemoryKek] };
        let device = small_bitlocker(&own);
        let before = device.bytes();
        let add = |device: &Arc<TestDevice>| {
            let volume = by(device.clone(), &own);
            add_secret(&volume, &url(), &tags, vaults, &KeyslotOptions::new()).unwrap()
        };
        let made = add(&device);
        let log = device.take_log();
        assert!(opens(&device, &at(&made), vaults) && holds_content(&by(&device, &own)));
        assert_eq!(protectors(&device), 2);
        // The tags name the file as Windows looks for it, and the volume.
        let found = secrets.get("disk-1", None).unwrap();
        let DiskCredential::StartupKey(file) = credential(&Disk::new(device.clone()), &at(&made), vaults).unwrap()
        else {
            panic!("it is no startup key")
        };
        let mut said = with_file(&tags, &StartupKey::parse(file.expose()).unwrap().file_name());
        said.insert("VolumeUUID".into(), Header::load(&*device).unwrap().uuid().into());
        assert_eq!(found.tags, said);
        // Once more, it does nothing.
        let same = device.bytes();
        assert!(add(&device) == made && device.bytes() == same);
        let (mut with, mut without) = (0, 0);
        let count = crash_images(&before, &log, 2, |what, image| {
            let device = Arc::new(TestDevice::new(image));
            assert!(holds_content(&by(device.clone(), &own)), "{what}");
            match opens(&device, &at(&made), vaults) {
                true => with += 1,
                false => without += 1,
            }
            assert!(add(&device) == made && opens(&device, &at(&made), vaults), "{what}");
            assert_eq!(protectors(&device), 2, "{what}");
        });
        println!("{count} crash points: {with} opened by the secret, {without} not yet");
        assert!(with > 0 && without > 0 && count > 15, "{count}: {with}, {without}");
        assert_eq!(secrets.get("disk-1", None).unwrap().version, found.version);
    }
}

#[test]
fn a_startup_key_is_replaced_and_a_killed_call_is_finished_by_another() {
    for algorithm in [None, Some("RSA-OAEP-256")] {
        let (secrets, (own, _)) = (MemorySecrets::default(), key());
        let tags = tags(algorithm.map(|algorithm| Kek::new(KEK, algorithm).unwrap()));
        let vaults = Vaults { secrets: &[&secrets], keks: &[&MemoryKek] };
        let device = small_bitlocker(&own);
        let url = add_secret(&by(&device, &own), &url(), &tags, vaults, &KeyslotOptions::new()).unwrap();
        let (recovery, _) = key();
        by(&device, &own).add_protector(Protector::StartupKeyBytes(recovery.expose()), &KeyslotOptions::new()).unwrap();
        device.take_log();
        let before = device.bytes();
        let replace = |device: &Arc<TestDevice>| {
            replace_secret(&Disk::new(device.clone()), &url, None, vaults, &ReplaceOptions::new()).unwrap()
        };
        let new = replace(&device);
        let log = device.take_log();
        let is_replaced = |device: &Arc<TestDevice>, what: &str| {
            assert!(opens(device, &at(&new), vaults) && !opens(device, &at(&url), vaults), "{what}");
            assert_eq!(protectors(device), 3, "{what}");
            // Those before and behind it stay.
            assert!(
                holds_content(&by(device.clone(), &own)) && holds_content(&by(device.clone(), &recovery)),
                "{what}"
            );
        };
        is_replaced(&device, "whole");
        let (mut was, mut is) =
            (secrets.get("disk-1", url.version()).unwrap().tags, secrets.get("disk-1", None).unwrap().tags);
        let (old_name, new_name) = (was.remove(FILE).unwrap(), is.remove(FILE).unwrap());
        assert!(was == is && old_name != new_name && new_name.ends_with(".BEK") && new_name.len() == 40);
        let (mut old, mut moved) = (0, 0);
        let count = crash_images(&before, &log, 2, |what, image| {
            let device = Arc::new(TestDevice::new(image));
            let (by_old, by_new) = (opens(&device, &at(&url), vaults), opens(&device, &at(&new), vaults));
            assert!(by_old || by_new, "{what}");
            (old, moved) = (old + usize::from(by_old), moved + usize::from(by_new));
            assert_eq!(replace(&device), new, "{what}");
            is_replaced(&device, what);
        });
        println!("{count} crash points: {old} by the old version, {moved} by the new one");
        assert!(old > 0 && moved > 0 && count > 30, "{count}: {old}, {moved}");
    }
}

#[test]
fn what_takes_no_startup_key_is_refused_and_nothing_is_made() {
    let (secrets, (own, _)) = (MemorySecrets::default(), key());
    let vaults = Vaults { secrets: &[&secrets], keks: &[&MemoryKek] };
    let device = small_bitlocker(&own);
    let before = device.bytes();
    let add = |tags: &Tags| add_secret(&by(&device, &own), &url(), tags, vaults, &KeyslotOptions::new()).unwrap_err();
    // Its file is named for the key.
    let named = add(&Tags::new(None, FILE_NAME, "vm-1"));
    assert!(matches!(&named, Error::InvalidOption(text) if text.contains("name none")), "{named}");
    let passphrase = generate_passphrase().unwrap();
    let linux = Volume::open(small(&passphrase, &[]), Credential::Passphrase(passphrase.expose()), &OpenOptions::new());
    let bek = Tags::new(None, "B4B3E070-836C-4AF5-AC5B-66F6FDE6A971.BEK", "vm-1");
    let refused = add_secret(&linux.unwrap(), &url(), &bek, vaults, &KeyslotOptions::new()).unwrap_err();
    assert!(matches!(refused, Error::InvalidOption(_)), "{refused}");
    let tokens = add_token(&by(&device, &own), &token(TokenPassphrase::default()), vaults, &KeyslotOptions::new());
    assert!(matches!(&tokens, Err(Error::UnsupportedHeader(text)) if text.contains("take a secret")), "{tokens:?}");
    let read_only = OpenOptions::new().read_only(true);
    let read_only = Volume::open(&device, Credential::StartupKeyBytes(own.expose()), &read_only).unwrap();
    let refused = add_secret(&read_only, &url(), &tags(None), vaults, &KeyslotOptions::new());
    assert!(matches!(refused, Err(Error::ReadOnly)), "{refused:?}");
    assert!(matches!(secrets.get("disk-1", None), Err(Error::KeyRefused { .. })));
    // A secret of a disk of Linux, or of another volume, is there already.
    let value = seal(&generate_passphrase().unwrap(), None, &[]).unwrap();
    for there in [Tags::new(None, FILE_NAME, "vm-1").to_map(), with_file(&tags(None), "x.BEK")] {
        secrets.set("disk-1", &value, &there).unwrap();
        assert!(matches!(add(&tags(None)), Error::ResourceExists(_)));
    }
    // The secret that a killed call leaves has the name of the file, by which Windows finds it.
    let mut unnamed = tags(None).to_map();
    unnamed.insert("VolumeUUID".into(), Header::load(&*device).unwrap().uuid().into());
    secrets.set("disk-1", &seal(&key().0, None, &[]).unwrap(), &unnamed).unwrap();
    let refused =
        add_secret(&by(&device, &own), &url(), &tags(None), vaults, &KeyslotOptions::new()).map(drop).unwrap_err();
    assert!(matches!(refused, Error::ResourceExists(_)), "{refused}");
    assert!(device.bytes() == before);
    // No secret is made for a disk that the old one doesn't open.
    let version = secrets.set("disk-1", &seal(&key().0, None, &[]).unwrap(), &BTreeMap::new()).unwrap();
    let url = format!("{ID}/secrets/disk-1/{version}").parse().unwrap();
    let replaced = replace_secret(&Disk::new(device.clone()), &url, None, vaults, &ReplaceOptions::new());
    assert!(matches!(replaced, Err(Error::NoSuchProtector(_))), "{replaced:?}");
    assert_eq!(secrets.get("disk-1", None).unwrap().version, version);
}

/// The content, which begins as a file system of Windows does: libbde looks for that.
fn ntfs(size: u64) -> Vec<u8> {
    let mut bytes = content();
    bytes[..512].fill(0);
    bytes[..11].copy_from_slice(b"\xeb\x52\x90NTFS    ");
    bytes[11..14].copy_from_slice(&[0, 2, 8]); // sectors of 512 bytes, of which 8 are a cluster
    (bytes[21], bytes[48], bytes[56], bytes[64], bytes[68]) = (0xf8, 4, 8, 0xf6, 1);
    bytes[40..48].copy_from_slice(&(size / 512 - 1).to_le_bytes());
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes
}

/// On the fake of Azure Key Vault, whose RSA is that of another library, and in a vault file.
#[test]
fn a_startup_key_lies_in_key_vault_and_in_a_vault_file() {
    // Behaviours 66, 67
    let (own, _) = key();
    let moved = |name: &str, tags: &Tags, vaults: Vaults<'_>| {
        let device = small_bitlocker(&own);
        let url = format!("{ID}/secrets/{name}").parse().unwrap();
        let first = add_secret(&by(&device, &own), &url, tags, vaults, &KeyslotOptions::new()).unwrap();
        assert!(opens(&device, &at(&first), vaults), "{name}");
        let disk = Disk::new(device.clone());
        let next = replace_secret(&disk, &first, None, vaults, &ReplaceOptions::new()).unwrap();
        assert!(opens(&device, &at(&next), vaults) && !opens(&device, &at(&first), vaults), "{name}");
        assert!(holds_content(&by(&device, &own)), "{name}");
        next
    };
    let folder = tempfile::tempdir().unwrap();
    let vault = crate::file_vault::vault(folder.path());
    moved("in-a-file", &tags(None), Vaults { secrets: &[&vault], keks: &[] });
    let Some(fake) = Fake::start() else { return };
    let (secrets, keys) = (AzureSecrets::new(&options(fake.port)).unwrap(), fake.vault());
    let vaults = Vaults { secrets: &[&secrets], keks: &[&keys] };
    let id = keys.describe("disks", None).unwrap().unwrap().id.to_string();
    for algorithm in ["", "RSA-OAEP", "RSA-OAEP-256", "RSA1_5"] {
        let kek = (!algorithm.is_empty()).then(|| Kek::new(&id, algorithm).unwrap());
        let next = moved(&format!("by-{}", algorithm.replace('_', "-")), &tags(kek.clone()), vaults);
        let found = SecretStore::get(&secrets, next.name(), next.version()).unwrap();
        let value = std::str::from_utf8(found.value.expose()).unwrap();
        let bytes = match kek {
            None => Secret::copy_from(&atrest_http::base64_decode(value).unwrap()),
            Some(kek) => {
                let wrapped = atrest_http::base64url_decode(value).unwrap();
                KeyEncryptionKeys::unwrap(&keys, &kek.id, kek.algorithm, &wrapped).unwrap()
            }
        };
        assert_eq!(StartupKey::parse(bytes.expose()).unwrap().file_name(), found.tags[FILE]);
    }
}

/// Has dissect and libbde open a volume by a file, and read the content.
fn peers_read(image: &Path, file: &Path, content: &[u8]) {
    let hash = String::from_utf8(pipe("sha256sum", &[], content)).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/bitlocker/peer.py");
    for (name, module) in [("dissect", "dissect.fve"), ("libbde", "pybde")] {
        let Some(python) = python(module) else { continue };
        let place = format!("0+{}", content.len());
        let read = run(&python, &[script, name, text(image), "file", text(file), &place]);
        assert_eq!(read.trim(), hash.split(' ').next().unwrap(), "{name}");
    }
}

/// Has these and other programs open a volume by the file in a secret's value.
fn peers_open(folder: &Path, image: &Path, file: &Path, content: &[u8]) {
    peers_read(image, file, content);
    if let Some(cryptsetup) = peers::cryptsetup() {
        run(&cryptsetup, &["open", "--type", "bitlk", "--test-passphrase", "--key-file", text(file), text(image)]);
    }
    if let Some(dislocker) = peer("dislocker-file", &["-h"]) {
        let plain = folder.join("plain");
        run(&dislocker, &["-V", text(image), "-f", text(file), "--", text(&plain)]);
        assert!(std::fs::read(&plain).unwrap()[..content.len()] == *content, "dislocker");
        std::fs::remove_file(plain).unwrap();
    }
}

/// The value of the secret, decoded as the documented script does it, is the file; the tag is its name.
#[test]
fn other_programs_open_a_volume_by_the_file_in_its_secret() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("win.img");
    std::fs::File::create(&image).unwrap().set_len(2 << 20).unwrap();
    let (own, _) = key();
    let device = FileDevice::open(&image).unwrap();
    let volume =
        Volume::format_bitlocker(device, Protector::StartupKeyBytes(own.expose()), &BitLockerOptions::new()).unwrap();
    let content = ntfs(volume.size());
    volume.write_at(0, &content).unwrap();
    let secrets = MemorySecrets::default();
    let vaults = Vaults { secrets: &[&secrets], keks: &[] };
    let first = add_secret(&volume, &url(), &tags(None), vaults, &KeyslotOptions::new()).unwrap();
    drop(volume);
    let file = || {
        let found = secrets.get("disk-1", None).unwrap();
        let path = folder.path().join(&found.tags[FILE]);
        std::fs::write(&path, pipe("base64", &["-d"], found.value.expose())).unwrap();
        path
    };
    let (old, disk) = (file(), || Disk::new(Arc::new(FileDevice::open(&image).unwrap())));
    peers_open(folder.path(), &image, &old, &content);
    replace_secret(&disk(), &first, None, vaults, &ReplaceOptions::new()).unwrap();
    peers_open(folder.path(), &image, &file(), &content);
    if let Some(cryptsetup) = peers::cryptsetup() {
        let args = ["open", "--type", "bitlk", "--test-passphrase", "--key-file", text(&old), text(&image)];
        assert!(!peers::run_any(&cryptsetup, &args).status.success());
    }
}

/// Volumes that Windows made, by the startup keys that it wrote. A copy of each gets another.
#[test]
fn volumes_of_windows_open_by_the_file_in_their_secret() {
    let Some(images) = bitlocker_images("dissect") else { return };
    let folder = tempfile::tempdir().unwrap();
    for name in ["startup_key", "recovery_key"] {
        let file = Secret::copy_from(&std::fs::read(images.join(name).with_extension("bek")).unwrap());
        let key_name = StartupKey::parse(file.expose()).unwrap().file_name();
        let image = folder.path().join(name);
        run("cp", &["--sparse=always", text(&images.join(name).with_extension("bin")), text(&image)]);
        run("chmod", &["u+w", text(&image)]);
        let disk = || Disk::new(Arc::new(reopen(|| FileDevice::open(&image)).unwrap()));
        let secrets = MemorySecrets::default();
        let vaults = Vaults { secrets: &[&secrets], keks: &[&MemoryKek] };
        let kek = Kek::new(KEK, "RSA-OAEP").unwrap();
        let value = seal(&file, Some(&kek), &[&MemoryKek]).unwrap();
        let version = secrets.set("disk-1", &value, &with_file(&tags(Some(kek)), &key_name)).unwrap();
        let first: SecretUrl = format!("{ID}/secrets/disk-1/{version}").parse().unwrap();
        let read = |url: &SecretUrl| {
            let volume = open(&disk(), &at(url), vaults, &OpenOptions::new()).unwrap();
            let mut bytes = vec![0; 1 << 20];
            volume.read_at(0, &mut bytes).unwrap();
            bytes
        };
        let content = read(&first);
        assert_eq!(&content[3..11], b"NTFS    ", "{name}");
        peers_read(&image, &images.join(name).with_extension("bek"), &content);
        let next = replace_secret(&disk(), &first, None, vaults, &ReplaceOptions::new()).unwrap();
        assert!(read(&next) == content && open(&disk(), &at(&first), vaults, &OpenOptions::new()).is_err(), "{name}");
        let DiskCredential::StartupKey(made) = credential(&disk(), &at(&next), vaults).unwrap() else {
            panic!("it is no startup key")
        };
        let made_file = folder.path().join("made.BEK");
        std::fs::write(&made_file, made.expose()).unwrap();
        peers_read(&image, &made_file, &content);
    }
}
