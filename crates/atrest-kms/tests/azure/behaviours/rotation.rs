//! Rotation: behaviours 26 to 33.

use std::sync::Mutex;
use std::time::Duration;

use atrest::KeyVault;
use atrest::managed::{NewImage, NewSnapshot, ResourceName, RotationProgress};

use super::world::{HEADER, World, quiet, reads, still};

#[test]
fn a_rotation_wraps_deks_again_and_no_data_while_disks_are_in_use() {
    // Behaviours 26, 29, 30, 31
    let Some(world) = World::new() else { return };
    for name in ["second", "third"] {
        world.disk(name, Some("set"));
    }
    let names = ["disk", "second", "third"].map(ResourceName::disk);
    let before = names.clone().map(|name| world.bytes(&name).split_off(HEADER));
    let open = world.open("second").unwrap();
    let old = world.newest("disks");
    world.fake.rotate();
    world.later(7);
    let seen = Mutex::new(Vec::new());
    let rotation = world.service().rotate_set("set", &|progress: RotationProgress| {
        // No disk goes offline, whichever key it is under at this moment.
        assert!(reads(&open, "second").unwrap());
        seen.lock().unwrap().push(world.service().encryption_set("set").unwrap().previous_keys);
        assert!(progress.done <= progress.total);
    });
    let (rotation, new) = (rotation.unwrap(), world.newest("disks"));
    assert_eq!((&rotation.key, rotation.rewrapped), (&new, 3));
    assert!(seen.into_inner().unwrap().iter().any(|previous| *previous == [old.clone()]));
    let set = world.service().encryption_set("set").unwrap();
    assert_eq!((set.active_key, set.previous_keys), (new.clone(), vec![]));
    assert_eq!(set.last_key_rotation_timestamp, Some(atrest::Clock::now(&*world.clock)));
    for (name, data) in names.iter().zip(before) {
        assert_eq!(world.key_of(name), new.to_string());
        assert!(world.bytes(name).split_off(HEADER) == data, "{name:?}");
    }
}

