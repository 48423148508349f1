//! Volumes that were arranged against being adopted, and adoptions that stopped half-way while other things go on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use base64ct::{Base64, Encoding};

use super::adopt::{IMAGE, PASSPHRASE, adopt, cheap, data, format, give, image, image_by, only_by_a_vault, read};
use crate::common::device::TestDevice;
use crate::common::header::{COPY, edit_json, json};
use crate::common::world::{OTHER_VAULT, VAULT, World, counts, new_disk, quiet};
use atrest::EncryptionType::CustomerKey;
use atrest::key::{KeyId, WrappedDek};
use atrest::managed::{AdoptOptions, DiskService, ProtectionStatus, ResourceKind, ResourceName};
use atrest::volume::{Header, ProtectorId};
use atrest::{Error, KeyVault, OpenOptions, Protector, Result, Secret, Volume};

pub fn name() -> ResourceName {
    ResourceName::disk("d")
}

/// Kills an adoption just before a write to a device that satisfies `when`, and returns the service after a restart.
fn killed(
    world: &World,
    set: Option<&str>,
    options: &AdoptOptions,
    when: impl Fn(&[u8]) -> bool + Send + Sync + 'static,
) -> DiskService {
    let service = world.service();
    let devices = Arc::downgrade(&world.disks);
    let film = move |id: &str| {
        let device = devices.upgrade().unwrap().0.lock().unwrap()[id].clone();
        assert!(!when(&device.bytes()), "killed");
    };
    world.disks.film(Some(Arc::new(film)));
    let adopted = catch_unwind(AssertUnwindSafe(|| adopt(&service, set, options)));
    world.disks.film(None);
    assert!(adopted.is_err(), "it was killed: {adopted:?}");
    drop(service);
    let service = world.service();
    assert!(service.resource(&name()).unwrap().adopting.is_some());
    service
}

/// Kills it when nothing is written yet.
fn killed_at_once(world: &World, set: Option<&str>, options: &AdoptOptions) -> DiskService {
    killed(world, set, options, |_| true)
}

/// Kills it when both copies of the header have the token, and the old ways in.
pub fn killed_with_token(world: &World, set: Option<&str>, options: &AdoptOptions) -> DiskService {
    killed(world, set, options, |image| {
        (0..2).all(|which| {
            let tokens = json(image, which)["tokens"].as_object().unwrap().clone();
            tokens.values().any(|token| token["type"] == "atrest")
        })
    })
}

fn waits<T: core::fmt::Debug>(result: Result<T>) {
    let error = result.unwrap_err();
    assert!(matches!(&error, Error::Busy { what } if what.contains("adopt_disk")), "{error}");
}

/// It is refused, and neither the image nor the store changes.
fn refused(world: &World, service: &DiskService, bytes: Vec<u8>, options: &AdoptOptions) -> Error {
    give(world, bytes.clone());
    let error = adopt(service, None, options).unwrap_err();
    assert!(world.disks.0.lock().unwrap()[IMAGE].bytes() == bytes, "{error}");
    assert!(service.names(ResourceKind::Disk).unwrap().is_empty(), "{error}");
    error
}

#[test]
fn the_map_of_written_chunks_stays() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    let mapped = image_by(&format().written_map(4096));
    let error = refused(&world, &service, mapped.clone(), &AdoptOptions::new().reencrypt(true));
    assert!(error.to_string().contains("copy its data"), "{error}");
    give(&world, mapped);
    adopt(&service, Some("s"), &AdoptOptions::new()).unwrap();
    assert!(read(&service, "d").unwrap() == data());
    let device = world.device(&service, "d").bytes();
    let header = Header::load(&TestDevice::new(device)).map(|header| (header.keyslots(), header.tokens())).unwrap();
    let mut kinds: Vec<String> = header.1.into_iter().map(|token| token.kind).collect();
    kinds.sort();
    assert_eq!((header.0.len(), kinds), (0, vec!["atrest".into(), "atrest-written".into()]));
    drop(service);
    assert!(read(&world.service(), "d").unwrap() == data());
}

