//! Changes of the protectors on a device whose writes fail, which are called again on the same volume.

use std::path::Path;
use std::sync::Arc;

use atrest::volume::{Header, KeyslotOptions, ProtectorId, StartupKey};
use atrest::{Credential, OpenOptions, Protector, Result, Volume};

use super::common::device::{Call, TestDevice};
use super::model::{self, Model};
use super::support::*;

type Act<'a> = &'a dyn Fn(&Volume<Arc<TestDevice>>) -> Result<()>;

/// Has `first` fail at each of its writes and syncs, on a volume with these protectors of which one is a startup key, and then
/// calls `then` on the same volume. `check` gets the kinds of the protectors, and what is on the device.
fn with_failures(protectors: &[Vec<u8>], first: Act<'_>, then: Act<'_>, check: impl Fn(&[String], &[u8], &str)) {
    let mut model = Model::new(0x8004, 512);
    model.protectors = protectors.to_vec();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.BEK");
    std::fs::write(&file, model::startup_key_file()).unwrap();
    for call in [Call::Write, Call::Sync] {
        for n in 0.. {
            let device = device(&model);
            let volume = open(&device, Credential::StartupKey(&file)).unwrap();
            device.fail(call, n, false);
            let failed = first(&volume);
            if device.heal() {
                failed.unwrap();
                assert!(n > 8, "{n}");
                break;
            }
            failed.unwrap_err();
            then(&volume).unwrap_or_else(|e| panic!("{call:?} {n}: {e}"));
            let image = device.bytes();
            assert!(copies_are_the_same(&model, &image), "{call:?} {n}");
            check(&kinds(&device), &image, &format!("{call:?} {n}"));
        }
    }
}

#[test]
fn protection_that_is_resumed_again_leaves_no_clear_key_in_any_copy() {
    let resume: Act<'_> = &|volume| {
        assert!(volume.resume_protection()?);
        Ok(())
    };
    let suspend: Act<'_> = &|volume| volume.hazmat_suspend_protection().map(drop);
    let is_resumed = |found: &[String], image: &[u8], what: &str| {
        assert_eq!(found, ["startup key"], "{what}");
        // That of the model, and the head of any.
        assert!(!image.windows(32).any(|bytes| bytes == [0xc1; 32]), "{what}: the clear key is left");
        let head = [44, 0, 0, 0, 1, 0, 1, 0, 0, 0x20, 0, 0];
        assert!(!image.windows(12).any(|bytes| bytes == head), "{what}: a clear key is left");
    };
    with_failures(&[model::clear_key(), model::startup_key()], resume, resume, is_resumed);
    with_failures(&[model::startup_key()], suspend, resume, is_resumed);
    with_failures(&[model::startup_key()], suspend, suspend, |found, _, what| {
        assert_eq!(found, ["startup key", "clear key"], "{what}");
    });
}

#[test]
fn a_change_that_is_called_again_means_the_protectors_that_the_caller_knows() {
    let protectors = [model::clear_key(), model::recovery_password(), model::startup_key()];
    let remove: Act<'_> = &|volume| volume.header().remove_protector(ProtectorId::Keyslot(0));
    with_failures(&protectors, remove, remove, |found, _, what| {
        assert_eq!(found, ["recovery password", "startup key"], "{what}");
    });
    let folder = tempfile::tempdir().unwrap();
    let added = StartupKey::generate().unwrap().write(folder.path()).unwrap();
    let add_key = |volume: &Volume<Arc<TestDevice>>, file: &Path| {
        volume.add_protector(Protector::StartupKey(file), &KeyslotOptions::new()).map(drop)
    };
    let add: Act<'_> = &|volume| add_key(volume, &added);
    with_failures(&protectors, add, add, |found, _, what| {
        assert_eq!(found, ["clear key", "recovery password", "startup key", "startup key"], "{what}");
    });
    // Another change instead, and none: then it is as it was.
    with_failures(&protectors, add, remove, |found, _, what| {
        assert_eq!(found, ["recovery password", "startup key"], "{what}");
    });
    let repair: Act<'_> = &|volume| volume.header().repair().map(drop);
    with_failures(&protectors, add, repair, |found, _, what| {
        assert_eq!(found, ["clear key", "recovery password", "startup key"], "{what}");
    });
}

/// A second attempt that fails too, at any other place, and a third one.
#[test]
fn a_change_that_fails_twice_is_called_a_third_time() {
    let mut model = Model::new(0x8004, 512);
    model.protectors = vec![model::clear_key(), model::recovery_password(), model::startup_key()];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.BEK");
    std::fs::write(&file, model::startup_key_file()).unwrap();
    for (first, second) in (0..9).flat_map(|first| (0..9).map(move |second| (first, second))) {
        let device = Arc::new(TestDevice::new(model.image(&model::plain(), |_| true)));
        let volume = Volume::open(device.clone(), Credential::StartupKey(&file), &OpenOptions::new()).unwrap();
        for n in [first, second] {
            device.fail(Call::Write, n, false);
            volume.header().remove_protector(ProtectorId::Keyslot(0)).unwrap_err();
            // At each instant something opens.
            let image = Arc::new(TestDevice::new(device.bytes()));
            Volume::open(image, Credential::StartupKey(&file), &OpenOptions::new()).unwrap();
        }
        let done = volume.header().remove_protector(ProtectorId::Keyslot(0));
        done.unwrap_or_else(|e| panic!("{first} {second}: {e}"));
        assert!(!device.bytes().windows(32).any(|bytes| bytes == [0xc1; 32]), "{first} {second}");
        let found: Vec<_> = Header::load(&device).unwrap().keyslots().into_iter().map(|found| found.kind).collect();
        assert_eq!(found, ["recovery password", "startup key"], "{first} {second}");
    }
}
