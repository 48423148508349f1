//! Protectors that are added, changed and removed, by the owner of the master key, and through crashes.

use std::sync::Arc;

use atrest::key::{HashAlgorithm, Kdf};
use atrest::volume::{Header, KeyslotOptions, Priority, ProtectorId, RecoveryPassword};
use atrest::{Credential, Error, OpenOptions, Protector, Result, Volume};

use super::common::device::{TestDevice, crash_images, reopen};
use super::common::{peer, python, run, text};
use super::model::{self, AREA, Model, SIZE};
use super::support::*;

#[test]
fn protectors_come_change_and_go() {
    let mut model = Model::new(0x8004, 512);
    // An entry that this library knows nothing of stays.
    model.more = vec![model::entry(0x0b, 5, &[0x77; 72])];
    let device = device(&model);
    let volume = open(&device, Credential::ClearKey).unwrap();
    let key = volume.fingerprint().unwrap();
    let added = volume.add_protector(Protector::Passphrase("p\u{e4}ss".as_bytes()), &options()).unwrap();
    assert_eq!(added, ProtectorId::Keyslot(1));
    let recovery = RecoveryPassword::generate().unwrap();
    assert_ne!(recovery.expose(), RecoveryPassword::generate().unwrap().expose());
    let added = volume.add_protector(Protector::RecoveryPassword(recovery.expose()), &options()).unwrap();
    assert_eq!(added, ProtectorId::Keyslot(2));
    assert_eq!(kinds(&device), ["clear key", "password", "recovery password"]);
    assert!(copies_are_the_same(&model, &device.bytes()));

    // Protection is resumed: the clear key goes, and its bytes with it.
    volume.header().remove_protector(ProtectorId::Keyslot(0)).unwrap();
    assert_eq!(kinds(&device), ["password", "recovery password"]);
    assert!(!device.bytes().windows(32).any(|bytes| bytes == [0xc1; 32]));
    assert!(device.bytes().windows(72).any(|bytes| bytes == [0x77; 72]));
    let opens = |credential| open(&device, credential).map(|volume| volume.fingerprint().unwrap());
    assert!(matches!(opens(Credential::ClearKey), Err(Error::NoSuchProtector(_))));
    assert_eq!(opens(Credential::Passphrase("p\u{e4}ss".as_bytes())).unwrap(), key);
    assert_eq!(opens(Credential::RecoveryPassword(recovery.expose())).unwrap(), key);

    // The new password's protector is the last then, and its number is told.
    assert_eq!(volume.change_keyslot(0, Protector::Passphrase(b"other"), &options()).unwrap(), 1);
    assert_eq!(kinds(&device), ["recovery password", "password"]);
    assert!(matches!(opens(Credential::Passphrase("p\u{e4}ss".as_bytes())), Err(Error::WrongPassphrase)));
    assert_eq!(opens(Credential::Passphrase(b"other")).unwrap(), key);
    volume.header().remove_protector(ProtectorId::Keyslot(1)).unwrap();
    assert!(matches!(volume.header().remove_protector(ProtectorId::Keyslot(0)), Err(Error::LastProtector)));
    assert!(matches!(volume.header().remove_protector(ProtectorId::Keyslot(9)), Err(Error::NoSuchProtector(_))));

    let mut shown = vec![0; SIZE];
    volume.read_at(0, &mut shown).unwrap();
    assert!(shown == model.shown(&model::plain()), "the data is as it was");
}

#[test]
fn what_a_protector_of_bitlocker_does_not_have_is_refused() {
    let device = device(&Model::new(0x8004, 512));
    let before = device.bytes();
    let volume = open(&device, Credential::ClearKey).unwrap();
    let refused = |protector, options: KeyslotOptions| match volume.add_protector(protector, &options) {
        Err(Error::InvalidOption(text)) => text,
        other => panic!("{other:?}"),
    };
    let password = Protector::Passphrase(b"pw");
    refused(password, options().id(3));
    refused(password, options().priority(Priority::Prefer));
    refused(password, options().kdf(Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 }));
    refused(Protector::Passphrase(b""), options());
    refused(Protector::Passphrase(b"\xff"), options());
    refused(Protector::RecoveryPassword("000000"), options());
    // A header by itself has no master key, which proves what is written.
    let mut header = Header::load(&device).unwrap();
    assert!(header.set_priority(0, Priority::Prefer).is_err());
    assert!(matches!(header.remove_protector(ProtectorId::Keyslot(0)), Err(Error::LastProtector)));
    volume.add_protector(password, &options()).unwrap();
    let changed = device.bytes();
    let error = Header::load(&device).unwrap().remove_protector(ProtectorId::Keyslot(0)).unwrap_err();
    assert!(error.to_string().contains("open the volume"), "{error}");
    // Somebody else has written it.
    let other = open(&device, Credential::ClearKey).unwrap();
    other.add_protector(Protector::Passphrase(b"third"), &options()).unwrap();
    assert!(matches!(volume.add_protector(password, &options()), Err(Error::Busy { .. })));
    assert_ne!(changed, device.bytes());
    assert_ne!(before, changed);
}

