//! Startup keys in files, and clear keys on the volume: added, removed, held against those of Windows, and through crashes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use atrest::volume::{BitLockerOptions, ProtectorId, StartupKey};
use atrest::{Credential, Error, FileDevice, FormatOptions, MemoryDevice, OpenOptions, Protector, Volume};

use super::common::device::{TestDevice, crash_images, reopen};
use super::common::{cryptsetup, hex, peer, python, run, run_any, text};
use super::images::{compare, images};
use super::model::{self, AREA, Model};
use super::support::*;

const PASSWORD: Credential<'static> = Credential::Passphrase(b"password12!@");

/// A copy of an image of Windows that opens by [`PASSWORD`].
fn windows(folder: &Path) -> Option<PathBuf> {
    let image = folder.join("volume");
    run("cp", &["--sparse=always", text(&images("dissect")?.join("aes-xts_128.bin")), text(&image)]);
    Some(image)
}

fn open_image(image: &Path, credential: Credential<'_>) -> Volume<FileDevice> {
    reopen(|| Volume::open(FileDevice::open(image)?, credential, &OpenOptions::new())).unwrap()
}

/// Where two of the same length differ.
fn differ(one: &[u8], other: &[u8]) -> Vec<usize> {
    assert_eq!(one.len(), other.len());
    (0..one.len()).filter(|i| one[*i] != other[*i]).collect()
}

