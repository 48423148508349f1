//! Services of two hosts on a store that an engine keeps: what they do at the same time, and what is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use atrest::managed::store::{FileStore, Store, copy_records, reopen_moved};
use atrest::managed::{
    DiskFolder, DiskService, HostOptions, KnownVaults, NewCopy, NewDisk, NewSnapshot, ResourceKind, ResourceName,
    ServiceOptions, StoreCheck,
};
use atrest::vault::{KdfCost, Unlock};
use atrest::{Error, FileVault};

/// Runs two hosts. `open` opens a client of an empty store.
pub fn two_hosts(open: impl Fn() -> Arc<dyn Store>) {
    let folder = tempfile::tempdir().unwrap();
    let cheap = KdfCost::new(64, 1, 1);
    let vault = FileVault::create_with_cost(folder.path().join("vault"), Unlock::Passphrase(b"p"), cheap).unwrap();
    vault.create_key("platform").unwrap();
    let vault = Arc::new(vault);
    let options = || {
        let backend = Arc::new(DiskFolder::new(folder.path()));
        ServiceOptions::new(backend, Arc::new(KnownVaults::new()), vault.clone(), "platform")
    };
    let host = |name: &str| DiskService::open_shared(open(), &HostOptions::new(name), options()).unwrap();
    let (one, other) = (host("one"), host("other"));
    let disk = |name: &str| NewDisk::new(name, 256 << 10).region("north").subscription("one").sector_size(4096);

    // Of two that make a disk of one name one succeeds.
    let made = AtomicUsize::new(0);
    thread::scope(|scope| {
        for host in [&one, &other] {
            let made = &made;
            scope.spawn(move || {
                for n in 0..6 {
                    match host.create_disk(&disk(&format!("d{n}"))) {
                        Ok(_) => drop(made.fetch_add(1, Ordering::SeqCst)),
                        Err(Error::ResourceExists(_)) => {}
                        Err(e) => panic!("{e:?}"),
                    }
                }
            });
        }
    });
    assert_eq!(made.into_inner(), 6);
    let names: Vec<String> = (0..6).map(|n| format!("d{n}")).collect();
    assert_eq!(other.names(ResourceKind::Disk).unwrap(), names);
    assert_eq!(other.names_page(ResourceKind::Disk, Some("d1"), 3).unwrap(), names[2..5]);

    // One has it open, and hands it over.
    let text = [7; 4096];
    let held = one.open_disk("d0").unwrap();
    held.write_at(0, &text).unwrap();
    match other.open_disk("d0").map(drop) {
        Err(e @ Error::Busy { .. }) => assert!(format!("{e}").contains("\"one\""), "{e}"),
        done => panic!("{done:?}"),
    }
    one.hand_over("d0", "other").unwrap();
    assert!(matches!(held.write_at(0, &text), Err(Error::DiskSuspended { .. })));
    let taken = other.open_disk("d0").unwrap();
    let mut found = [0; 4096];
    taken.read_at(0, &mut found).unwrap();
    assert_eq!(found, text);
    let snapshot = NewSnapshot::new("s", "d0").incremental(true);
    let refused = one.create_snapshot(&snapshot, &|_| {});
    assert!(matches!(refused, Err(Error::Busy { .. })), "{refused:?}");
    other.create_snapshot(&snapshot, &|_| {}).unwrap();
    let copy = NewCopy::new("copy").region("north").subscription("one");
    one.create_disk_from(&ResourceName::snapshot("s"), &copy, &|_| {}).unwrap();
    vault.rotate_key("platform").unwrap();
    drop((held, taken));
    // Each rotates what it can, and the second one all that is left.
    let _ = one.rotate_platform(&|_| {});
    other.rotate_platform(&|_| {}).unwrap();
    assert!(one.report_platform().unwrap().finished);
    assert!(one.check().unwrap().is_sound());
    drop((one, other));

    // To a file, where all of it is there.
    let path = folder.path().join("store");
    let file = FileStore::open(&path).unwrap();
    copy_records(&open(), &file).unwrap();
    drop(file);
    assert_eq!(StoreCheck::of_file(&path).unwrap().defects, [""; 0]);
    let service = DiskService::open(&path, options()).unwrap();
    service.open_disk("copy").unwrap().read_at(0, &mut found).unwrap();
    assert_eq!(found, text);
    drop(service);

    // The engine's store is opened again once that one isn't used, and nothing is left on it of what is removed.
    let moved = DiskService::open_shared(open(), &HostOptions::new("one"), options()).map(drop);
    assert!(format!("{:#}", moved.unwrap_err()).contains("reopen_moved"));
    reopen_moved(&open()).unwrap();
    let host = host("one");
    for kind in [ResourceKind::Disk, ResourceKind::Snapshot] {
        for name in host.names(kind).unwrap() {
            host.delete(&ResourceName { kind, name }).unwrap();
        }
    }
    drop(host);
    let left: Vec<String> = open().list("", None, 10).unwrap().into_iter().map(|record| record.key).collect();
    assert_eq!(left, ["platform", "turn/.platform"]);
}
