//! Stores that are rebuilt from the headers of disks whose adoption stopped half-way.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::adopt::{OFFSET, SIZE, adopt, data, give, image, only_by_a_vault, read};
use super::adopt_faults::{killed_with_token, name};
use crate::common::device::TestDevice;
use crate::common::header::{edit_json, json};
use crate::common::world::{VAULT, World, quiet};
use atrest::EncryptionType::CustomerKey;
use atrest::managed::{AdoptOptions, DiskService, RebuildSources, ReencryptionKind, Resource, ResourceName, rebuild};
use atrest::{Credential, Error, Fingerprint, KeyVault, OpenOptions, Volume};

#[test]
fn a_store_rebuilt_from_headers_knows_that_the_old_ways_are_in() {
    let world = World::new();
    give(&world, image());
    let service = killed_with_token(&world, None, &AdoptOptions::new());
    let id = service.resource(&name()).unwrap().id;
    drop(service);
    let store = world.folder.path().join("new");
    let sources = RebuildSources::new().device("north", &id).subscription("one");
    let rebuilt = rebuild(&store, &sources, &world.options()).unwrap();
    assert_eq!(rebuilt.named_by_id, [ResourceName::disk(&id)]);
    let service = DiskService::open(&store, world.options()).unwrap();
    assert_eq!(
        service.resource(&ResourceName::disk(&id)).unwrap().adopting.unwrap().device_size,
        (OFFSET + SIZE) as u64
    );
    assert!(read(&service, &id).unwrap() == data());
    assert_eq!(service.resource(&ResourceName::disk(&id)).unwrap().adopting, None);
    only_by_a_vault(world.disks.0.lock().unwrap()[&id].bytes(), "rebuilt");
}

/// A service with a set, and a copy of its store from before there is any disk.
fn with_set(world: &World) -> std::path::PathBuf {
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    let old = world.folder.path().join("old");
    service.backup(&old).unwrap();
    old
}

/// A service on a store that the disk's header, and a store that knows the sets only, give.
fn rebuilt(world: &World, id: &str, old: &std::path::Path, new: &str) -> (DiskService, Resource) {
    let store = world.folder.path().join(new);
    let sources = RebuildSources::new().device("north", id).store(old);
    let told = rebuild(&store, &sources, &world.options()).unwrap();
    assert_eq!((told.named_by_id, told.unproven), (vec![ResourceName::disk(id)], vec![]));
    let service = DiskService::open(&store, world.options()).unwrap();
    let found = service.resource(&ResourceName::disk(id)).unwrap();
    (service, found)
}

fn guest() -> AdoptOptions {
    AdoptOptions::new().guest_encrypted(true).reencrypt(true)
}

/// The DEK of the image, which whoever was root in the guest may have.
fn of_guest() -> Fingerprint {
    let credential = Credential::Passphrase(b"of the guest");
    Volume::open(Arc::new(TestDevice::new(image())), credential, &OpenOptions::new()).unwrap().fingerprint().unwrap()
}

/// It goes on to a new DEK, and after that the header says nothing of an order any more.
fn goes_on(world: &World, service: DiskService, id: &str, old: &std::path::Path) {
    assert_eq!(service.reencrypting().unwrap(), [id]);
    assert!(read(&service, id).unwrap() == data());
    let order = service.resource(&ResourceName::disk(id)).unwrap().reencryption.unwrap();
    assert!(order.kind == ReencryptionKind::Rekey && order.adopted, "{order:?}");
    assert!(matches!(service.cancel_reencryption(id), Err(Error::InvalidOption(_))));
    while !service.reencrypt_step(id, 4096).unwrap().is_finished() {}
    let made = service.resource(&ResourceName::disk(id)).unwrap();
    assert!(made.adopting.is_none() && made.reencryption.as_ref().unwrap().finished.is_some(), "{made:?}");
    assert_ne!(made.fingerprints, [of_guest()]);
    assert!(read(&service, id).unwrap() == data());
    drop(service);
    only_by_a_vault(world.disks.0.lock().unwrap()[id].bytes(), "re-encrypted");
    let (service, found) = rebuilt(world, id, old, "again");
    assert_eq!((found.adopting, found.reencryption), (None, None));
    assert!(read(&service, id).unwrap() == data());
}