#[test]
fn a_set_follows_a_newer_version_and_needs_the_old_one_no_more() {
    // Behaviours 26 to 31
    let Some(mut world) = World::new() else { return };
    let disk = world.open("disk").unwrap();
    let old = world.newest("disks");
    world.fake.rotate();
    world.later(600);
    let rotated = world.service().auto_rotate(&quiet).unwrap();
    let [(name, Ok(rotation))] = &rotated[..] else { panic!("{rotated:?}") };
    assert_eq!((&name[..], rotation.rewrapped), ("set", 1));
    let set = world.service().encryption_set("set").unwrap();
    assert_ne!(set.active_key, old);
    assert_eq!(set.active_key, world.fake.vault().describe("disks", None).unwrap().unwrap().id);
    assert!(set.previous_keys.is_empty() && set.last_key_rotation_timestamp.is_some());
    world.fake.tell(r#"{"op":"set","key":"disks","at":0,"enabled":false}"#);
    for _ in 0..3 {
        world.later(1800);
        assert!(reads(&disk, "disk").unwrap());
    }
    drop(disk);
    world.restart();
    assert!(reads(&world.open("disk").unwrap(), "disk").unwrap());
}

#[test]
fn an_old_version_that_is_disabled_too_early_stops_the_rotation() {
    // Behaviours 27, 32: nobody gets the DEK without the old version. The set notes why, and isn't rotated until that is cleared.
    let Some(world) = World::new() else { return };
    world.fake.rotate();
    world.fake.tell(r#"{"op":"set","key":"disks","at":0,"enabled":false}"#);
    world.later(600);
    let rotated = world.service().auto_rotate(&quiet).unwrap();
    assert!(matches!(&rotated[..], [(_, Err(_))]), "{rotated:?}");
    let set = world.service().encryption_set("set").unwrap();
    assert_eq!(set.auto_key_rotation_error.unwrap().code, "KeyDisabled");
    world.fake.tell(r#"{"op":"set","key":"disks","at":0,"enabled":true}"#);
    world.later(600);
    assert!(world.service().auto_rotate(&quiet).unwrap().is_empty());
    world.service().clear_rotation_error("set").unwrap();
    world.later(600);
    let rotated = world.service().auto_rotate(&quiet).unwrap();
    assert!(matches!(&rotated[..], [(_, Ok(rotation))] if rotation.rewrapped == 1), "{rotated:?}");
    assert!(reads(&world.open("disk").unwrap(), "disk").unwrap());
}

#[test]
fn a_version_that_is_disabled_half_way_stops_the_rotation_and_loses_nothing() {
    // Behaviours 27, 30, 32
    for (at, code) in [(0, "KeyDisabled"), (1, "KeyDisabled")] {
        let Some(mut world) = World::new() else { return };
        world.disk("second", Some("set"));
        world.disk("third", Some("set"));
        let old = world.newest("disks");
        world.fake.rotate();
        world.later(600);
        let turn = |on: bool| world.fake.tell(&format!(r#"{{"op":"set","key":"disks","at":{at},"enabled":{on}}}"#));
        let stopped = world.service().rotate_set("set", &|progress: RotationProgress| {
            if progress.done == 1 {
                turn(false);
            }
        });
        assert!(stopped.is_err(), "{stopped:?}");
        let set = world.service().encryption_set("set").unwrap();
        let error = set.auto_key_rotation_error.unwrap();
        assert_eq!((&*error.code, set.previous_keys), (code, vec![old]), "{at}: {}", error.message);
        turn(true);
        world.restart();
        world.service().clear_rotation_error("set").unwrap();
        world.later(600);
        assert!(world.service().rotate_set("set", &quiet).unwrap().rewrapped <= 2);
        let set = world.service().encryption_set("set").unwrap();
        assert!(set.previous_keys.is_empty() && set.auto_key_rotation_error.is_none());
        world.fake.tell(r#"{"op":"set","key":"disks","at":0,"enabled":false}"#);
        for name in ["disk", "second", "third"] {
            assert!(reads(&world.open(name).unwrap(), name).unwrap(), "{name}");
            assert_eq!(world.key_of(&ResourceName::disk(name)), world.newest("disks").to_string());
        }
    }
}

#[test]
fn disk_snapshots_and_image_follow_a_new_version_within_an_hour() {
    // Behaviour 28
    let Some(world) = World::new() else { return };
    let service = world.service();
    service.create_snapshot(&NewSnapshot::new("full", "disk"), &still).unwrap();
    service.create_snapshot(&NewSnapshot::new("increment", "disk").incremental(true), &still).unwrap();
    service.create_image(&NewImage::new("image").disk("disk").region("north", [Some("set")]), &still).unwrap();
    let all = [
        ResourceName::disk("disk"),
        ResourceName::snapshot("full"),
        ResourceName::snapshot("increment"),
        ResourceName::image("image", "north", 0),
    ];
    let old = world.newest("disks").to_string();
    assert!(all.iter().all(|name| world.key_of(name) == old));
    world.fake.rotate();
    let new = world.newest("disks").to_string();
    let mut passed = 0;
    while all.iter().any(|name| world.key_of(name) != new) {
        assert!(passed < 3600, "an hour has passed");
        passed += 300;
        world.later(300);
        for (_, rotation) in world.service().auto_rotate(&quiet).unwrap() {
            rotation.unwrap();
        }
    }
    // Each is good under the new version alone.
    world.fake.tell(r#"{"op":"set","key":"disks","at":0,"enabled":false}"#);
    for (n, name) in (0..).zip(&all) {
        let copy = format!("copy-{n}");
        let new = atrest::managed::NewCopy::new(&copy).region("north").subscription("one");
        world.service().create_disk_from(name, &new, &still).unwrap();
        assert!(reads(&world.open(&copy).unwrap(), "disk").unwrap(), "{name:?}");
    }
}

#[test]
fn an_operator_is_warned_of_a_key_that_is_about_to_end() {
    // Behaviour 33: the time is the one that the vault tells.
    let Some(world) = World::new() else { return };
    world.set("by-hand", "disks");
    world.service().set_auto_rotation("by-hand", false).unwrap();
    let within = |days: u64| {
        let told = world.service().expiring_keys(Duration::from_secs(days * 86400)).unwrap();
        told.into_iter().map(|key| (key.set, key.key, key.auto_rotation)).collect::<Vec<_>>()
    };
    assert!(within(365).is_empty());
    world.fake.tell(&format!(r#"{{"op":"set","key":"disks","exp":{}}}"#, 10 * 86400));
    world.later(60);
    assert!(within(9).is_empty());
    let key = world.newest("disks");
    assert_eq!(within(11), [("by-hand".into(), key.clone(), false), ("set".into(), key, true)]);
}
