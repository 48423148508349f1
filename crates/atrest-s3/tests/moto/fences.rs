//! Two writers of one disk, and manifests whose answers are lost or that come late.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use atrest::managed::DiskBackend;
use atrest::{BlockDevice, Error};
use atrest_http::Method;
use atrest_s3::S3Backend;

use crate::proxy::{Fate, Head, Proxy};
use crate::server::{ID, Moto, options};

fn is_root(head: &Head) -> bool {
    head.method == "PUT" && head.target.ends_with("/root")
}

fn is_chunk(head: &Head) -> bool {
    head.method == "PUT" && head.target.contains("/c0")
}

fn first_byte(device: &dyn BlockDevice) -> u8 {
    let mut found = [0; 512];
    device.read_at(0, &mut found).unwrap();
    found[0]
}

fn assert_fenced(device: &dyn BlockDevice) {
    for _ in 0..2 {
        let errors = [
            device.sync().unwrap_err(),
            device.write_at(0, &[0; 512]).unwrap_err(),
            device.read_at(0, &mut [0; 512]).unwrap_err(),
            device.set_size(4096).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::StaleNetworkFileHandle, "{error}");
        }
    }
}

#[test]
fn who_was_taken_over_never_writes_again() {
    let Some(moto) = Moto::start() else { return };
    let first = moto.backend().create_disk(ID, 1 << 20).unwrap();
    first.write_at(0, &[1; 512]).unwrap();
    first.sync().unwrap();
    assert!(matches!(moto.backend().open_disk(ID), Err(Error::Busy { .. })));
    first.write_at(0, &[2; 512]).unwrap();

    let forced = S3Backend::new(&moto.url(), options().take_over(true)).unwrap();
    let second = forced.open_disk(ID).unwrap();
    // What wasn't synced isn't there, and never gets there.
    assert_eq!(first_byte(&second), 1);
    first.sync().unwrap_err();
    assert_fenced(&first);
    second.write_at(0, &[3; 512]).unwrap();
    second.sync().unwrap();
    second.close().unwrap();
    // Nor when nobody has the disk any more.
    assert_fenced(&first);
    drop(first);
    let third = moto.backend().open_disk(ID).unwrap();
    assert_eq!(first_byte(&third), 3);
    // What the first one uploaded in vain goes.
    third.collect_orphans().unwrap();
    third.close().unwrap();
    assert_eq!(moto.keys().len(), 4);
}

#[test]
fn a_commit_that_began_before_the_disk_was_taken_over_is_refused() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::before(moto.port);
    let first = moto.impatient(proxy.port, Duration::from_secs(3));
    first.write_at(0, &[1; 512]).unwrap();
    // All is uploaded, but the manifest is late.
    proxy.rule(|head| if is_root(head) { Fate::Late } else { Fate::Forward });
    assert_eq!(first.sync().unwrap_err().kind(), ErrorKind::TimedOut);
    let forced = S3Backend::new(&moto.url(), options().take_over(true)).unwrap();
    let second = forced.open_disk(ID).unwrap();
    let late = proxy.release();
    assert!(!late.is_empty() && late.iter().all(|status| *status == 412), "{late:?}");
    proxy.rule(|_| Fate::Forward);
    first.sync().unwrap_err();
    assert_fenced(&first);
    assert_eq!(first_byte(&second), 0);
    // What the first one uploaded in vain goes.
    second.write_at(512, &[5; 512]).unwrap();
    second.close().unwrap();
    let third = moto.backend().open_disk(ID).unwrap();
    third.collect_orphans().unwrap();
    third.close().unwrap();
    assert_eq!(moto.keys().len(), 4);
}

#[test]
fn a_manifest_whose_answer_is_lost_is_found_to_be_ours() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::before(moto.port);
    let backend = S3Backend::new(&Moto::url_at(proxy.port), options()).unwrap();
    let device = backend.create_disk(ID, 1 << 20).unwrap();
    let fates = [Fate::ResetAfter, Fate::SilenceAfter, Fate::Cut(30), Fate::Reset, Fate::Silence];
    for (n, fate) in (1..).zip(fates) {
        device.write_at(0, &[n; 512]).unwrap();
        proxy.first(1, fate, is_root);
        device.sync().unwrap();
        assert_eq!(first_byte(&device), n);
    }
    device.close().unwrap();
    assert_eq!(first_byte(&backend.open_disk(ID).unwrap()), 5);
    assert_eq!(moto.keys().len(), 4);
}