/// The members of the token of type `atrest` in a copy of the header.
fn token(image: &[u8], which: usize) -> serde_json::Value {
    let tokens = json(image, which)["tokens"].as_object().unwrap().clone();
    tokens.into_iter().map(|(_, token)| token).find(|token| token["type"] == "atrest").unwrap()
}

#[test]
fn a_store_rebuilt_from_headers_knows_the_order_of_a_new_dek() {
    // Behaviour 52: what a guest encrypted doesn't stay in a set under its DEK.
    let world = World::new();
    let old = with_set(&world);
    give(&world, image());
    let service = killed_with_token(&world, Some("s"), &guest());
    let id = service.resource(&name()).unwrap().id;
    drop(service);
    let bytes = world.disks.0.lock().unwrap()[&id].bytes();
    assert_eq!(token(&bytes, 0)["reencrypt"], true);
    let (service, found) = rebuilt(&world, &id, &old, "new");
    assert!(found.adopting.unwrap().reencrypt && found.reencryption.is_none());
    goes_on(&world, service, &id, &old);
}

/// The old ways went, and the order that the store noted was not begun: the vault is away when it is to wrap the new DEK.
fn stopped_before_it_begins(world: &World) -> String {
    let service = world.service();
    let customer = world.customer(VAULT);
    // It wraps on trial, then the image's DEK, and then the new one.
    customer.fail_wrap_at.store(customer.wraps.load(Relaxed) + 3, Relaxed);
    let error = adopt(&service, Some("s"), &guest()).unwrap_err();
    assert!(matches!(error, Error::Vault(_)), "{error}");
    let resource = service.resource(&name()).unwrap();
    assert!(resource.adopting.is_none() && resource.reencryption.unwrap().begun.is_none());
    resource.id
}

#[test]
fn an_order_that_has_not_begun_is_in_the_header_and_a_rotation_keeps_it() {
    for rotates in [false, true] {
        let world = World::new();
        let old = with_set(&world);
        give(&world, image());
        let id = stopped_before_it_begins(&world);
        let device = world.disks.0.lock().unwrap()[&id].clone();
        if rotates {
            // By the volume's own means: the service would begin.
            let vault = world.customer(VAULT);
            vault.rotate();
            let of_set: &dyn KeyVault = &vault.vault;
            let options = OpenOptions::new().context(id.as_bytes());
            let volume = Volume::open(device.clone(), Credential::Vault(of_set), &options).unwrap();
            let before = token(&device.bytes(), 0);
            volume.rotate_kek(of_set).unwrap();
            let after = token(&device.bytes(), 0);
            assert!(before["key_url"] != after["key_url"] && after["reencrypt"] == true, "{after}");
        }
        let (service, found) = rebuilt(&world, &id, &old, "new");
        let order = found.reencryption.clone().unwrap();
        assert!(found.adopting.is_none() && order.adopted && order.begun.is_none(), "{found:?}");
        if rotates {
            service.rotate_set("s", &quiet).unwrap();
        }
        goes_on(&world, service, &id, &old);
    }
}

/// Releases that don't know the member ignore it and, when they rotate, drop it. Its other values mean nothing.
#[test]
fn the_order_in_a_header_keeps_no_release_from_opening_it() {
    let world = World::new();
    let old = with_set(&world);
    give(&world, image());
    let id = stopped_before_it_begins(&world);
    let device = world.disks.0.lock().unwrap()[&id].clone();
    let bytes = device.bytes();
    for (n, value) in [None, Some("true".into()), Some(serde_json::json!(false)), Some(serde_json::json!({"a": []}))]
        .into_iter()
        .enumerate()
    {
        let mut changed = bytes.clone();
        edit_json(&mut changed, |json| {
            for (_, token) in json["tokens"].as_object_mut().unwrap() {
                let token = token.as_object_mut().unwrap();
                match &value {
                    Some(value) => drop(token.insert("reencrypt".into(), value.clone())),
                    None => drop(token.remove("reencrypt").unwrap()),
                }
            }
        });
        device.edit(|bytes| bytes.copy_from_slice(&changed));
        let (service, found) = rebuilt(&world, &id, &old, &format!("new {n}"));
        assert_eq!(found.reencryption, None, "{value:?}");
        assert!(read(&service, &id).unwrap() == data());
    }
}