#[test]
fn a_rotation_moves_the_others_and_says_what_is_half_adopted() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    ["a", "z"].iter().for_each(|disk| drop(service.create_disk(&new_disk(disk, Some("s"))).unwrap()));
    drop(service);
    give(&world, image());
    let service = killed_at_once(&world, Some("s"), &AdoptOptions::new());
    let key = world.customer(VAULT).rotate();
    let moved = |service: &DiskService| {
        for disk in ["a", "z"] {
            let keys = service.report(&ResourceName::disk(disk)).unwrap().keys;
            assert_eq!(keys, [key.to_string()], "{disk}");
        }
        assert!(service.encryption_set("s").unwrap().auto_key_rotation_error.is_none());
    };
    waits(service.rotate_set("s", &quiet));
    moved(&service);
    // The same where its device is away.
    let id = service.resource(&name()).unwrap().id;
    let device = world.disks.0.lock().unwrap().remove(&id).unwrap();
    waits(service.rotate_set("s", &quiet));
    world.disks.0.lock().unwrap().insert(id, device);
    adopt(&service, Some("s"), &AdoptOptions::new()).unwrap();
    service.rotate_set("s", &quiet).unwrap();
    assert!(service.report_set("s").unwrap().finished);
    assert!(read(&service, "d").unwrap() == data());
}

#[test]
fn a_rotation_of_the_platform_moves_the_others_and_says_what_is_half_adopted() {
    let world = World::new();
    let service = world.service();
    ["a", "z"].iter().for_each(|disk| drop(service.create_disk(&new_disk(disk, None)).unwrap()));
    drop(service);
    give(&world, image());
    let service = killed_at_once(&world, None, &AdoptOptions::new());
    world.platform.rotate();
    waits(service.rotate_platform(&quiet));
    let report = service.report_platform().unwrap();
    assert_eq!((report.waiting, report.keys.unwrap().rotation_error), (vec![name().to_string()], None));
    adopt(&service, None, &AdoptOptions::new()).unwrap();
    service.rotate_platform(&quiet).unwrap();
    assert!(service.report_platform().unwrap().finished);
    assert!(read(&service, "d").unwrap() == data());
}

/// Its vault has opened it, and a passphrase still does.
#[test]
fn what_is_proved_and_half_adopted_is_not_done() {
    for set in [Some("s"), None] {
        let world = World::new();
        let service = world.service();
        world.set(&service, "s", CustomerKey);
        drop(service);
        give(&world, image());
        // The first of the old ways in is gone.
        let is_first = |image: &[u8]| json(image, 0)["keyslots"].as_object().unwrap().len() < 2;
        let service = killed(&world, set, &AdoptOptions::new(), is_first);
        assert!(service.resource(&name()).unwrap().proven.is_some());
        assert_eq!(service.report(&name()).unwrap().status, ProtectionStatus::Joining);
        let told = || {
            let (of_set, of_platform) = (service.report_set("s").unwrap(), service.report_platform().unwrap());
            match set {
                Some(_) => (of_set.finished, counts(of_set.progress), of_set.waiting),
                None => (of_platform.finished, counts(of_platform.progress), of_platform.waiting),
            }
        };
        let all = |done| (done, 1);
        assert_eq!(told(), (false, all(0), vec![name().to_string()]), "{set:?}");
        if set.is_some() {
            assert_eq!(counts(service.rotation_progress("s").unwrap()), all(0));
        }
        adopt(&service, set, &AdoptOptions::new()).unwrap();
        assert_eq!(told(), (true, all(1), vec![]), "{set:?}");
    }
}

/// What the vault opens already, a rotation finishes, also one to another vault.
#[test]
fn a_rotation_finishes_what_the_vault_opens() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    drop(service);
    give(&world, image());
    let service = killed_with_token(&world, Some("s"), &AdoptOptions::new());
    let granted = world.customer(VAULT).granted.lock().unwrap().clone();
    *world.customer(OTHER_VAULT).granted.lock().unwrap() = granted;
    let key = KeyId::new(OTHER_VAULT, "disks", "1").unwrap();
    service.change_key("s", &key, &quiet).unwrap();
    assert_eq!(service.resource(&name()).unwrap().adopting, None);
    only_by_a_vault(world.device(&service, "d").bytes(), "rotated");
    assert!(read(&service, "d").unwrap() == data());
    assert!(service.report_set("s").unwrap().finished);
}

/// Wraps as whoever has the DEK does who can't ask the vault: a token of this vault gets the right MAC.
struct Garbage<'a>(&'a dyn KeyVault, Mutex<Secret>);

