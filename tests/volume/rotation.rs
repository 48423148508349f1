//! A new version of the KEK: no sector moves, and the old version is no longer needed.

use std::sync::{Arc, Mutex};

use crate::common::device::Op;
use crate::common::header::{self, COPY};
use crate::common::vault_at;
use crate::common::vaults::{Lie, LyingVault, MemoryVault};
use crate::common::volumes::{DATA, SIZE, holds_plain, image, image_with, look, open, options, plain, shared};
use atrest::key::WrappedDek;
use atrest::{Credential, Error, KeyRefusal, KeyVault, OpenOptions, Protector, Secret, Volume, hazmat};

#[test]
fn after_a_rotation_the_old_version_can_be_destroyed() {
    // Behaviours 26, 27
    let folder = tempfile::tempdir().unwrap();
    let vault = vault_at(&folder.path().join("keys.vault"));
    let device = shared(vec![0; DATA + SIZE]);
    let volume = Volume::format(device.clone(), Protector::Vault(&vault, "disks"), &options()).unwrap();
    volume.write_at(0, &plain()).unwrap();
    let dek = hazmat::dek_bytes(&volume.dek());
    let first = volume.keks()[0].clone();
    let second = vault.rotate_key("disks").unwrap();
    assert_eq!(volume.rotate_kek(&vault).unwrap(), second);
    assert_eq!(volume.keks(), std::slice::from_ref(&second));
    vault.hazmat_destroy_version(&first).unwrap();
    drop(volume);

    // Each copy of the header is enough by itself.
    for which in 0..2 {
        let mut image = device.bytes();
        image[which * COPY..(which + 1) * COPY].fill(0);
        let volume = Volume::open(shared(image), Credential::Vault(&vault), &OpenOptions::new()).unwrap();
        assert!(holds_plain(&volume) && volume.keks() == [second.clone()]);
        assert_eq!(hazmat::dek_bytes(&volume.dek()), dek);
    }
}

#[test]
fn without_a_rotation_a_destroyed_version_takes_the_data_with_it() {
    // Behaviour 7
    let (vault, image) = image();
    vault.rotate();
    vault.destroy(1);
    let error = look(image, &vault).unwrap_err();
    assert!(
        matches!(&error, Error::KeyRefused { key, reason: KeyRefusal::Missing } if key == "memory:one/keys/disks/1"),
        "{error:?}"
    );
}

#[test]
fn a_rotation_reads_and_writes_no_data() {
    let (vault, image) = image();
    vault.rotate();
    let device = shared(image.clone());
    let volume = open(device.clone(), &vault).unwrap();
    device.take_log();
    volume.rotate_kek(&vault).unwrap();
    let log = device.take_log();
    let end = |op: &Op| match op {
        Op::Read { offset, len } => *offset as usize + len,
        Op::Write { offset, bytes } => *offset as usize + bytes.len(),
        Op::Sync => 0,
    };
    assert!(log.iter().any(|op| matches!(op, Op::Write { .. })));
    assert!(log.iter().all(|op| end(op) <= 2 * COPY), "a rotation went beyond the header");
    assert!(matches!(log.iter().rfind(|op| !matches!(op, Op::Read { .. })), Some(Op::Sync)), "written and not synced");
    let rotated = device.bytes();
    assert!(rotated[2 * COPY..] == image[2 * COPY..]);
    assert!(header::is_whole(&rotated) && header::seqid(&rotated, 0) == header::seqid(&image, 0) + 1);
    // Properties of the key that the token does not have stay unchanged.
    let (mut before, mut after) = (header::json(&image, 0), header::json(&rotated, 0));
    for field in ["key_url", "wrapped_dek", "mac"] {
        assert_ne!(before["tokens"]["0"][field].take(), after["tokens"]["0"][field].take(), "{field}");
    }
    assert_eq!(before, after);
}

