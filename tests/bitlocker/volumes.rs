//! Volumes of the model: read, written and refused.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use atrest::volume::{Header, HeaderFormat, ProtectorId, StartupKey};
use atrest::{
    BlockDevice, Credential, Error, FileVault, MemoryDevice, OpenOptions, Protector, Result, TooSmall, Volume,
    vault::Unlock,
};

use super::model::{self, AREA, METHODS, Model, SIZE};

const PLAIN: &str = "hazmat_allow_unencrypted";

pub fn open(image: Vec<u8>, credential: Credential<'_>) -> Result<Volume<MemoryDevice>> {
    Volume::open(MemoryDevice::from_bytes(image), credential, &OpenOptions::new())
}

fn content(volume: &Volume<MemoryDevice>) -> Vec<u8> {
    let mut bytes = vec![0; volume.size() as usize];
    volume.read_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn each_cipher_is_read_and_written_as_the_model_has_it() {
    // Behaviours 65
    for sector in [512, 4096] {
        for method in METHODS {
            let (model, mut plain) = (Model::new(method, sector), model::plain());
            let volume = open(model.image(&plain, |_| true), Credential::ClearKey).unwrap();
            assert_eq!(volume.sector_size().bytes() as usize, sector);
            assert!(content(&volume) == model.shown(&plain), "{method:#x} {sector}");

            // Across the first sectors' end and up to a hidden place, behind one, and at the end; by each way of writing.
            let written = |i: usize, len: usize| (0..len).map(|at| (at * 7 + i) as u8).collect::<Vec<u8>>();
            for (i, (at, len)) in
                [(0, 4096), (4096, 8192), (0x3c_000, 0x4000), (0x50_000, 4096), (0x98_000, 0x8000), (SIZE - 8192, 8192)]
                    .into_iter()
                    .enumerate()
            {
                let bytes = written(i, len);
                match i % 3 {
                    0 => volume.write_at(at as u64, &bytes),
                    1 => volume.write_in_place(at as u64, &mut bytes.clone()),
                    _ => {
                        let (one, two) = bytes.split_at(4096.min(len / 8192 * 4096));
                        volume.write_vectored_at(at as u64, &[IoSlice::new(one), IoSlice::new(two)])
                    }
                }
                .unwrap();
                plain[at..at + len].copy_from_slice(&bytes);
            }
            volume.write_zeroes(0x60_000, 0x3000).unwrap();
            plain[0x60_000..0x63_000].fill(0);
            assert!(content(&volume) == model.shown(&plain), "{method:#x} {sector}");
            let image = volume.into_device().into_bytes();
            assert!(image == model.image(&plain, |_| true), "{method:#x} {sector}");
        }
    }
}

#[test]
fn each_protector_opens_by_its_credential_only() {
    let folder = tempfile::tempdir().unwrap();
    let (file, other) = (folder.path().join("key.BEK"), folder.path().join("other.BEK"));
    std::fs::write(&file, model::startup_key_file()).unwrap();
    let mut bytes = model::startup_key_file();
    bytes[16] ^= 1;
    bytes[56] ^= 1; // another protector's identifier
    std::fs::write(&other, bytes).unwrap();
    let sound = model::startup_key_file();
    let mut wrong = sound.clone();
    *wrong.last_mut().unwrap() ^= 1; // its key
    let mut model = Model::new(0x8004, 512);
    let tpm = model::protector(0xb2, 0x0100, &[model::entry(0, 6, &[1; 100])]);
    model.protectors = vec![tpm, model::password(0), model::recovery_password(), model::startup_key()];
    let plain = model::plain();
    let image = model.image(&plain, |_| true);
    let opened = |credential| open(image.clone(), credential);
    let key_file = folder.path().join("password");
    std::fs::write(&key_file, model::PASSWORD).unwrap();
    let mut keys = Vec::new();
    for credential in [
        Credential::Passphrase(model::PASSWORD.as_bytes()),
        Credential::KeyFile(&key_file),
        Credential::RecoveryPassword(model::RECOVERY),
        Credential::StartupKey(&file),
        Credential::StartupKeyBytes(&sound),
    ] {
        let volume = opened(credential).unwrap();
        assert!(content(&volume) == model.shown(&plain), "{credential:?}");
        keys.push(volume.fingerprint().unwrap());
    }
    assert!(keys.iter().all(|key| *key == keys[0]));

    for credential in [
        Credential::Passphrase(b""),
        Credential::Passphrase(model::RECOVERY.as_bytes()),
        Credential::RecoveryPassword("000000-000011-000022-720885-051260-432531-011000-597542"),
        Credential::StartupKeyBytes(&wrong),
    ] {
        assert!(matches!(opened(credential), Err(Error::WrongPassphrase)), "{credential:?}");
    }
    // The file names its protector, and so another volume's is told from a wrong one.
    let error = opened(Credential::StartupKey(&other)).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::NoSuchProtector(_)) && text.contains("protector {e1e1e1e0-"), "{text}");
    assert!(text.contains("it has: TPM {b2b2") && text.contains("startup key {e1e1e1e1-"), "{text}");
    let text = opened(Credential::ClearKey).unwrap_err().to_string();
    for name in ["clear key", "TPM {b2b2", "password {b0b0", "recovery password {b1b1", "startup key {e1e1"] {
        assert!(text.contains(name), "{text}");
    }
    // A recovery password of which a digit is wrong is told from a wrong one. Nothing of it is shown.
    for (text, group) in [
        ("000001-000011-000022-720885-051260-432531-011000-597531", "group 1"),
        ("000000-000011-000022-720896-051260-432531-011000-597531", "group 4"),
        ("000000-000011-000022-720885-051260-432531-011000-59753", "group 8"),
        ("000000-000011-000022-720885-051260-432531-011000", "not 7"),
        ("", "not 1"),
    ] {
        let error = opened(Credential::RecoveryPassword(text)).unwrap_err();
        let shown = error.to_string();
        assert!(matches!(error, Error::InvalidOption(_)) && shown.contains(group), "{shown}");
        assert!(!shown.contains("0000"), "{shown}");
    }
    // The password isn't text.
    let error = opened(Credential::Passphrase(b"\xff")).unwrap_err();
    assert!(error.to_string().contains("UTF-8"), "{error}");
}

