//! A process that makes, writes, copies, moves, rotates and removes disks in files is killed at random instants.
//! Finished operations are there, the current one may be, and no file is left over.
//!
//! `ATREST_KILLS` sets the number of kills.

#![cfg(feature = "managed")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use atrest::EncryptionType::{CustomerKey, PlatformAndCustomerKeys};
use atrest::ManualClock;
use atrest::managed::{DiskFolder, DiskService, NewCopy, NewSnapshot, ResourceKind, ResourceName, ServiceOptions};
use common::vaults::MemoryVault;
use common::world::{T, VAULT, World, new_disk, new_set, quiet};

const SIZE: u64 = (64 << 10) + 4096;
const FOLDER: &str = "ATREST_KILLED_FOLDER";

/// The service over the files of a folder, its key with as many versions.
fn open(folder: &Path, versions: u64) -> (World, DiskService) {
    let world = World::new();
    let customer = world.customer(VAULT);
    (1..versions).for_each(|_| drop(customer.rotate()));
    let options = ServiceOptions::new(
        Arc::new(DiskFolder::new(folder.join("disks"))),
        world.vaults.clone(),
        Arc::new(MemoryVault::new("platform")),
        "disks",
    )
    .clock(Arc::new(ManualClock::new(T)))
    .parallel(3)
    .rotation_interval(Duration::from_secs(900));
    let service = DiskService::open(folder.join("store"), options).unwrap();
    for set in service.encryption_sets().unwrap() {
        customer.granted.lock().unwrap().push(service.encryption_set(&set).unwrap().identity);
    }
    (world, service)
}

/// The state by the journal: the resources and their content. Nothing is known of a disk that was never written.
#[derive(Default, Debug)]
struct State {
    all: BTreeMap<ResourceName, Option<u64>>,
    /// The disks in a set. The others will never be in one.
    sets: BTreeMap<ResourceName, String>,
    versions: u64,
    stamp: u64,
    /// The step that was begun and not finished.
    at: Option<Vec<String>>,
}

fn disk(n: &str) -> ResourceName {
    ResourceName::disk(format!("disk-{n}"))
}

fn snapshot(n: &str) -> ResourceName {
    ResourceName::snapshot(format!("snap-{n}"))
}

impl State {
    fn read(folder: &Path) -> State {
        let mut state = State { versions: 1, ..State::default() };
        for line in fs::read_to_string(folder.join("journal")).unwrap_or_default().lines() {
            let words: Vec<String> = line.split(' ').map(String::from).collect();
            match (words[0].as_str(), state.at.take()) {
                ("begin", None) => {
                    if words[1] == "rotate" {
                        state.versions += 1;
                    }
                    state.stamp += 1;
                    state.at = Some(words[1..].to_vec());
                }
                ("done", Some(step)) => state.apply(&step),
                ("undone", Some(_)) => {}
                other => panic!("{line}: {other:?}"),
            }
        }
        state
    }

    fn apply(&mut self, step: &[String]) {
        let words: Vec<&str> = step.iter().map(String::as_str).collect();
        match words[..] {
            ["create", n, set] => {
                self.all.insert(disk(n), None);
                self.note(disk(n), set);
            }
            ["write", n, stamp] => drop(self.all.insert(disk(n), stamp.parse().ok())),
            ["snapshot", n, of, _] => {
                self.all.insert(snapshot(n), self.all[&disk(of)]);
            }
            ["delete", n] => drop((self.all.remove(&disk(n)), self.sets.remove(&disk(n)))),
            ["drop", n] => drop(self.all.remove(&snapshot(n))),
            ["put", n, set] => self.note(disk(n), set),
            ["rotate"] => {}
            _ => panic!("{step:?}"),
        }
    }

    fn note(&mut self, name: ResourceName, set: &str) {
        if set != "-" {
            self.sets.insert(name, set.into());
        }
    }
}