#[test]
fn a_startup_key_is_as_windows_writes_it() {
    let folder = tempfile::tempdir().unwrap();
    let key = StartupKey::generate().unwrap();
    let path = key.write(folder.path()).unwrap();
    let file = std::fs::read(&path).unwrap();
    // The file's name is the identifier in it, in the order in which people read it.
    let id = &file[16..32];
    let first = [3, 2, 1, 0, 5, 4, 7, 6].map(|i| id[i]);
    let rest = &id[8..];
    let name = [&first[..4], &first[4..6], &first[6..], &rest[..2], &rest[2..]].map(hex).join("-").to_uppercase();
    assert_eq!(path, folder.path().join(format!("{name}.BEK")));
    assert_eq!(key.file_name(), format!("{name}.BEK"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    // What is there stays.
    assert!(matches!(key.write(folder.path()), Err(Error::AlreadyExists { .. })));
    assert!(matches!(key.write(folder.path().join("no/x.bek")), Err(Error::NotFound { .. })));
    assert_eq!(key.write(folder.path().join("stick.bek")).unwrap(), folder.path().join("stick.bek"));
    assert_eq!(format!("{key:?}"), "StartupKey");
    assert_ne!(std::fs::read(StartupKey::generate().unwrap().write(folder.path()).unwrap()).unwrap(), file);

    // Its bytes, kept elsewhere, are it.
    let kept = key.bytes();
    assert_eq!(kept.expose(), file);
    assert_eq!(StartupKey::parse(kept.expose()).unwrap().file_name(), key.file_name());
    let device = MemoryDevice::new(4 << 20);
    let by = Protector::StartupKeyBytes(kept.expose());
    let volume = Volume::format_bitlocker(device, by, &BitLockerOptions::new()).unwrap();
    let device = volume.into_device();
    drop(Volume::open(&device, Credential::StartupKey(&path), &OpenOptions::new()).unwrap());
    drop(Volume::open(&device, Credential::StartupKeyBytes(&file), &OpenOptions::new()).unwrap());
    let shown = format!("{by:?} {:?}", Credential::StartupKeyBytes(&file));
    assert_eq!(shown, "Protector::StartupKeyBytes Credential::StartupKeyBytes");

    let Some(images) = images("dissect") else { return };
    let theirs = std::fs::read(images.join("startup_key.bek")).unwrap();
    // Identifiers, times and the key.
    let own = |i: &usize| (16..32).contains(i) || (40..48).contains(i) || (56..80).contains(i) || *i >= 124;
    let wrong: Vec<usize> = differ(&file, &theirs).into_iter().filter(|i| !own(i)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!((&file[40..48], &file[16..32]), (&file[72..80], &file[56..72]));

    // And so is the protector, which is found by its identifier.
    let protector = |image: &Path, id: &[u8]| {
        let mut image = std::fs::read(image).unwrap();
        let at = image.windows(24).position(|at| at[..8] == [0xf0, 0, 2, 0, 8, 0, 1, 0] && at[8..] == *id);
        image.drain(..at.unwrap_or_else(|| panic!("no protector {}", hex(id))));
        image.truncate(240);
        image
    };
    let Some(image) = windows(folder.path()) else { return };
    let volume = open_image(&image, PASSWORD);
    volume.add_protector(Protector::StartupKey(&path), &options()).unwrap();
    drop(volume);
    let ours = protector(&image, &file[16..32]);
    let theirs = protector(&images.join("startup_key.bin"), &theirs[16..32]);
    // Its identifier and time, and what is sealed: the key under the master key, and the master key under it.
    let own = |i: &usize| (8..32).contains(i) || (88..160).contains(i) || *i >= 168;
    let wrong: Vec<usize> = differ(&ours, &theirs).into_iter().filter(|i| !own(i)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(&ours[24..32], &file[40..48], "the time of the file");
}

/// Has every program open an image by a startup key, and says whether it may.
fn judged_by_key(image: &Path, key: &Path, opens: bool) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bitlocker/peer.py");
    for (program, module) in [("dissect", "dissect.fve"), ("libbde", "pybde")] {
        let Some(python) = python(module) else { continue };
        let said = run_any(&python, &[script, program, text(image), "file", text(key), "0+4096"]);
        assert_eq!(said.status.success(), opens, "{program}: {}", String::from_utf8_lossy(&said.stderr));
    }
    if let Some(dislocker) = peer("dislocker-file", &["-h"]) {
        let plain = image.with_extension("plain");
        let said = run_any(&dislocker, &["-V", text(image), "-f", text(key), "--", text(&plain)]);
        assert_eq!(said.status.success(), opens, "dislocker: {}", String::from_utf8_lossy(&said.stdout));
        let _ = std::fs::remove_file(plain);
    }
    if let Some(cryptsetup) = cryptsetup() {
        let arguments = ["open", "--type", "bitlk", "--test-passphrase", "--key-file", text(key), text(image)];
        let said = run_any(&cryptsetup, &arguments);
        assert_eq!(said.status.success(), opens, "cryptsetup: {}", String::from_utf8_lossy(&said.stderr));
    }
}

#[test]
fn other_programs_open_a_volume_by_a_startup_key_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    let Some(image) = windows(folder.path()) else { return };
    let write = || StartupKey::generate().unwrap().write(folder.path()).unwrap();
    let (key, other) = (write(), write());
    let volume = open_image(&image, PASSWORD);
    volume.add_protector(Protector::StartupKey(&key), &options()).unwrap();
    let password = ProtectorId::Keyslot(0);
    assert_eq!(volume.header().keyslots()[0].kind, "password");
    volume.header().remove_protector(password).unwrap();
    drop(volume);
    judged_by_key(&image, &key, true);
    judged_by_key(&image, &other, false);
    let volume = open_image(&image, Credential::StartupKey(&key));
    assert!(compare(&image, "ours", "file", text(&key), &["dissect", "libbde"], &volume) > 10);
    if let Some(cryptsetup) = cryptsetup() {
        let dump = run(&cryptsetup, &["bitlkDump", text(&image)]);
        assert!(dump.contains("VMK protected with startup key"), "{dump}");
    }
    // Replaced by another, and gone.
    let id = volume.header().keyslots().iter().find(|keyslot| keyslot.kind == "startup key").unwrap().id;
    volume.change_keyslot(id, Protector::StartupKey(&other), &options()).unwrap();
    drop(volume);
    judged_by_key(&image, &other, true);
    judged_by_key(&image, &key, false);
}

#[test]
fn other_programs_open_a_volume_that_a_startup_key_made() {
    let folder = tempfile::tempdir().unwrap();
    let key = StartupKey::generate().unwrap().write(folder.path()).unwrap();
    let image = folder.path().join("volume");
    let device = FileDevice::create(&image, (4 << 20) + 4096).unwrap();
    let volume = Volume::format_bitlocker(device, Protector::StartupKey(&key), &BitLockerOptions::new()).unwrap();
    volume.write_at(0, &vec![7; volume.size() as usize]).unwrap();
    drop(volume);
    let volume = open_image(&image, Credential::StartupKey(&key));
    assert!(compare(&image, "ours", "file", text(&key), &["dissect"], &volume) > 7);
    drop(volume);
    if let Some(cryptsetup) = cryptsetup() {
        run(&cryptsetup, &["open", "--type", "bitlk", "--test-passphrase", "--key-file", text(&key), text(&image)]);
    }
}

#[test]
fn other_programs_open_a_volume_while_its_protection_is_suspended() {
    let folder = tempfile::tempdir().unwrap();
    let Some(image) = windows(folder.path()) else { return };
    let clear = |opens: bool| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bitlocker/peer.py");
        for (program, module) in [("dissect", "dissect.fve"), ("libbde", "pybde")] {
            let Some(python) = python(module) else { continue };
            let said = run_any(&python, &[script, program, text(&image), "clear", "", "0+4096"]);
            assert_eq!(said.status.success(), opens, "{program}: {}", String::from_utf8_lossy(&said.stderr));
        }
        if let Some(dislocker) = peer("dislocker-file", &["-h"]) {
            let plain = image.with_extension("plain");
            let said = run_any(&dislocker, &["-V", text(&image), "-c", "--", text(&plain)]);
            assert_eq!(said.status.success(), opens, "dislocker: {}", String::from_utf8_lossy(&said.stdout));
            let _ = std::fs::remove_file(plain);
        }
        if let Some(cryptsetup) = cryptsetup() {
            let dump = run(&cryptsetup, &["bitlkDump", text(&image)]);
            assert_eq!(dump.contains("VMK protected with clear key"), opens, "{dump}");
            // It opens no volume that is suspended, not even one of Windows'.
            std::fs::write(folder.path().join("any"), "any").unwrap();
            let key = folder.path().join("any");
            let arguments = ["open", "--type", "bitlk", "--test-passphrase", "--key-file", text(&key), text(&image)];
            let said = String::from_utf8_lossy(&run_any(&cryptsetup, &arguments).stderr).into_owned();
            assert_eq!(said.contains("partially decrypted"), opens, "cryptsetup: {said}");
        }
    };
    clear(false);
    open_image(&image, PASSWORD).hazmat_suspend_protection().unwrap();
    clear(true);
    let volume = open_image(&image, Credential::ClearKey);
    assert!(compare(&image, "suspended", "clear", "", &["dissect", "libbde"], &volume) > 10);
    assert!(volume.resume_protection().unwrap());
    drop(volume);
    clear(false);
    super::protectors::judged_by_all(&image, "password12!@", None, Some("any"));
}

#[test]
fn protection_is_suspended_and_resumed() {
    let mut model = Model::new(0x8004, 512);
    model.protectors = vec![model::startup_key()];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.BEK");
    std::fs::write(&file, model::startup_key_file()).unwrap();
    let device = device(&model);
    let by_key = Credential::StartupKey(&file);
    let volume = open(&device, by_key).unwrap();
    assert!(!volume.resume_protection().unwrap(), "it isn't suspended");
    assert_eq!(volume.hazmat_suspend_protection().unwrap(), ProtectorId::Keyslot(1));
    let before = device.bytes();
    assert_eq!(volume.hazmat_suspend_protection().unwrap(), ProtectorId::Keyslot(1), "it stays suspended");
    assert!(device.bytes() == before);
    assert_eq!(kinds(&device), ["startup key", "clear key"]);
    let key = volume.fingerprint().unwrap();
    drop(volume);
    let volume = open(&device, Credential::ClearKey).unwrap();
    assert_eq!(volume.fingerprint().unwrap(), key);
    // The key that lies in the clear, which nothing may have afterwards.
    let place = &before[model.copies[0] as usize..][..AREA];
    let at = place.windows(12).position(|at| at == [44, 0, 0, 0, 1, 0, 1, 0, 0, 0x20, 0, 0]).unwrap() + 12;
    let clear = place[at..at + 32].to_vec();
    assert!(volume.resume_protection().unwrap());
    assert!(!device.bytes().windows(32).any(|bytes| bytes == clear), "the clear key is left on the disk");
    assert_eq!(kinds(&device), ["startup key"]);
    drop(volume);
    assert!(matches!(open(&device, Credential::ClearKey), Err(Error::NoSuchProtector(_))));
    assert_eq!(open(&device, by_key).unwrap().fingerprint().unwrap(), key);
    assert_ne!(clear, model::EXTERNAL_KEY);

    // Several, and one of Windows between the others.
    model.protectors = vec![model::clear_key(), model::startup_key(), model::clear_key()];
    let device = self::device(&model);
    assert!(open(&device, by_key).unwrap().resume_protection().unwrap());
    assert_eq!(kinds(&device), ["startup key"]);
}

#[test]
fn of_two_protectors_with_one_identifier_only_the_one_that_is_named_is_removed() {
    let mut model = Model::new(0x8004, 512);
    model.protectors = vec![model::clear_key(), model::clear_key()];
    let device = device(&model);
    let volume = open(&device, Credential::ClearKey).unwrap();
    volume.header().remove_protector(ProtectorId::Keyslot(1)).unwrap();
    assert_eq!(kinds(&device), ["clear key"]);
    drop(volume);
    open(&device, Credential::ClearKey).unwrap();
}

#[test]
fn what_suspending_and_startup_keys_need_is_told() {
    let device = device(&Model::new(0x8004, 512));
    let volume = open(&device, Credential::ClearKey).unwrap();
    let before = device.bytes();
    assert!(matches!(volume.resume_protection(), Err(Error::LastProtector)));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.BEK");
    let refused = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        volume.add_protector(Protector::StartupKey(&file), &options()).unwrap_err()
    };
    let whole = model::startup_key_file();
    for len in 0..whole.len() {
        refused(&whole[..len]);
    }
    assert!(refused(&[0; 156]).to_string().contains(".BEK"));
    std::fs::remove_file(&file).unwrap();
    let missing = volume.add_protector(Protector::StartupKey(&file), &options());
    assert!(matches!(missing, Err(Error::NotFound { what: "startup key file", .. })));
    assert!(device.bytes() == before);
    std::fs::write(&file, &whole).unwrap();
    volume.add_protector(Protector::StartupKey(&file), &options()).unwrap();
    let error = volume.add_protector(Protector::StartupKey(&file), &options()).unwrap_err();
    assert!(error.to_string().contains("take another file"), "{error}");
    assert_eq!(kinds(&device), ["clear key", "startup key"]);
    drop(volume);

    // Read-only, and of LUKS.
    let read_only = OpenOptions::new().read_only(true);
    let volume = Volume::open(device.clone(), Credential::ClearKey, &read_only).unwrap();
    assert!(matches!(volume.hazmat_suspend_protection(), Err(Error::ReadOnly)));
    assert!(matches!(volume.resume_protection(), Err(Error::ReadOnly)));
    let cheap = options().kdf(atrest::key::Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 });
    let luks = FormatOptions::new().keyslot(cheap);
    let volume = Volume::format(MemoryDevice::new(20 << 20), Protector::Passphrase(b"pw"), &luks).unwrap();
    for error in [
        volume.hazmat_suspend_protection().unwrap_err(),
        volume.resume_protection().unwrap_err(),
        volume.add_protector(Protector::StartupKey(&file), &options()).unwrap_err(),
        Volume::format(MemoryDevice::new(20 << 20), Protector::StartupKey(&file), &luks).unwrap_err(),
    ] {
        assert!(matches!(&error, Error::UnsupportedHeader(text) if text.contains("which BitLocker has")), "{error}");
    }
}

