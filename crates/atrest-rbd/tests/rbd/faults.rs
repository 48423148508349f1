//! Storms of writes, with faults of the real cluster.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use atrest::BlockDevice;
use atrest_rbd::{RbdDevice, RbdOptions};

use crate::cluster::{Cluster, cluster};
use crate::rounds;
use crate::storm::{BLOCK, Model, storm};

/// Blocks of a storm, over several objects of 4 MiB.
const BLOCKS: u64 = 64;
const STRIDE: u64 = 12;
/// How much longer than its deadline a call may take on a busy machine.
const SLACK: Duration = Duration::from_secs(5);

/// The blocks of a storm lie far from each other, so that they are of many objects.
struct Spread<D>(D);

impl<D: BlockDevice> BlockDevice for Spread<D> {
    fn size(&self) -> std::io::Result<u64> {
        self.0.size()
    }
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> std::io::Result<()> {
        self.0.read_at(offset * STRIDE, bytes)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_at(offset * STRIDE, bytes)
    }
    fn sync(&self) -> std::io::Result<()> {
        self.0.sync()
    }
}

fn open(image: &str, options: &RbdOptions) -> Spread<RbdDevice> {
    let begun = Instant::now();
    loop {
        match RbdDevice::open(image, options) {
            Ok(device) => return Spread(device),
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(120), "{error:#}"),
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// The OSD works again, however a test ends.
struct Continue<'c>(&'c Cluster);

impl Drop for Continue<'_> {
    fn drop(&mut self) {
        self.0.order("continue");
    }
}

#[test]
fn an_osd_that_is_killed_in_a_storm_and_comes_back_loses_nothing() {
    let Some(cluster) = cluster() else { return };
    let _alone = cluster.alone();
    let (image, model) = (cluster.image(16), Model::new(BLOCKS));
    let device = open(&image, &cluster.options());
    for round in 0..rounds(2) {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let storm = scope.spawn(|| storm(&model, &device, 8, round, || over.load(Ordering::Relaxed)));
            thread::sleep(Duration::from_millis(200 + round * 37 % 300));
            cluster.order("kill");
            thread::sleep(Duration::from_millis(round * 113 % 500));
            cluster.order("start");
            // It is back when writes are acknowledged again.
            let acknowledged = model.acknowledged.load(Ordering::SeqCst);
            let begun = Instant::now();
            while model.acknowledged.load(Ordering::SeqCst) < acknowledged + 64 && begun.elapsed() < 2 * SLACK * 10 {
                thread::sleep(Duration::from_millis(10));
            }
            over.store(true, Ordering::Relaxed);
            let longest = storm.join().unwrap();
            assert!(longest < Duration::from_secs(60) + SLACK, "a call took {longest:?}");
        });
        // Acknowledged writes were durable: none may be lost, synced or not.
        model.check(&device, false, BLOCK).unwrap();
        assert_eq!(model.failed.load(Ordering::SeqCst), 0, "the deadline was long enough");
    }
    drop(device);
    model.check(&open(&image, &cluster.options()), false, BLOCK).unwrap();
    assert!(model.acknowledged.load(Ordering::SeqCst) > 100);
}

#[test]
fn connections_that_break_all_the_time_lose_nothing() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    // Ceph's own fault: after about so many operations of a socket it is shut down, in the middle of a frame or not.
    let config = cluster.folder().join("breaking.conf");
    let text = std::fs::read_to_string(cluster.config()).unwrap();
    std::fs::write(&config, text.replacen("[global]", "[global]\nms inject socket failures = 150", 1)).unwrap();
    let (image, model) = (cluster.image(16), Model::new(BLOCKS));
    let device = open(&image, &cluster.options().config(&config));
    for round in 0..rounds(2) {
        let begun = Instant::now();
        let longest = storm(&model, &device, 8, round, || begun.elapsed() > Duration::from_secs(1));
        assert!(longest < Duration::from_secs(60) + SLACK, "a call took {longest:?}");
        model.check(&device, false, BLOCK).unwrap();
    }
    drop(device);
    model.check(&open(&image, &cluster.options()), false, BLOCK).unwrap();
    assert_eq!(model.failed.load(Ordering::SeqCst), 0);
}

