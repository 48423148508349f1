//! Transactions over a store that other hosts change, too, and that fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::super::shared::{Action, Change, Outcome, Record};
use super::super::{Call, Fault, FileStore, MemoryStore, Records, Store, conformance};
use super::{DISK, SET, id};
use crate::Error;
use crate::managed::records::{EncryptionSet, HostRecord, Resource, ResourceName};

fn set(name: &str) -> EncryptionSet {
    EncryptionSet { name: name.into(), ..serde_json::from_slice(SET).unwrap() }
}

fn disk(name: &str, n: usize, set: Option<&str>) -> Resource {
    let made: Resource = serde_json::from_slice(DISK).unwrap();
    Resource { name: name.into(), id: format!("00000000-0000-4000-8000-{n:012}"), set: set.map(String::from), ..made }
}

fn host(store: &MemoryStore) -> Records {
    Records::shared(Arc::new(store.clone()), "test".into())
}

#[test]
fn the_file_passes_the_conformance_suite() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(FileStore::open(folder.path().join("store")).unwrap());
    conformance::run(|| store.clone());
    drop(store);
    FileStore::open(folder.path().join("store")).unwrap();
}

#[test]
fn transactions_of_many_hosts_lose_no_change() {
    let store = MemoryStore::new();
    let first = host(&store);
    first.write(|tables| tables.put_set(&set("s"))).unwrap();
    let hosts: Vec<_> = (0..4).map(|_| host(&store)).collect();
    thread::scope(|scope| {
        for host in &hosts {
            scope.spawn(move || {
                for _ in 0..25 {
                    // Others change it all the time, and no bound of attempts is right for that.
                    while let Err(e) = add(host, 1) {
                        assert!(matches!(e, Error::Busy { .. }), "{e:?}");
                    }
                }
            });
        }
    });
    assert_eq!(first.set("s").unwrap().created, set("s").created + 100);
}

/// A commit whose answer is lost, that comes late, or that never reaches the store is found out about.
#[test]
fn a_commit_whose_answer_is_lost_is_known_afterwards() {
    for faults in [
        &[Fault::Before][..],
        &[Fault::After],
        &[Fault::After, Fault::After],
        &[Fault::After, Fault::Before],
        &[Fault::Late],
        &[Fault::After, Fault::Late],
    ] {
        let (store, calls) = (MemoryStore::new(), Arc::new(AtomicUsize::new(0)));
        let records = host(&store);
        records.write(|tables| tables.put_set(&set("s"))).unwrap();
        let (ordered, count) = (faults.to_vec(), calls.clone());
        store.set_faults(move |call| match call {
            Call::Commit(_) => ordered.get(count.fetch_add(1, Ordering::Relaxed)).copied(),
            _ => None,
        });
        let ran = AtomicUsize::new(0);
        let added = records.write(|tables| {
            ran.fetch_add(1, Ordering::Relaxed);
            let set = tables.set("s")?.unwrap();
            tables.put_set(&EncryptionSet { created: set.created + 1, ..set })
        });
        added.unwrap();
        assert_eq!(records.set("s").unwrap().created, set("s").created + 1, "{faults:?}");
        assert_eq!(ran.load(Ordering::Relaxed), 1, "{faults:?}");
        // The late commits conflict with the changes made since.
        assert!(store.deliver().iter().all(|late| *late == Outcome::Conflict), "{faults:?}");
        assert_eq!(records.set("s").unwrap().created, set("s").created + 1, "{faults:?}");
    }
}

/// The first commit fails, after it happened or not, and others change the same before anything else.
struct Meddled {
    store: MemoryStore,
    happens: bool,
    others: u64,
    calls: AtomicUsize,
}

