//! Kills at every write: the store as of that instant, the written device torn in every way that the disk allows, and
//! the other devices as they were. A service opened on the result has everything, finishes the work in progress, and
//! has exactly the right devices.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::adopt;
use crate::common::device::{Op, TestDevice, crash_images_at};
use crate::common::world::{Disks, VAULT, World, new_disk, quiet, text};
use atrest::EncryptionType::{CustomerKey, PlatformAndCustomerKeys};
use atrest::managed::{AdoptOptions, DiskService, NewCopy, NewImage, NewSnapshot, ResourceKind, ResourceName};
use atrest::{Error, OpenOptions, Volume};

pub const SIZE: u64 = (64 << 10) + 4096;

/// The image that a test imports.
const IMAGE: &str = "image";

/// The instant before a write or a sync.
struct Frame {
    device: String,
    /// How many operations its log had.
    at: usize,
    store: Vec<u8>,
    images: Images,
}

type Images = BTreeMap<String, Arc<Vec<u8>>>;

/// The content of all devices. Unchanged devices are shared.
fn images(disks: &Disks, before: &Images) -> Images {
    let shared =
        |id: &String, bytes: Vec<u8>| before.get(id).filter(|old| ***old == bytes).cloned().unwrap_or(bytes.into());
    disks.images().into_iter().map(|(id, bytes)| (id.clone(), shared(&id, bytes))).collect()
}

/// A fleet of all types, and the content of each resource from 4096 on.
fn fleet(world: &World) -> DiskService {
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    world.set(&service, "t", CustomerKey);
    world.set(&service, "both", PlatformAndCustomerKeys);
    for (n, (name, set)) in (0..).zip([("p", None), ("c", Some("s")), ("b", Some("both"))]) {
        let sector_size = if name == "b" { 512 } else { 4096 };
        service.create_disk(&new_disk(name, set).size(SIZE).sector_size(sector_size)).unwrap();
        service.open_disk(name).unwrap().write_at(4096, &text(n)).unwrap();
    }
    for (disk, name, incremental) in
        [("c", "full", false), ("c", "i-0", true), ("c", "i-1", true), ("c", "i-2", true), ("b", "j-0", true)]
    {
        if name != "full" {
            service.open_disk(disk).unwrap().write_at(0, &[name.as_bytes()[2]; 4096]).unwrap();
        }
        snapshot(&service, disk, name, incremental);
    }
    service.create_image(&NewImage::new("im").disk("c").region("north", [Some("s")]), &|_| ()).unwrap();
    service
}

fn snapshot(service: &DiskService, disk: &str, name: &str, incremental: bool) {
    let new = NewSnapshot::new(name, disk).incremental(incremental);
    service.create_snapshot(&new, &|_| ()).unwrap();
}

/// A plain image of two zones, of which the second is smaller.
fn image() -> Vec<u8> {
    text(9).into_iter().cycle().take((1 << 20) + (64 << 10)).collect()
}

/// Whether a sector has a part of an image's text, which begins again after 40 bytes.
pub fn is_plain_in(device: &[u8]) -> bool {
    let needle = &text(9)[..17];
    device.chunks(512).any(|sector| sector[..64].windows(17).any(|part| part == needle))
}

/// The content of everything.
pub fn contents(service: &DiskService) -> BTreeMap<String, Vec<u8>> {
    let mut contents = BTreeMap::new();
    for kind in [ResourceKind::Disk, ResourceKind::Snapshot, ResourceKind::Image] {
        for name in service.names(kind).unwrap() {
            let full = ResourceName { kind, name };
            contents.insert(full.to_string(), content(service, &full));
        }
    }
    contents
}

fn content(service: &DiskService, name: &ResourceName) -> Vec<u8> {
    let mut bytes = vec![0; SIZE as usize];
    if name.kind == ResourceKind::Disk {
        service.open_disk(&name.name).unwrap().read_at(0, &mut bytes).unwrap();
        return bytes;
    }
    let new = NewCopy::new("restored").region("north").subscription("one");
    service.create_disk_from(name, &new, &|_| ()).unwrap_or_else(|e| panic!("{name}: {e:?}"));
    service.open_disk("restored").unwrap().read_at(0, &mut bytes).unwrap();
    service.delete(&ResourceName::disk("restored")).unwrap();
    bytes
}

