//! Backups of a store in use, and checks of a store: defects are named, and nothing is changed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::SetOnDrop;
use crate::common::peers::peer;
use crate::common::spent::spent;
use crate::common::world::{World, new_disk, snapshot_of, still, text};
use atrest::managed::{DiskService, ResourceKind, ResourceName, StoreCheck};
use atrest::{EncryptionType, Error};

fn disks(service: &DiskService) -> BTreeSet<String> {
    service.names(ResourceKind::Disk).unwrap().into_iter().collect()
}

/// The names of all files in a folder.
fn files(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Two threads make disks, and a third makes and removes one: each backup has all disks that were there when it was begun,
/// and none that was begun when it had ended.
#[test]
fn backups_that_are_made_while_the_store_is_written_are_whole() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "set", EncryptionType::CustomerKey);
    let (stop, made) = (AtomicBool::new(false), [AtomicUsize::new(0), AtomicUsize::new(0)]);
    let name = |writer: usize, n: usize| format!("disk-{writer}-{n}");
    let mut backups = Vec::new();
    std::thread::scope(|scope| {
        for (writer, made) in made.iter().enumerate() {
            let (service, stop) = (&service, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let n = made.load(Ordering::SeqCst);
                    service.create_disk(&new_disk(&name(writer, n), Some("set"))).unwrap();
                    made.store(n + 1, Ordering::SeqCst);
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                service.create_disk(&new_disk("passing", None)).unwrap();
                service.delete(&ResourceName::disk("passing")).unwrap();
            }
        });
        let _stops = SetOnDrop(&stop);
        for n in 0..12 {
            let path = world.folder.path().join(format!("backup-{n}"));
            let before = [0, 1].map(|writer| made[writer].load(Ordering::SeqCst));
            service.backup(&path).unwrap();
            let after = [0, 1].map(|writer| made[writer].load(Ordering::SeqCst));
            backups.push((path, before, after));
        }
    });
    drop(service);
    let devices = world.disks.images().len();
    let mut changes = 0;
    for (path, before, after) in &backups {
        let check = StoreCheck::of_file(path).unwrap();
        assert_eq!(check.defects, [""; 0], "{path:?}");
        assert!(check.changes >= changes, "{path:?}");
        changes = check.changes;
        let restored = world.service_over(path).unwrap();
        let mut found = disks(&restored);
        found.remove("passing");
        for writer in 0..2 {
            let there = (0..).take_while(|&n| found.remove(&name(writer, n))).count();
            assert!((before[writer]..=after[writer] + 1).contains(&there), "{path:?}: {there}");
        }
        assert!(found.is_empty(), "{path:?}: {found:?}");
    }
    // No start from a backup took away the device of a disk that is newer than the backup.
    assert_eq!(world.disks.images().len(), devices);
    let service = world.service();
    assert_eq!(disks(&service).len(), devices);
}

#[test]
fn a_backup_in_place_of_a_lost_store_opens_and_is_used() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "set", EncryptionType::PlatformAndCustomerKeys);
    service.create_disk(&new_disk("disk", Some("set"))).unwrap();
    service.open_disk("disk").unwrap().write_at(0, &text(1)).unwrap();
    service.create_snapshot(&snapshot_of("disk", "snapshot", true), &still).unwrap();
    let (store, backup) = (world.folder.path().join("store"), world.folder.path().join("backup"));
    service.backup(&backup).unwrap();
    assert_eq!(service.check().unwrap().defects, [""; 0]);
    assert_eq!(StoreCheck::of_file(&backup).unwrap(), service.check().unwrap());
    // The file is open: a reader would see half a change.
    assert!(matches!(StoreCheck::of_file(&store), Err(Error::Busy { .. })));
    drop(service);
    fs::rename(&backup, &store).unwrap();
    let service = world.service();
    let mut found = vec![0; 8192];
    service.open_disk("disk").unwrap().read_at(0, &mut found).unwrap();
    assert_eq!(found, text(1));
    service.delete(&ResourceName::snapshot("snapshot")).unwrap();
    service.create_disk(&new_disk("other", Some("set"))).unwrap();
}

