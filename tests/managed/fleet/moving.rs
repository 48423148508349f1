//! A fleet moves from a file to a store that hosts share, and back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use atrest::managed::store::{Action, Call, Change, Fault, FileStore, MemoryStore, Store, copy_records};
use atrest::managed::{DiskService, HostOptions, ResourceKind, ResourceName, StoreCheck};
use atrest::{EncryptionType, Error};

use crate::common::world::{World, new_disk, quiet, snapshot_of, still, text};

fn told(service: &DiskService) -> Vec<String> {
    let sets = service.encryption_sets().unwrap();
    let mut told: Vec<_> = sets.iter().map(|set| service.encryption_set(set).unwrap().to_json()).collect();
    for kind in [ResourceKind::Disk, ResourceKind::Snapshot, ResourceKind::Image] {
        let names = service.names(kind).unwrap().into_iter();
        told.extend(names.map(|name| service.resource(&ResourceName { kind, name }).unwrap().to_json()));
    }
    told
}

fn fleet(world: &World) {
    let service = world.service();
    world.set(&service, "set", EncryptionType::CustomerKey);
    for n in 0..30 {
        service.create_disk(&new_disk(&format!("d{n}"), Some("set"))).unwrap();
    }
    service.open_disk("d1").unwrap().write_at(0, &text(1)).unwrap();
    service.create_snapshot(&snapshot_of("d1", "s", true), &still).unwrap();
}

fn shared(world: &World, store: &MemoryStore) -> Result<DiskService, Error> {
    let host = HostOptions::new("one").renews_by_itself(false);
    DiskService::open_shared(Arc::new(store.clone()), &host, world.options())
}

fn check(service: &DiskService) {
    let mut found = vec![0; 8192];
    service.open_disk("d1").unwrap().read_at(0, &mut found).unwrap();
    assert!(found == text(1));
}

#[test]
fn a_fleet_moves_to_a_shared_store_and_back() {
    let world = World::new();
    fleet(&world);
    let service = world.service();
    let before = told(&service);
    drop(service);
    let path = world.folder.path().join("store");
    let (file, store) = (FileStore::open(&path).unwrap(), MemoryStore::new());
    let count = copy_records(&file, &store).unwrap();
    assert_eq!(count as usize, store.len());
    assert!(matches!(copy_records(&file, &store), Err(Error::InvalidOption(_))), "it isn't empty");
    drop(file);
    let service = shared(&world, &store).unwrap();
    assert_eq!(told(&service), before);
    check(&service);
    service.create_disk(&new_disk("new", Some("set"))).unwrap();
    service.rotate_set("set", &quiet).unwrap();
    let before = told(&service);
    let back = world.folder.path().join("back");
    let file = FileStore::open(&back).unwrap();
    // A host has it open.
    assert!(matches!(copy_records(&store, &file), Err(Error::Busy { .. })));
    drop(service);
    copy_records(&store, &file).unwrap();
    drop(file);
    assert_eq!(StoreCheck::of_file(&back).unwrap().defects, [""; 0]);
    let service = world.service_over(&back).unwrap();
    assert_eq!(told(&service), before);
    check(&service);
    assert!(matches!(copy_records(&store, &MemoryStore::new()), Ok(count) if count as usize == store.len()));
}

/// It is cut off at each of its calls, and goes on; until then no service opens what is there.
#[test]
fn a_move_that_is_cut_off_goes_on() {
    let world = World::new();
    fleet(&world);
    let file = FileStore::open(world.folder.path().join("store")).unwrap();
    let before = {
        let service = MemoryStore::new();
        copy_records(&file, &service).unwrap();
        told(&shared(&world, &service).unwrap())
    };
    let mut failed = 0;
    for fault in [Fault::Before, Fault::After] {
        for at in 0.. {
            let (store, calls) = (MemoryStore::new(), AtomicUsize::new(0));
            store.set_faults(move |_: Call<'_>| (calls.fetch_add(1, Ordering::Relaxed) >= at).then_some(fault));
            let done = copy_records(&file, &store);
            store.set_faults(|_| None);
            if done.is_ok() {
                break;
            }
            failed += 1;
            // Unless only the last answer was lost.
            let is_whole = store.get(&["moving"]).unwrap()[0].is_none() && !store.is_empty();
            if !is_whole {
                if !store.is_empty() {
                    let opened = shared(&world, &store).map(drop).unwrap_err();
                    assert!(format!("{opened:#}").contains("copy_records"), "{opened:#}");
                    // What is there may be older, or of a record that is gone.
                    let old = Change { key: "set/gone".into(), expected: None, action: Action::Put(b"old".to_vec()) };
                    store.commit(&[old]).unwrap();
                }
                copy_records(&file, &store).unwrap_or_else(|e| panic!("{fault:?} {at}: {e:?}"));
            }
            let service = shared(&world, &store).unwrap();
            assert_eq!(told(&service), before, "{fault:?} {at}");
            assert!(service.check().unwrap().is_sound());
        }
    }
    assert!(failed > 8, "{failed}");
}