#[test]
fn a_write_that_timed_out_never_overtakes_one_of_whoever_opens_the_image_next() {
    let Some(cluster) = cluster() else { return };
    let _alone = cluster.alone();
    let (image, model) = (cluster.image(16), Model::new(BLOCKS));
    let deadline = Duration::from_secs(2);
    let mut ended = 0;
    for round in 0..rounds(3) {
        let device = open(&image, &cluster.options().deadline(deadline));
        let over = AtomicBool::new(false);
        let _continue = Continue(cluster);
        thread::scope(|scope| {
            let storm = scope.spawn(|| storm(&model, &device, 8, round, || over.load(Ordering::Relaxed)));
            thread::sleep(Duration::from_millis(300));
            cluster.order("stop");
            let begun = Instant::now();
            let failed = model.failed.load(Ordering::SeqCst);
            while model.failed.load(Ordering::SeqCst) == failed && begun.elapsed() < deadline + SLACK {
                thread::sleep(Duration::from_millis(10));
            }
            over.store(true, Ordering::Relaxed);
            let longest = storm.join().unwrap();
            assert!(longest < deadline + SLACK, "a call took {longest:?}");
        });
        // It is at its end, and says so at once, whatever it is asked.
        let begun = Instant::now();
        let error = device.write_at(0, &[0; 512]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(error.to_string().contains("open the image again"), "{error}");
        assert_eq!(device.read_at(0, &mut [0; 512]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(begun.elapsed() < deadline, "an ended device waits for nothing");
        ended += 1;
        // The OSD wakes before the device is closed, or after, or while the next one waits.
        if round % 3 == 0 {
            cluster.order("continue");
        }
        let address = device.0.client_address().to_owned();
        drop(device);
        if round % 3 == 1 {
            cluster.order("continue");
        }
        let device = thread::scope(|scope| {
            let opening = scope.spawn(|| open(&image, &cluster.options()));
            thread::sleep(Duration::from_millis(200));
            cluster.order("continue");
            opening.join().unwrap()
        });
        assert!(cluster.ceph(&["osd", "blocklist", "ls"]).contains(&address));
        model.check(&device, false, BLOCK).unwrap();
        // From here on it holds what is written now, and nothing that comes late.
        model.settle(&device);
        let begun = Instant::now();
        storm(&model, &device, 8, round, || begun.elapsed() > Duration::from_millis(500));
        model.check(&device, false, BLOCK).unwrap();
        thread::sleep(Duration::from_millis(200));
        model.check(&device, false, BLOCK).unwrap();
    }
    assert!(ended > 0 && model.failed.load(Ordering::SeqCst) > 0);
}

#[test]
fn a_silence_that_ends_the_watch_but_not_the_deadline_is_waited_for() {
    let Some(cluster) = cluster() else { return };
    let _alone = cluster.alone();
    let (image, model) = (cluster.image(16), Model::new(BLOCKS));
    let device = open(&image, &cluster.options());
    let over = AtomicBool::new(false);
    let _continue = Continue(cluster);
    thread::scope(|scope| {
        scope.spawn(|| storm(&model, &device, 8, 1, || over.load(Ordering::Relaxed)));
        thread::sleep(Duration::from_millis(300));
        cluster.order("stop");
        // Longer than the OSD waits for a client.
        thread::sleep(Duration::from_secs(18));
        cluster.order("continue");
        thread::sleep(Duration::from_secs(2));
        over.store(true, Ordering::Relaxed);
    });
    model.check(&device, false, BLOCK).unwrap();
    assert_eq!(model.failed.load(Ordering::SeqCst), 0);
}

#[test]
fn holes_are_read_without_the_osd_and_reads_that_time_out_end_nothing() {
    let Some(cluster) = cluster() else { return };
    let _alone = cluster.alone();
    let image = cluster.image(64);
    let device = RbdDevice::open(&image, &cluster.options().deadline(Duration::from_secs(2))).unwrap();
    device.write_at(5 << 20, &[9; 4096]).unwrap();
    cluster.order("stop");
    let _continue = Continue(cluster);
    let mut bytes = vec![1; 16 << 20];
    // The map of objects is in memory, since this device has the lock: nobody needs to be asked.
    device.read_at(16 << 20, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0));
    let begun = Instant::now();
    let error = device.read_at(5 << 20, &mut bytes[..4096]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(begun.elapsed() < Duration::from_secs(2) + SLACK);
    cluster.order("continue");
    device.read_at(5 << 20, &mut bytes[..4096]).unwrap();
    assert_eq!(bytes[..4096], [9; 4096]);
    device.write_at(5 << 20, &[8; 4096]).unwrap();
    device.sync().unwrap();
}

#[test]
fn a_cluster_that_does_not_answer_is_an_error_in_time() {
    let Some(cluster) = cluster() else { return };
    let _alone = cluster.alone();
    let image = cluster.image(16);
    let deadline = Duration::from_secs(1);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("v2:{}", silent.local_addr().unwrap());
    let options = RbdOptions::new().config(cluster.config()).deadline(deadline);
    let begun = Instant::now();
    let error = RbdDevice::open(&image, &options.clone().monitors(&address)).unwrap_err();
    assert!(begun.elapsed() < deadline + SLACK, "{error:#}");
    cluster.order("stop");
    let _continue = Continue(cluster);
    let begun = Instant::now();
    let error = RbdDevice::open(&image, &options).unwrap_err();
    assert!(begun.elapsed() < deadline + SLACK, "{error:#}");
    assert!(matches!(error, atrest::Error::Io { .. }), "{error:#}");
}

#[test]
fn a_full_pool_is_an_error_and_room_is_enough_to_go_on() {
    let Some(cluster) = cluster() else { return };
    let _alone = cluster.alone();
    cluster.order("manager");
    cluster.ceph(&["osd", "pool", "create", "small", "1", "1"]);
    cluster.ceph(&["osd", "pool", "application", "enable", "small", "rbd"]);
    cluster.rbd(&["pool", "init", "small"]);
    cluster.rbd(&["create", "--size", "1G", "small/disk"]);
    cluster.ceph(&["osd", "pool", "set-quota", "small", "max_bytes", "8388608"]);
    let device = RbdDevice::open("small/disk", &RbdOptions::new().config(cluster.config())).unwrap();
    let (begun, mut written) = (Instant::now(), 0);
    let error = loop {
        match device.write_at(written << 20, &vec![0x5a; 1 << 20]) {
            Ok(()) => written = (written + 1) % 512,
            Err(error) => break error,
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "the quota never mattered");
        thread::sleep(Duration::from_millis(50));
    };
    assert!(matches!(error.kind(), ErrorKind::QuotaExceeded | ErrorKind::StorageFull), "{error}");
    assert!(error.to_string().contains("quota"), "{error}");
    let mut bytes = vec![0; 1 << 20];
    device.read_at(0, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0x5a));
    device.discard(0, 4 << 20).unwrap();
    cluster.ceph(&["osd", "pool", "set-quota", "small", "max_bytes", "0"]);
    let begun = Instant::now();
    while let Err(error) = device.write_at(0, &bytes) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{error}");
        thread::sleep(Duration::from_millis(100));
    }
    device.sync().unwrap();
}