#[test]
fn what_others_put_into_a_header_outlives_a_rotation() {
    let (vault, mut image) = image_with(&options().label("payroll").context(b"disk-17"));
    let foreign = serde_json::json!({"type": "somebody-else", "keyslots": [], "unknown": [1, {"a": null}]});
    header::edit_json(&mut image, |json| {
        json["tokens"]["7"] = foreign.clone();
        json["config"]["flags"] = serde_json::json!(["allow-discards"]);
    });
    vault.rotate();
    let device = shared(image);
    open(device.clone(), &vault).unwrap().rotate_kek(&vault).unwrap();
    for which in 0..2 {
        let json = header::json(&device.bytes(), which);
        assert_eq!(json["tokens"]["7"], foreign);
        assert_eq!(json["config"]["flags"][0], "allow-discards");
        assert_eq!(&header::copy(&device.bytes(), which)[24..32], b"payroll\0");
    }
    let options = OpenOptions::new().context(b"disk-17");
    assert!(holds_plain(&Volume::open(device, Credential::Vault(&vault), &options).unwrap()));
}

#[test]
fn rotations_by_a_vault_that_fails_or_lies_leave_the_volume_as_it_was() {
    let (vault, image) = image();
    let device = shared(image.clone());
    let volume = open(device.clone(), &vault).unwrap();
    for lie in [Lie::AnotherKey, Lie::KeyOfLength(1), Lie::NotMine, Lie::AnotherName, Lie::WrappedOfLength(0)] {
        let error = volume.rotate_kek(&LyingVault(&vault, lie)).unwrap_err();
        assert!(matches!(error, Error::Vault(_)), "{lie:?}: {error:?}");
    }
    let error = volume.rotate_kek(&MemoryVault::new("memory:two")).unwrap_err();
    assert!(matches!(&error, Error::NotThisVault { wanted } if wanted == "memory:one/keys/disks/1"), "{error:?}");
    assert!(device.bytes() == image);
    assert_eq!(volume.keks()[0].version(), "1");
}

#[test]
fn reads_and_writes_go_on_during_rotations() {
    let (vault, image) = image();
    let device = shared(image);
    let volume = open(device.clone(), &vault).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..40u8 {
                volume.write_at(0, &[round; 4096]).unwrap();
                let mut back = [0; 4096];
                volume.read_at(0, &mut back).unwrap();
                assert_eq!(back, [round; 4096]);
            }
        });
        let rotate = || {
            for _ in 0..5 {
                vault.rotate();
                volume.rotate_kek(&vault).unwrap();
            }
        };
        scope.spawn(rotate);
        scope.spawn(rotate);
        writer.join().unwrap();
    });
    let image = device.bytes();
    assert!(header::is_whole(&image));
    let volume = look(image, &vault).unwrap();
    assert_eq!(volume.keks().len(), 1);
    let mut back = [0; 4096];
    volume.read_at(0, &mut back).unwrap();
    assert_eq!(back, [39; 4096]);
}

/// A vault that does something else between wrapping a DEK and answering.
struct SlowVault<'a> {
    vault: &'a MemoryVault,
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send + 'a>>>,
}

impl KeyVault for SlowVault<'_> {
    fn id(&self) -> &str {
        self.vault.id()
    }

    fn wrap(&self, key: &str, dek: &Secret) -> atrest::Result<WrappedDek> {
        let wrapped = self.vault.wrap(key, dek);
        let meanwhile = self.meanwhile.lock().unwrap().take();
        meanwhile.into_iter().for_each(|meanwhile| meanwhile());
        wrapped
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> atrest::Result<Option<Secret>> {
        self.vault.unwrap(wrapped)
    }
}

#[test]
fn a_slow_rotation_does_not_undo_a_later_one() {
    let (vault, image) = image();
    let device = shared(image);
    let volume = Arc::new(open(device.clone(), &vault).unwrap());
    vault.rotate();
    let (faster, vault) = (volume.clone(), &vault);
    let meanwhile = move || {
        // While the first rotation waits for its answer under version 2, there is a version 3, and a rotation to it
        // is over: its caller may destroy version 2 from now on.
        vault.rotate();
        assert_eq!(faster.rotate_kek(vault).unwrap().version(), "3");
    };
    let slow = SlowVault { vault, meanwhile: Mutex::new(Some(Box::new(meanwhile))) };
    assert_eq!(volume.rotate_kek(&slow).unwrap().version(), "3");
    vault.destroy(2);
    assert!(holds_plain(&look(device.bytes(), vault).unwrap()));
}