/// The world that a kill left, with as many versions of the key.
fn after(store: &[u8], images: &Images, versions: usize) -> (World, DiskService) {
    let mut world = World::new();
    let copies = images.iter().map(|(id, bytes)| (id.clone(), bytes.to_vec()));
    world.disks = Arc::new(Disks::of(copies));
    std::fs::write(world.folder.path().join("store"), store).unwrap();
    let customer = world.customer(VAULT).clone();
    (1..versions).for_each(|_| drop(customer.rotate()));
    let service = world.service();
    for set in service.encryption_sets().unwrap() {
        customer.granted.lock().unwrap().push(service.encryption_set(&set).unwrap().identity);
    }
    (world, service)
}

/// No device is left that no resource has, and none is missing.
fn devices_fit(world: &World, service: &DiskService, what: &str) {
    let mut ids = Vec::new();
    for kind in [ResourceKind::Disk, ResourceKind::Snapshot, ResourceKind::Image] {
        let names = service.names(kind).unwrap().into_iter();
        ids.extend(names.map(|name| service.resource(&ResourceName { kind, name }).unwrap().id));
    }
    ids.sort();
    let devices = world.disks.0.lock().unwrap();
    assert!(devices.keys().filter(|id| !id.starts_with(IMAGE)).eq(&ids), "{what}");
}

/// Kills `act` at every write and sync, and calls `check` with the result. It tries at most `most` images.
pub fn killed(
    what: &str,
    versions: usize,
    most: usize,
    act: impl FnOnce(&World, &DiskService),
    mut check: impl FnMut(&str, &World, DiskService, &BTreeMap<String, Vec<u8>>),
) {
    let world = World::new();
    drop(fleet(&world));
    (1..versions).for_each(|_| drop(world.customer(VAULT).rotate()));
    let frames: Arc<Mutex<Vec<Frame>>> = Arc::default();
    let (disks, film, path) = (world.disks.clone(), frames.clone(), world.folder.path().join("store"));
    let service = world.service();
    let before = contents(&service);
    drop(service);
    disks.0.lock().unwrap().values().for_each(|device| drop(device.take_log()));
    let first = images(&disks, &Images::new());
    let filmed = disks.clone();
    disks.film(Some(Arc::new(move |id: &str| {
        // One write after the other, from any thread.
        let mut film = film.lock().unwrap();
        let at = filmed.0.lock().unwrap()[id].log_len();
        let images = images(&filmed, film.last().map_or(&Images::new(), |frame| &frame.images));
        film.push(Frame { device: id.into(), at, store: std::fs::read(&path).unwrap(), images });
    })));
    let service = world.service();
    act(&world, &service);
    disks.film(None);
    let last = (std::fs::read(world.folder.path().join("store")).unwrap(), images(&disks, &first));
    drop(service);
    // Deleted devices have no log. Their whole writes are tried.
    let logs: BTreeMap<String, Vec<Op>> =
        disks.0.lock().unwrap().iter().map(|(id, device)| (id.clone(), device.take_log())).collect();
    let frames = std::mem::take(&mut *frames.lock().unwrap());
    let all = |check: &mut dyn FnMut(&str, usize, Images)| {
        for (n, frame) in frames.iter().enumerate() {
            check("before it", n, frame.images.clone());
        }
        for (id, log) in &logs {
            // What was made meanwhile, before its first write.
            let made =
                || frames.iter().find_map(|frame| frame.images.get(id)).map_or(Vec::new(), |image| image.to_vec());
            let start = first.get(id).map_or_else(made, |image| image.to_vec());
            crash_images_at(&start, log, 1, |at, torn, image| {
                let Some(n) = frames.iter().position(|frame| frame.device == *id && frame.at == at) else { return };
                let mut images = frames[n].images.clone();
                images.insert(id.clone(), image.into());
                check(torn, n, images);
            });
        }
    };
    let (mut count, mut looked) = (0_usize, 0_usize);
    all(&mut |_, _, _| count += 1);
    let step = count.div_ceil(most).max(1);
    all(&mut |torn, n, images| {
        looked += 1;
        if looked % step != 0 {
            return;
        }
        let what = format!("{what}, write {n} of {}: {torn}", frames.len());
        let (world, service) = after(&frames[n].store, &images, versions);
        devices_fit(&world, &service, &what);
        check(&what, &world, service, &before);
    });
    let (world, service) = after(&last.0, &last.1, versions);
    check(&format!("{what}, at the end"), &world, service, &before);
    println!("{what}: {} writes and syncs, {count} crash points, one in {step} looked at", frames.len());
    assert!(frames.len() > 4 && count > 20, "{what}: only {count}");
}

