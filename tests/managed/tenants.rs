//! One tenant can't shut out others: a defect of one disk's header affects only that disk, and is not an outage of its
//! vault.

use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::common::header::edit_json;
use crate::common::world::{T, VAULT, World, new_disk};
use atrest::EncryptionType::{CustomerKey, PlatformAndCustomerKeys};
use atrest::key::{KeyId, WrapAlgorithm, WrappedDek};
use atrest::managed::{OutagePolicy, ResourceName};
use atrest::volume::KeyslotOptions;
use atrest::{Credential, Error, KeyVault, MemoryDevice, OpenOptions, Protector, Result, Secret, Volume};
use serde_json::json;

type Edit = fn(&mut serde_json::Value);

/// Ways to write one's own disk's token so that no vault can be of help.
const FORGERIES: [(&str, Edit); 6] = [
    ("a DEK of another size", |token| token["key_size"] = json!(if token["key_size"] == 32 { 64 } else { 32 })),
    ("a wrapped key of another length", |token| {
        token["wrapped_dek"] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
    }),
    ("a wrapped key of zeros", |token| token["wrapped_dek"] = json!(base64_zeros(72))),
    ("a version that the vault has not", |token| {
        let url = token["key_url"].as_str().unwrap().replace("/keys/disks/1", "/keys/disks/999");
        token["key_url"] = json!(url);
    }),
    ("another algorithm", |token| token["algorithm"] = json!("RSA-OAEP-256")),
    ("bytes for which the vault refuses a key", |token| token["algorithm"] = json!("opaque")),
];

/// `len` zero bytes, a multiple of three of them, as base64.
fn base64_zeros(len: usize) -> String {
    "A".repeat(len / 3 * 4)
}

fn forge(image: &mut [u8], edit: Edit) {
    edit_json(image, |metadata| {
        let tokens = metadata["tokens"].as_object_mut().unwrap();
        tokens.values_mut().for_each(edit);
    });
}

#[test]
fn forged_disks_keep_no_honest_disk_closed() {
    // A tenant with disks under the platform's key, in one layer or two, opens a forged one each second.
    for (what, edit) in FORGERIES {
        let world = World::new();
        let service = world.service();
        world.set(&service, "s", CustomerKey);
        world.set(&service, "double", PlatformAndCustomerKeys);
        let all = [("platform", None), ("customer", Some("s")), ("two", Some("double"))];
        for (name, set) in all {
            service.create_disk(&new_disk(name, set)).unwrap();
            service.create_disk(&new_disk(&format!("forged-{name}"), set)).unwrap();
            world.device(&service, &format!("forged-{name}")).edit(|image| forge(image, edit));
        }
        for _ in 0..10 {
            for (name, _) in all {
                let forged = service.open_disk(&format!("forged-{name}"));
                assert!(!matches!(forged, Ok(_) | Err(Error::Vault(_))), "{what}, {name}: {forged:?}");
            }
            for (name, _) in all {
                service.open_disk(name).unwrap_or_else(|e| panic!("{what}, {name}: {e}"));
            }
            world.clock.advance(Duration::from_secs(1));
        }
    }
}

#[test]
fn a_token_of_another_key_size_is_a_tampered_header() {
    let world = World::new();
    let service = world.service();
    service.create_disk(&new_disk("x", None)).unwrap();
    world.device(&service, "x").edit(|image| forge(image, FORGERIES[0].1));
    let asked = world.platform.asked.load(Relaxed);
    assert!(matches!(service.open_disk("x"), Err(Error::TamperedHeader)));
    // The length of the wrapped key alone says so.
    assert_eq!(world.platform.asked.load(Relaxed), asked);
}

#[test]
fn a_forged_disk_is_asked_for_less_and_less_often() {
    let world = World::new();
    let service = world.service();
    for name in ["x", "honest"] {
        service.create_disk(&new_disk(name, None)).unwrap();
    }
    let device = world.device(&service, "x");
    let sound = device.bytes();
    device.edit(|image| forge(image, FORGERIES[2].1));
    let asked = world.platform.asked.load(Relaxed);
    for _ in 0..100 {
        assert!(matches!(service.open_disk("x"), Err(Error::UnwrapFailed)));
    }
    assert_eq!(world.platform.asked.load(Relaxed) - asked, 1);
    service.open_disk("honest").unwrap();
    // A repaired disk opens again, a minute later at the latest.
    device.edit(|image| image.copy_from_slice(&sound));
    world.clock.advance(Duration::from_secs(60));
    service.open_disk("x").unwrap();
}

