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
    // Unsynced writes aren't there, and never get there.
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
    // The objects that the first one uploaded in vain are deleted.
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
    // The objects that the first one uploaded in vain are deleted.
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
    // The rest of a half-removed disk is listed, and removed the next time.
    let path = format!("/disks/vm/{ID}/c000000000000-0000000000000002-0000000000000001");
    assert!(moto.request(Method::Put, &path).is_success());
    assert_eq!(backend.list("north").unwrap(), [ID]);
    backend.remove("north", ID).unwrap();
    assert!(moto.keys().is_empty());
}

#[test]
fn a_disk_that_could_not_be_opened_is_not_held() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::before(moto.port);
    drop(moto.backend().create_disk(ID, 1 << 20).unwrap());
    let backend = S3Backend::new(&Moto::url_at(proxy.port), options()).unwrap();
    let no = "HTTP/1.1 400 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    proxy.rule(move |head| if is_root(head) { Fate::Answer(no.into()) } else { Fate::Forward });
    assert!(matches!(backend.open_disk(ID), Err(Error::Io { .. })));
    drop(moto.backend().open_disk(ID).unwrap());
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

/// Hosts that take a disk from each other all the time. Each adds 1 to a number on the disk, by what it reads there: an
/// addition whose sync was acknowledged is never lost, and none is done twice.
#[test]
fn hosts_that_fight_for_a_disk_lose_no_addition() {
    const HOSTS: u64 = 3;
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::before(moto.port);
    proxy.one_at_a_time();
    drop(moto.backend().create_disk(ID, 1 << 20).unwrap());
    let options = options().take_over(true).deadline(Duration::from_secs(60));
    // Its own part of the disk shows how often each was told that it succeeded.
    let tried_and_told: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let hosts: Vec<_> = (0..HOSTS)
            .map(|host| {
                let (options, port) = (options.clone(), proxy.port);
                scope.spawn(move || {
                    let backend = S3Backend::new(&Moto::url_at(port), options).unwrap();
                    let (mut tried, mut told) = (0, 0);
                    while told < 2 && tried < 200 {
                        // A host that is overtaken while it opens gets the error that the disk is busy, or lost.
                        let Ok(device) = backend.open_disk(ID) else { continue };
                        while told < 2 {
                            let (mut all, mut own) = ([0; 512], [0; 512]);
                            let at = (host + 1) << 16;
                            let read = device.read_at(0, &mut all).and_then(|()| device.read_at(at, &mut own));
                            let add = |sector: &mut [u8; 512]| {
                                let number = u64::from_le_bytes(sector[..8].try_into().unwrap()) + 1;
                                sector[..8].copy_from_slice(&number.to_le_bytes());
                            };
                            add(&mut all);
                            add(&mut own);
                            let wrote =
                                read.and_then(|()| device.write_at(0, &all)).and_then(|()| device.write_at(at, &own));
                            tried += 1;
                            match wrote.and_then(|()| device.sync()) {
                                Ok(()) => told += 1,
                                // The others go first for a moment, or nobody gets anywhere.
                                Err(_) => {
                                    std::thread::sleep(Duration::from_millis(150 * (host + 1)));
                                    break;
                                }
                            }
                        }
                    }
                    (tried, told)
                })
            })
            .collect();
        hosts.into_iter().map(|host| host.join().unwrap()).collect()
    });
    let device = S3Backend::new(&moto.url(), options).unwrap().open_disk(ID).unwrap();
    let number = |at: u64| {
        let mut sector = [0; 512];
        device.read_at(at, &mut sector).unwrap();
        u64::from_le_bytes(sector[..8].try_into().unwrap())
    };
    let mut sum = 0;
    for (host, (tried, told)) in (0..).zip(tried_and_told) {
        let own = number((host + 1) << 16);
        // A sync whose answer was an error may have been done just before the disk was taken over.
        assert!(told >= 2 && (told..=tried).contains(&own), "host {host}: {told} told, {own} there, {tried} tried");
        sum += own;
    }
    assert_eq!(number(0), sum);
}