fn do_step(world: &World, service: &DiskService, step: &[String]) {
    let words: Vec<&str> = step.iter().map(String::as_str).collect();
    match words[..] {
        ["create", n, set] => {
            let set = Some(set).filter(|set| *set != "-");
            let new = new_disk(&disk(n).name, set).size(SIZE);
            service.create_disk(&new).map(drop)
        }
        ["write", n, stamp] => {
            let bytes = stamp.parse::<u64>().unwrap().to_le_bytes().repeat(SIZE as usize / 8);
            service.open_disk(&disk(n).name).unwrap().write_at(0, &bytes)
        }
        ["snapshot", n, of, incremental] => {
            let (name, disk, incremental) = (snapshot(n).name, disk(of).name, incremental == "i");
            service.create_snapshot(&NewSnapshot::new(name, disk).incremental(incremental), &|_| ()).map(drop)
        }
        ["delete", n] => service.delete(&disk(n)),
        ["drop", n] => service.delete(&snapshot(n)),
        ["put", n, set] => service.put_into_set(&disk(n), set).map(drop),
        ["rotate"] => {
            world.customer(VAULT).rotate();
            ["s", "t", "both"].into_iter().try_for_each(|set| service.rotate_set(set, &quiet).map(drop))
        }
        _ => panic!("{step:?}"),
    }
    .unwrap_or_else(|e| panic!("{step:?}: {e:?}"));
}

/// Chooses the next step from the current state, at random.
fn next_step(state: &State, noise: u64) -> Vec<String> {
    let pick = |n: u64| (noise >> n) % 5;
    let (n, m) = (pick(8), pick(16));
    let is = |name: &ResourceName| state.all.contains_key(name);
    let (name, snap) = (disk(&n.to_string()), snapshot(&m.to_string()));
    if !is(&name) {
        return format!("create {n} {}", ["-", "s", "both"][n as usize % 3]).split(' ').map(String::from).collect();
    }
    let text = match noise % 8 {
        0 | 1 => format!("write {n} {}", state.stamp),
        2 if !is(&snap) => format!("snapshot {m} {n} f"),
        3 | 4 if !is(&snap) => format!("snapshot {m} {n} i"),
        2..=4 => format!("drop {m}"),
        5 => format!("delete {n}"),
        // A second layer comes with a disk or never.
        6 if n % 3 != 2 => format!("put {n} {}", ["s", "t"][m as usize % 2]),
        _ => "rotate".into(),
    };
    text.split(' ').map(String::from).collect()
}

/// The process that is killed. Run on its own, it does nothing.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let mut state = State::read(folder);
    assert_eq!(state.at, None);
    let (world, service) = open(folder, state.versions);
    let mut journal = fs::OpenOptions::new().append(true).create(true).open(folder.join("journal")).unwrap();
    let mut noise = 0x9E37_79B9_7F4A_7C15 ^ (state.stamp + 1).wrapping_mul(0xD134_2543_DE82_EF95);
    loop {
        // xorshift64
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        let step = next_step(&state, noise);
        journal.write_all(format!("begin {}\n", step.join(" ")).as_bytes()).unwrap();
        do_step(&world, &service, &step);
        journal.write_all(b"done\n").unwrap();
        state.stamp += 1;
        state.apply(&step);
    }
}

/// Whether the step that was begun has come to be.
fn has_happened(service: &DiskService, step: &[String]) -> bool {
    let is = |name: &ResourceName| service.resource(name).is_ok();
    match (step[0].as_str(), step.get(1)) {
        ("create", Some(n)) => is(&disk(n)),
        ("snapshot", Some(n)) => is(&snapshot(n)),
        ("delete", Some(n)) => !is(&disk(n)),
        ("drop", Some(n)) => !is(&snapshot(n)),
        ("put", Some(n)) => service.resource(&disk(n)).unwrap().set.as_deref() == Some(&step[2]),
        _ => true,
    }
}

fn stamps(bytes: &[u8]) -> BTreeSet<u64> {
    bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect()
}