/// The vault refuses the DEK, and a moment later says that its key works: that may be a key that was given back in between.
#[test]
fn a_key_that_is_given_back_while_a_disk_is_opened_opens_it() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    service.create_disk(&new_disk("x", Some("s"))).unwrap();
    // From now on there is a sample that the vault has unwrapped.
    drop(service.open_disk("x").unwrap());
    world.customer(VAULT).refuses.store(1, Relaxed);
    service.open_disk("x").unwrap();
    assert_eq!(world.customer(VAULT).refuses.load(Relaxed), 0);
}

#[test]
fn a_platform_vault_that_is_away_stops_no_disk_that_needs_no_platform_key() {
    // The fault is put where the vault itself answers: its key is destroyed for good.
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    for (name, set) in [("platform", None), ("customer", Some("s"))] {
        service.create_disk(&new_disk(name, set)).unwrap();
    }
    world.platform.destroy(1);
    for _ in 0..3 {
        assert!(service.open_disk("platform").is_err());
        service.open_disk("customer").unwrap();
    }
}

#[test]
fn an_outage_of_a_vault_is_still_told_without_asking_it_each_time() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    for name in ["x", "y"] {
        service.create_disk(&new_disk(name, Some("s"))).unwrap();
    }
    drop(service);
    let service = world.service();
    let customer = world.customer(VAULT);
    customer.throttles.store(true, Relaxed);
    let before = customer.calls.load(Relaxed);
    for _ in 0..50 {
        assert!(matches!(service.open_disk("x"), Err(Error::Vault(_))));
        assert!(matches!(service.open_disk("y"), Err(Error::Vault(_))));
    }
    // One look at the key, and one unwrap that fails.
    assert_eq!(customer.calls.load(Relaxed) - before, 2);
    world.clock.set(T + 60);
    customer.throttles.store(false, Relaxed);
    service.open_disk("x").unwrap();
}

/// A vault that wraps a DEK by garbage under the key of a customer's vault, for an owner of the DEK who makes a token of their own.
struct Garbage<'a> {
    of: &'a dyn KeyVault,
    key: KeyId,
    dek: Mutex<Option<Secret>>,
}

impl KeyVault for Garbage<'_> {
    fn id(&self) -> &str {
        self.of.id()
    }

    fn wrap(&self, _: &str, dek: &Secret) -> Result<WrappedDek> {
        *self.dek.lock().unwrap() = Some(Secret::copy_from(dek.expose()));
        Ok(WrappedDek::new(self.key.clone(), WrapAlgorithm::Aes256Kw, vec![0; dek.len() + 8]))
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        let dek = self.dek.lock().unwrap();
        match dek.as_ref().filter(|_| wrapped.bytes.iter().all(|&byte| byte == 0)) {
            Some(dek) => Ok(Some(Secret::copy_from(dek.expose()))),
            None => self.of.unwrap(wrapped),
        }
    }
}

#[test]
fn a_forged_token_beside_the_right_one_ends_no_lease() {
    let mut world = World::new();
    world.lease.outage = OutagePolicy::ContinueFor(Duration::from_secs(86400));
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    for name in ["honest", "forged"] {
        service.create_disk(&new_disk(name, Some("s"))).unwrap();
    }
    // Its owner knows the DEK, so that the service takes the token for one of its own.
    let id = service.resource(&ResourceName::disk("forged")).unwrap().id;
    world.device(&service, "forged").edit(|image| {
        let customer = world.customer(VAULT);
        let vault = Garbage { of: &customer.vault, key: customer.key(1), dek: Mutex::default() };
        let options = OpenOptions::new().context(id.as_bytes());
        let device = MemoryDevice::from_bytes(image.to_vec());
        let volume = Volume::open(device, Credential::Vault(&vault), &options).unwrap();
        volume.add_protector(Protector::Vault(&vault, "disks"), &KeyslotOptions::new()).unwrap();
        assert_eq!(volume.keks(), [customer.key(1), customer.key(1)]);
        image.copy_from_slice(&volume.into_device().into_bytes());
    });
    let honest = service.open_disk("honest").unwrap();
    for _ in 0..5 {
        service.open_disk("forged").unwrap();
        world.clock.advance(Duration::from_secs(900));
        service.maintain();
        honest.read_at(0, &mut [0; 4096]).unwrap();
        let leases = service.metrics().key_leases;
        assert_eq!((leases.valid, leases.outage, leases.revoked), (1, 0, 0));
    }
}
