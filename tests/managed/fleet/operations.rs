//! Operations of several hosts at the same time.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Barrier;
use std::thread;

use atrest::managed::{DiskService, ResourceKind, ResourceName};
use atrest::{EncryptionType, Error, Result};

use super::world::{Fleet, LEASE};
use crate::common::world::{VAULT, copy_to, new_disk, quiet, snapshot_of, still, text};

/// Others may be first, and then nothing has happened.
fn done<T>(result: Result<T>) -> bool {
    match result {
        Ok(_) => true,
        Err(Error::Busy { .. } | Error::NoSuchResource(_) | Error::ResourceExists(_)) => false,
        Err(e) => panic!("{e:?}"),
    }
}

#[test]
fn each_host_rotates_what_it_has_open_and_the_last_one_ends_it() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), fleet.host("other", 4));
    fleet.world.set(&one, "set", EncryptionType::CustomerKey);
    let mut open = Vec::new();
    for n in 0..12 {
        let (name, host) = (format!("d{n}"), if n % 2 == 0 { &one } else { &other });
        host.create_disk(&new_disk(&name, Some("set"))).unwrap();
        if n < 8 {
            let disk = host.open_disk(&name).unwrap();
            disk.write_at(0, &text(n)).unwrap();
            open.push((n, disk));
        }
    }
    let key = fleet.world.customer(VAULT).rotate();
    let old = one.encryption_set("set").unwrap().active_key;
    for host in [&one, &other] {
        host.clock.advance(LEASE / 2);
        host.renew_host_lease().unwrap();
    }
    // What the other host has open stays under the old key, and everybody sees so.
    let first = one.auto_rotate(&quiet).unwrap();
    assert!(matches!(&first[..], [(_, Err(Error::Busy { .. }))]), "{first:?}");
    for host in [&one, &other] {
        let set = host.encryption_set("set").unwrap();
        assert_eq!((&set.active_key, &set.previous_keys[..]), (&key, &[old.clone()][..]));
        assert_eq!((set.auto_key_rotation_error, set.last_key_rotation_timestamp), (None, None));
    }
    let under = |host: &DiskService| {
        let keys = (0..12).map(|n| host.resource(&ResourceName::disk(format!("d{n}"))).unwrap().proven.unwrap().key);
        keys.filter(|proven| *proven == key).count()
    };
    // Those of the other host's that are open are left.
    assert_eq!((under(&one), under(&other)), (8, 8));
    let second = other.rotate_set("set", &quiet).unwrap();
    assert_eq!((second.key.clone(), second.rewrapped), (key.clone(), 4));
    for host in [&one, &other] {
        let set = host.encryption_set("set").unwrap();
        assert!(set.previous_keys.is_empty() && set.last_key_rotation_timestamp.is_some(), "{set:?}");
        assert_eq!(under(host), 12);
    }
    for (n, disk) in open {
        let mut found = vec![0; 8192];
        disk.read_at(0, &mut found).unwrap();
        assert!(found == text(n));
    }
}

/// Both rotate at once, and others make disks in the set meanwhile: at the end all are under the new key, and the record says so
/// only then.
#[test]
fn hosts_that_rotate_at_once_end_with_all_under_the_new_key() {
    for round in 0..4 {
        let fleet = Fleet::new();
        let hosts = [fleet.host("one", 0), fleet.host("two", 4), fleet.host("three", 8)];
        fleet.world.set(&hosts[0], "set", EncryptionType::CustomerKey);
        (0..10).for_each(|n| drop(hosts[0].create_disk(&new_disk(&format!("d{n}"), Some("set"))).unwrap()));
        let key = fleet.world.customer(VAULT).rotate();
        let start = Barrier::new(3);
        thread::scope(|scope| {
            for host in &hosts[..2] {
                scope.spawn(|| {
                    start.wait();
                    let _ = done(host.rotate_set("set", &quiet));
                });
            }
            scope.spawn(|| {
                start.wait();
                (0..5).for_each(|n| drop(hosts[2].create_disk(&new_disk(&format!("new{n}"), Some("set"))).unwrap()));
            });
        });
        // What they kept each other from is left to the next time.
        let set = hosts[1].encryption_set("set").unwrap();
        assert_eq!((&set.active_key, &set.auto_key_rotation_error), (&key, &None), "{round}");
        let names = hosts[0].names(ResourceKind::Disk).unwrap();
        let is_under = |name: &String| hosts[2].resource(&ResourceName::disk(name)).unwrap().proven.unwrap().key == key;
        assert_eq!(names.len(), 15);
        assert!(!set.previous_keys.is_empty() || names.iter().all(is_under), "{round}: {set:?}");
        hosts[2].rotate_set("set", &quiet).unwrap();
        assert!(names.iter().all(is_under), "{round}");
        assert!(hosts[0].encryption_set("set").unwrap().previous_keys.is_empty(), "{round}");
    }
}

