//! Volumes of Windows that this library writes to and other programs read, and the other way round.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use atrest::volume::Header;
use atrest::{Credential, FileDevice, OpenOptions, Volume};

use super::common::device::reopen;
use super::common::{peer, run, run_any, text};
use super::images::{compare, images};

const BOTH: &[&str] = &["dissect", "libbde"];

/// One image of each cipher and sector size, one of BitLocker To Go, and one that is partly encrypted.
const IMAGES: [(&str, &str, &str, &str); 11] = [
    ("dissect", "aes-xts_128.bin", "password", "password12!@"),
    ("dissect", "aes-xts_256.bin", "password", "password12!@"),
    ("dissect", "aes_128.bin", "password", "password12!@"),
    ("dissect", "aes_256.bin", "password", "password12!@"),
    ("dissect", "aes_128_diffuser.bin", "password", "password12!@"),
    ("dissect", "aes_256_diffuser.bin", "password", "password12!@"),
    ("cryptsetup", "bitlk-aes-xts-128-4k.img", "password", "anaconda"),
    ("cryptsetup", "bitlk-aes-cbc-128-4k.img", "password", "anaconda"),
    ("cryptsetup", "bitlk-togo-aes-xts-128.img", "password", "anaconda"),
    ("cryptsetup", "bitlk-aes-cbc-elephant-256.img", "password", "anaconda"),
    ("dissect", "win7_partial.bin", "recovery", "131450-120197-153989-250338-511368-495572-680944-381546"),
];

fn credential<'a>(kind: &str, secret: &'a str) -> Credential<'a> {
    match kind {
        "password" => Credential::Passphrase(secret.as_bytes()),
        _ => Credential::RecoveryPassword(secret),
    }
}

/// A copy of an image, of which what is zero takes no room.
fn copy(folder: &Path, of: &Path) -> PathBuf {
    let copy = folder.join(of.file_name().unwrap());
    run("cp", &["--sparse=always", "--no-preserve=mode", text(of), text(&copy)]);
    copy
}

/// Where to write: near the start, at both ends of each piece that is data, and in its middle.
fn places(image: &Path) -> Vec<(u64, usize)> {
    let device = reopen(|| FileDevice::open_read_only(image)).unwrap();
    let (mut places, mut start) = (Vec::new(), 0);
    for segment in Header::load(&device).unwrap().segments() {
        let size = segment.size.unwrap();
        if segment.kind != "hidden" {
            let middle = start + size / 2 / 4096 * 4096;
            // Not the first sector: libbde opens a volume only if it begins a file system that it knows.
            places.extend([start.max(4096), middle, start + size - 4096].map(|at| (at, 4096)));
        }
        start += size;
    }
    places
}

fn noise(place: u64, len: usize, round: u64) -> Vec<u8> {
    let mut state = place ^ round << 56 | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(next).collect()
}

fn open(image: &Path, credential: Credential<'_>) -> Volume<FileDevice> {
    let options = OpenOptions::new().hazmat_allow_unencrypted(true);
    reopen(|| Volume::open(FileDevice::open(image)?, credential, &options)).unwrap()
}

#[test]
fn dissect_libbde_and_dislocker_read_what_is_written_here() {
    for (from, name, kind, secret) in IMAGES {
        let Some(images) = images(from) else { return };
        let folder = tempfile::tempdir().unwrap();
        let image = copy(folder.path(), &images.join(name));
        let places = places(&image);
        let volume = open(&image, credential(kind, secret));
        for &(at, len) in &places {
            volume.write_at(at, &noise(at, len, 1)).unwrap();
        }
        volume.sync().unwrap();
        drop(volume);
        let volume = open(&image, credential(kind, secret));
        let peers = if name.starts_with("win7") { &BOTH[..1] } else { BOTH };
        assert!(compare(&image, name, kind, secret, peers, &volume) > 30, "{name}");
        let Some(dislocker) = peer("dislocker-file", &["-h"]) else { continue };
        if name.starts_with("win7") || name.contains("-4k") {
            continue; // it wants all three copies, and knows sectors of 512 bytes only
        }
        let plain = folder.path().join("plain");
        run(&dislocker, &["-V", text(&image), &format!("-u{secret}"), "--", text(&plain)]);
        let mut plain = File::open(plain).unwrap();
        for (at, len) in places {
            let mut bytes = vec![0; len];
            plain.read_exact_at(&mut bytes, at).unwrap();
            assert!(bytes == noise(at, len, 1), "{name}: dislocker reads something else at {at}");
        }
        let mut start = [0; 8192];
        plain.seek(SeekFrom::Start(0)).unwrap();
        plain.read_exact(&mut start).unwrap();
        let mut ours = [0; 8192];
        volume.read_at(0, &mut ours).unwrap();
        assert!(start == ours, "{name}");
    }
}

#[test]
fn what_dislocker_writes_is_read_here() {
    let Some(dislocker) = peer("dislocker-fuse", &["-h"]) else { return };
    // Not every machine lets its users mount.
    if let Err(error) = std::fs::File::open("/dev/fuse") {
        return eprintln!("SKIPPED what_dislocker_writes_is_read_here: /dev/fuse: {error}");
    }
    if peer("test", &["-w", "/dev/fuse"]).is_none() || peer("umount", &["--version"]).is_none() {
        return;
    }
    for (from, name, kind, secret) in IMAGES {
        if name.starts_with("win7") || name.contains("-4k") {
            continue;
        }
        let Some(images) = images(from) else { return };
        let folder = tempfile::tempdir().unwrap();
        let image = copy(folder.path(), &images.join(name));
        let places = places(&image);
        let mounted = folder.path().join("mounted");
        fs::create_dir(&mounted).unwrap();
        run(&dislocker, &["-V", text(&image), &format!("-u{secret}"), "--", text(&mounted)]);
        let shown = mounted.join("dislocker-file");
        let started = Instant::now();
        while !shown.exists() {
            assert!(started.elapsed() < Duration::from_secs(60), "{name}: dislocker doesn't mount");
            thread::sleep(Duration::from_millis(20));
        }
        let written = (|| {
            let mut file = File::options().read(true).write(true).open(&shown)?;
            for &(at, len) in &places {
                file.write_all_at(&noise(at, len, 2), at)?;
            }
            file.flush()
        })();
        // Unmounted before anything is judged: what is still mounted can't be removed.
        let unmounted = run_any("umount", &[text(&mounted)]);
        assert!(unmounted.status.success(), "{name}: {unmounted:?}");
        written.unwrap_or_else(|e| panic!("{name}: {e}"));
        let volume = open(&image, credential(kind, secret));
        for (at, len) in places {
            let mut bytes = vec![0; len];
            volume.read_at(at, &mut bytes).unwrap();
            assert!(bytes == noise(at, len, 2), "{name}: other bytes at {at}");
        }
    }
}