#[test]
fn a_startup_key_file_that_is_damaged_is_refused_before_it_is_tried() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.BEK");
    let mut model = Model::new(0x8004, 512);
    model.protectors = vec![model::startup_key()];
    let image = model.image(&model::plain(), |_| true);
    let whole = model::startup_key_file();
    let damaged = |damage: fn(&mut Vec<u8>)| {
        let mut file = whole.clone();
        damage(&mut file);
        std::fs::write(&path, file).unwrap();
        let error = open(image.clone(), Credential::StartupKey(&path)).unwrap_err();
        assert!(error.to_string().contains(".BEK") || matches!(error, Error::Io { .. }), "{error}");
        let file = std::fs::read(&path).unwrap();
        let error = open(image.clone(), Credential::StartupKeyBytes(&file)).unwrap_err();
        assert!(matches!(&error, Error::InvalidOption(text) if text.contains(".BEK")), "{error}");
        assert!(StartupKey::parse(&file).is_err());
    };
    damaged(|file| file.clear());
    damaged(|file| file.truncate(47));
    damaged(|file| file.truncate(48));
    damaged(|file| file.push(0));
    damaged(|file| file[4] = 2);
    damaged(|file| file[8] = 47);
    damaged(|file| file[48] = 7);
    damaged(|file| file[48] = 200);
    damaged(|file| file[50] = 7); // another role
    damaged(|file| file[80] = 3); // an entry within, of 3 bytes
    damaged(|file| {
        let at = file.len() - 44; // its key, a byte shorter
        file[at] = 43;
    });
    damaged(|file| file.resize(70_000, 0));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(open(image.clone(), Credential::StartupKey(&path)), Err(Error::NotFound { .. })));
    for len in 0..whole.len() {
        std::fs::write(&path, &whole[..len]).unwrap();
        open(image.clone(), Credential::StartupKey(&path)).unwrap_err();
    }
}

