//! A set's requirements of its vault: behaviours 16 to 18 and 25.

use std::sync::Arc;

use atrest::Error;
use atrest::managed::{
    DiskFolder, DiskService, KnownVaults, NewImage, NewSnapshot, ResourceName, Rule, ServiceOptions, VaultDescription,
};

use super::world::{RIGHTS, World, denied, new_disk, new_set, quiet, reads, still};
use crate::server::Fake;

/// The rule that forbids a set of a key in a vault of this description, if there is one.
fn forbidden(fake: &Fake, description: VaultDescription) -> Option<Rule> {
    let (folder, vaults) = (tempfile::tempdir().unwrap(), KnownVaults::new());
    let vault = Arc::new(fake.vault());
    let key = atrest::KeyVault::describe(&*vault, "disks", None).unwrap().unwrap().id;
    vaults.add(vault.clone(), description).unwrap();
    let backend = Arc::new(DiskFolder::new(folder.path()));
    let options = ServiceOptions::new(backend, Arc::new(vaults), vault, "disks");
    let service = DiskService::open(folder.path().join("fleet.redb"), options).unwrap();
    match service.create_set(&new_set("set", key)) {
        Ok(_) => None,
        Err(Error::NotAllowed { rule, .. }) => Some(rule),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_vault_must_have_soft_delete_and_purge_protection_by_its_own_word() {
    // Behaviour 16
    let Some(fake) = Fake::start() else { return };
    for (level, soft_delete, purge_protection) in [
        ("Recoverable", true, true),
        ("Recoverable+ProtectedSubscription", true, true),
        ("CustomizedRecoverable", true, true),
        ("CustomizedRecoverable+ProtectedSubscription", true, true),
        ("Recoverable+Purgeable", true, false),
        ("CustomizedRecoverable+Purgeable", true, false),
        ("Purgeable", false, false),
        ("SomethingNew", false, false),
    ] {
        fake.tell(&format!(r#"{{"op":"state","recovery":"{level}"}}"#));
        let description = fake.vault().description("disks", "north", "contoso").unwrap();
        assert_eq!((description.soft_delete, description.purge_protection), (soft_delete, purge_protection), "{level}");
        let expected = (!soft_delete || !purge_protection).then_some(Rule::VaultProtection);
        assert_eq!(forbidden(&fake, description), expected, "{level}");
    }
}

#[test]
fn a_deleted_key_is_recovered_and_its_disks_with_it() {
    // Behaviours 16, 39
    let Some(mut world) = World::new() else { return };
    world.fake.tell(r#"{"op":"delete","key":"disks"}"#);
    world.restart();
    assert!(matches!(world.open("disk"), Err(Error::DiskSuspended { .. } | Error::KeyRefused { .. })));
    world.fake.tell(r#"{"op":"recover","key":"disks"}"#);
    world.later(60);
    assert!(reads(&world.open("disk").unwrap(), "disk").unwrap());
}

/// All that a service does with a set's key.
fn live(world: &mut World) -> atrest::Result<()> {
    world.later(60);
    let service = world.service();
    for name in ["disk", "late"] {
        service.create_disk(&new_disk(name, (name == "disk").then_some("set")))?;
    }
    let disk = service.open_disk("disk")?;
    disk.write_at(0, &super::world::text("disk"))?;
    service.create_snapshot(&NewSnapshot::new("snapshot", "disk").incremental(true), &still)?;
    service.create_image(&NewImage::new("image").disk("disk").region("north", [Some("set")]), &still)?;
    service.put_into_set(&ResourceName::disk("late"), "set")?;
    world.fake.rotate();
    world.later(600);
    for (_, rotation) in world.service().auto_rotate(&quiet)? {
        rotation?;
    }
    world.service().expiring_keys(std::time::Duration::from_secs(86400))?;
    world.later(1800);
    assert!(reads(&disk, "disk")?);
    drop(disk);
    world.restart();
    assert!(reads(&world.open("disk")?, "disk")?);
    Ok(())
}

#[test]
fn the_identity_needs_exactly_get_wrap_key_and_unwrap_key() {
    // Behaviour 17
    let Some(mut world) = World::empty() else { return };
    let identity = world.set("set", "disks").identity;
    world.events();
    let done = live(&mut world);
    let events = world.events();
    assert!(done.is_ok(), "{done:?}: {events:?}");
    let mut used: Vec<_> = events.iter().map(|event| &*event.operation).collect();
    used.sort_unstable();
    used.dedup();
    assert_eq!(used, ["KeyGet", "KeyUnwrap", "KeyWrap"]);
    assert!(events.iter().all(|event| event.status == 200 && event.identity == identity), "{events:?}");
    for missing in RIGHTS {
        let Some(mut world) = World::empty() else { return };
        let identity = world.set_without_access("set", "disks").identity;
        let others: Vec<_> = RIGHTS.into_iter().filter(|right| *right != missing).collect();
        world.grant(&identity, &others);
        let who = denied(live(&mut world));
        assert!(who.contains(&identity), "{missing}: {who}");
    }
}

#[test]
fn a_vault_of_another_region_serves_no_set() {
    // Behaviour 18
    let Some(fake) = Fake::start() else { return };
    let of = |region| fake.vault().description("disks", region, "contoso").unwrap();
    assert_eq!(forbidden(&fake, of("south")), Some(Rule::OneRegion));
    assert_eq!(forbidden(&fake, of("north")), None);
    let Some(world) = World::new() else { return };
    let elsewhere = world.service().create_disk(&new_disk("far", Some("set")).region("south"));
    assert!(matches!(elsewhere, Err(Error::NotAllowed { rule: Rule::OneRegion, .. })), "{elsewhere:?}");
}

#[test]
fn a_set_brings_its_identity_and_waits_for_the_grant_of_the_vaults_owner() {
    // Behaviours 17, 25
    let Some(world) = World::empty() else { return };
    let [one, other] = ["one", "other"].map(|name| world.set_without_access(name, "disks").identity);
    assert_ne!(one, other);
    let make = || world.service().create_disk(&new_disk("disk", Some("one")));
    assert!(denied(make()).contains(&one));
    assert!(world.service().resource(&ResourceName::disk("disk")).is_err());
    // Another set's grant is none of this one's.
    world.grant(&other, &RIGHTS);
    world.later(60);
    assert!(denied(make()).contains(&one));
    world.grant(&one, &RIGHTS);
    world.later(60);
    world.disk("disk", Some("one"));
    assert!(reads(&world.open("disk").unwrap(), "disk").unwrap());
}
