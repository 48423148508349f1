//! One writer at a time.

use std::io::{BufRead, BufReader, ErrorKind};
use std::process::Stdio;
use std::time::{Duration, Instant};

use atrest::{BlockDevice, Error};
use atrest_rbd::{RbdDevice, RbdOptions};
use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::{Cluster, cluster, python};

const FULL: Duration = Duration::from_secs(60);

fn busy(opened: atrest::Result<RbdDevice>) -> String {
    match opened {
        Err(Error::Busy { what }) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_second_writer_is_kept_out_and_told_who_holds_the_image() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    let (image, options) = (cluster.image(16), cluster.options());
    let first = RbdDevice::open(&image, &options).unwrap();
    let what = busy(RbdDevice::open(&image, &options));
    assert!(what.contains(&image) && what.contains(first.client_address()), "{what}");
    busy(RbdDevice::open_read_only(&image, &options));
    first.write_at(0, &[7; 4096]).unwrap();
    drop(first);

    let reader = RbdDevice::open_read_only(&image, &options).unwrap();
    let mut bytes = [0; 4096];
    reader.read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes, [7; 4096]);
    assert_eq!(reader.write_at(0, &bytes).unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(reader.set_size(0).unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    RbdDevice::open(&image, &options).unwrap().write_at(0, &bytes).unwrap();
}

#[test]
fn a_user_who_may_only_read_can_read() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    let image = cluster.image(16);
    RbdDevice::open(&image, &cluster.options()).unwrap().write_at(0, &[7; 4096]).unwrap();
    let (mon, osd) = ("profile rbd-read-only", "profile rbd-read-only pool=rbd");
    let key = cluster.ceph(&["auth", "get-or-create", "client.reader", "mon", mon, "osd", osd]);
    let keyring = cluster.folder().join("reader.keyring");
    std::fs::write(&keyring, key).unwrap();
    let options = cluster.options().user("reader").keyring(&keyring);
    let mut bytes = [0; 4096];
    RbdDevice::open_read_only(&image, &options).unwrap().read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes, [7; 4096]);
    let error = RbdDevice::open(&image, &options).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:#}");
}

#[test]
fn an_image_without_a_lock_is_not_opened_for_writing() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    let image = cluster.image(16);
    cluster.rbd(&["feature", "disable", &image, "object-map,fast-diff,exclusive-lock"]);
    let text = format!("{:#}", RbdDevice::open(&image, &cluster.options()).unwrap_err());
    assert!(text.contains("feature enable") && text.contains("exclusive-lock"), "{text}");
}

#[test]
fn an_image_that_wants_its_writes_cached_is_not_opened_for_writing() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    let image = cluster.image(16);
    cluster.rbd(&["config", "image", "set", &image, "rbd_cache", "true"]);
    let text = format!("{:#}", RbdDevice::open(&image, &cluster.options()).unwrap_err());
    assert!(text.contains(&format!("rbd config image set {image} rbd_cache false")), "{text}");
    cluster.rbd(&["config", "image", "set", &image, "rbd_cache", "false"]);
    RbdDevice::open(&image, &cluster.options()).unwrap();
}

/// The clients on the blocklist.
fn shut_out(cluster: &Cluster) -> String {
    cluster.ceph(&["osd", "blocklist", "ls"])
}

#[test]
fn a_writer_whose_lock_was_broken_never_writes_again() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    let (image, options) = (cluster.image(16), cluster.options());
    let old = RbdDevice::open(&image, &options).unwrap();
    old.write_at(0, &[1; 8192]).unwrap();
    let new = RbdDevice::open(&image, &options.clone().take_over(true)).unwrap();
    assert!(shut_out(cluster).contains(old.client_address()), "{}", shut_out(cluster));

    let error = old.write_at(0, &[2; 4096]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StaleNetworkFileHandle, "{error}");
    new.write_at(0, &[3; 4096]).unwrap();
    for result in [
        old.write_at(4096, &[2; 4096]),
        old.write_zeroes(4096, 4096),
        old.discard(0, 8192),
        old.set_size(0),
        old.sync(),
        old.read_at(0, &mut [0; 512]),
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::StaleNetworkFileHandle);
    }
    drop(old);
    // Closing the old one didn't give the new one's lock away.
    busy(RbdDevice::open(&image, &options));
    let mut bytes = [0; 8192];
    new.read_at(0, &mut bytes).unwrap();
    assert!(bytes[..4096] == [3; 4096] && bytes[4096..] == [1; 4096]);
    assert_eq!(new.size().unwrap(), 16 << 20);
}

const WRITER: &str = "ATREST_RBD_TEST_WRITER";
/// The number of places that the writer and its successor write: in many objects.
const PLACES: u64 = 32;
const APART: u64 = 1 << 20;