#[test]
fn a_backup_replaces_nothing() {
    let world = World::new();
    let service = world.service();
    let folder = world.folder.path();
    fs::write(folder.join("there"), b"mine").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.join("nowhere"), folder.join("link")).unwrap();
    let before = files(folder);
    for name in [
        "there",
        "store",
        ".",
        #[cfg(unix)]
        "link",
    ] {
        match service.backup(folder.join(name)) {
            Err(Error::AlreadyExists { path, .. }) => assert_eq!(path, folder.join(name)),
            other => panic!("{name}: {other:?}"),
        }
    }
    assert!(matches!(service.backup(folder.join("no folder/backup")), Err(Error::NotFound { what: "folder", .. })));
    assert_eq!(files(folder), before);
    assert_eq!(fs::read(folder.join("there")).unwrap(), b"mine");
    service.backup(folder.join("backup")).unwrap();
    assert_eq!(files(folder).len(), before.len() + 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(folder.join("backup")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

const SMALL: &str = "ATREST_SMALL_DISK";

/// Runs in a process of its own, with a small disk mounted for it.
#[test]
fn a_backup_on_a_small_disk() {
    let Some(small) = std::env::var_os(SMALL) else { return };
    let world = World::new();
    let service = world.service();
    service.create_disk(&new_disk("disk", None)).unwrap();
    let small = Path::new(&small);
    let (mut failed, mut made) = (0, 0);
    for step in 0..78 {
        // Less and less room, at last for nothing.
        fs::write(small.join("filler"), vec![1; (4 << 20) - step * (4 << 10)]).unwrap();
        match service.backup(small.join("backup")) {
            Ok(()) => {
                made += 1;
                assert_eq!(StoreCheck::of_file(small.join("backup")).unwrap().defects, [""; 0]);
                fs::remove_file(small.join("backup")).unwrap();
            }
            Err(Error::Io { what, .. }) => {
                failed += 1;
                assert!(what.contains("backup"), "{what}");
            }
            Err(e) => panic!("{e:?}"),
        }
        assert_eq!(files(small), BTreeSet::from(["filler".into()]), "{step}");
    }
    assert!(failed > 3 && made > 3, "{failed} failed, {made} were made");
    println!("tried");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing_of_a_backup() {
    let Some(unshare) = peer("unshare", &["--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"])
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=4100k tmpfs \"$ATREST_SMALL_DISK\" && exec \"$0\" \"$@\"";
    let output = Command::new(unshare)
        .args(["--map-root-user", "--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "backup::a_backup_on_a_small_disk", "--nocapture"])
        .env(SMALL, folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("tried"), "{text}\n{log}");
}

/// One bit of each record's text is flipped, wherever it lies in the file: the record is named, and nothing is written.
#[test]
fn a_look_names_each_damaged_record_and_changes_nothing() {
    let world = World::new();
    let service = world.service();
    let names: Vec<_> = (0..6).map(|n| format!("disk-{n}")).collect();
    world.set(&service, "the-set", EncryptionType::CustomerKey);
    for name in &names {
        service.create_disk(&new_disk(name, Some("the-set"))).unwrap();
    }
    drop(service);
    let path = world.folder.path().join("store");
    let sound = fs::read(&path).unwrap();
    let check = StoreCheck::of_file(&path).unwrap();
    assert_eq!((check.sets, check.resources, check.defects.len()), (1, 6, 0));
    assert_eq!(fs::read(&path).unwrap(), sound);
    let of = |name: &str| format!("\"name\":\"{name}\"");
    for name in names.iter().map(String::as_str).chain(["the-set"]) {
        let mut bytes = sound.clone();
        // All versions of it.
        let text = of(name);
        let mut flipped = 0;
        for at in 0..bytes.len() - text.len() {
            if bytes[at..].starts_with(text.as_bytes()) {
                bytes[at + text.len() + 9] ^= 4;
                flipped += 1;
            }
        }
        assert!(flipped > 0, "{name}");
        fs::write(&path, &bytes).unwrap();
        let check = StoreCheck::of_file(&path).unwrap();
        assert!(check.changes > 6, "{check:?}");
        assert!(check.defects[0].contains("put the last backup"), "{check:?}");
        let kind = if name == "the-set" { "set" } else { "disk" };
        let named = format!("the record of the {kind} {name:?} is damaged");
        assert!(check.defects.contains(&named), "{name}: {check:?}");
        let others: Vec<_> = check.defects[1..].iter().filter(|text| text.contains("the record of the")).collect();
        assert_eq!(others, [&named], "{name}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "it was changed");
        assert!(world.try_service().is_err(), "{name}");
    }
    // An empty file, and a file that is no store.
    fs::write(&path, b"").unwrap();
    assert!(!StoreCheck::of_file(&path).unwrap().is_sound());
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    fs::write(&path, vec![b'x'; 100_000]).unwrap();
    assert!(!StoreCheck::of_file(&path).unwrap().is_sound());
    fs::remove_file(&path).unwrap();
    assert!(matches!(StoreCheck::of_file(&path), Err(Error::NotFound { what: "store", .. })));
    assert!(!path.exists());
}

/// A file made to be slow to check: deeply nested records without an end.
#[test]
fn a_look_takes_no_longer_than_the_file_is_long() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let deep = [&[1; 33][..], br#"{"kind":"disk","name":"d","a":"#].concat();
    let long = [&[1; 33][..], br#"{"name":""#, &[b'a'; 4000]].concat();
    for piece in [deep, long, b"contents\x01".to_vec(), vec![1; 33]] {
        let mut bytes = b"redb\x1a\x0a\xa9\x0d\x0a".to_vec();
        bytes.extend(piece.iter().cycle().take(8 << 20));
        fs::write(&path, &bytes).unwrap();
        let begun = spent();
        assert!(!StoreCheck::of_file(&path).unwrap().is_sound());
        let took = spent() - begun;
        assert!(took < Duration::from_secs(20), "{took:?}");
    }
}
