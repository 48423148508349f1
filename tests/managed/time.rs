//! Leases and time: clocks that are set back, vaults that never answer, devices that hang.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::common::world::{OTHER_VAULT, T, VAULT, World, new_disk, new_set, quiet, text};
use atrest::EncryptionType::CustomerKey;
use atrest::key::KeyId;
use atrest::managed::{DiskBackend, DiskService, OpenDisk, ResourceName};
use atrest::{Error, Result};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A world whose vaults have little time to answer.
fn impatient() -> World {
    let mut world = World::new();
    world.lease.deadline = Duration::from_secs(2);
    world
}

fn read(disk: &OpenDisk) -> Result<()> {
    disk.read_at(0, &mut [0; 4096])
}

fn is_suspended(result: Result<()>) -> bool {
    matches!(result, Err(Error::DiskSuspended { .. }))
}

/// Whether a disk's device is free. The holder of the device has its DEK.
fn is_closed(world: &World, service: &DiskService, disk: &str) -> bool {
    let id = service.resource(&ResourceName::disk(disk)).unwrap().id;
    world.disks.open("north", &id).is_ok()
}

/// More than the deadline of a vault, also on a busy machine, and less than that of one call after the other for each of nine disks.
const SOON: Duration = Duration::from_secs(12);

/// How long a round of upkeep takes. One that never ends is ended by `release`.
fn maintain(service: &DiskService, release: impl Fn()) -> Duration {
    let (done, ended) = channel();
    std::thread::scope(|scope| {
        let began = Instant::now();
        scope.spawn(move || {
            service.maintain();
            let _ = done.send(());
        });
        let timely = ended.recv_timeout(seconds(20));
        let took = began.elapsed();
        if timely.is_err() {
            release();
            panic!("it took {took:?}");
        }
        took
    })
}

#[test]
fn a_clock_that_is_put_back_again_and_again_keeps_no_revoked_disk_alive() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    service.create_disk(&new_disk("x", Some("s"))).unwrap();
    let disk = service.open_disk("x").unwrap();
    world.customer(VAULT).disabled.store(true, Relaxed);
    // For a week, the wall clock is never later than an hour after the revocation.
    let mut worked = 0;
    for _ in 0..168 {
        world.clock.advance(seconds(59 * 60));
        worked += u32::from(read(&disk).is_ok());
        world.clock.set(T);
    }
    // Within the first hour, that is.
    assert_eq!(worked, 1);
    assert!(disk.is_suspended());
}

#[test]
fn a_clock_that_is_put_back_puts_off_no_question() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    service.create_disk(&new_disk("x", Some("s"))).unwrap();
    let disk = service.open_disk("x").unwrap();
    world.customer(VAULT).disabled.store(true, Relaxed);
    // It stands still, as far as the service can see; a quarter of an hour has passed all the same.
    world.clock.advance(seconds(900));
    world.clock.set(T);
    service.maintain();
    assert!(disk.is_suspended());
    // And a newer version of a key is looked for.
    let customer = world.customer(VAULT);
    customer.disabled.store(false, Relaxed);
    service.auto_rotate(&quiet).unwrap();
    customer.rotate();
    world.clock.advance(seconds(900));
    world.clock.set(T);
    service.auto_rotate(&quiet).unwrap();
    assert_eq!(service.encryption_set("s").unwrap().active_key, customer.key(2));
}

#[test]
fn a_vault_that_never_answers_keeps_no_dek_and_holds_up_nothing() {
    let world = impatient();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    let key = KeyId::new(OTHER_VAULT, "disks", "1").unwrap();
    let other = service.create_set(&new_set("t", CustomerKey).key(key)).unwrap();
    world.customer(OTHER_VAULT).granted.lock().unwrap().push(other.identity);
    let names: Vec<_> = (0..8).map(|n| format!("d{n}")).collect();
    names.iter().for_each(|name| drop(service.create_disk(&new_disk(name, Some("s"))).unwrap()));
    service.create_disk(&new_disk("y", Some("t"))).unwrap();
    let disks: Vec<_> = names.iter().map(|name| service.open_disk(name).unwrap()).collect();
    let y = service.open_disk("y").unwrap();
    let customer = world.customer(VAULT);
    customer.hangs.store(true, Relaxed);
    let release = || customer.hangs.store(false, Relaxed);
    // The vault is asked in vain. I/O goes on for the grace.
    world.clock.advance(seconds(900));
    assert!(maintain(&service, release) < SOON);
    assert!(disks.iter().all(|disk| read(disk).is_ok()));
    // After that it ends, and the DEKs are wiped, though the calls still hang.
    world.clock.advance(seconds(2700));
    assert!(maintain(&service, release) < SOON);
    assert!(names.iter().all(|name| is_closed(&world, &service, name)));
    let began = Instant::now();
    assert!(disks.iter().all(|disk| is_suspended(read(disk))));
    assert!(began.elapsed() < seconds(20));
    read(&y).unwrap();
    // A rotation, and opening another disk, fail with the same error.
    assert!(service.rotate_set("s", &quiet).is_err());
    assert!(service.open_disk("d0").is_err());
    release();
    service.clear_rotation_error("s").unwrap();
    world.clock.advance(seconds(60));
    assert!(disks.iter().all(|disk| read(disk).is_ok()));
}

