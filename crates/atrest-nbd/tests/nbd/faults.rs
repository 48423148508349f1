//! Servers that are killed, cut off, silent or out of order in the middle of a storm of writes.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use atrest::BlockDevice;
use atrest_nbd::{NbdDevice, NbdOptions};

use crate::lossy::{Lossy, LossyServer};
use crate::proxy::Proxy;
use crate::servers::{Server, connect, text, uri, zeros};
use crate::storm::{BLOCK, Model, storm};
use crate::{nbdkit, peer};

const BLOCKS: u64 = 128;
const SIZE: u64 = BLOCKS * BLOCK as u64;
const THREADS: u64 = 4;

/// The time that a call may take beyond its deadline, on a busy machine.
const SLACK: Duration = Duration::from_secs(8);

fn rounds() -> u64 {
    std::env::var("ATREST_ROUNDS").map_or(3, |rounds| rounds.parse().unwrap())
}

fn options(deadline: Duration) -> NbdOptions {
    NbdOptions::new().deadline(deadline)
}

/// Storms while `fault` does its worst. Returns the longest call.
fn storm_through(model: &Model, device: &NbdDevice, seed: u64, fault: impl FnOnce()) -> Duration {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let storm = scope.spawn(|| storm(model, device, THREADS, seed, || over.load(SeqCst)));
        fault();
        over.store(true, SeqCst);
        storm.join().unwrap()
    })
}

fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

fn assert_nothing_failed(model: &Model) {
    assert_eq!(model.failed.load(SeqCst), 0, "a call failed");
    assert!(model.acknowledged.load(SeqCst) > 0);
}

/// A server that is killed comes back on the same file. No caller learns of it.
fn killed_and_back(folder: &Path, start: impl Fn(&Path, &Path) -> Server) {
    let (socket, file) = (folder.join("s"), zeros(folder.join("disk"), SIZE));
    let mut server = start(&socket, &file);
    let device = NbdDevice::connect(&uri(&socket, "")).unwrap();
    let model = Model::new(BLOCKS);
    for round in 0..rounds() {
        storm_through(&model, &device, round, || {
            for _ in 0..3 {
                pause(60);
                server.kill();
                pause(30);
                server = start(&socket, &file);
            }
            pause(60);
        });
        model.check(&device, false, 512).unwrap();
    }
    assert_nothing_failed(&model);
    model.sync(&device).unwrap();
    drop(device);
    server.kill();
    let _server = start(&socket, &file);
    model.check(&NbdDevice::connect(&uri(&socket, "")).unwrap(), false, 512).unwrap();
}

#[test]
fn nbdkit_is_killed_and_comes_back() {
    if !nbdkit() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    killed_and_back(folder.path(), |socket, file| Server::nbdkit(socket, &["file", text(file)]));
}

#[test]
fn qemu_is_killed_and_comes_back() {
    if peer("qemu-nbd", &["--version"]).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    killed_and_back(folder.path(), |socket, file| Server::qemu(socket, file, &["--cache=writeback"]));
}

/// Changes that a server acknowledged and lost are there again.
#[test]
fn what_a_server_loses_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, behind) = (folder.path().join("s"), folder.path().join("behind"));
    for round in 0..rounds() {
        let mut server = LossyServer::start(&behind, Lossy::new(SIZE as usize, round));
        let proxy = Proxy::start(&socket, &behind);
        let device = NbdDevice::connect(&uri(&socket, "disk")).unwrap();
        let model = Model::new(BLOCKS);
        storm_through(&model, &device, round, || {
            for _ in 0..4 {
                pause(50);
                proxy.cut();
                server.kill();
                pause(20);
                server.restart();
            }
            pause(50);
        });
        // Unflushed writes of now, and a server that is lost while nobody calls.
        for block in 0..BLOCKS {
            model.write(&device, block).unwrap();
        }
        proxy.cut();
        server.kill();
        server.restart();
        model.check(&device, false, BLOCK).unwrap();
        assert_nothing_failed(&model);
        model.sync(&device).unwrap();
        proxy.cut();
        server.kill();
        assert!(server.device.lost() > 0, "the server lost nothing");
        model.check(&*server.device, false, BLOCK).unwrap();
        drop((device, proxy));
        std::fs::remove_file(&socket).unwrap();
    }
}