#[test]
fn a_late_manifest_of_ours_is_built_upon_or_refused() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::before(moto.port);
    let device = moto.impatient(proxy.port, Duration::from_secs(3));
    for comes_first in [true, false] {
        let n = if comes_first { 1 } else { 11 };
        device.write_at(0, &[n; 512]).unwrap();
        device.write_at(1 << 18, &[n; 512]).unwrap();
        proxy.rule(|head| if is_root(head) { Fate::Late } else { Fate::Forward });
        assert_eq!(device.sync().unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(first_byte(&device), n);
        proxy.rule(|_| Fate::Forward);
        if comes_first {
            // The same is asked for more than once: the first one is done.
            let late = proxy.release();
            assert!(late[0] == 200 && late[1..].iter().all(|status| *status == 412), "{late:?}");
        }
        device.write_at(0, &[n + 1; 512]).unwrap();
        device.sync().unwrap();
        if !comes_first {
            let late = proxy.release();
            assert!(!late.is_empty() && late.iter().all(|status| *status == 412), "{late:?}");
        }
        assert_eq!(first_byte(&device), n + 1);
    }
    device.close().unwrap();
    let device = moto.backend().open_disk(ID).unwrap();
    assert_eq!(first_byte(&device), 12);
    let mut found = [0; 512];
    device.read_at(1 << 18, &mut found).unwrap();
    assert_eq!(found, [11; 512]);
    drop(device);
    // Two chunks, and nothing of what failed.
    assert_eq!(moto.keys().len(), 2 + 1 + 2);
}

#[test]
fn a_late_chunk_changes_nothing() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::before(moto.port);
    let backend = S3Backend::new(&Moto::url_at(proxy.port), options()).unwrap();
    let device = backend.create_disk(ID, 1 << 20).unwrap();
    device.write_at(0, &[1; 512]).unwrap();
    proxy.first(1, Fate::Late, is_chunk);
    device.sync().unwrap();
    device.write_at(0, &[2; 512]).unwrap();
    device.sync().unwrap();
    assert_eq!(proxy.release().len(), 1);
    assert_eq!(first_byte(&device), 2);
    drop(device);
    // It is an orphan, until somebody looks for those.
    let device = backend.open_disk(ID).unwrap();
    assert_eq!(first_byte(&device), 2);
    device.collect_orphans().unwrap();
    device.close().unwrap();
    assert_eq!(moto.keys().len(), 4);
}

#[test]
fn the_lock_of_a_dead_host_runs_out() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::before(moto.port);
    let backend = S3Backend::new(&Moto::url_at(proxy.port), options().lock_seconds(3)).unwrap();
    let first = backend.create_disk(ID, 1 << 20).unwrap();
    first.write_at(0, &[1; 512]).unwrap();
    first.sync().unwrap();
    // While it lives, it can be waited for in vain: it gives signs of life.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        assert!(matches!(moto.backend().open_disk(ID), Err(Error::Busy { .. })));
        std::thread::sleep(Duration::from_millis(200));
    }
    proxy.rule(|_| Fate::Reset);
    let second = loop {
        match moto.backend().open_disk(ID) {
            Ok(second) => break second,
            Err(Error::Busy { .. }) => std::thread::sleep(Duration::from_millis(100)),
            Err(e) => panic!("{e:#}"),
        }
        assert!(began.elapsed() < Duration::from_secs(60), "the lock doesn't run out");
    };
    second.write_at(0, &[2; 512]).unwrap();
    second.sync().unwrap();
    proxy.rule(|_| Fate::Forward);
    first.write_at(0, &[3; 512]).and_then(|()| first.sync()).unwrap_err();
    assert_fenced(&first);
    drop(first);
    assert_eq!(first_byte(&second), 2);
}

#[test]
fn a_disk_that_is_open_is_removed_by_its_own_process_only() {
    let Some(moto) = Moto::start() else { return };
    let backend = moto.backend();
    let device = backend.create("north", ID, 1 << 20).unwrap();
    device.write_at(0, &[1; 512]).unwrap();
    device.sync().unwrap();
    assert!(matches!(moto.backend().remove("north", ID), Err(Error::Busy { .. })));
    backend.remove("north", ID).unwrap();
    assert_fenced(&*device);
    drop(device);
    assert!(moto.keys().is_empty());
    backend.remove("north", ID).unwrap();
    // What is left of a disk that was half removed is listed, and removed the next time.
    let path = format!("/disks/vm/{ID}/c000000000000-0000000000000002-0000000000000001");
    assert!(moto.request(Method::Put, &path).is_success());
    assert_eq!(backend.list("north").unwrap(), [ID]);
    backend.remove("north", ID).unwrap();
    assert!(moto.keys().is_empty());
}

#[test]
fn a_chunk_that_is_missing_is_told() {
    let Some(moto) = Moto::start() else { return };
    let backend = moto.backend();
    let device = backend.create_disk(ID, 1 << 20).unwrap();
    device.write_at(0, &[1; 512]).unwrap();
    device.sync().unwrap();
    let chunk = moto.keys().into_iter().find(|key| key.contains("/c0")).unwrap();
    moto.request(Method::Delete, &format!("/disks/{chunk}"));
    let error = device.read_at(0, &mut [0; 512]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
}
