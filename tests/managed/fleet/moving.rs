//! A fleet moves from a file to a store that hosts share, and back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atrest::managed::store::{
    Action, Call, Change, Fault, FileStore, MemoryStore, Outcome, Record, Store, copy_records, reopen_moved,
};
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
    assert!(matches!(copy_records(&file, &store), Err(Error::Io { .. })), "it was moved");
    reopen_moved(&file).unwrap();
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
    reopen_moved(&store).unwrap();
    let count = store.len();
    assert_eq!(copy_records(&store, &MemoryStore::new()).unwrap() as usize, count);
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
        reopen_moved(&file).unwrap();
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
                reopen_moved(&file).unwrap();
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
            drop(service);
            reopen_moved(&file).unwrap();
        }
    }
    assert!(failed > 8, "{failed}");
}

/// Two services over the same devices, of which one knows nothing of the other, would both write.
#[test]
fn what_was_moved_is_not_opened_any_more() {
    let world = World::new();
    fleet(&world);
    let path = world.folder.path().join("store");
    let (file, store) = (FileStore::open(&path).unwrap(), MemoryStore::new());
    copy_records(&file, &store).unwrap();
    drop(file);
    let is_refused = |opened: Result<DiskService, Error>| {
        let said = format!("{:#}", opened.map(drop).unwrap_err());
        assert!(said.contains("moved") && said.contains("reopen_moved"), "{said}");
    };
    is_refused(world.service_over(&path));
    check(&shared(&world, &store).unwrap());
    let next = MemoryStore::new();
    copy_records(&store, &next).unwrap();
    is_refused(shared(&world, &store));
    check(&shared(&world, &next).unwrap());
    // It is taken back, and nothing has used the other one for long.
    reopen_moved(&store).unwrap();
    reopen_moved(&store).unwrap();
    check(&shared(&world, &store).unwrap());
}

/// Cut off at each of its calls of the store that is left, at no moment both are opened; and it goes on, or is taken back.
#[test]
fn of_a_move_that_is_cut_off_one_store_opens_at_most() {
    let world = World::new();
    fleet(&world);
    let file = FileStore::open(world.folder.path().join("store")).unwrap();
    let (mut failed, mut closed) = (0, 0);
    for fault in [Fault::Before, Fault::After] {
        for at in 0.. {
            let (from, to, calls) = (MemoryStore::new(), MemoryStore::new(), AtomicUsize::new(0));
            copy_records(&file, &from).unwrap();
            reopen_moved(&file).unwrap();
            from.set_faults(move |_: Call<'_>| (calls.fetch_add(1, Ordering::Relaxed) == at).then_some(fault));
            let done = copy_records(&from, &to);
            from.set_faults(|_| None);
            let opens = |store: &MemoryStore| shared(&world, store).map(drop).is_ok();
            if done.is_ok() {
                assert!(!opens(&from) && opens(&to), "{fault:?} {at}");
                break;
            }
            failed += 1;
            let from_opens = opens(&from);
            assert!(to.is_empty() || !opens(&to), "{fault:?} {at}");
            if !from_opens {
                closed += 1;
                if at % 2 == 0 {
                    reopen_moved(&from).unwrap();
                    assert!(opens(&from) && !opens(&to));
                }
            }
            copy_records(&from, &to).unwrap_or_else(|e| panic!("{fault:?} {at}: {e:?}"));
            assert!(!opens(&from), "{fault:?} {at}");
            check(&shared(&world, &to).unwrap());
        }
    }
    assert!(failed > 8 && closed > 0, "{failed} {closed}");
}

/// A store on which something happens before its calls.
struct Watched<'a> {
    store: &'a MemoryStore,
    before: &'a (dyn Fn(&str) + Sync),
}

impl Store for Watched<'_> {
    fn get(&self, keys: &[&str]) -> Result<Vec<Option<Record>>, Error> {
        (self.before)(&format!("get {}", keys.join(" ")));
        self.store.get(keys)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Record>, Error> {
        (self.before)(&format!("list {prefix}"));
        self.store.list(prefix, after, limit)
    }

    fn commit(&self, changes: &[Change]) -> Result<Outcome, Error> {
        let keys: Vec<_> = changes.iter().map(|change| change.key.as_str()).collect();
        (self.before)(&format!("commit {}", keys.join(" ")));
        self.store.commit(changes)
    }

    fn deadline(&self) -> Duration {
        self.store.deadline()
    }
}

