//! The process of a service, which is killed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use atrest::managed::{DiskService, NewCopy, NewDisk, NewSnapshot, OpenDisk, ResourceKind, ResourceName};
use atrest::{Error, Result};

use super::files::tell;
use super::{BLOCKS, HOSTS, Numbers, Opener, Place, SECTOR, SET, uptime};

/// The variable that makes a test program a service: the host, its start, the seed, the lease, the folder and the way to the store.
pub const SERVICE: &str = "ATREST_FLEET_SERVICE";

/// More disks than this are deleted.
const MOST: usize = 14;

/// Is a service until it is killed, if this process was started as one.
pub fn run_service(open: Opener) {
    let Ok(text) = std::env::var(SERVICE) else { return };
    let words: Vec<&str> = text.splitn(6, ' ').collect();
    let number = |at: usize| words[at].parse::<u64>().unwrap();
    let (host, start, seed) = (number(0) as usize, number(1), number(2));
    let (lease, place, way) = (Duration::from_millis(number(3)), Place(words[4].into()), words[5]);
    let numbers = Mutex::new(Numbers(seed));
    for round in 0.. {
        let run = format!("{host}.{start}.{round}");
        let service = match open(way).and_then(|store| place.service(store, host, &run, lease)) {
            Ok(service) => service,
            Err(e) => {
                check("opening the service", &e);
                sleep(Duration::from_millis(200));
                continue;
            }
        };
        tell(&format!("run {run}"));
        let process = Process {
            service: &service,
            run,
            host,
            lost: AtomicBool::new(false),
            held: Mutex::default(),
            made: Mutex::new(0),
            numbers: Mutex::new(Numbers(numbers.lock().unwrap().below(u64::MAX))),
        };
        scope(|threads| {
            threads.spawn(|| process.care(lease));
            threads.spawn(|| process.operate());
            process.use_disks();
        });
        tell(&format!("lost {}", process.run));
    }
}

struct Process<'s> {
    service: &'s DiskService,
    run: String,
    host: usize,
    /// Another host has taken this one for lost: all is opened again.
    lost: AtomicBool,
    /// The disks that are open here.
    held: Mutex<Vec<String>>,
    made: Mutex<u64>,
    numbers: Mutex<Numbers>,
}

/// What may fail while hosts and servers do. Anything else is wrong.
fn check(what: &str, error: &Error) {
    match error {
        // A version is disabled between two steps of a host that has read the set before: all is under a newer one by then.
        Error::KeyRefused { .. }
        | Error::Busy { .. }
        | Error::Io { .. }
        | Error::DiskSuspended { .. }
        | Error::NoSuchResource(_) => {
            tell(&format!("refused {}", what.replace(' ', "-")));
        }
        _ => tell(&format!("wrong {what}: {}", format!("{error:?}").replace('\n', " "))),
    }
}

fn new_disk(name: &str, in_set: bool) -> NewDisk {
    let new = NewDisk::new(name, 64 << 10).region("north").subscription("one").sector_size(SECTOR as u32);
    new.encryption_set(in_set.then_some(SET))
}