#[test]
fn a_crash_leaves_the_protection_as_it_was_or_as_it_shall_be() {
    let mut model = Model::new(0x8004, 512);
    model.protectors = vec![model::startup_key()];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.BEK");
    std::fs::write(&file, model::startup_key_file()).unwrap();
    let added = StartupKey::generate().unwrap().write(folder.path()).unwrap();
    let (by_key, by_added) = (Credential::StartupKey(&file), Credential::StartupKey(&added));
    let device = device(&model);
    let volume = open(&device, by_key).unwrap();
    type Step<'a> = &'a dyn Fn();
    let suspend: Step<'_> = &|| assert_eq!(volume.hazmat_suspend_protection().unwrap(), ProtectorId::Keyslot(1));
    let resume: Step<'_> = &|| assert!(volume.resume_protection().unwrap());
    let add: Step<'_> = &|| {
        volume.add_protector(Protector::StartupKey(&added), &options()).unwrap();
    };
    for (step, by, opens_after) in
        [(suspend, Credential::ClearKey, true), (resume, Credential::ClearKey, false), (add, by_added, true)]
    {
        let before = device.bytes();
        device.take_log();
        step();
        let log = device.take_log();
        let (mut old, mut new) = (0, 0);
        crash_images(&before, &log, 4, |what, image| {
            let device = Arc::new(TestDevice::new(image));
            drop(open(&device, by_key).unwrap_or_else(|e| panic!("{what}: {e}")));
            let opens = open(&device, by).is_ok();
            if opens == opens_after {
                new += 1
            } else {
                old += 1
            }
            let image = device.bytes();
            let copies = model.copies.map(|copy| image[copy as usize..][..AREA].to_vec());
            assert!(copies[0] == copies[1] && copies[1] == copies[2], "{what}");
        });
        assert!(old > 5 && new > 5, "{old} {new}");
    }
}