/// Acts before call number `at` of this kind, from 0 on.
fn before<'a>(call: &'a str, at: usize, act: impl Fn() + Sync + 'a) -> impl Fn(&str) + Sync + 'a {
    let calls = AtomicUsize::new(0);
    move |called| {
        if called == call && calls.fetch_add(1, Ordering::Relaxed) == at {
            act();
        }
    }
}

/// The fleet in a store in memory.
fn in_memory(world: &World) -> MemoryStore {
    fleet(world);
    let file = FileStore::open(world.folder.path().join("store")).unwrap();
    let store = MemoryStore::new();
    copy_records(&file, &store).unwrap();
    store
}

/// Two copies of one store to different stores overlap: one of them ends at most.
#[test]
fn of_two_copies_to_different_stores_one_ends() {
    let world = World::new();
    let store = in_memory(&world);
    let (one, other) = (MemoryStore::new(), MemoryStore::new());
    // The other one is past its checks, and has copied all, when the first one ends.
    let act = before("get moved", 1, || copy_records(&store, &one).map(drop).unwrap());
    let from = Watched { store: &store, before: &act };
    let refused = format!("{:#}", copy_records(&from, &other).unwrap_err());
    assert!(refused.contains("reopen_moved"), "{refused}");
    check(&shared(&world, &one).unwrap());
    assert!(shared(&world, &store).is_err() && shared(&world, &other).is_err());
    // It isn't gone on with either.
    assert!(matches!(copy_records(&store, &other), Err(Error::Io { .. })));
    assert!(shared(&world, &store).is_err() && shared(&world, &other).is_err());
}

/// A copy that failed isn't gone on with once the records were moved to another store.
#[test]
fn a_copy_that_failed_does_not_end_after_another_one() {
    let world = World::new();
    let store = in_memory(&world);
    let (one, other, calls) = (MemoryStore::new(), MemoryStore::new(), AtomicUsize::new(0));
    other.set_faults(move |_: Call<'_>| (calls.fetch_add(1, Ordering::Relaxed) >= 6).then_some(Fault::Before));
    copy_records(&store, &other).unwrap_err();
    other.set_faults(|_| None);
    assert!(other.get(&["moving"]).unwrap()[0].is_some());
    reopen_moved(&store).unwrap();
    copy_records(&store, &one).unwrap();
    let refused = format!("{:#}", copy_records(&store, &other).unwrap_err());
    assert!(refused.contains("reopen_moved"), "{refused}");
    check(&shared(&world, &one).unwrap());
    assert!(shared(&world, &store).is_err() && shared(&world, &other).is_err());
}

/// Two calls for the same stores: one ends, and a host uses the new store. The other one then finds that they differ, and must not
/// make the old one usable.
#[test]
fn a_comparison_that_fails_takes_nothing_back_that_another_call_has_ended() {
    let world = World::new();
    let store = in_memory(&world);
    let to = MemoryStore::new();
    // It has marked the old one, and is about to compare.
    let act = before("list host/", 1, || {
        copy_records(&store, &to).unwrap();
        let service = shared(&world, &to).unwrap();
        service.create_disk(&new_disk("new", Some("set"))).unwrap();
    });
    let from = Watched { store: &store, before: &act };
    assert!(matches!(copy_records(&from, &to), Err(Error::Io { .. })));
    assert!(shared(&world, &store).is_err(), "it was moved");
    check(&shared(&world, &to).unwrap());
}

/// A service that is opened while the records are moved: then they aren't moved.
#[test]
fn a_service_that_opens_meanwhile_and_a_move_exclude_each_other() {
    let world = World::new();
    fleet(&world);
    let file = FileStore::open(world.folder.path().join("store")).unwrap();
    let (store, to) = (MemoryStore::new(), MemoryStore::new());
    copy_records(&file, &store).unwrap();
    let opened = Mutex::new(None);
    let act = before("commit moved", 0, || *opened.lock().unwrap() = Some(shared(&world, &store).unwrap()));
    let moved = copy_records(&Watched { store: &store, before: &act }, &to);
    assert!(matches!(moved, Err(Error::Busy { .. })), "{moved:?}");
    let service = opened.lock().unwrap().take().unwrap();
    check(&service);
    drop(service);
    check(&shared(&world, &store).unwrap());
    assert!(shared(&world, &to).is_err());
    copy_records(&store, &to).unwrap();
    check(&shared(&world, &to).unwrap());
}
