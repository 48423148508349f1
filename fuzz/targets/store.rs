//! The store of managed disks: a file that was damaged anywhere, or a record that is not as the library writes it, with
//! checksums that are right.
//!
//! An input is 4 bytes that say what is done, and a record of JSON, in the form of this release or of a former one; or, where
//! the first byte is odd, what is written over the file, and where.

#![no_main]

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use atrest::managed::{DiskService, ResourceKind, ResourceName};
use atrest::{EncryptionType, Error, Result};
use atrest_fuzz::store::{self, Form, Store};
use atrest_fuzz::world::{World, new_disk, new_set, snapshot_of, still};
use atrest_fuzz::{Input, json, limits, seeds};
use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target};

const CONTROL: usize = 4;
/// The bit of the first byte for a store of a former release.
const FORMER: u8 = 2;
const PAGE: usize = 4096;
const NAMES: [&str; 8] = ["set-0", "set-1", "disk-0", "disk-1", "disk-3", "copy", "snapshot-0", "a/../b"];

struct Fleet {
    world: World,
    /// The file, and what a service tells of it.
    sound: Vec<u8>,
    truth: String,
    records: store::Records,
    /// The same in each form.
    stores: [Store; 2],
    /// Which of its pages hold something.
    used: Vec<usize>,
}

static FLEET: LazyLock<Fleet> = LazyLock::new(|| {
    let world = World::new();
    let service = world.service();
    for set in ["set-0", "set-1"] {
        world.set(&service, set, EncryptionType::CustomerKey);
    }
    for n in 0..4 {
        service.create_disk(&new_disk(&format!("disk-{n}"), Some(["set-0", "set-1"][n % 2]))).unwrap();
    }
    service.create_snapshot(&snapshot_of("disk-1", "snapshot-0", true), &still).unwrap();
    service.delete(&ResourceName::disk("disk-2")).unwrap();
    let truth = told(&service).unwrap();
    drop(service);
    let path = world.folder.path().join("store");
    let sound = std::fs::read(&path).unwrap();
    let records = store::records(&path);
    let stores = [Form::Now, Form::Former].map(|form| Store::new(&records, form));
    for store in &stores {
        store.write(&path);
        assert!(told(&world.service()).unwrap() == truth, "the harness writes a store as the library does");
    }
    let used = (0..sound.len() / PAGE).filter(|n| sound[n * PAGE..][..PAGE].iter().any(|&byte| byte != 0)).collect();
    Fleet { world, sound, truth, records, stores, used }
});

fuzz_target!(init: start(), |data: &[u8]| -> Corpus {
    // The database panics about some damage, and the library makes an error of it: only a panic that gets out counts.
    let run = || catch_unwind(AssertUnwindSafe(|| run(data)));
    let readable = limits::limited(run).unwrap_or_else(|_| {
        eprintln!("{}", limits::last_panic());
        std::process::abort();
    });
    if readable { Corpus::Keep } else { Corpus::Reject }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let skip = if data.first().is_some_and(|mode| mode & 1 == 0) { CONTROL } else { usize::MAX };
    json::mutator(data, size, max_size, seed, skip)
});