/// Three hosts make, read and remove snapshots of one disk, and put it into sets: each snapshot that is there holds what the disk
/// held, and is in the disk's set.
#[test]
fn hosts_that_change_one_chain_leave_it_whole() {
    for round in 0..3 {
        let fleet = Fleet::new();
        let hosts = [fleet.host("one", 0), fleet.host("two", 4), fleet.host("three", 8)];
        for set in ["s0", "s1"] {
            fleet.world.set(&hosts[0], set, EncryptionType::CustomerKey);
        }
        hosts[0].create_disk(&new_disk("d", None)).unwrap();
        // Each snapshot holds the number of the last write, which comes before it.
        let write = |host: &DiskService, number: u8| -> Result<()> {
            let open = host.open_disk("d")?;
            open.write_at(0, &[number; 4096])?;
            open.write_at(4096 * u64::from(1 + number % 15), &[number; 4096])
        };
        write(&hosts[0], 0).unwrap();
        let made = std::sync::Mutex::new(Vec::new());
        thread::scope(|scope| {
            for (h, host) in hosts.iter().enumerate() {
                let made = &made;
                scope.spawn(move || {
                    for n in 0..8_u8 {
                        let number = 1 + n * 3 + h as u8;
                        let name = format!("snapshot-{number}");
                        match (n + round + h as u8) % 5 {
                            0 => drop(done(
                                host.put_into_set(&ResourceName::disk("d"), if n % 2 == 0 { "s0" } else { "s1" }),
                            )),
                            1 => {
                                let first = made.lock().unwrap().first().cloned();
                                if let Some(first) = first {
                                    let name = ResourceName::snapshot(&first);
                                    if done(host.delete(&name)) || host.resource(&name).is_err() {
                                        made.lock().unwrap().retain(|name| *name != first);
                                    }
                                }
                            }
                            _ => {
                                if done(write(host, number))
                                    && done(host.create_snapshot(&snapshot_of("d", &name, true), &still))
                                {
                                    made.lock().unwrap().push(name);
                                }
                            }
                        }
                    }
                });
            }
        });
        let host = &hosts[2];
        let of_disk = host.resource(&ResourceName::disk("d")).unwrap();
        let names: BTreeSet<String> = host.names(ResourceKind::Snapshot).unwrap().into_iter().collect();
        for name in &names {
            let name = ResourceName::snapshot(name);
            assert_eq!(host.resource(&name).unwrap().set, of_disk.set, "{name}");
            host.create_disk_from(&name, &copy_to("check", None), &still).unwrap_or_else(|e| panic!("{name}: {e:?}"));
            let mut found = vec![0; 64 << 10];
            host.open_disk("check").unwrap().read_at(0, &mut found).unwrap();
            // The last write that it holds is whole.
            let last = found[0];
            assert!(found[..4096] == [last; 4096], "{name}");
            let at = 4096 * usize::from(1 + last % 15);
            assert!(found[at..at + 4096] == [last; 4096], "{name}: {last}, {}", found[at]);
            host.delete(&ResourceName::disk("check")).unwrap();
        }
        assert_eq!(host.orphans("north").unwrap(), [""; 0]);
        assert!(host.check().unwrap().is_sound());
        for name in names {
            host.delete(&ResourceName::snapshot(name)).unwrap();
        }
        assert_eq!(fleet.devices().len(), 1);
    }
}

/// Hosts that make, move and remove disks of the same names, and sets of the same names: no disk is in no set, no device without a
/// resource.
#[test]
fn hosts_that_work_on_the_same_names_leave_nothing_behind() {
    let fleet = Fleet::new();
    let hosts = [fleet.host("one", 0), fleet.host("two", 4), fleet.host("three", 8)];
    fleet.world.set(&hosts[0], "stays", EncryptionType::CustomerKey);
    thread::scope(|scope| {
        for (h, host) in hosts.iter().enumerate() {
            let fleet = &fleet;
            scope.spawn(move || {
                for n in 0..20 {
                    let name = format!("d{}", n % 3);
                    let passing = crate::common::world::new_set("passing", EncryptionType::CustomerKey);
                    match (n + h) % 5 {
                        0 => {
                            if let Ok(set) = host.create_set(&passing) {
                                fleet.world.customer(VAULT).granted.lock().unwrap().push(set.identity);
                            }
                        }
                        1 => drop(host.create_disk(&new_disk(&name, Some("passing")))),
                        2 => drop(host.delete(&ResourceName::disk(&name))),
                        3 => drop(host.delete_set("passing")),
                        _ => drop(done(host.create_disk(&new_disk(&name, Some("stays"))))),
                    }
                }
            });
        }
    });
    let host = &hosts[1];
    host.maintain();
    let sets = host.encryption_sets().unwrap();
    let names = host.names(ResourceKind::Disk).unwrap();
    for name in &names {
        let disk = host.resource(&ResourceName::disk(name)).unwrap();
        let set = disk.set.unwrap();
        assert!(sets.contains(&set), "{name} is in {set}");
        assert!(host.members(&set).unwrap().contains(&ResourceName::disk(name)));
        host.open_disk(name).unwrap().write_at(0, &[1; 4096]).unwrap();
    }
    assert_eq!(host.orphans("north").unwrap(), [""; 0]);
    assert_eq!(fleet.devices().len(), names.len());
    assert!(host.check().unwrap().is_sound());
}

/// Operations of one host, as elsewhere in these tests, on a store that others could share.
#[test]
fn what_is_true_of_a_store_in_a_file_is_true_of_a_shared_one() {
    let modules = [
        "service::",
        "capabilities::",
        "vaults::",
        "resize::",
        "platform::",
        "tenants::",
        "submit::",
        "zeroes::",
        "written::",
    ];
    let output = Command::new(std::env::current_exe().unwrap())
        .args(modules)
        // Services of two hosts may have one store.
        .args(["--skip", "fleet::"])
        .env("ATREST_SHARED_STORE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains(" passed; 0 failed"), "{said}");
}