impl Process<'_> {
    fn below(&self, end: u64) -> u64 {
        self.numbers.lock().unwrap().below(end)
    }

    fn goes_on(&self) -> bool {
        !self.lost.load(Ordering::SeqCst)
    }

    fn names(&self, kind: ResourceKind) -> Vec<String> {
        self.service.names(kind).inspect_err(|e| check("listing", e)).unwrap_or_default()
    }

    /// What a service does for its lease and for others.
    fn care(&self, lease: Duration) {
        let mut renewed = Instant::now();
        while self.goes_on() {
            sleep(lease / 40);
            self.service.maintain();
            if renewed.elapsed() >= lease / 4 {
                renewed = Instant::now();
                if let Err(Error::Busy { .. }) = self.service.renew_host_lease() {
                    self.lost.store(true, Ordering::SeqCst);
                }
            }
        }
    }

    /// Opens disks, reads and writes them, and closes them again.
    fn use_disks(&self) {
        let mut open: Vec<OpenDisk> = Vec::new();
        while self.goes_on() {
            if open.is_empty() || (open.len() < 3 && self.below(20) == 0) {
                let names = self.names(ResourceKind::Disk);
                let Some(name) = self.numbers.lock().unwrap().of(&names) else {
                    sleep(Duration::from_millis(50));
                    continue;
                };
                if open.iter().all(|disk| disk.name() != name) {
                    match self.service.open_disk(&name) {
                        Ok(disk) => {
                            tell(&format!("held {} {name}", self.run));
                            (0..BLOCKS).for_each(|block| self.read(&disk, block));
                            open.push(disk);
                        }
                        Err(e) => {
                            check("opening a disk", &e);
                            sleep(Duration::from_millis(20));
                        }
                    }
                }
                continue;
            }
            *self.held.lock().unwrap() = open.iter().map(|disk| disk.name().to_owned()).collect();
            let at = self.below(open.len() as u64) as usize;
            let done = self.write(&open[at]);
            if done.is_err() {
                sleep(Duration::from_millis(50));
            }
            // A disk that was handed over is opened again by another one, or here once more.
            if self.below(30) == 0 || (done.is_err() && self.below(3) == 0) {
                drop(open.swap_remove(at));
            }
            sleep(Duration::from_millis(self.below(8)));
        }
    }

    fn read(&self, disk: &OpenDisk, block: u64) {
        read(&self.run, disk, disk.name(), block);
    }

    fn write(&self, disk: &OpenDisk) -> Result<()> {
        let (block, name) = (self.below(BLOCKS), disk.name());
        if self.below(4) == 0 {
            self.read(disk, block);
        }
        let value = uptime();
        tell(&format!("begin {} {name} {block} {value}", self.run));
        let bytes = value.to_le_bytes().repeat(SECTOR / 8);
        let done = disk.write_at(block * SECTOR as u64, &bytes).and_then(|()| disk.sync());
        match &done {
            Ok(()) => tell(&format!("done {} {name} {block} {value}", self.run)),
            Err(e) => {
                tell(&format!("fail {}", self.run));
                check("writing", e);
            }
        }
        done
    }

    /// Makes, hands over, copies, rotates and deletes.
    fn operate(&self) {
        while self.goes_on() {
            sleep(Duration::from_millis(30 + self.below(250)));
            self.reencrypt();
            let names = self.names(ResourceKind::Disk);
            // Mostly what is here: what isn't is another host's, as a rule.
            let held = if self.below(4) > 0 { self.held.lock().unwrap().clone() } else { Vec::new() };
            let mut numbers = self.numbers.lock().unwrap();
            let some = numbers.of(&held).or_else(|| numbers.of(&names));
            drop(numbers);
            match (self.below(20), some) {
                (0..4, Some(name)) if names.len() >= MOST => self.delete(&ResourceName::disk(name)),
                (0..4, _) => self.create(),
                (4..8, Some(name)) => {
                    let to = (self.host + 1 + self.below(HOSTS as u64 - 1) as usize) % HOSTS;
                    match self.service.hand_over(&name, &format!("host-{to}")) {
                        Ok(()) => tell(&format!("gave {} {name} {to}", self.run)),
                        Err(e) => check("handing over", &e),
                    }
                }
                (8..11, Some(name)) => self.snapshot(&name),
                (11..13, _) => {
                    let names = self.names(ResourceKind::Snapshot);
                    let some = self.numbers.lock().unwrap().of(&names);
                    if let Some(name) = some.filter(|_| names.len() > 5) {
                        self.delete(&ResourceName::snapshot(name));
                    }
                }
                (13..14, Some(name)) => {
                    self.judged("joining", self.service.put_into_set(&ResourceName::disk(name), SET))
                }
                (14..15, Some(name)) => self.judged("ordering a new key", self.service.rekey_disk(&name)),
                (15..16, _) => self.copy(),
                (16..17, _) => self.judged("rotating the platform's key", self.service.rotate_platform(&|_| {})),
                (17..20, _) => self.rotate(),
                _ => {}
            }
        }
    }

    fn judged<T>(&self, what: &str, done: Result<T>) {
        match done {
            // Such as a new key for a disk that has snapshots.
            Ok(_) | Err(Error::NotAllowed { .. }) => {}
            Err(e) => check(what, &e),
        }
    }

    fn next(&self, prefix: &str) -> String {
        let mut made = self.made.lock().unwrap();
        *made += 1;
        format!("{prefix}-{}-{made}", self.run)
    }

    fn create(&self) {
        let name = self.next("d");
        tell(&format!("making {} disk {name}", self.run));
        match self.service.create_disk(&new_disk(&name, self.below(3) > 0)) {
            Ok(_) => tell(&format!("made {} disk {name}", self.run)),
            Err(e) => check("making a disk", &e),
        }
    }

    /// A step of a re-encryption, which any host goes on with.
    fn reencrypt(&self) {
        let under_way = self.service.reencrypting().inspect_err(|e| check("listing", e)).unwrap_or_default();
        let Some(name) = self.numbers.lock().unwrap().of(&under_way) else { return };
        self.judged(
            "re-encrypting",
            self.service.reencrypt_step(&name, 8 << 10).map(|done| {
                if done.is_finished() {
                    tell(&format!("reencrypted {} {name}", self.run));
                }
            }),
        );
    }

    /// A disk from a snapshot.
    fn copy(&self) {
        let names = self.names(ResourceKind::Snapshot);
        let Some(snapshot) = self.numbers.lock().unwrap().of(&names) else { return };
        let name = self.next("c");
        tell(&format!("making {} disk {name}", self.run));
        let new = NewCopy::new(&name).region("north").subscription("one");
        match self.service.create_disk_from(&ResourceName::snapshot(snapshot), &new, &|_| {}) {
            Ok(_) => tell(&format!("made {} disk {name}", self.run)),
            Err(e) => check("making a copy", &e),
        }
    }

    fn snapshot(&self, disk: &str) {
        let name = self.next("s");
        tell(&format!("snapping {} {name} {disk}", self.run));
        let new = NewSnapshot::new(&name, disk).incremental(self.below(2) == 0);
        let done = self.service.create_snapshot(&new, &|_| {});
        tell(&format!("{} {} {name}", if done.is_ok() { "snapped" } else { "unsnapped" }, self.run));
        self.judged("making a snapshot", done);
    }

    fn delete(&self, name: &ResourceName) {
        let what = format!("{} {} {}", self.run, name.kind.name(), name.name);
        tell(&format!("deleting {what}"));
        match self.service.delete(name) {
            Ok(()) => tell(&format!("deleted {what}")),
            // An incremental snapshot that others need, for one.
            Err(Error::NotAllowed { .. }) => {}
            Err(e) => check(&format!("deleting a {}", name.kind.name()), &e),
        }
    }

    fn rotate(&self) {
        let done = match self.below(2) {
            0 => self.service.rotate_set(SET, &|_| {}).map(drop),
            _ => self.service.auto_rotate(&|_| {}).map(drop),
        };
        if let Err(e) = &done
            && !matches!(e, Error::NotAllowed { .. })
        {
            check("rotating", e);
        }
        let Ok(set) = self.service.encryption_set(SET) else { return };
        if set.auto_key_rotation_error.is_some() {
            tell(&format!("wrong {} a rotation left an error: {:?}", self.run, set.auto_key_rotation_error));
            let _ = self.service.clear_rotation_error(SET);
        }
        if set.previous_keys.is_empty() {
            tell(&format!("rotated {} {}", self.run, set.active_key.version()));
        }
    }
}

/// Reads a block, and tells what it holds.
pub fn read(run: &str, disk: &OpenDisk, name: &str, block: u64) {
    tell(&format!("reading {run} {name} {block}"));
    match value(disk, block) {
        Ok(value) => {
            tell(&format!("read {run} {name} {block} {}", value.map_or("torn".into(), |value| value.to_string())))
        }
        Err(e) => {
            tell(&format!("unread {run}"));
            check("reading", &e);
        }
    }
}

/// What a block holds; `None` if it is no write's.
pub fn value(disk: &OpenDisk, block: u64) -> Result<Option<u64>> {
    let mut found = [0; SECTOR];
    disk.read_at(block * SECTOR as u64, &mut found)?;
    let value = u64::from_le_bytes(found[..8].try_into().unwrap());
    Ok(found.chunks(8).all(|word| word == value.to_le_bytes()).then_some(value))
}