/// Compares the whole state with the journal.
fn check(folder: &Path, service: &DiskService, state: &State, half_written: Option<(&ResourceName, u64)>) {
    let mut ids = BTreeSet::new();
    let mut names = BTreeSet::new();
    for kind in [ResourceKind::Disk, ResourceKind::Snapshot, ResourceKind::Image] {
        for name in service.names(kind).unwrap() {
            let name = ResourceName { kind, name };
            let record = service.resource(&name).unwrap();
            if kind == ResourceKind::Disk {
                assert_eq!(record.set.as_ref(), state.sets.get(&name), "{name}");
            }
            ids.insert(format!("{}.disk", record.id));
            names.insert(name);
        }
    }
    assert!(names.iter().eq(state.all.keys()), "{names:?}\n{state:?}");
    let files = fs::read_dir(folder.join("disks")).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    assert_eq!(files.collect::<BTreeSet<_>>(), ids, "files of disks that nobody has, or that are missing");
    for (name, stamp) in &state.all {
        let mut bytes = vec![0; SIZE as usize];
        let copy = NewCopy::new("r").region("north").subscription("one");
        let from = if name.kind == ResourceKind::Disk { &name.name } else { "r" };
        if name.kind == ResourceKind::Snapshot {
            service.create_disk_from(name, &copy, &|_| ()).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        }
        let open = service.open_disk(from).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        open.read_at(0, &mut bytes).unwrap();
        drop(open);
        if name.kind == ResourceKind::Snapshot {
            service.delete(&ResourceName::disk("r")).unwrap();
        }
        let Some(stamp) = stamp else { continue };
        let mut may = BTreeSet::from([*stamp]);
        may.extend(half_written.filter(|(half, _)| *half == name).map(|(_, stamp)| stamp));
        assert!(stamps(&bytes).is_subset(&may), "{name} should hold {may:?}");
    }
}

#[test]
fn a_process_that_is_killed_again_and_again_loses_nothing_that_it_finished() {
    // Behaviours 4, 22, 26, 27, 30, 44, 45, 74
    let kills = std::env::var("ATREST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(15);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::create_dir(folder.join("disks")).unwrap();
    let (_, service) = open(folder, 1);
    for (name, kind) in [("s", CustomerKey), ("t", CustomerKey), ("both", PlatformAndCustomerKeys)] {
        service.create_set(&new_set(name, kind)).unwrap();
    }
    drop(service);
    let mut interrupted = BTreeMap::<String, usize>::new();
    for kill in 0..kills {
        let began = State::read(folder).stamp;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(FOLDER, folder)
            .stdout(Stdio::null())
            .stderr(fs::OpenOptions::new().append(true).create(true).open(folder.join("stderr")).unwrap())
            .spawn()
            .unwrap();
        // It has begun once it has finished something; then it is killed at any instant, on average in its tenth step.
        let patience = Instant::now() + Duration::from_secs(60);
        while State::read(folder).stamp < began + 2 && child.try_wait().unwrap().is_none() && Instant::now() < patience
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros((kill * 7919 + 104_729) % 200_000));
        let ended = child.try_wait().unwrap();
        let said = || fs::read_to_string(folder.join("stderr")).unwrap_or_default();
        assert!(ended.is_none(), "the child ended by itself: {ended:?}\n{}", said());
        child.kill().unwrap();
        child.wait().unwrap();

        let mut state = State::read(folder);
        let (world, service) = open(folder, state.versions);
        let mut half = None;
        let mut journal = fs::OpenOptions::new().append(true).open(folder.join("journal")).unwrap();
        if let Some(step) = state.at.take() {
            *interrupted.entry(step[0].clone()).or_default() += 1;
            let happened = has_happened(&service, &step);
            if step[0] == "write" {
                half = Some((disk(&step[1]), step[2].parse().unwrap()));
            } else if happened {
                state.apply(&step);
            }
            let noted: &[u8] = if happened { b"done\n" } else { b"undone\n" };
            // Written anew, so that it is of one stamp again.
            if let Some((name, _)) = &half {
                check(folder, &service, &state, half.as_ref().map(|(name, stamp)| (name, *stamp)));
                assert!(state.all.contains_key(name));
                do_step(&world, &service, &step);
                state.apply(&step);
            }
            journal.write_all(noted).unwrap();
        }
        check(folder, &service, &state, None);
        for set in ["s", "t", "both"] {
            service.rotate_set(set, &quiet).unwrap();
            assert!(service.encryption_set(set).unwrap().previous_keys.is_empty());
        }
        drop((world, service));
        // The old versions are not needed any more.
        let (world, service) = open(folder, state.versions);
        (1..state.versions).for_each(|version| world.customer(VAULT).vault.destroy(version as usize));
        check(folder, &service, &state, None);
    }
    println!("{} steps, killed at {interrupted:?}", State::read(folder).stamp);
    assert!(!interrupted.is_empty());
}
