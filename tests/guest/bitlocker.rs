//! BitLocker volumes under the dm-crypt of the guest's kernel: those that we made, and those of Windows.

use std::fs;
use std::path::{Path, PathBuf};

use atrest::volume::BitLockerOptions;

use super::*;

const PASSWORD: &[u8] = b"password12!@";

/// Images that Windows made, by all its ciphers; `tests/bitlocker/get` fetches them.
const WINDOWS: [&str; 6] = ["aes-xts_128", "aes-xts_256", "aes_128", "aes_256", "aes_128_diffuser", "aes_256_diffuser"];

fn open(path: &Path) -> Volume<FileDevice> {
    reopen(|| Volume::open(FileDevice::open(path)?, Credential::Passphrase(PASSWORD), &OpenOptions::new())).unwrap()
}

/// A volume of ours, with a file system of files in it.
fn make(path: &Path, algorithm: DekAlgorithm, sector_size: SectorSize) {
    let plain = path.with_extension("plain");
    file_system(&plain);
    let device = FileDevice::create(path, SIZE + (1 << 20)).unwrap();
    let options = BitLockerOptions::new().dek_algorithm(algorithm).sector_size(sector_size);
    let volume = Volume::format_bitlocker(device, Protector::Passphrase(PASSWORD), &options).unwrap();
    volume.write_at(0, &fs::read(plain).unwrap()).unwrap();
    volume.sync().unwrap();
}

/// A block of 4096 bytes with three after it that lie in the encrypted data, and not where the volume has its own.
fn free_block(volume: &Volume<FileDevice>) -> u64 {
    let mut start = 0;
    let mut best = 0..0;
    for segment in volume.header().segments() {
        let end = start + segment.size.unwrap();
        if segment.kind == "crypt" && end - start > best.end - best.start {
            best = start..end;
        }
        start = end;
    }
    assert!(best.end - best.start > 1 << 20, "{best:?}");
    (best.start + (best.end - best.start) / 2) / 4096
}

#[test]
#[ignore = "boots a kernel in an emulator: see tests/guest/README.md"]
fn the_kernel_and_we_read_and_write_the_same_of_bitlocker() {
    let folder = tempfile::tempdir().unwrap();
    let images = target().join("bitlocker/dissect");
    let path = |name: &str| folder.path().join(name).with_extension("img");
    let mut names = vec!["files-128", "files-256-4096"];
    make(&path(names[0]), DekAlgorithm::Aes128Xts, SectorSize::B512);
    make(&path(names[1]), DekAlgorithm::Aes256Xts, SectorSize::B4096);
    if images.is_dir() {
        for name in WINDOWS {
            run("cp", &["--sparse=always", text(&images.join(name).with_extension("bin")), text(&path(name))]);
        }
        names.extend(WINDOWS);
    } else {
        assert!(std::env::var_os("ATREST_REQUIRE_PEERS").is_none_or(|v| v != "1"), "tests/bitlocker/get comes first");
        eprintln!("SKIPPED the images of Windows: tests/bitlocker/get fetches them");
    }

    let files = folder.path().join("files");
    let keys = files.join("keys");
    fs::create_dir_all(&keys).unwrap();
    let password = folder.path().join("password");
    fs::write(&password, PASSWORD).unwrap();
    let (mut list, mut before, mut parts) = (String::new(), Vec::new(), Vec::new());
    for name in &names {
        let volume = open(&path(name));
        let block = free_block(&volume);
        // All of those with files; the guest takes long for the others.
        let again = if name.starts_with("files") { 0..volume.size() / 4096 } else { block - 16..block + 16 };
        list += &format!("{name} {} {block} {} {}\n", volume.size(), again.start, again.end - again.start);
        parts.push(again);
        before.push(sum(&volume));
        drop(volume);
        // In the guest, whose processor is emulated, the million rounds of SHA-256 take too long.
        let (key, image) = (keys.join(name), path(name));
        let file = ["--key-file", text(&password), "--volume-key-file", text(&key), text(&image)];
        run("cryptsetup", &[&["bitlkDump", "-q", "--dump-volume-key"], &file[..]].concat());
    }
    fs::write(keys.join("list"), list).unwrap();
    let paths: Vec<PathBuf> = names.iter().map(|name| path(name)).collect();
    let sums = boot_with(&files, "bitlk.sh", &paths);
    for ((name, before), part) in names.iter().zip(&before).zip(parts) {
        assert_eq!(Some(before), sums.get(*name), "{name}");
        let volume = open(&path(name));
        let mut bytes = vec![0; (part.end - part.start) as usize * 4096];
        volume.read_at(part.start * 4096, &mut bytes).unwrap();
        assert_eq!(Some(&sha256(&bytes)), sums.get(&format!("{name}-written")), "{name}, written");
        assert_ne!(&sum(&volume), before, "{name}");
    }
}