#[test]
fn a_volume_that_is_partly_encrypted_is_read_and_written_on_the_right_side() {
    for (state, boundary, sector) in [(5, 0x100_000, 512), (3, 0x3000, 4096), (5, 0x91_000, 512), (3, 0, 512)] {
        let mut model = Model::new(0x8004, sector);
        (model.state, model.encrypted) = (state, boundary);
        let mut plain = model::plain();
        let image = model.image(&plain, |at| at < boundary);
        let refused = open(image.clone(), Credential::ClearKey).unwrap_err();
        assert!(refused.to_string().contains(PLAIN), "{refused}");
        let options = OpenOptions::new().hazmat_allow_unencrypted(true);
        let volume = Volume::open(MemoryDevice::from_bytes(image), Credential::ClearKey, &options).unwrap();
        assert!(content(&volume) == model.shown(&plain), "{boundary:#x}");
        let edge = (boundary as usize).clamp(0x4000, SIZE - 0x4000) - 0x2000;
        let edge = if edge > 0x8e_000 && edge < 0xb0_000 { 0x99_000 } else { edge };
        for at in [0, edge, SIZE - 0x4000] {
            volume.write_at(at as u64, &[at as u8 | 5; 0x4000]).unwrap();
            plain[at..at + 0x4000].fill(at as u8 | 5);
        }
        assert!(content(&volume) == model.shown(&plain), "{boundary:#x}");
        assert!(volume.into_device().into_bytes() == model.image(&plain, |at| at < boundary), "{boundary:#x}");
    }
}

#[test]
fn a_decrypted_volume_opens_without_a_key() {
    let mut model = Model::new(0, 512);
    (model.state, model.encrypted, model.protectors, model.key) = (1, 0, Vec::new(), None);
    // Its hash isn't sealed, since it has no key.
    model.patch_area = |area| {
        let size = usize::from(u16::from_le_bytes([area[8], area[9]])) * 16;
        let hash = <sha2::Sha256 as sha2::Digest>::digest(&area[..size]);
        let entry = model::key_entry(0x2005, &hash);
        area[size + 8..][..entry.len()].copy_from_slice(&entry);
    };
    let plain = model::plain();
    let image = model.image(&plain, |_| false);
    let options = OpenOptions::new().hazmat_allow_unencrypted(true);
    assert!(open(image.clone(), Credential::ClearKey).unwrap_err().to_string().contains(PLAIN));
    let volume = Volume::open(MemoryDevice::from_bytes(image), Credential::ClearKey, &options).unwrap();
    assert!(content(&volume) == model.shown(&plain));
}

#[test]
fn bitlocker_to_go_has_its_places_elsewhere_in_the_boot_sector() {
    let mut model = Model::new(0x8002, 512);
    (model.to_go, model.header_sectors) = (true, 100);
    let plain = model::plain();
    let volume = open(model.image(&plain, |_| true), Credential::ClearKey).unwrap();
    assert!(content(&volume) == model.shown(&plain));
}

#[test]
fn what_is_hidden_reads_as_zeros_and_takes_nothing_else() {
    let model = Model::new(0x8004, 512);
    let plain = model::plain();
    let image = model.image(&plain, |_| true);
    let volume = open(image.clone(), Credential::ClearKey).unwrap();
    for at in model.copies.into_iter().chain([model.header_offset]) {
        for (at, len) in [(at - 512, 1024), (at, 512), (at - 4096, AREA + 8192)] {
            let refused = |result: Result<()>| {
                let text = result.unwrap_err().to_string();
                assert!(text.contains("can't be changed"), "{text}");
            };
            let mut bytes = vec![7; len];
            refused(volume.write_at(at, &bytes));
            refused(volume.write_in_place(at, &mut bytes));
            assert!(bytes.iter().all(|byte| *byte == 7), "what was refused is not touched");
            let (one, two) = bytes.split_at(512);
            refused(volume.write_vectored_at(at, &[IoSlice::new(one), IoSlice::new(two)]));
            let mut read = vec![1; len];
            let (one, two) = read.split_at_mut(512);
            volume.read_vectored_at(at, &mut [IoSliceMut::new(one), IoSliceMut::new(two)]).unwrap();
            assert!(read == model.shown(&plain)[at as usize..][..len]);
            // Who writes what is there already, as a copy of the volume does, may.
            volume.write_at(at, &read).unwrap();
            volume.write_vectored_at(at, &[IoSlice::new(&read[..512]), IoSlice::new(&read[512..])]).unwrap();
            volume.write_in_place(at, &mut read).unwrap();
            // An engine that does its own I/O has no place for it.
            assert!(volume.begin_read(at, len).is_err() && volume.begin_write(at, &mut vec![7; len]).is_err());
        }
        volume.write_zeroes(at, 4096).unwrap();
        volume.discard(at, 4096).unwrap();
    }
    assert!(volume.into_device().into_bytes() == image, "nothing was changed");
    let volume = open(image, Credential::ClearKey).unwrap();
    assert_eq!(volume.begin_read(0, 8192).unwrap(), model.header_offset);
    assert_eq!(volume.begin_read(8192, 8192).unwrap(), 8192);
}