/// Three disks in a set. The first one's device hangs in writes and syncs while the flag is up.
struct Stuck {
    world: World,
    service: DiskService,
    stuck: Arc<AtomicBool>,
    disks: Vec<OpenDisk>,
}

const NAMES: [&str; 3] = ["stuck", "x", "y"];

impl Stuck {
    fn new() -> Self {
        let world = impatient();
        let service = world.service();
        world.set(&service, "s", CustomerKey);
        NAMES.iter().for_each(|name| drop(service.create_disk(&new_disk(name, Some("s"))).unwrap()));
        let (stuck, id) =
            (Arc::new(AtomicBool::new(false)), service.resource(&ResourceName::disk("stuck")).unwrap().id);
        let hangs = stuck.clone();
        world.disks.film(Some(Arc::new(move |of| {
            while of == id && hangs.load(Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
        })));
        let disks: Vec<_> = NAMES.iter().map(|name| service.open_disk(name).unwrap()).collect();
        disks.iter().for_each(|disk| disk.write_at(0, &text(1)).unwrap());
        Stuck { world, service, stuck, disks }
    }

    /// The key is revoked, and noticed.
    fn revoke(&self) {
        self.world.customer(VAULT).disabled.store(true, Relaxed);
        self.world.clock.advance(seconds(900));
        assert!(maintain(&self.service, || self.stuck.store(false, Relaxed)) < SOON);
    }

    fn is_closed(&self, disk: &str) -> bool {
        is_closed(&self.world, &self.service, disk)
    }
}

#[test]
fn a_write_that_hangs_keeps_no_other_disks_dek() {
    let s = Stuck::new();
    s.stuck.store(true, Relaxed);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| s.disks[0].write_at(0, &text(0)));
        std::thread::sleep(Duration::from_millis(200));
        s.revoke();
        let (healthy, stuck) = (s.is_closed("x") && s.is_closed("y"), s.is_closed("stuck"));
        let refused = s.disks.iter().all(|disk| is_suspended(read(disk)));
        let again = maintain(&s.service, || s.stuck.store(false, Relaxed));
        s.stuck.store(false, Relaxed);
        assert!(healthy && !stuck && refused && again < SOON, "{healthy}, {stuck}, {refused}, {again:?}");
        // It wipes its DEK itself, when it has done.
        writing.join().unwrap().unwrap();
        assert!(s.is_closed("stuck"));
    });
    s.world.customer(VAULT).disabled.store(false, Relaxed);
    s.world.clock.advance(seconds(60));
    let mut back = vec![0; 8192];
    s.disks[0].read_at(0, &mut back).unwrap();
    assert!(back == text(0));
}

#[test]
fn a_sync_that_hangs_keeps_no_other_disks_dek() {
    let s = Stuck::new();
    s.stuck.store(true, Relaxed);
    s.revoke();
    let healthy = s.is_closed("x") && s.is_closed("y");
    let suspended = s.disks.iter().all(OpenDisk::is_suspended);
    s.stuck.store(false, Relaxed);
    assert!(healthy && suspended);
    // The data lasts, and is there when the key is back.
    s.world.customer(VAULT).disabled.store(false, Relaxed);
    s.world.clock.advance(seconds(60));
    for disk in &s.disks {
        let mut back = vec![0; 8192];
        disk.read_at(0, &mut back).unwrap();
        assert!(back == text(1));
    }
}