impl KeyVault for Garbage<'_> {
    fn id(&self) -> &str {
        self.0.id()
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        *self.1.lock().unwrap() = dek.clone();
        let made = self.0.wrap(key, dek)?;
        Ok(WrappedDek::new(made.kek, made.algorithm, vec![7; dek.len() + 8]))
    }

    fn unwrap(&self, _: &WrappedDek) -> Result<Option<Secret>> {
        Ok(Some(self.1.lock().unwrap().clone()))
    }
}

/// A token names the set's vault, and it opens nothing there: its version is disabled, or it is garbage. Another one has a wrong MAC.
#[test]
fn a_token_of_the_same_vault_that_opens_nothing_does_not_block() {
    for is_garbage in [false, true] {
        let world = World::new();
        let service = world.service();
        world.set(&service, "s", CustomerKey);
        let customer = world.customer(VAULT);
        let device = Arc::new(TestDevice::new(image()));
        let volume = Volume::open(device.clone(), PASSPHRASE, &OpenOptions::new()).unwrap();
        let garbage = Garbage(&customer.vault, Mutex::new(Secret::zeroed(64)));
        let vault: &dyn KeyVault = if is_garbage { &garbage } else { &customer.vault };
        volume.add_protector(Protector::Vault(vault, "disks"), &cheap()).unwrap();
        drop(volume);
        device.edit(|image| edit_json(image, |json| add_forged(&mut json["tokens"])));
        if !is_garbage {
            customer.rotate();
            service.rotate_set("s", &quiet).unwrap();
            customer.off.lock().unwrap().insert(1);
        }
        give(&world, device.bytes());
        adopt(&service, Some("s"), &AdoptOptions::new()).unwrap();
        assert!(read(&service, "d").unwrap() == data());
        only_by_a_vault(world.device(&service, "d").bytes(), "adopted");
        assert_eq!(service.report(&name()).unwrap().status, ProtectionStatus::Finished);
        customer.rotate();
        service.rotate_set("s", &quiet).unwrap();
        assert!(service.report_set("s").unwrap().finished);
    }
}

/// Adds a copy of the vault's token with another wrapped DEK, which the MAC doesn't fit.
fn add_forged(tokens: &mut serde_json::Value) {
    let tokens = tokens.as_object_mut().unwrap();
    let mut token = tokens.values().find(|token| token["type"] == "atrest").unwrap().clone();
    let is_wrapped = |field: &&mut serde_json::Value| {
        field.as_str().is_some_and(|text| Base64::decode_vec(text).is_ok_and(|bytes| bytes.len() == 72))
    };
    let field = token.as_object_mut().unwrap().values_mut().find(is_wrapped);
    *field.expect("a wrapped DEK of 64 bytes") = Base64::encode_string(&[9; 72]).into();
    tokens.insert("20".into(), token);
}

/// An image whose sectors are numbered from another than 0, which re-encryption doesn't do.
fn shifted() -> Vec<u8> {
    let mut bytes = image();
    edit_json(&mut bytes, |json| json["segments"]["0"]["iv_tweak"] = "8".into());
    let device = Arc::new(TestDevice::new(bytes));
    let volume = Volume::open(device.clone(), PASSPHRASE, &OpenOptions::new()).unwrap();
    volume.write_at(0, &data()).unwrap();
    drop(volume);
    device.bytes()
}

#[test]
fn what_can_not_be_re_encrypted_is_refused_before_the_image_moves() {
    let world = World::new();
    let service = world.service();
    let error = refused(&world, &service, shifted(), &AdoptOptions::new().reencrypt(true));
    assert!(error.to_string().contains("copy its data"), "{error}");
    adopt(&service, None, &AdoptOptions::new()).unwrap();
    assert!(read(&service, "d").unwrap() == data());
}

#[test]
fn what_is_changed_between_two_calls_is_looked_at_again() {
    let reencrypt = AdoptOptions::new().reencrypt(true);
    type Change = fn(&mut serde_json::Value);
    let changes: [(&str, Change); 3] = [
        ("copy its data", |segment| segment["iv_tweak"] = "8".into()),
        ("changed", |segment| segment["sector_size"] = 512.into()),
        ("changed", |segment| segment["size"] = "8192".into()),
    ];
    for (says, change) in changes {
        let world = World::new();
        give(&world, image());
        let service = killed_at_once(&world, None, &reencrypt);
        let device = world.device(&service, "d");
        device.edit(|image| edit_json(image, |json| change(&mut json["segments"]["0"])));
        let before = device.bytes();
        let error = adopt(&service, None, &reencrypt).unwrap_err();
        assert!(matches!(&error, Error::InvalidOption(text) if text.contains(says)), "{error}");
        assert!(device.bytes() == before, "{error}");
    }
}