/// Writes, zeros and discards over each other come back in their order.
#[test]
fn changes_come_back_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, behind) = (folder.path().join("s"), folder.path().join("behind"));
    let mut server = LossyServer::start(&behind, Lossy::new(SIZE as usize, 7));
    let proxy = Proxy::start(&socket, &behind);
    let device = NbdDevice::connect(&uri(&socket, "")).unwrap();
    let mut expected = vec![0; SIZE as usize];
    let mut noise = 99u64;
    for round in 0..6 {
        for _ in 0..150 {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            let at = (noise % (SIZE / 512 - 40)) as usize * 512;
            let len = (1 + (noise >> 32) as usize % 40) * 512;
            if noise.is_multiple_of(5) {
                device.write_zeroes(at as u64, len as u64).unwrap();
                expected[at..at + len].fill(0);
            } else {
                let bytes = vec![noise as u8 | 1; len];
                let parts = bytes.split_at(len / 3);
                let parts = [io::IoSlice::new(parts.0), io::IoSlice::new(parts.1)];
                device.write_vectored_at(at as u64, &parts).unwrap();
                expected[at..at + len].copy_from_slice(&bytes);
            }
            if round % 2 == 1 && noise % 50 == 1 {
                device.sync().unwrap();
            }
            if noise % 60 == 2 {
                device.write_durably(at as u64, &expected[at..at + len]).unwrap();
            }
        }
        proxy.cut();
        server.kill();
        server.restart();
        let mut found = vec![0; SIZE as usize];
        device.read_at(0, &mut found).unwrap();
        assert!(found == expected);
    }
    assert!(server.device.lost() > 0);
}

/// A flush that fails may have dropped what it should have written. The next one writes it.
#[test]
fn a_flush_fails_and_forgets() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, behind) = (folder.path().join("s"), folder.path().join("behind"));
    let mut server = LossyServer::start(&behind, Lossy::new(SIZE as usize, 3));
    let proxy = Proxy::start(&socket, &behind);
    let device = NbdDevice::connect(&uri(&socket, "")).unwrap();
    device.write_at(0, &[1; 65536]).unwrap();
    server.device.fail_sync();
    device.sync().unwrap_err();
    device.write_at(4096, &[2; 4096]).unwrap();
    device.sync().unwrap();
    drop(device);
    proxy.cut();
    server.kill();
    let mut found = vec![0; 65536];
    server.device.read_at(0, &mut found).unwrap();
    assert!(found[..4096] == [1; 4096] && found[4096..8192] == [2; 4096] && found[8192..] == [1; 57344]);
}

/// Connections that are reset, and answers that break off at any byte, while the server goes on.
#[test]
fn connections_end_at_any_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, behind) = (folder.path().join("s"), folder.path().join("behind"));
    let _server = LossyServer::start(&behind, Lossy::new(SIZE as usize, 1));
    let proxy = Proxy::start(&socket, &behind);
    let device = NbdDevice::connect(&uri(&socket, "")).unwrap();
    let model = Model::new(BLOCKS);
    for round in 0..rounds() {
        storm_through(&model, &device, round, || {
            for n in 0..20 {
                pause(15);
                match n % 4 {
                    0 => proxy.cut(),
                    _ => proxy.cut_after((round as usize * 31 + n * 7) % 200),
                }
            }
            pause(50);
        });
        model.check(&device, false, BLOCK).unwrap();
        // In the middle of the data of a read.
        proxy.cut_after(100_000);
        model.check(&device, false, BLOCK).unwrap();
    }
    assert_nothing_failed(&model);
}

/// A silence that is shorter than the deadline is waited for. A longer one ends calls, and the device goes on behind it.
#[test]
fn a_server_is_silent() {
    if !nbdkit() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (socket, file) = (folder.path().join("s"), zeros(folder.path().join("disk"), SIZE));
    let server = Server::nbdkit(&socket, &["file", text(&file)]);
    let deadline = Duration::from_secs(20);
    let device = connect(&uri(&socket, ""), &options(deadline));
    let model = Model::new(BLOCKS);
    storm_through(&model, &device, 1, || {
        pause(50);
        server.stop();
        pause(300);
        server.go_on();
        pause(50);
    });
    model.check(&device, false, 512).unwrap();
    assert_nothing_failed(&model);
    drop(device);

    let deadline = Duration::from_millis(200);
    let device = connect(&uri(&socket, ""), &options(deadline));
    for round in 0..rounds() {
        let longest = storm_through(&model, &device, round, || {
            pause(50);
            server.stop();
            pause(700);
            server.go_on();
            pause(100);
        });
        assert!(longest < deadline + SLACK, "a call took {longest:?}");
        // A write that was given up is done, or waits for those before it.
        let settled = Instant::now();
        while model.check(&device, false, 512).is_err() {
            assert!(settled.elapsed() < SLACK, "{:?}", model.check(&device, false, 512));
        }
    }
    assert!(model.failed.load(SeqCst) > 0, "no call was given up");
}