/// The number of crash points of a test to try: `ATREST_CRASH_POINTS`.
pub fn most() -> usize {
    std::env::var("ATREST_CRASH_POINTS").ok().and_then(|n| n.parse().ok()).unwrap_or(4)
}

#[test]
fn a_rotation_that_is_killed_loses_nothing_and_goes_on() {
    // Behaviours 26, 27, 30, 74
    for set in ["s", "both"] {
        let act = |_: &World, service: &DiskService| drop(service.rotate_set(set, &quiet).unwrap());
        killed(&format!("rotating {set}"), 2, most(), act, |what, world, service, before| {
            assert!(contents(&service) == *before, "{what}");
            service.rotate_set(set, &quiet).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(service.encryption_set(set).unwrap().previous_keys.is_empty(), "{what}");
            // Those of the other sets are under the first version still.
            for other in ["s", "t", "both"] {
                service.rotate_set(other, &quiet).unwrap();
            }
            world.customer(VAULT).vault.destroy(1);
            drop(service);
            assert!(contents(&world.service()) == *before, "{what}: without the old version");
        });
    }
}

#[test]
fn a_rotation_of_the_platforms_key_that_is_killed_goes_on() {
    let act = |world: &World, service: &DiskService| {
        world.platform.rotate();
        service.rotate_platform(&quiet).unwrap();
    };
    killed("rotating the platform's key", 1, most(), act, |what, world, service, before| {
        world.platform.rotate();
        // In every state of the proofs nothing is lost, and a rotation reported as finished is finished.
        let report = service.report_platform().unwrap();
        assert!(contents(&service) == *before, "{what}");
        if report.finished && report.keys.unwrap().active_key.version() == "2" {
            world.platform.destroy(1);
        }
        service.rotate_platform(&quiet).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(service.report_platform().unwrap().finished, "{what}");
        world.platform.destroy(1);
        drop(service);
        assert!(contents(&world.service()) == *before, "{what}: without the old version");
    });
}

#[test]
fn a_move_into_a_set_that_is_killed_is_finished() {
    // Behaviours 22, 45
    for (disk, with) in [("p", &["disk \"p\""][..]), ("c", &["disk \"c\"", "snapshot \"i-2\""][..])] {
        let name = ResourceName::disk(disk);
        let act = |_: &World, service: &DiskService| {
            service.rotate_set("t", &quiet).unwrap();
            service.put_into_set(&name, "t").unwrap();
        };
        killed(&format!("putting {disk}"), 2, most(), act, |what, world, service, before| {
            assert!(contents(&service) == *before, "{what}");
            // A write comes only after the record.
            service.put_into_set(&name, "t").unwrap_or_else(|e| panic!("{what}: {e}"));
            let members: Vec<_> = service.members("t").unwrap().iter().map(ToString::to_string).collect();
            assert!(with.iter().all(|name| members.iter().any(|member| member == name)), "{what}: {members:?}");
            for member in service.members("t").unwrap() {
                assert_eq!(service.resource(&member).unwrap().joining, None, "{what}: {member}");
            }
            drop(service);
            assert!(contents(&world.service()) == *before, "{what}");
        });
    }
}

#[test]
fn a_snapshot_in_the_middle_that_is_killed_while_it_goes_is_there_or_not() {
    // Behaviours 44, 45
    let name = ResourceName::snapshot("i-1");
    let act = |_: &World, service: &DiskService| service.delete(&name).unwrap();
    killed("deleting i-1", 1, most(), act, |what, world, service, before| {
        let now = contents(&service);
        let left = |contents: &BTreeMap<String, Vec<u8>>| {
            let others = contents.iter().filter(|(other, _)| **other != name.to_string());
            others.map(|(name, bytes)| (name.clone(), bytes.clone())).collect::<Vec<_>>()
        };
        assert!(now == *before || left(&now) == left(before), "{what}");
        if now.len() == before.len() {
            service.delete(&name).unwrap();
        }
        devices_fit(world, &service, what);
        drop(service);
        let last = contents(&world.service());
        assert!(left(&last) == left(before) && !last.contains_key(&name.to_string()), "{what}");
    });
}