#[test]
fn a_header_that_another_program_changed_is_not_written_over() {
    let (vault, image) = image();
    vault.rotate();
    let device = shared(image);
    let (one, other) = (open(device.clone(), &vault).unwrap(), open(device.clone(), &vault).unwrap());
    other.rotate_kek(&vault).unwrap();
    let bytes = device.bytes();
    let error = one.rotate_kek(&vault).unwrap_err();
    assert!(matches!(&error, Error::Busy { what } if what.contains("header")), "{error:?}");
    assert!(device.bytes() == bytes && holds_plain(&one));
    // Opened anew, it can be rotated.
    open(device, &vault).unwrap().rotate_kek(&vault).unwrap();
}

#[test]
fn a_rotation_of_a_truncated_volume_does_not_make_it_whole() {
    let (vault, mut image) = image();
    image.truncate(DATA + SIZE - 4096);
    let options = OpenOptions::new().hazmat_allow_truncated(true);
    let device = shared(image);
    let volume = Volume::open(device.clone(), Credential::Vault(&vault), &options).unwrap();
    volume.rotate_kek(&vault).unwrap();
    assert!(matches!(look(device.bytes(), &vault), Err(Error::DeviceTooSmall { .. })));
}

#[test]
fn a_new_size_is_recorded_by_who_asks() {
    let (vault, mut image) = image();
    image.truncate(DATA + SIZE - 4096);
    let device = shared(image);
    let credential = || Credential::Vault(&vault);
    let read_only = OpenOptions::new().hazmat_allow_truncated(true).read_only(true);
    let volume = Volume::open(device.clone(), credential(), &read_only).unwrap();
    assert!(matches!(volume.record_size(), Err(Error::ReadOnly)));
    let error = look(device.bytes(), &vault).map(drop).unwrap_err();
    assert!(
        error.to_string().contains("hazmat_allow_truncated") && error.to_string().contains("record_size"),
        "{error}"
    );

    // Shrunk on purpose.
    let volume = Volume::open(device.clone(), credential(), &OpenOptions::new().hazmat_allow_truncated(true)).unwrap();
    let before = device.bytes();
    assert_eq!(volume.record_size().unwrap(), SIZE as u64 - 4096);
    assert!(device.bytes()[DATA..] == before[DATA..]);
    look(device.bytes(), &vault).unwrap();
    // And now it is known when more is lost.
    let mut cut = device.bytes();
    cut.truncate(DATA + SIZE - 8192);
    assert!(matches!(look(cut, &vault), Err(Error::DeviceTooSmall { .. })));
    // There is nothing to do twice.
    let recorded = device.bytes();
    volume.record_size().unwrap();
    assert!(device.bytes() == recorded);

    // Grown: a device that is cut back to its earlier size is detected.
    let mut grown = device.bytes();
    grown.resize(DATA + SIZE + 8192, 0);
    let device = shared(grown);
    Volume::open(device.clone(), credential(), &OpenOptions::new()).unwrap().record_size().unwrap();
    let mut cut = device.bytes();
    cut.truncate(DATA + SIZE);
    assert!(matches!(look(cut, &vault), Err(Error::DeviceTooSmall { .. })));
    look(device.bytes(), &vault).unwrap();
}

#[test]
fn a_forged_token_is_neither_rotated_nor_believed() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault_at(&folder.path().join("keys.vault"));
    vault.create_key("public").unwrap();
    let volume =
        Volume::format(shared(vec![0; DATA + SIZE]), Protector::Vault(&vault, "disks"), &options().context(b"disk-17"))
            .unwrap();
    let real = volume.keks();
    let mut image = volume.into_device().bytes();
    // An edit possible without any key: another key of the vault, another context. The real token moves behind.
    header::edit_json(&mut image, |json| {
        let real = json["tokens"]["0"].clone();
        let mut forged = real.clone();
        forged["key_url"] = real["key_url"].as_str().unwrap().replace("/disks/", "/public/").into();
        forged["context"] = "ZGlzay05OQ==".into();
        json["tokens"] = serde_json::json!({"0": forged, "1": real});
    });
    let device = shared(image);
    let open =
        |context: &[u8]| Volume::open(device.clone(), Credential::Vault(&vault), &OpenOptions::new().context(context));
    let volume = open(b"disk-17").unwrap();
    assert_eq!(volume.keks(), real);
    let rotated = vault.rotate_key("disks").unwrap();
    assert_eq!(volume.rotate_kek(&vault).unwrap(), rotated);
    drop(volume);
    assert_eq!(open(b"disk-17").unwrap().keks(), [rotated]);
    assert!(matches!(open(b"disk-99"), Err(Error::ContextMismatch)));
}