/// The process of the next test: it writes until it may not.
#[test]
fn a_writer_in_a_process_of_its_own() {
    let Ok(arguments) = std::env::var(WRITER) else { return };
    let (config, image) = arguments.split_once(' ').unwrap();
    let options = RbdOptions::new().config(config).user("disks").deadline(FULL);
    let device = RbdDevice::open(image, &options).unwrap();
    println!("{}", device.client_address());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let device = &device;
            scope.spawn(move || {
                let places = (0..).map(|n| (n * 8 + thread) % PLACES * APART);
                let failed = places.map(|at| device.write_at(at, &[0xaa; 4096])).find_map(Result::err).unwrap();
                assert_eq!(failed.kind(), ErrorKind::StaleNetworkFileHandle, "{failed}");
                device.write_at(0, &[0xaa; 4096]).unwrap_err();
            });
        }
    });
    println!("fenced");
}

#[test]
fn a_host_that_was_stopped_in_its_writes_has_none_of_them_done_when_it_wakes() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    for _ in 0..crate::rounds(2) {
        let image = cluster.image(PLACES);
        let mut host = std::process::Command::new(std::env::current_exe().unwrap());
        host.args(["--exact", "locks::a_writer_in_a_process_of_its_own", "--nocapture"]);
        host.env(WRITER, format!("{} {image}", cluster.config().display())).stdout(Stdio::piped());
        let mut host = host.spawn().unwrap();
        let mut lines = BufReader::new(host.stdout.take().unwrap()).lines().map(Result::unwrap);
        let address = lines.find(|line| line.contains(":0/")).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let pid = Pid::from_child(&host);
        kill_process(pid, Signal::STOP).unwrap();
        let new = RbdDevice::open(&image, &cluster.options().take_over(true)).unwrap();
        assert!(shut_out(cluster).contains(&address));
        for at in (0..PLACES).map(|n| n * APART) {
            new.write_at(at, &[0xbb; 4096]).unwrap();
        }
        kill_process(pid, Signal::CONT).unwrap();
        let told: Vec<String> = lines.collect();
        let status = host.wait().unwrap();
        assert!(status.success() && told.iter().any(|line| line == "fenced"), "{status}: {told:?}");
        let mut bytes = [0; 4096];
        for at in (0..PLACES).map(|n| n * APART) {
            new.read_at(at, &mut bytes).unwrap();
            assert!(bytes == [0xbb; 4096], "a late write at {at}");
        }
    }
}

#[test]
fn each_kind_of_change_notices_that_the_lock_was_broken() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    let options = cluster.options();
    let kinds: [fn(&RbdDevice) -> std::io::Result<()>; 4] = [
        |old| old.write_zeroes(0, 4096),
        |old| old.discard(0, 4 << 20),
        |old| old.set_size(1 << 20),
        |old| old.read_at(0, &mut [0; 512]),
    ];
    for change in kinds {
        let image = cluster.image(16);
        let old = RbdDevice::open(&image, &options).unwrap();
        old.write_at(0, &[1; 8192]).unwrap();
        let new = RbdDevice::open(&image, &options.clone().take_over(true)).unwrap();
        assert_eq!(change(&old).unwrap_err().kind(), ErrorKind::StaleNetworkFileHandle);
        assert_eq!(old.write_at(0, &[2; 512]).unwrap_err().kind(), ErrorKind::StaleNetworkFileHandle);
        let mut bytes = [0; 8192];
        new.read_at(0, &mut bytes).unwrap();
        assert!(bytes == [1; 8192] && new.size().unwrap() == 16 << 20);
    }
}

#[test]
fn a_writer_who_slept_until_it_is_no_longer_shut_out_asks_before_it_writes() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    let (image, options) = (cluster.image(16), cluster.options());
    let old = RbdDevice::open(&image, &options.clone().trust_lock(Duration::ZERO)).unwrap();
    old.write_at(0, &[1; 4096]).unwrap();
    let new = RbdDevice::open(&image, &options.take_over(true)).unwrap();
    cluster.ceph(&["osd", "blocklist", "rm", old.client_address()]);
    std::thread::sleep(Duration::from_millis(10));
    let error = old.write_at(0, &[2; 4096]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StaleNetworkFileHandle, "{error}");
    let mut bytes = [0; 4096];
    new.read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes, [1; 4096]);
}

#[test]
fn the_image_of_a_client_that_was_killed_is_opened_when_its_watch_ends() {
    let Some(cluster) = cluster() else { return };
    let Some(python) = python() else { return };
    let _calm = cluster.calm();
    let image = cluster.image(16);
    let program = "import rados, rbd, sys, time
cluster = rados.Rados(conffile=sys.argv[1], name='client.admin')
cluster.connect()
image = rbd.Image(cluster.open_ioctx('rbd'), sys.argv[2].split('/')[1])
image.lock_acquire(rbd.RBD_LOCK_MODE_EXCLUSIVE)
print('held', flush=True)
time.sleep(1000)";
    let mut other = cluster.command(python);
    other.args(["-c", program]).arg(cluster.config()).arg(&image).stdout(Stdio::piped());
    let mut other = other.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(other.stdout.take().unwrap()).read_line(&mut line).unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(line, "held\n");
    busy(RbdDevice::open(&image, &cluster.options().deadline(Duration::from_secs(2))));
    let begun = Instant::now();
    while let Err(error) = RbdDevice::open(&image, &cluster.options()) {
        assert!(matches!(error, Error::Busy { .. }) && begun.elapsed() < 2 * FULL, "{error:#}");
    }
}