#[test]
fn what_is_made_is_there_whole_or_not_at_all() {
    // Behaviours 2, 44
    let act = |_: &World, service: &DiskService| {
        service.create_disk(&new_disk("new", Some("both")).size(SIZE)).unwrap();
        snapshot(service, "c", "new", false);
        snapshot(service, "b", "j-1", true);
        service.delete(&ResourceName::disk("p")).unwrap();
    };
    killed("making", 1, most(), act, |what, world, service, before| {
        let now = contents(&service);
        for (name, bytes) in before.iter().filter(|(name, _)| *name != "disk \"p\"") {
            assert!(now.get(name) == Some(bytes), "{what}: {name}");
        }
        if let Some(snapshot) = now.get("snapshot \"new\"") {
            assert!(snapshot == &before["disk \"c\""], "{what}");
        }
        if let Some(snapshot) = now.get("snapshot \"j-1\"") {
            assert!(snapshot == &before["disk \"b\""], "{what}");
        }
        // A missing resource can be made.
        if !now.contains_key("snapshot \"j-1\"") {
            snapshot(&service, "b", "j-1", true);
        }
        devices_fit(world, &service, what);
    });
}

#[test]
fn what_was_written_before_a_kill_is_in_the_snapshots_after_it() {
    // Behaviour 44
    let act = |_: &World, service: &DiskService| {
        let disk = service.open_disk("c").unwrap();
        for n in 3..5 {
            disk.write_at(64 << 10, &[n; 4096]).unwrap();
            snapshot(service, "c", &format!("i-{n}"), true);
        }
        disk.write_at(0, &[5; 4096]).unwrap();
        disk.write_at(64 << 10, &[5; 4096]).unwrap();
    };
    killed("writing between snapshots", 1, most(), act, |what, _, service, before| {
        let now = contents(&service);
        for (name, bytes) in before.iter().filter(|(name, _)| *name != "disk \"c\"") {
            assert!(now.get(name) == Some(bytes), "{what}: {name}");
        }
        let disk = service.open_disk("c").unwrap();
        for n in 0..2 {
            let (name, held) =
                (ResourceName::snapshot(format!("after-{n}")), content(&service, &ResourceName::disk("c")));
            snapshot(&service, "c", &name.name, true);
            assert!(content(&service, &name) == held, "{what}: {name}");
            disk.write_at(0, &[n; 4096]).unwrap();
        }
    });
}

#[test]
fn a_new_dek_that_is_killed_half_way_goes_on() {
    // Behaviours 78, 83
    for disk in ["c", "b"] {
        let name = ResourceName::disk(disk);
        let finish = |service: &DiskService, what: &str| loop {
            let step = service.reencrypt_step(disk, 36 << 10);
            if step.unwrap_or_else(|e| panic!("{what}: {e}")).is_finished() {
                break;
            }
        };
        let act = |_: &World, service: &DiskService| {
            let open = service.open_disk(disk).unwrap();
            let mut held = vec![0; SIZE as usize];
            open.read_at(0, &mut held).unwrap();
            service.rekey_disk(disk).unwrap();
            // Writes go on, of what is there already.
            for at in [0, 48 << 10] {
                open.write_at(at, &held[at as usize..][..8192]).unwrap();
                service.reencrypt_step(disk, 36 << 10).unwrap();
            }
            finish(service, "");
        };
        let mut seen = [0; 3];
        killed(&format!("rekeying {disk}"), 1, most(), act, |what, world, service, before| {
            assert!(contents(&service) == *before, "{what}");
            let record = service.resource(&name).unwrap();
            let old = match &record.reencryption {
                None => {
                    service.rekey_disk(disk).unwrap();
                    record.fingerprints[0]
                }
                Some(of) => of.former.unwrap_or(record.fingerprints[0]),
            };
            seen[record.reencryption.as_ref().map_or(0, |of| 1 + usize::from(of.is_finished()))] += 1;
            finish(&service, what);
            assert!(service.report(&name).unwrap().reencryption.unwrap().finished, "{what}");
            assert_ne!(service.resource(&name).unwrap().fingerprints[0], old, "{what}");
            drop(service);
            assert!(contents(&world.service()) == *before, "{what}: under the new DEK");
        });
        println!(
            "{disk}: {} before the order was stored, {} before its end was, {} after that",
            seen[0], seen[1], seen[2]
        );
        assert!(seen[1] > 0 && seen[2] > 0, "{seen:?}");
    }
}