#[test]
fn an_order_of_re_encryption_is_known_before_the_disk_is_adopted() {
    let reencrypt = AdoptOptions::new().reencrypt(true);
    for rekeys in [false, true] {
        let world = World::new();
        let service = world.service();
        world.set(&service, "s", CustomerKey);
        drop(service);
        give(&world, image());
        let service = killed_with_token(&world, Some("s"), &reencrypt);
        assert_eq!(service.reencrypting().unwrap(), ["d"]);
        assert_eq!(service.report(&name()).unwrap().status, ProtectionStatus::Joining);
        if rekeys {
            assert!(matches!(service.rekey_disk("d"), Err(Error::Busy { .. })));
            assert!(service.resource(&name()).unwrap().reencryption.is_some());
        }
        while !service.reencrypt_step("d", 4096).unwrap().is_finished() {}
        let made = service.resource(&name()).unwrap();
        assert!(made.adopting.is_none() && made.reencryption.unwrap().finished.is_some());
        assert!(service.reencrypting().unwrap().is_empty());
        only_by_a_vault(world.device(&service, "d").bytes(), "re-encrypted");
        assert!(read(&service, "d").unwrap() == data());
    }
}

#[test]
fn what_a_change_of_the_header_would_refuse_is_refused_before_the_image_moves() {
    let world = World::new();
    let service = world.service();
    let device = Arc::new(TestDevice::new(image()));
    let mut header = Header::load(&device).unwrap();
    while header.import_token(r#"{"type":"another","keyslots":[]}"#).is_ok() {}
    assert_eq!(header.tokens().len(), 32);
    drop(header);
    let error = refused(&world, &service, device.bytes(), &AdoptOptions::new());
    assert!(error.to_string().contains("32 tokens") && error.to_string().contains("no room"), "{error}");
    // Nor does it have room for bytes, with a token of another program that leaves none of them.
    let device = Arc::new(TestDevice::new(image()));
    let mut header = Header::load(&device).unwrap();
    let of = |len: usize| format!(r#"{{"type":"another","keyslots":[],"of":"{}"}}"#, "x".repeat(len));
    let (mut least, mut most) = (0, 16 << 10);
    while most - least > 1 {
        let middle = (least + most) / 2;
        let id = header.import_token(of(middle));
        let Ok(id) = id else {
            most = middle;
            continue;
        };
        header.remove_protector(ProtectorId::Token(id)).unwrap();
        least = middle;
    }
    header.import_token(of(least)).unwrap();
    drop(header);
    let full = device.bytes();
    let error = refused(&world, &service, full, &AdoptOptions::new());
    assert!(matches!(error, Error::InvalidOption(_)) && error.to_string().contains("no room"), "{error}");
    // Exactly as much as the token takes is enough.
    let made = || service.resource(&name());
    let start = least - 2048;
    let (mut least, mut most) = (start, least);
    while most - least > 1 {
        let middle = (least + most) / 2;
        let device = Arc::new(TestDevice::new(image()));
        Header::load(&device).unwrap().import_token(of(middle)).unwrap();
        give(&world, device.bytes());
        match adopt(&service, None, &AdoptOptions::new()) {
            Ok(()) => {
                least = middle;
                assert_eq!(made().unwrap().adopting, None);
                assert!(read(&service, "d").unwrap() == data());
                service.delete(&name()).unwrap();
            }
            Err(error) => {
                most = middle;
                assert!(matches!(error, Error::InvalidOption(_)), "{error}");
                assert!(matches!(made(), Err(Error::NoSuchResource(_))));
            }
        }
    }
    assert!(least > start && most < start + 2048, "one was adopted, and one was refused: {least} {most}");
    let mut foreign = image();
    let other = b"what another program has there. ".iter().copied().cycle();
    foreign[COPY..2 * COPY].iter_mut().zip(other).for_each(|(to, byte)| *to = byte);
    let error = refused(&world, &service, foreign, &AdoptOptions::new());
    assert!(matches!(error, Error::ForeignData(_)), "{error}");
}