impl Store for Meddled {
    fn get(&self, keys: &[&str]) -> crate::Result<Vec<Option<Record>>> {
        self.store.get(keys)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> crate::Result<Vec<Record>> {
        self.store.list(prefix, after, limit)
    }

    fn commit(&self, changes: &[Change]) -> crate::Result<Outcome> {
        if self.calls.fetch_add(1, Ordering::Relaxed) > 0 {
            return self.store.commit(changes);
        }
        if self.happens {
            self.store.commit(changes)?;
        }
        (0..self.others).for_each(|_| add(&host(&self.store), 10).unwrap());
        Err(Error::io("a test", std::io::Error::other("the answer was lost")))
    }

    fn deadline(&self) -> Duration {
        self.store.deadline()
    }
}

fn add(records: &Records, number: u64) -> crate::Result<()> {
    records.write(|tables| {
        let set = tables.set("s")?.unwrap();
        tables.put_set(&EncryptionSet { created: set.created + number, ..set })
    })
}

/// It finds itself also after another host has changed the record again, and runs again if it didn't happen.
#[test]
fn a_commit_is_told_from_those_of_others() {
    for (happens, others, is_known) in
        [(true, 0, true), (true, 1, true), (true, 2, false), (false, 1, true), (false, 2, false), (false, 0, true)]
    {
        let store = MemoryStore::new();
        host(&store).write(|tables| tables.put_set(&set("s"))).unwrap();
        let meddled = Meddled { store: store.clone(), happens, others, calls: AtomicUsize::new(0) };
        let written = add(&Records::shared(Arc::new(meddled), "test".into()), 1);
        let created = host(&store).set("s").unwrap().created - set("s").created;
        assert_eq!(created, 10 * others + u64::from(happens || is_known), "{happens} {others}");
        match written {
            Ok(()) => assert!(is_known),
            Err(e) => assert!(!is_known && format!("{e:#}").contains("isn't known whether"), "{e:#}"),
        }
    }
}

/// A set is removed while another host puts disks into it: never is a disk left in no set.
#[test]
fn a_set_isnt_removed_under_a_new_member() {
    for round in 0..40 {
        let store = MemoryStore::new();
        let (one, other) = (host(&store), host(&store));
        one.write(|tables| tables.put_set(&set("s"))).unwrap();
        let (removed, joined) = thread::scope(|scope| {
            let removing = scope.spawn(|| remove_set(&one, "s"));
            let joining = scope.spawn(|| other.write(|tables| tables.add_resource(&disk("d", round, Some("s")))));
            (removing.join().unwrap().unwrap(), joining.join().unwrap())
        });
        match joined {
            Ok(()) => assert!(!removed && one.set("s").is_ok_and(|set| !set.removing), "{round}"),
            Err(Error::NoSuchResource(_)) => assert!(removed && one.resource(&ResourceName::disk("d")).is_err()),
            Err(e) => panic!("{e:?}"),
        }
    }
}

/// As the service does.
fn remove_set(records: &Records, name: &str) -> crate::Result<bool> {
    records.write(|tables| {
        let set = tables.set(name)?.unwrap();
        tables.put_set(&EncryptionSet { removing: true, ..set })
    })?;
    records.write(|tables| {
        let set = tables.set(name)?.unwrap();
        if set.removing && !tables.has_members(name)? {
            return tables.remove_set(name).map(|()| true);
        }
        tables.put_set(&EncryptionSet { removing: false, ..set }).map(|()| false)
    })
}

#[test]
fn of_two_makers_of_an_image_one_is_refused() {
    for round in 0..40 {
        let store = MemoryStore::new();
        let copy = |region: &str, n: usize| Resource {
            kind: crate::managed::records::ResourceKind::Image,
            region: region.into(),
            ..disk(&ResourceName::image("i", region, 0).name, n, None)
        };
        let make = |region: &'static str, n: usize| {
            let (records, copy) = (host(&store), copy(region, n));
            move || {
                records.write(|tables| {
                    tables.claim_image("i")?;
                    tables.add_resource(&copy)
                })
            }
        };
        let (north, south) = (make("north", 1), make("south", 2));
        let made = thread::scope(|scope| {
            let (north, south) = (scope.spawn(north), scope.spawn(south));
            [north.join().unwrap(), south.join().unwrap()]
        });
        assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1, "{round}: {made:?}");
        assert_eq!(host(&store).image("i").unwrap().len(), 1);
    }
}

