//! Volumes whose every protector is destroyed, with their data.

use std::io;
use std::sync::Arc;

use atrest::volume::Header;
use atrest::{BlockDevice, Credential, Error, FileDevice, OpenOptions, Protector, Volume};

use super::common::device::{TestDevice, crash_images, reopen};
use super::common::{cryptsetup, python, text};
use super::model::{self, AREA, Model};
use super::support::*;

/// Whether a way into the model's volume is anywhere on the device: the key in the clear, or what the password's seals.
fn is_left(model: &Model, image: &[u8]) -> bool {
    let sealed = model.protectors.iter().map(|protector| &protector[protector.len() - 60..]);
    sealed.into_iter().any(|sealed| image.windows(60).any(|bytes| bytes == sealed))
        || image.windows(32).any(|bytes| bytes == [0xc1; 32])
}

fn suspended() -> Model {
    let mut model = Model::new(0x8004, 512);
    model.protectors.push(model::password(0));
    model
}

#[test]
fn an_erased_volume_has_no_protector_in_any_copy() {
    let model = suspended();
    let device = device(&model);
    let before = device.bytes();
    assert!(is_left(&model, &before));
    Header::load(&device).unwrap().erase().unwrap();
    let after = device.bytes();
    assert!(!is_left(&model, &after) && copies_are_the_same(&model, &after));
    let outside = |image: &[u8]| {
        let mut image = image.to_vec();
        model.copies.iter().for_each(|copy| image[*copy as usize..][..AREA].fill(0));
        image
    };
    assert!(outside(&before) == outside(&after), "only the metadata was written");
    for credential in [Credential::ClearKey, Credential::Passphrase(model::PASSWORD.as_bytes())] {
        assert!(matches!(open(&device, credential), Err(Error::NoSuchProtector(_))));
    }
    // Also the header of an open volume.
    let device = self::device(&model);
    let volume = open(&device, Credential::ClearKey).unwrap();
    volume.header().erase().unwrap();
    assert!(volume.header().keyslots().is_empty() && kinds(&device).is_empty());
    assert!(!is_left(&model, &device.bytes()));
}

#[test]
fn a_crash_of_erasing_leaves_the_volume_or_nothing() {
    let model = suspended();
    let device = device(&model);
    let before = device.bytes();
    Header::load(&device).unwrap().erase().unwrap();
    let (mut whole, mut gone) = (0, 0);
    crash_images(&before, &device.take_log(), 4, |what, image| {
        let device = Arc::new(TestDevice::new(image));
        let read_only = OpenOptions::new().read_only(true);
        if Volume::open(device.clone(), Credential::ClearKey, &read_only).is_ok() {
            assert_eq!(kinds(&device), ["clear key", "password"], "{what}");
            whole += 1;
            Header::load(&device).unwrap().erase().unwrap();
        } else {
            gone += 1;
            // Either finishes it.
            let mut header = Header::load(&device).unwrap();
            if gone % 2 == 0 { header.erase().unwrap() } else { assert!(header.repair().is_ok()) }
        }
        assert!(!Header::load(&device).unwrap().needs_repair(), "{what}");
        assert!(kinds(&device).is_empty() && !is_left(&model, &device.bytes()), "{what}");
    });
    assert!(whole > 5 && gone > 5, "{whole} {gone}");
}

/// A device with a place that takes no writes.
struct BadSector(Arc<TestDevice>, u64);