/// A write that was given up may be done late, and a later one to the same place comes after it.
#[test]
fn a_late_write_does_not_come_over_a_later_one() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, behind) = (folder.path().join("s"), folder.path().join("behind"));
    let mut server = LossyServer::start(&behind, Lossy::new(SIZE as usize, 1));
    let proxy = Proxy::start(&socket, &behind);
    for is_lost in [false, true] {
        let options = options(Duration::from_millis(200)).connections(3);
        let device = connect(&uri(&socket, ""), &options);
        proxy.silent(true);
        let began = Instant::now();
        let late = device.write_at(0, &[1; 8192]).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        assert!(late.to_string().contains("not known"), "{late}");
        let later = device.write_at(4096, &[2; 4096]).unwrap_err();
        assert!(later.to_string().contains("not sent"), "{later}");
        assert_eq!(device.sync().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(device.read_at(0, &mut [0; 512]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() < 4 * Duration::from_millis(200) + SLACK);
        if is_lost {
            // It comes to a server that knows nothing of what went before.
            proxy.cut();
            server.kill();
            server.restart();
        }
        proxy.silent(false);
        let written = Instant::now();
        while let Err(e) = device.write_at(4096, &[3; 4096]) {
            assert!(written.elapsed() < SLACK, "{e}");
        }
        device.sync().unwrap();
        let mut found = [0; 8192];
        device.read_at(0, &mut found).unwrap();
        assert!(found[..4096] == [1; 4096] && found[4096..] == [3; 4096], "{} {}", found[0], found[4096]);
        drop(device);
    }
}

/// A server that isn't there for longer than the deadline, and then is.
#[test]
fn a_server_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, behind) = (folder.path().join("s"), folder.path().join("behind"));
    let mut server = LossyServer::start(&behind, Lossy::new(SIZE as usize, 1));
    let proxy = Proxy::start(&socket, &behind);
    let device = connect(&uri(&socket, ""), &options(Duration::from_secs(1)));
    device.write_at(0, &[5; 4096]).unwrap();
    proxy.cut();
    server.kill();
    for _ in 0..2 {
        assert_eq!(device.write_at(0, &[6; 4096]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(device.read_at(0, &mut [0; 4096]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(device.sync().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
    server.restart();
    let began = Instant::now();
    let mut found = [0; 4096];
    while let Err(e) = device.read_at(0, &mut found) {
        assert!(began.elapsed() < SLACK, "{e}");
    }
    assert!(found == [5; 4096] || found == [6; 4096]);
    device.sync().unwrap();
}

/// `ESHUTDOWN` is no failure, but a server that goes.
#[test]
fn a_server_says_that_it_goes_down() {
    if !nbdkit() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (socket, file) = (folder.path().join("s"), zeros(folder.path().join("disk"), SIZE));
    let signs = folder.path().join("down");
    let sign = format!("error-file={}", signs.display());
    let error = ["--filter=error", "file", text(&file), "error=ESHUTDOWN", "error-rate=100%", &sign];
    let _server = Server::nbdkit(&socket, &error);
    let device = NbdDevice::connect(&uri(&socket, "")).unwrap();
    let model = Model::new(BLOCKS);
    storm_through(&model, &device, 1, || {
        for _ in 0..3 {
            pause(40);
            std::fs::write(&signs, "").unwrap();
            pause(40);
            std::fs::remove_file(&signs).unwrap();
        }
        pause(200);
    });
    model.check(&device, false, 512).unwrap();
    assert_nothing_failed(&model);
}

/// A server that fails now and then: the callers learn of each failure, and what was acknowledged is there.
#[test]
fn a_server_fails_now_and_then() {
    if !nbdkit() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (socket, file) = (folder.path().join("s"), zeros(folder.path().join("disk"), SIZE));
    let signs = folder.path().join("bad");
    let sign = format!("error-file={}", signs.display());
    std::fs::write(&signs, "").unwrap();
    let error = ["--filter=error", "file", text(&file), "error=EIO", "error-rate=5%", &sign];
    let _server = Server::nbdkit(&socket, &error);
    let device = NbdDevice::connect(&uri(&socket, "")).unwrap();
    let model = Model::new(BLOCKS);
    storm_through(&model, &device, 1, || pause(400));
    std::fs::remove_file(&signs).unwrap();
    assert!(model.failed.load(SeqCst) > 0);
    model.check(&device, false, 512).unwrap();
    model.sync(&device).unwrap();
}

/// After a reconnection there is another export: nothing is written to it.
#[test]
fn another_export_is_refused() {
    if !nbdkit() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (socket, file) = (folder.path().join("s"), zeros(folder.path().join("disk"), SIZE));
    let mut server = Server::nbdkit(&socket, &["file", text(&file)]);
    let device = connect(&uri(&socket, ""), &options(Duration::from_secs(1)));
    device.write_at(0, &[1; 512]).unwrap();
    let other = zeros(folder.path().join("other"), SIZE + 4096);
    for arguments in [&["file", text(&other)][..], &["-r", "file", text(&file)]] {
        server.kill();
        server = Server::nbdkit(&socket, arguments);
        let mut error = device.write_at(0, &[2; 512]).unwrap_err();
        let began = Instant::now();
        while !error.to_string().contains("another size") {
            assert!(began.elapsed() < SLACK, "{error}");
            error = device.write_at(0, &[2; 512]).unwrap_err();
        }
    }
    assert_eq!(std::fs::read(&other).unwrap()[..512], [0; 512]);
    server.kill();
    let _server = Server::nbdkit(&socket, &["file", text(&file)]);
    let began = Instant::now();
    while let Err(e) = device.sync() {
        assert!(began.elapsed() < SLACK, "{e}");
    }
}