#[test]
fn an_import_that_is_killed_goes_on_and_encrypts_nothing_twice() {
    // Behaviours 77, 78
    let name = ResourceName::disk("imported");
    let finish = |service: &DiskService, what: &str| loop {
        let step = service.reencrypt_step("imported", 4096);
        if step.unwrap_or_else(|e| panic!("{what}: {e}")).is_finished() {
            break;
        }
    };
    let act = |world: &World, service: &DiskService| {
        world.disks.0.lock().unwrap().insert(IMAGE.into(), Arc::new(TestDevice::new(image())));
        service.import_disk(&new_disk("imported", Some("s")).size(0), IMAGE).unwrap();
        let open = service.open_disk("imported").unwrap();
        for at in [0, 1 << 20] {
            open.write_at(at, &image()[at as usize..][..8192]).unwrap();
        }
        finish(service, "");
    };
    let whole = |service: &DiskService, what: &str| {
        let open = service.open_disk("imported").unwrap_or_else(|e| panic!("{what}: {e}"));
        let mut bytes = vec![0; image().len()];
        open.read_at(0, &mut bytes).unwrap();
        assert!(bytes == image(), "{what}");
    };
    let mut seen = [0; 2];
    killed("importing", 1, 2 * most(), act, |what, world, service, before| {
        let record = service.resource(&name).unwrap();
        seen[usize::from(record.reencryption.as_ref().unwrap().begun.is_some())] += 1;
        whole(&service, what);
        finish(&service, what);
        whole(&service, what);
        assert!(service.report(&name).unwrap().reencryption.unwrap().finished, "{what}");
        drop(service);
        let device = world.disks.0.lock().unwrap()[&record.id].bytes();
        assert!(!is_plain_in(&device), "{what}: a part is plain");
        let service = world.service();
        whole(&service, what);
        service.delete(&name).unwrap();
        assert!(contents(&service) == *before, "{what}");
    });
    println!("importing: {} before it was noted that it had begun, {} after that", seen[0], seen[1]);
    assert!(seen[0] > 0 && seen[1] > 1, "{seen:?}");
}

#[test]
fn an_adoption_that_is_killed_is_finished_and_the_volume_always_opens() {
    // Behaviours 64, 66, 74
    let name = ResourceName::disk("adopted");
    for reencrypt in [false, true] {
        let adopt = |service: &DiskService| {
            let (new, options) = (new_disk("adopted", Some("s")).size(0), AdoptOptions::new().reencrypt(reencrypt));
            service.adopt_disk(&new, IMAGE, adopt::PASSPHRASE, &options)
        };
        let finish = |service: &DiskService, what: &str| loop {
            let step = service.reencrypt_step("adopted", 4096);
            if step.unwrap_or_else(|e| panic!("{what}: {e}")).is_finished() {
                break;
            }
        };
        let act = |world: &World, service: &DiskService| {
            world.disks.0.lock().unwrap().insert(IMAGE.into(), Arc::new(TestDevice::new(adopt::image())));
            adopt(service).unwrap();
        };
        // Who finishes it: the caller's credential, the vault alone, or the call that was killed.
        let mut seen = [0; 3];
        killed("adopting", 1, 6 * most(), act, |what, world, service, before| {
            let record = service.resource(&name).unwrap();
            if record.adopting.is_none() {
                seen[2] += 1;
            } else if matches!(service.open_disk("adopted"), Err(Error::Busy { .. })) {
                // What opened it before still does.
                let device = world.disks.0.lock().unwrap()[&record.id].bytes();
                let opened = Volume::open(TestDevice::new(device), adopt::PASSPHRASE, &OpenOptions::new());
                opened.unwrap_or_else(|e| panic!("{what}: {e}"));
                adopt(&service).unwrap_or_else(|e| panic!("{what}: {e}"));
                seen[0] += 1;
            } else {
                seen[1] += 1;
            }
            assert!(adopt::read(&service, "adopted").unwrap() == adopt::data(), "{what}");
            assert!(service.resource(&name).unwrap().adopting.is_none(), "{what}");
            finish(&service, what);
            drop(service);
            adopt::only_by_a_vault(world.disks.0.lock().unwrap()[&record.id].bytes(), what);
            let service = world.service();
            assert!(adopt::read(&service, "adopted").unwrap() == adopt::data(), "{what}");
            let order = service.resource(&name).unwrap().reencryption;
            assert_eq!(order.map(|order| order.finished.is_some()), reencrypt.then_some(true), "{what}");
            service.delete(&name).unwrap();
            assert!(contents(&service) == *before, "{what}");
        });
        println!("adopting: finished by the credential {}, by the vault {}, already {}", seen[0], seen[1], seen[2]);
        assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    }
}
