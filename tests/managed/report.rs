//! Compares reports on managed disks (82, 83) with their headers, read by the library's own header reader without
//! `managed`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::world::{VAULT, World, copy_to, new_disk, quiet, still};
use atrest::EncryptionType::{CustomerKey, PlatformAndCustomerKeys};
use atrest::managed::{DiskService, KeyAccess, NewSnapshot, ProtectionStatus, ResourceName};
use serde_json::Value;

fn key_of(world: &World, service: &DiskService, disk: &str) -> Vec<String> {
    let device = world.device(service, disk);
    let tokens = atrest::volume::Header::load(&*device).unwrap().tokens();
    tokens.into_iter().filter_map(|token| token.key_url).collect()
}

#[test]
fn a_report_says_what_protects_each_disk() {
    // Behaviour 82
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    world.set(&service, "d", PlatformAndCustomerKeys);
    for (disk, set, rows) in
        [("p", None, &["sse_pmk"][..]), ("c", Some("s"), &["sse_cmk"]), ("b", Some("d"), &["sse_cmk"])]
    {
        service.create_disk(&new_disk(disk, set)).unwrap();
        let report = service.report(&ResourceName::disk(disk)).unwrap();
        assert_eq!((report.status, report.access), (ProtectionStatus::Finished, KeyAccess::Closed));
        if disk != "b" {
            assert_eq!(report.keys, key_of(&world, &service, disk));
        }
        let key = report.keys[0].clone();
        assert_eq!(key.starts_with("platform/"), disk == "p", "{key}");
        let json: Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(json["resource"]["name"], *disk);
        assert_eq!(json["resource"], serde_json::from_str::<Value>(&report.resource.to_json()).unwrap());
        assert_eq!(json["resource"]["kind"], "disk");
        assert_eq!(json["status"], "finished");
        assert_eq!(json["keys"][0], *key);
        let told = json["capabilities"]["options"].as_array().unwrap();
        assert_eq!(told.iter().map(|row| row["option"].as_str().unwrap()).collect::<Vec<_>>(), rows);
    }
    service.mark_guest_encrypted("p").unwrap();
    service.create_snapshot(&NewSnapshot::new("sp", "p").incremental(true), &|_| {}).unwrap();
    let reports = service.reports().unwrap();
    let told = |report: &atrest::managed::ResourceReport| report.resource.full_name().to_string();
    assert_eq!(
        reports.iter().map(told).collect::<Vec<_>>(),
        [r#"disk "b""#, r#"disk "c""#, r#"disk "p""#, r#"snapshot "sp""#]
    );
    for report in &reports[2..] {
        let names: Vec<_> = report.capabilities.options().iter().map(|option| option.name()).collect();
        assert_eq!(names, ["sse_pmk", "guest"]);
    }
}

#[test]
fn configured_and_finished_are_told_apart() {
    // Behaviours 30, 83: half-way through a rotation, and half-way into a set
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    let customer = world.customer(VAULT);
    for n in 0..6 {
        service.create_disk(&new_disk(&format!("disk-{n}"), Some("s"))).unwrap();
    }
    let report = service.report_set("s").unwrap();
    assert!(report.finished && report.waiting.is_empty());
    assert_eq!((report.progress.done, report.progress.total), (6, 6));
    let new = customer.rotate();
    customer.fail_wrap_at.store(customer.wraps.load(Ordering::Relaxed) + 4, Ordering::Relaxed);
    assert!(service.rotate_set("s", &quiet).is_err());
    for _ in 0..2 {
        let report = service.report_set("s").unwrap();
        assert!(!report.finished);
        let under_new = |disk: &str| key_of(&world, &service, disk) == [new.to_string()];
        let names: Vec<_> = (0..6).map(|n| format!("disk-{n}")).collect();
        let waiting: Vec<_> =
            names.iter().filter(|name| !under_new(name)).map(|name| format!("disk {name:?}")).collect();
        assert_eq!(report.waiting, waiting);
        assert_eq!(report.progress.done, 6 - waiting.len());
        for name in &names {
            let told = service.report(&ResourceName::disk(name)).unwrap().status;
            assert_eq!(told == ProtectionStatus::Finished, under_new(name), "{name}");
            assert!(told != ProtectionStatus::Joining);
        }
        let json: Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(json["set"]["active_key"], new.to_string());
        assert_eq!(json["set"], serde_json::from_str::<Value>(&report.set.to_json()).unwrap());
        assert_eq!(json["set"]["auto_key_rotation_error"]["code"], "VaultFailed");
        assert_eq!(json["progress"]["total"], 6);
        // Once more while they are open.
        names.iter().for_each(|name| service.open_disk(name).map(std::mem::forget).unwrap());
    }
    service.clear_rotation_error("s").unwrap();
    service.rotate_set("s", &quiet).unwrap();
    assert!(service.report_set("s").unwrap().finished);
    // Into the set, and stopped on the way.
    service.create_disk(&new_disk("late", None)).unwrap();
    // The first wrap is a trial.
    customer.fail_wrap_at.store(customer.wraps.load(Ordering::Relaxed) + 2, Ordering::Relaxed);
    assert!(service.put_into_set(&ResourceName::disk("late"), "s").is_err());
    let report = service.report(&ResourceName::disk("late")).unwrap();
    assert_eq!((report.status, report.resource.encryption_type), (ProtectionStatus::Joining, CustomerKey));
    assert!(report.keys[0].starts_with("platform/"));
    assert_eq!(service.report_set("s").unwrap().waiting, [r#"disk "late""#]);
    service.open_disk("late").unwrap();
    let report = service.report(&ResourceName::disk("late")).unwrap();
    assert_eq!((report.status, &report.keys[0]), (ProtectionStatus::Finished, &new.to_string()));
}

#[test]
fn a_disk_whose_key_was_taken_away_says_so() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    service.create_disk(&new_disk("x", Some("s"))).unwrap();
    let access = || service.report(&ResourceName::disk("x")).unwrap().access;
    let disk = service.open_disk("x").unwrap();
    assert_eq!(access(), KeyAccess::Usable);
    world.customer(VAULT).disabled.store(true, Ordering::Relaxed);
    world.clock.advance(Duration::from_secs(900));
    service.maintain();
    assert_eq!(access(), KeyAccess::Suspended);
    drop(disk);
    assert_eq!(access(), KeyAccess::Closed);
}

#[test]
fn a_report_tells_how_much_a_disks_key_has_encrypted() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "d", PlatformAndCustomerKeys);
    service.create_disk(&new_disk("one", None)).unwrap();
    service.create_disk(&new_disk("two", Some("d"))).unwrap();
    for disk in ["one", "two"] {
        let used = || service.report(&ResourceName::disk(disk)).unwrap().used_blocks;
        let before = used();
        let open = service.open_disk(disk).unwrap();
        (0..3).for_each(|_| open.write_at(4096, &[7; 8192]).unwrap());
        // A count is right to 64 KiB, and never too low: three times 8 KiB are 1,536 blocks of 16 bytes.
        let while_open = used();
        let grown = while_open[0] - before[0];
        assert!((1536..1536 + 2 * 4096).contains(&grown), "{disk}: {grown}");
        assert_eq!(while_open[1] > before[1], disk == "two");
        drop(open);
        assert_eq!(used(), while_open, "{disk}");
        assert_eq!(service.resource(&ResourceName::disk(disk)).unwrap().used_blocks, while_open);
        assert!(!service.report(&ResourceName::disk(disk)).unwrap().key_due);
    }
    // The next process goes on counting, and reports when another key is due.
    drop(service);
    let service = world.service();
    let before = service.report(&ResourceName::disk("one")).unwrap().used_blocks[0];
    let open = service.open_disk("one").unwrap();
    open.write_at(0, &[7; 4096]).unwrap();
    assert!(service.report(&ResourceName::disk("one")).unwrap().used_blocks[0] >= before + 256);
    // A copy has a new key.
    service.create_disk_from(&ResourceName::disk("one"), &copy_to("copy", None), &still).unwrap();
    let copy = service.report(&ResourceName::disk("copy")).unwrap().used_blocks[0];
    assert!((4096..3 * 4096).contains(&copy), "64 KiB were written: {copy}");
}

#[test]
fn a_disk_that_cannot_be_read_hides_no_other() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "d", PlatformAndCustomerKeys);
    for (disk, set) in [("a", None), ("b", Some("d")), ("c", None)] {
        service.create_disk(&new_disk(disk, set)).unwrap();
    }
    world.device(&service, "a").edit(|image| image[..1 << 20].fill(0xA5));
    world.device(&service, "b").edit(|image| image[..1 << 20].fill(0));
    let reports = service.reports().unwrap();
    let told: Vec<_> = reports.iter().map(|report| (report.resource.name.as_str(), report.status)).collect();
    let unreadable = ProtectionStatus::HeaderUnreadable;
    assert_eq!(told, [("a", unreadable), ("b", unreadable), ("c", ProtectionStatus::Finished)]);
    assert!(reports[0].fault.as_ref().unwrap().contains("no LUKS header"), "{:?}", reports[0].fault);
    assert_eq!(reports[2].fault, None);
    assert_eq!(service.report_set("d").unwrap().waiting, [r#"disk "b""#]);
    let waiting = service.report_platform().unwrap().waiting;
    assert_eq!(waiting, [r#"disk "a""#, r#"disk "b""#]);
}