impl BlockDevice for BadSector {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if (offset..offset + bytes.len() as u64).contains(&self.1) {
            return Err(io::Error::other("a bad sector"));
        }
        self.0.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

#[test]
fn a_copy_that_cannot_be_written_does_not_keep_the_others() {
    let model = suspended();
    for bad in model.copies {
        let device = device(&model);
        let error = Header::load(&BadSector(device.clone(), bad)).unwrap().erase().unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        let mut image = device.bytes();
        image[bad as usize..][..AREA].fill(0);
        assert!(!is_left(&model, &image), "another copy than that at {bad} has its protectors");
        // Whoever repeats it on a device that works is done.
        Header::load(&device).unwrap().erase().unwrap();
        assert!(!is_left(&model, &device.bytes()) && copies_are_the_same(&model, &device.bytes()), "{bad}");
    }
}

#[test]
fn erasing_writes_nowhere_but_to_copies() {
    let size = model::SIZE as u64;
    for elsewhere in [0, size, size + (1 << 20), u64::MAX - 511] {
        let mut model = suspended();
        model.copies[2] = elsewhere;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("volume");
        std::fs::write(&path, model.image(&model::plain(), |_| true)).unwrap();
        let before = std::fs::read(&path).unwrap();
        reopen(|| Header::load(&FileDevice::open(&path)?)?.erase()).unwrap();
        let after = std::fs::read(&path).unwrap();
        assert!(after.len() == before.len(), "{elsewhere}: the file has {} bytes", after.len());
        assert!(after[..512] == before[..512], "{elsewhere}: the boot sector was written over");
        assert!(!is_left(&model, &after), "{elsewhere}");
    }
    // What follows the volume on its device.
    let mut model = suspended();
    model.copies[2] = size;
    let mut image = model.image(&model::plain(), |_| true);
    image.resize(3 << 20, 0x33);
    let device = Arc::new(TestDevice::new(image));
    Header::load(&device).unwrap().erase().unwrap();
    assert!(device.bytes()[model::SIZE..].iter().all(|byte| *byte == 0x33) && !is_left(&model, &device.bytes()));
}

/// Metadata that were forged name places that can't be those of copies. A repair that may destroy what it finds writes nothing there, and nor
/// does a change.
#[test]
fn a_repair_writes_nowhere_but_to_copies() {
    let size = model::SIZE as u64;
    for elsewhere in [0, size, size + (1 << 20), u64::MAX - 511] {
        for how in ["hazmat_repair", "repair", "open", "change"] {
            let mut model = suspended();
            model.copies[2] = elsewhere;
            let mut image = model.image(&model::plain(), |_| true);
            if elsewhere == size {
                // What follows the volume on its device.
                image.resize(3 << 20, 0x33);
            }
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("volume");
            std::fs::write(&path, &image).unwrap();
            let open = |options: &OpenOptions| {
                reopen(|| Volume::open(FileDevice::open(&path)?, Credential::ClearKey, options))
            };
            let done = match how {
                "hazmat_repair" => reopen(|| Header::load(&FileDevice::open(&path)?)?.hazmat_repair()).map(drop),
                "repair" => reopen(|| Header::load(&FileDevice::open(&path)?)?.repair()).map(drop),
                "open" => open(&OpenOptions::new().hazmat_repair(true)).map(drop),
                _ => open(&OpenOptions::new().read_only(false))
                    .and_then(|volume| volume.add_protector(Protector::Passphrase(b"pw"), &options()).map(drop)),
            };
            assert!(done.is_err(), "{elsewhere} {how}");
            assert!(std::fs::read(&path).unwrap() == image, "{elsewhere} {how}: the device was written to");
        }
    }
}

#[test]
fn what_is_partly_in_the_clear_is_not_called_erased() {
    let mut model = suspended();
    (model.state, model.encrypted) = (5, model::SIZE as u64 / 2);
    let device = device(&model);
    let before = device.bytes();
    let error = Header::load(&device).unwrap().erase().unwrap_err();
    assert!(matches!(error, Error::UnsupportedHeader(_)) && error.to_string().contains("in the clear"), "{error}");
    assert!(device.bytes() == before);
}

/// dissect and cryptsetup find a sound volume without a protector.
#[test]
fn other_programs_find_no_protector() {
    let Some(images) = super::images::images("dissect") else { return };
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("volume");
    std::fs::copy(images.join("aes-xts_128.bin"), &image).unwrap();
    let mut count = 0;
    let mut judge = |erased: bool| {
        if let Some(cryptsetup) = cryptsetup() {
            let dump = super::common::run(&cryptsetup, &["bitlkDump", text(&image)]);
            assert_eq!(dump.contains("VMK protected with"), !erased, "{dump}");
            count += 1;
        }
        if let Some(python) = python("dissect.fve") {
            let script = "import sys; from dissect.fve.bde import BDE; print(len(list(BDE(open(sys.argv[1], 'rb'))\
                          .information.dataset.find_vmk())))";
            let found = super::common::run(&python, &["-c", script, text(&image)]);
            assert_eq!(found.trim() == "0", erased, "{found}");
            count += 1;
        }
    };
    judge(false);
    reopen(|| Header::load(&FileDevice::open(&image)?)?.erase()).unwrap();
    judge(true);
    println!("{count} judgements");
}
