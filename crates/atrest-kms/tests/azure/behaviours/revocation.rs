//! Revocation: behaviours 35 to 43.

use atrest::managed::ResourceName;
use atrest::{Error, KeyVault};

use super::world::{OTHER_TENANT, RIGHTS, World, new_disk, quiet, reads, reason};
use crate::conformance::dek;

type Turn = fn(&World, &str);

/// The actions of the vault's owner, how each is undone, and its name.
const TRIGGERS: [(&str, Turn, Turn); 4] = [
    ("disabled", |world, _| enable(world, false), |world, _| enable(world, true)),
    (
        "deleted",
        |world, _| drop(world.fake.tell(r#"{"op":"delete","key":"disks"}"#)),
        |world, _| drop(world.fake.tell(r#"{"op":"recover","key":"disks"}"#)),
    ),
    (
        "expired",
        |world, _| drop(world.fake.tell(r#"{"op":"set","key":"disks","exp":1}"#)),
        |world, _| drop(world.fake.tell(r#"{"op":"set","key":"disks","exp":null}"#)),
    ),
    ("access revoked", |world, set| world.grant(set, &[]), |world, set| world.grant(set, &RIGHTS)),
];

fn enable(world: &World, on: bool) {
    world.fake.tell(&format!(r#"{{"op":"set","key":"disks","enabled":{on}}}"#));
}

#[test]
fn each_revocation_ends_io_within_an_hour_and_what_is_restored_comes_back() {
    // Behaviours 35, 36, 37, 38, 39: the machine shuts down when one of its disks, of the system or of data, says so.
    for (name, trigger, undo) in TRIGGERS {
        let Some(mut world) = World::new() else { return };
        world.disk("data", Some("set"));
        let identity = world.service().encryption_set("set").unwrap().identity;
        let disks = ["disk", "data"].map(|disk| world.open(disk).unwrap());
        trigger(&world, &identity);
        let mut passed = 0;
        while disks.iter().any(|disk| !disk.is_suspended()) {
            assert!(passed < 3600, "{name}: an hour has passed");
            passed += 60;
            world.later(60);
        }
        for disk in &disks {
            assert!(matches!(reads(disk, ""), Err(Error::DiskSuspended { .. })), "{name}");
            assert!(matches!(disk.write_at(0, &[9; 4096]), Err(Error::DiskSuspended { .. })), "{name}");
        }
        assert!(matches!(world.open("disk"), Err(Error::DiskSuspended { .. })), "{name}");
        // A service that starts now fares no better.
        drop(disks);
        world.restart();
        for disk in ["disk", "data"] {
            let refused = world.open(disk);
            let found = matches!(&refused, Err(Error::DiskSuspended { .. } | Error::KeyRefused { .. }));
            assert!(found, "{name}: {refused:?}");
        }
        undo(&world, &identity);
        world.later(300);
        for disk in ["disk", "data"] {
            assert!(reads(&world.open(disk).unwrap(), disk).unwrap(), "{name}: {disk}");
        }
    }
}

#[test]
fn without_anybody_to_ask_io_ends_with_the_grace() {
    // Behaviour 36: the first read after it asks the vault.
    let Some(world) = World::new() else { return };
    let disk = world.open("disk").unwrap();
    enable(&world, false);
    world.clock.advance(std::time::Duration::from_secs(3599));
    assert!(reads(&disk, "disk").unwrap());
    world.clock.advance(std::time::Duration::from_secs(1));
    assert!(matches!(reads(&disk, "disk"), Err(Error::DiskSuspended { .. })));
}

#[test]
fn a_disk_starts_again_under_another_key() {
    // Behaviours 38, 40: Azure still unwraps by the expired key, so its DEK goes under the new one.
    let Some(world) = World::new() else { return };
    world.fake.tell(r#"{"op":"new","key":"next"}"#);
    world.fake.tell(r#"{"op":"set","key":"disks","exp":1}"#);
    world.later(3600);
    assert!(matches!(world.open("disk"), Err(Error::DiskSuspended { .. })));
    let next = world.newest("next");
    assert_eq!(world.service().change_key("set", &next, &quiet).unwrap().rewrapped, 1);
    assert!(reads(&world.open("disk").unwrap(), "disk").unwrap());
    assert_eq!(world.key_of(&ResourceName::disk("disk")), next.to_string());
    // Without a disabled or deleted key nobody has the DEK: it must be enabled or recovered during the change.
    world.fake.tell(r#"{"op":"new","key":"third"}"#);
    world.fake.tell(r#"{"op":"set","key":"next","enabled":false}"#);
    world.later(600);
    assert_eq!(reason(world.service().change_key("set", &world.newest("third"), &quiet)), "key-disabled");
    world.fake.tell(r#"{"op":"set","key":"next","enabled":true}"#);
    world.service().clear_rotation_error("set").unwrap();
    world.service().change_key("set", &world.newest("third"), &quiet).unwrap();
    assert!(reads(&world.open("disk").unwrap(), "disk").unwrap());
}

#[test]
fn an_expired_key_stops_a_disk_although_the_vault_still_unwraps() {
    // Behaviours 33, 36, 38, 39, 40
    let Some(world) = World::new() else { return };
    let disk = world.open("disk").unwrap();
    let wrapped = world.fake.vault().wrap("disks", &dek()).unwrap();
    world.fake.tell(r#"{"op":"set","key":"disks","exp":1800}"#);
    world.later(300);
    assert!(reads(&disk, "disk").unwrap());
    assert_eq!(world.service().expiring_keys(std::time::Duration::from_secs(3600)).unwrap().len(), 1);
    world.later(7200);
    assert!(matches!(reads(&disk, "disk"), Err(Error::DiskSuspended { .. })));
    drop(disk);
    assert!(world.open("disk").is_err());
    world.fake.tell(r#"{"op":"set","key":"disks","exp":-60}"#);
    assert!(world.fake.vault().unwrap(&wrapped).unwrap().is_some(), "the vault unwraps");
    world.later(300);
    assert!(world.open("disk").is_err());
    world.fake.tell(r#"{"op":"set","key":"disks","exp":null}"#);
    world.later(300);
    assert!(reads(&world.open("disk").unwrap(), "disk").unwrap());
}

#[test]
fn the_vaults_log_names_the_set_for_each_use_of_its_key() {
    // Behaviour 42
    let Some(mut world) = World::empty() else { return };
    let sets = ["one", "other"].map(|name| world.set(name, "disks"));
    world.later(60);
    for set in &sets {
        world.events();
        world.disk(&set.name, Some(&set.name));
        world.restart();
        let disk = world.open(&set.name).unwrap();
        let events = world.events();
        let version = world.newest("disks");
        for operation in ["KeyGet", "KeyWrap", "KeyUnwrap"] {
            assert!(events.iter().any(|event| event.operation == operation), "{operation}: {events:?}");
        }
        for event in &events {
            assert_eq!((&event.identity, event.status), (&set.identity, 200), "{event:?}");
            let named = event.key == format!("disks/{}", version.version());
            assert!(named || (event.operation == "KeyGet" && event.key == "disks"), "{event:?}");
        }
        // While the disk has its key, its I/O asks no vault.
        disk.write_at(8192, &[1; 4096]).unwrap();
        assert!(reads(&disk, &set.name).unwrap() && world.events().is_empty());
    }
    // A refusal is there too. What is under the platform's key isn't.
    world.grant(&sets[0].identity, &[]);
    world.later(300);
    assert!(world.open(&sets[0].name).is_err());
    assert!(world.events().iter().any(|event| event.identity == sets[0].identity && event.status == 403));
    world.service().create_disk(&new_disk("plain", None)).unwrap();
    assert!(world.events().is_empty());
}

#[test]
fn a_set_of_another_tenant_has_no_identity_that_the_vault_takes() {
    // Behaviour 43
    let Some(world) = World::new() else { return };
    let disk = world.open("disk").unwrap();
    let before = world.service().encryption_set("set").unwrap().identity;
    let moved = world.service().move_set_to_tenant("set", "fabrikam").unwrap();
    assert_ne!(moved.identity, before);
    world.tenants.lock().unwrap().insert(moved.identity.clone(), OTHER_TENANT.into());
    assert!(matches!(reads(&disk, "disk"), Err(Error::DiskSuspended { .. })));
    // Its owner's grant doesn't help: a vault takes tokens of its own tenant only.
    world.grant(&moved.identity, &RIGHTS);
    world.later(3600);
    let error = reads(&disk, "disk").unwrap_err();
    assert!(matches!(&error, Error::DiskSuspended { reason, .. } if reason.contains("another tenant")), "{error:?}");
    // Back in its tenant it gets another identity, and everything works once that is granted.
    let back = world.service().move_set_to_tenant("set", "contoso").unwrap();
    assert!(back.identity != moved.identity && back.identity != before);
    world.later(60);
    assert!(matches!(reads(&disk, "disk"), Err(Error::DiskSuspended { .. })));
    world.grant(&back.identity, &RIGHTS);
    world.later(300);
    assert!(reads(&disk, "disk").unwrap());
}