#[test]
fn one_copy_of_the_metadata_is_enough() {
    let plain = model::plain();
    for whole in 0..3 {
        let mut model = Model::new(0x8004, 512);
        model.patch_area = |area| area[100] ^= 1;
        model.patched = core::array::from_fn(|i| i != whole);
        let volume = open(model.image(&plain, |_| true), Credential::ClearKey).unwrap();
        assert!(content(&volume) == model.shown(&plain));
    }
}

#[test]
fn what_another_format_has_and_bitlocker_has_not_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let vault = FileVault::create(folder.path().join("v"), Unlock::Passphrase(b"pw")).unwrap();
    vault.create_key("k").unwrap();
    let image = Model::new(0x8004, 512).image(&model::plain(), |_| true);
    assert!(matches!(open(image.clone(), Credential::Vault(&vault)), Err(Error::NotThisVault { .. })));
    let volume = Arc::new(open(image.clone(), Credential::ClearKey).unwrap());
    assert!(open(image.clone(), Credential::Dek(&volume.dek())).unwrap_err().to_string().contains("proof of a DEK"));
    let lacks = |result: Result<()>| {
        let text = result.unwrap_err().to_string();
        assert!(text.contains("BitLocker") && !text.contains("LUKS"), "{text}");
    };
    lacks(volume.add_protector(Protector::Vault(&vault, "k"), &Default::default()).map(drop));
    lacks(volume.header().backup().map(drop));
    let text = volume.header().convert_to_luks2().unwrap_err().to_string();
    assert!(text.contains("BitLocker isn't converted to LUKS2"), "{text}");
    lacks(volume.header().set_label("l", ""));
    assert!(matches!(volume.header().remove_protector(ProtectorId::Keyslot(0)), Err(Error::LastProtector)));
    assert!(!volume.header().repair().unwrap());
    assert!(Header::restore(&MemoryDevice::from_bytes(image.clone()), &image).is_err());
    assert!(volume.device().size().is_ok());
    let mut now = vec![0; SIZE];
    volume.device().read_at(0, &mut now).unwrap();
    assert!(now == image, "nothing was written");

    let header = volume.header();
    assert_eq!(header.format(), HeaderFormat::BitLocker);
    assert_eq!(header.uuid(), "1d1d1d1d-1d1d-1d1d-1d1d-1d1d1d1d1d1d");
    assert_eq!((&*header.label(), header.keyslots()[0].kind.as_str()), ("MODEL", "clear key"));
    let kinds: Vec<String> = header.segments().into_iter().map(|segment| segment.kind).collect();
    assert_eq!(kinds.join(" "), "crypt crypt hidden crypt hidden crypt hidden crypt hidden crypt");
}

#[test]
fn a_device_that_is_too_short_is_refused_before_a_credential_is_tried() {
    let mut model = Model::new(0x8004, 512);
    model.protectors = vec![model::password(0); 200]; // trying them all would take long
    let mut image = model.image(&model::plain(), |_| true);
    image.truncate(SIZE - 512);
    for _ in 0..100 {
        let refused = open(image.clone(), Credential::Passphrase(b"pw"));
        assert!(matches!(refused, Err(Error::DeviceTooSmall { what: TooSmall::Data, needed, size })
            if (needed, size) == (SIZE as u64, SIZE as u64 - 512)));
    }
    // What follows the volume is not its.
    image.resize(SIZE + 8192, 9);
    let image = [&model.image(&model::plain(), |_| true)[..], &[9; 8192]].concat();
    model.protectors = vec![model::clear_key()];
    let image = [&model.image(&model::plain(), |_| true)[..], &image[SIZE..]].concat();
    assert_eq!(open(image, Credential::ClearKey).unwrap().size(), SIZE as u64);
}