/// The commit that makes a resource is under way when its device is taken for one that nobody knows.
#[test]
fn no_resource_gets_a_device_that_is_being_removed() {
    let store = MemoryStore::new();
    let (maker, other) = (host(&store), host(&store));
    let made = disk("d", 1, None);
    maker.write(|tables| tables.add_orphan(&made.id, "north")).unwrap();
    let late: Vec<Change> = {
        let taken = Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = taken.clone();
        store.set_faults(move |call| match call {
            Call::Commit(changes) => {
                *seen.lock().unwrap() = changes.to_vec();
                Some(Fault::Before)
            }
            _ => None,
        });
        let said = maker.write(|tables| tables.add_made(&made)).unwrap_err();
        assert!(format!("{said:#}").contains("isn't known whether"), "{said:#}");
        store.set_faults(|_| None);
        let changes = taken.lock().unwrap().clone();
        assert!(changes.iter().any(|change| matches!(change.action, Action::Put(_))));
        changes
    };
    other.begin_to_remove(&made.id, "north").unwrap();
    assert_eq!(store.commit(&late).unwrap(), Outcome::Conflict);
    assert!(matches!(maker.write(|tables| tables.add_made(&made)), Err(Error::NoSuchResource(_))));
    // And the other way round.
    let made = disk("e", 2, None);
    maker.write(|tables| tables.add_orphan(&made.id, "north")).unwrap();
    maker.write(|tables| tables.add_made(&made)).unwrap();
    assert!(matches!(other.begin_to_remove(&made.id, "north"), Err(Error::Busy { .. })));
    assert_eq!(other.name_of(&made.id).unwrap(), Some(ResourceName::disk("e")));
    assert!(matches!(other.name_of(&id(9)), Ok(None)));
}

/// Calls `then` after each list of a prefix.
struct Listened<F> {
    store: MemoryStore,
    prefix: &'static str,
    then: F,
}

impl<F: Fn() + Send + Sync> Store for Listened<F> {
    fn get(&self, keys: &[&str]) -> crate::Result<Vec<Option<Record>>> {
        self.store.get(keys)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> crate::Result<Vec<Record>> {
        let page = self.store.list(prefix, after, limit);
        if prefix == self.prefix {
            (self.then)();
        }
        page
    }

    fn commit(&self, changes: &[Change]) -> crate::Result<Outcome> {
        self.store.commit(changes)
    }

    fn deadline(&self) -> Duration {
        self.store.deadline()
    }
}

/// A host begins, and makes a device, while another one looks for devices whose makers are gone.
#[test]
fn a_device_of_a_host_that_has_just_begun_isnt_taken_for_nobodys() {
    for prefix in ["host/", "orphan/"] {
        let store = MemoryStore::new();
        let (new, made) = (Records::shared(Arc::new(store.clone()), "new".into()), disk("d", 1, None));
        let (begins, id) = (new, made.id.clone());
        let begin = move || {
            let host = HostRecord { name: "new".into(), ttl_ms: 1000, renewals: 0 };
            begins.write(|tables| tables.put_host("new", &host)).unwrap();
            begins.write(|tables| tables.add_orphan(&id, "north")).unwrap();
        };
        let listened = Listened { store: store.clone(), prefix, then: begin };
        let looks = Records::shared(Arc::new(listened), "looks".into());
        assert_eq!(looks.ownerless().unwrap(), [], "{prefix}");
        // A host that takes it for ownerless doesn't remove it either.
        let other = host(&store);
        assert!(matches!(other.begin_to_remove(&made.id, "north"), Err(Error::Busy { .. })));
        other.write(|tables| tables.remove_host("new")).unwrap();
        assert_eq!(other.ownerless().unwrap(), [(made.id.clone(), "north".into())]);
        other.begin_to_remove(&made.id, "north").unwrap();
    }
}

#[test]
fn a_step_that_is_too_large_for_a_shared_store_says_so() {
    let store = MemoryStore::new();
    let records = host(&store);
    let many = records.write(|tables| (0..40).try_for_each(|n| tables.add_resource(&disk(&format!("d{n}"), n, None))));
    assert!(matches!(&many, Err(Error::InvalidOption(text)) if text.contains("fewer")), "{many:?}");
    assert!(store.is_empty());
}