fn start() {
    limits::note_panics();
    seeds::write(seeds());
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for ((kind, name), record) in FLEET.records.iter().filter(|((kind, _), _)| *kind != store::ORPHAN) {
        let name = NAMES.iter().position(|known| known == name).unwrap() as u8;
        for (kind, name) in [(*kind, name), (*kind, 7), (3, name)] {
            seeds.push([&[0, kind, name, 0][..], record].concat());
            seeds.push([&[FORMER, kind, name, 0][..], record].concat());
        }
    }
    seeds.push([&[0, store::ORPHAN, 0, 1][..], br#"{"region":"north"}"#].concat());
    seeds.push([&[FORMER, store::ORPHAN, 0, 1][..], b"north"].concat());
    for page in [0, 1, 2, 3] {
        seeds.push(vec![1, 0, 0, 0, 0, page, 0, 64, 4, 1, 2, 3, 4]);
    }
    seeds
}

/// All that a service tells of what it has.
fn told(service: &DiskService) -> Result<String> {
    let mut told = String::new();
    for set in service.encryption_sets()? {
        let members = service.members(&set)?;
        writeln!(told, "{} {members:?}", service.encryption_set(&set)?.to_json()).unwrap();
    }
    for kind in [ResourceKind::Disk, ResourceKind::Snapshot, ResourceKind::Image] {
        for name in service.names(kind)? {
            let resource = service.resource(&ResourceName { kind, name })?;
            assert!(resource.id.len() == 36 && !resource.id.contains(['/', '.']), "an id that leads elsewhere");
            writeln!(told, "{}", resource.to_json()).unwrap();
        }
    }
    Ok(told)
}

fn run(data: &[u8]) -> bool {
    let mut input = Input(data);
    let [mode, kind, name, id] = [(); CONTROL].map(|()| input.byte());
    let path = FLEET.world.folder.path().join("store");
    if mode & 1 == 0 {
        let name: String = match (kind % 5, id & 1) {
            (store::ORPHAN, 1) => format!("00000000-0000-4000-8000-0000000000{id:02x}"),
            _ => NAMES[usize::from(name) % NAMES.len()].into(),
        };
        FLEET.stores[usize::from(mode & FORMER != 0)].write_with(&path, kind % 5, &name, input.rest());
        return record();
    }
    let mut bytes = FLEET.sound.clone();
    while !input.0.is_empty() {
        let operation = input.byte();
        let page = FLEET.used[usize::from(input.byte()) % FLEET.used.len()] * PAGE;
        let at = page + usize::from(input.u16()) % PAGE;
        match operation % 4 {
            0 | 1 => {
                let len = usize::from(input.byte() % 64);
                let with = input.bytes(len);
                if let Some(place) = bytes.get_mut(at..at + with.len()) {
                    place.copy_from_slice(with);
                }
            }
            2 => {
                let from = FLEET.used[usize::from(input.byte()) % FLEET.used.len()] * PAGE;
                if from.max(page) + PAGE <= bytes.len() {
                    bytes.copy_within(from..from + PAGE, page);
                }
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
    std::fs::write(&path, &bytes).unwrap();
    damaged()
}

/// A file that says it is damaged, and what to do; or the truth, and then it can be written too.
fn damaged() -> bool {
    let service = match FLEET.world.try_service() {
        Ok(service) => service,
        Err(e) => {
            says_so(&e);
            return true;
        }
    };
    match told(&service) {
        Ok(told) => assert!(told == FLEET.truth, "a wrong answer"),
        Err(e) => return matches!(e, Error::Io { .. }),
    }
    if let Err(e) = service.create_set(&new_set("new", EncryptionType::CustomerKey)) {
        assert!(matches!(e, Error::Io { .. }), "{e:?}");
        return true;
    }
    drop(service);
    let again = FLEET.world.try_service().expect("it opens once more");
    again.encryption_set("new").expect("a change stays");
    true
}

/// A record that is refused, or that a service tells the same way each time.
fn record() -> bool {
    let service = match FLEET.world.try_service() {
        Ok(service) => service,
        Err(e) => {
            says_so(&e);
            return true;
        }
    };
    let first = told(&service).expect("what was checked can be told");
    for kind in [ResourceKind::Disk, ResourceKind::Snapshot, ResourceKind::Image] {
        for name in service.names(kind).unwrap() {
            let _ = service.report(&ResourceName { kind, name });
        }
    }
    drop(service);
    let again = FLEET.world.try_service().expect("it opens once more");
    assert!(told(&again).unwrap() == first, "it tells something else the second time");
    true
}

fn says_so(e: &Error) {
    let Error::Io { source, .. } = e else { panic!("an error that doesn't say it: {e:?}") };
    assert!(source.kind() == std::io::ErrorKind::InvalidData, "an error that doesn't say it: {e:?}");
    assert!(source.to_string().contains("backup"), "it doesn't say what to do: {e:?}");
}