#[test]
fn metadata_that_is_full_takes_no_more_and_stays_sound() {
    let mut model = Model::new(0x8004, 512);
    model.protectors.extend(vec![model::protector(3, 0x0100, &[model::entry(0, 6, &[1; 8000])]); 8]);
    let device = device(&model);
    let before = device.bytes();
    let volume = open(&device, Credential::ClearKey).unwrap();
    let added = (0..20).map(|_| volume.add_protector(Protector::Passphrase(b"pw"), &options()));
    let refused = added.into_iter().find_map(Result::err).expect("there is no room for 20");
    assert!(matches!(refused, Error::NoRoom(_)), "{refused:?}");
    drop(volume);
    open(&device, Credential::ClearKey).unwrap();
    open(&device, Credential::Passphrase(b"pw")).unwrap();
    assert_ne!(device.bytes(), before);
}

#[test]
fn a_crash_leaves_the_old_protectors_or_the_new() {
    let mut model = Model::new(0x8004, 512);
    model.protectors.push(model::startup_key());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.BEK");
    std::fs::write(&file, model::startup_key_file()).unwrap();
    let device = device(&model);
    let volume = open(&device, Credential::StartupKey(&file)).unwrap();
    let before = device.bytes();
    device.take_log();
    volume.header().remove_protector(ProtectorId::Keyslot(0)).unwrap();
    let log = device.take_log();
    drop(volume);
    let after = device.bytes();
    let (mut old, mut new) = (0, 0);
    let count = crash_images(&before, &log, 4, |what, image| {
        let device = Arc::new(TestDevice::new(image));
        // Whichever it was, the next open makes all copies the same.
        drop(open(&device, Credential::StartupKey(&file)).unwrap_or_else(|e| panic!("{what}: {e}")));
        let image = device.bytes();
        assert!(copies_are_the_same(&model, &image), "{what}");
        let is = |state: &[u8]| image[model.copies[0] as usize..][..AREA] == state[model.copies[0] as usize..][..AREA];
        assert!(is(&before) || is(&after), "{what}");
        if is(&before) {
            old += 1
        } else {
            new += 1
        }
        assert_eq!(open(&device, Credential::ClearKey).is_ok(), is(&before), "{what}");
    });
    println!("{count} images: {old} old, {new} new");
    assert!(old > 5 && new > 5, "{count}: {old} {new}");
}

#[test]
fn a_copy_that_is_damaged_is_repaired_and_foreign_data_is_not_written_over() {
    let model = Model::new(0x8004, 512);
    let whole = model.image(&model::plain(), |_| true);
    for copy in model.copies {
        let at = copy as usize;
        let mut image = whole.clone();
        image[at + 100] ^= 1;
        let device = Arc::new(TestDevice::new(image));
        assert!(Header::load(&device).unwrap().needs_repair());
        let read_only = OpenOptions::new().read_only(true);
        drop(Volume::open(device.clone(), Credential::ClearKey, &read_only).unwrap());
        assert!(device.bytes() != whole, "nothing is written");
        drop(open(&device, Credential::ClearKey).unwrap());
        assert!(device.bytes() == whole);
        // Somebody's file system.
        let mut image = whole.clone();
        image[at..at + AREA].fill(0x66);
        let device = Arc::new(TestDevice::new(image.clone()));
        assert!(matches!(open(&device, Credential::ClearKey), Err(Error::ForeignData(_))));
        Volume::open(device.clone(), Credential::ClearKey, &read_only).unwrap();
        assert!(device.bytes() == image);
        Volume::open(device.clone(), Credential::ClearKey, &OpenOptions::new().hazmat_repair(true)).unwrap();
        assert!(device.bytes() == whole);
        // A newer version's copy, whose checksum isn't known here. A flipped bit of the version is damage.
        let mut image = whole.clone();
        (image[at + 10], image[at + 100]) = (3, image[at + 100] ^ 1);
        let device = Arc::new(TestDevice::new(image.clone()));
        let error = open(&device, Credential::ClearKey).map(drop).unwrap_err();
        assert!(matches!(&error, Error::ForeignData(what) if what.contains("its version is 3")), "{error}");
        assert!(Header::load(&device).unwrap().repair().is_err());
        Volume::open(device.clone(), Credential::ClearKey, &read_only).unwrap();
        assert!(device.bytes() == image);
        image[at + 100] ^= 1;
        let device = Arc::new(TestDevice::new(image));
        drop(open(&device, Credential::ClearKey).unwrap());
        assert!(device.bytes() == whole);
        // Whole, but in a state that isn't known here.
        let mut image = whole.clone();
        image[at + 12] = 0x77;
        let size = usize::from(u16::from_le_bytes([image[at + 8], image[at + 9]])) << 4;
        let checksum = model::crc32(&image[at..at + size]);
        image[at + size + 4..at + size + 8].copy_from_slice(&checksum.to_le_bytes());
        let device = Arc::new(TestDevice::new(image.clone()));
        let error = open(&device, Credential::ClearKey).map(drop).unwrap_err();
        assert!(matches!(&error, Error::ForeignData(what) if what.contains("isn't damaged")), "{error}");
        assert!(device.bytes() == image);
        // Torn in its first sector, over zeros.
        let mut image = whole.clone();
        image[at + 9..at + AREA].fill(0);
        let device = Arc::new(TestDevice::new(image));
        drop(open(&device, Credential::ClearKey).unwrap());
        assert!(device.bytes() == whole);
    }
}

/// Protectors that this library adds to a volume of Windows open it in other programs.
#[test]
fn other_programs_open_a_volume_by_protectors_of_ours() {
    let Some(images) = super::images::images("dissect") else { return };
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("volume");
    run("cp", &["--sparse=always", text(&images.join("aes-xts_128.bin")), text(&image)]);
    let open = |credential| {
        reopen(|| Volume::open(atrest::FileDevice::open(&image)?, credential, &OpenOptions::new())).unwrap()
    };
    let volume = open(Credential::Passphrase(b"password12!@"));
    let (password, recovery) = ("new password", RecoveryPassword::generate().unwrap());
    volume.add_protector(Protector::Passphrase(password.as_bytes()), &options()).unwrap();
    volume.add_protector(Protector::RecoveryPassword(recovery.expose()), &options()).unwrap();
    volume.header().remove_protector(ProtectorId::Keyslot(0)).unwrap();
    drop(volume);
    judged_by_all(&image, password, Some(recovery.expose()), Some("password12!@"));

    // Characters of two and of four bytes.
    let other = "n\u{e9}w \u{1f511}";
    let volume = open(Credential::RecoveryPassword(recovery.expose()));
    volume.change_keyslot(0, Protector::Passphrase(other.as_bytes()), &options()).unwrap();
    drop(volume);
    judged_by_all(&image, other, Some(recovery.expose()), Some(password));
}

/// Has every program open an image by a password and by a recovery password, and not by another.
pub fn judged_by_all(image: &std::path::Path, password: &str, recovery: Option<&str>, wrong: Option<&str>) {
    let ways = [("password", Some(password)), ("recovery", recovery)];
    let ways = ways.into_iter().filter_map(|(kind, secret)| Some((kind, secret?)));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bitlocker/peer.py");
    for (program, module) in [("dissect", "dissect.fve"), ("libbde", "pybde")] {
        let Some(python) = python(module) else { continue };
        for (kind, secret) in ways.clone() {
            run(&python, &[script, program, text(image), kind, secret, "0+4096"]);
        }
        if let Some(wrong) = wrong {
            let said = super::common::run_any(&python, &[script, program, text(image), "password", wrong, "0+4096"]);
            assert!(!said.status.success(), "{program} opens it by a password that was removed");
        }
    }
    if let Some(dislocker) = peer("dislocker-file", &["-h"]) {
        // It takes passwords of ASCII only, and so does cryptsetup 2.6.
        let password = password.is_ascii().then(|| format!("-u{password}"));
        for option in password.into_iter().chain(recovery.map(|recovery| format!("-p{recovery}"))) {
            let plain = image.with_extension("plain");
            run(&dislocker, &["-V", text(image), &option, "--", text(&plain)]);
            std::fs::remove_file(plain).unwrap();
        }
    }
    if let Some(cryptsetup) = super::common::cryptsetup() {
        run(&cryptsetup, &["bitlkDump", text(image)]);
        let mut secrets = vec![(password, password.is_ascii())];
        secrets.extend(recovery.map(|recovery| (recovery, true)));
        secrets.extend(wrong.map(|wrong| (wrong, false)));
        for (secret, opens) in secrets {
            let file = image.with_extension("secret");
            std::fs::write(&file, secret).unwrap();
            let arguments = ["open", "--type", "bitlk", "--test-passphrase", "--key-file", text(&file), text(image)];
            let said = super::common::run_any(&cryptsetup, &arguments);
            assert_eq!(said.status.success(), opens, "cryptsetup: {}", String::from_utf8_lossy(&said.stderr));
        }
    }
}
