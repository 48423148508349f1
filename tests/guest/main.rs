//! Volumes under the dm-crypt of a stock kernel, in a guest: what either side wrote, the other reads. See README.md beside this.

#![cfg(all(feature = "std", target_os = "linux"))]

#[cfg(feature = "bitlocker")]
mod bitlocker;
#[path = "../common/mod.rs"]
mod common;

use core::ops::ControlFlow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use atrest::cipher::CipherSpec;
use atrest::key::{DekAlgorithm, HashAlgorithm, Kdf};
use atrest::volume::{KeyslotOptions, LuksVersion, PlainOptions, ReencryptOptions};
use atrest::{Credential, FileDevice, FormatOptions, OpenOptions, Protector, Result, SectorSize, Volume, hazmat};
use sha2::{Digest, Sha256};

use common::device::reopen;
use common::{hex, run, text};

const PASSPHRASE: &[u8] = b"pw"; // that of the scripts
const DATA_OFFSET: u64 = 16 << 20; // as of cryptsetup
const SIZE: u64 = 8 << 20;

/// A disk of the guest. The first word of its name says what luks.sh does with it.
struct Disk {
    name: &'static str,
    make: fn(&Path),
}

const DISKS: [Disk; 16] = [
    Disk { name: "new-luks1-128", make: |path| drop(format(path, luks1(DekAlgorithm::Aes128Xts))) },
    Disk { name: "new-luks1-256", make: |path| drop(format(path, luks1(DekAlgorithm::Aes256Xts))) },
    Disk { name: "new-luks2-128", make: |path| drop(format(path, luks2(DekAlgorithm::Aes128Xts, 512, PBKDF2))) },
    Disk { name: "new-luks2-256", make: |path| drop(format(path, luks2(DekAlgorithm::Aes256Xts, 4096, PBKDF2))) },
    Disk { name: "new-argon2-128", make: |path| drop(format(path, luks2(DekAlgorithm::Aes128Xts, 4096, ARGON2))) },
    Disk { name: "files-luks2", make: |path| with_files(path, luks2(DekAlgorithm::Aes256Xts, 512, ARGON2)) },
    Disk { name: "files-reencrypted", make: reencrypted },
    Disk { name: "files-in-place", make: encrypted_in_place },
    Disk { name: "files-grown", make: grown },
    Disk { name: "files-converted", make: converted },
    Disk { name: "guest-luks1", make: blank },
    Disk { name: "guest-luks2", make: blank },
    Disk { name: "guest-luks2-4096", make: blank },
    Disk { name: "hctr2-512", make: |path| with_files(path, luks2(DekAlgorithm::Aes256Hctr2, 512, PBKDF2)) },
    Disk { name: "hctr2-4096", make: |path| with_files(path, luks2(DekAlgorithm::Aes256Hctr2, 4096, PBKDF2)) },
    Disk { name: "online", make: |path| with_files(path, luks2(DekAlgorithm::Aes128Xts, 512, PBKDF2)) },
];

const PBKDF2: Kdf = Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 };
const ARGON2: Kdf = Kdf::Argon2id { memory_kib: 1024, passes: 4, lanes: 1 };

fn luks1(algorithm: DekAlgorithm) -> FormatOptions {
    let keyslot = KeyslotOptions::new().kdf(PBKDF2);
    FormatOptions::new().version(LuksVersion::Luks1).dek_algorithm(algorithm).keyslot(keyslot)
}

fn luks2(algorithm: DekAlgorithm, sector_size: u32, kdf: Kdf) -> FormatOptions {
    let sector_size = SectorSize::new(sector_size).unwrap();
    FormatOptions::new().dek_algorithm(algorithm).sector_size(sector_size).keyslot(KeyslotOptions::new().kdf(kdf))
}

fn blank(path: &Path) {
    File::create(path).unwrap().set_len(DATA_OFFSET + SIZE).unwrap();
}

/// An empty volume of ours.
fn format(path: &Path, options: FormatOptions) -> Volume<FileDevice> {
    let device = FileDevice::create(path, DATA_OFFSET + SIZE).unwrap();
    Volume::format(device, Protector::Passphrase(PASSPHRASE), &options.data_offset(DATA_OFFSET)).unwrap()
}

/// A volume of ours, into which we write a file system with files.
fn with_files(path: &Path, options: FormatOptions) {
    let plain = path.with_extension("plain");
    file_system(&plain);
    format(path, options).write_at(0, &fs::read(plain).unwrap()).unwrap();
}

fn finish(volume: &Volume<FileDevice>) {
    volume.reencrypt(|_| ControlFlow::Continue(())).unwrap();
    volume.sync().unwrap();
}

/// A volume with files that we gave another key, cipher length and sector size.
fn reencrypted(path: &Path) {
    with_files(path, luks2(DekAlgorithm::Aes128Xts, 512, PBKDF2));
    let volume = open(path).unwrap();
    let options = ReencryptOptions::new().dek_algorithm(DekAlgorithm::Aes256Xts);
    let options = options.sector_size(SectorSize::B4096).keyslot(KeyslotOptions::new().kdf(PBKDF2));
    volume.begin_reencryption(&[Protector::Passphrase(PASSPHRASE)], &options).unwrap();
    finish(&volume);
}

/// A plain file system, encrypted where it lies: it moves towards the free end.
fn encrypted_in_place(path: &Path) {
    let plain = path.with_extension("plain");
    file_system(&plain);
    fs::copy(plain, path).unwrap();
    File::options().write(true).open(path).unwrap().set_len(SIZE + 2 * DATA_OFFSET).unwrap();
    let device = FileDevice::open(path).unwrap();
    let options = luks2(DekAlgorithm::Aes256Xts, 512, PBKDF2);
    let protector = Protector::Passphrase(PASSPHRASE);
    finish(&Volume::begin_encryption(device, protector, &options, 2 * DATA_OFFSET).unwrap());
}

/// A volume with files that has grown with its device.
fn grown(path: &Path) {
    with_files(path, luks2(DekAlgorithm::Aes256Xts, 512, PBKDF2));
    let volume = open(path).unwrap();
    File::options().write(true).open(path).unwrap().set_len(DATA_OFFSET + 2 * SIZE).unwrap();
    assert_eq!(volume.resize(None).unwrap(), 2 * SIZE);
    volume.write_zeroes(SIZE, SIZE).unwrap();
    volume.sync().unwrap();
}

/// A volume of LUKS1 whose header became one of LUKS2, with another key then.
fn converted(path: &Path) {
    with_files(path, luks1(DekAlgorithm::Aes128Xts));
    let volume = open(path).unwrap();
    volume.header().convert_to_luks2().unwrap();
    let options = ReencryptOptions::new().keyslot(KeyslotOptions::new().kdf(PBKDF2));
    volume.begin_reencryption(&[Protector::Passphrase(PASSPHRASE)], &options).unwrap();
    finish(&volume);
}

/// A plain image of a file system with files, and the file SUMS of their sums.
fn file_system(path: &Path) {
    let folder = path.with_extension("files");
    fs::create_dir(&folder).unwrap();
    let mut sums = String::new();
    for (name, len) in [("small", 100), ("large", 1_000_000)] {
        let bytes: Vec<u8> = (0..len).map(|i: u32| (i.wrapping_mul(0x9E37_79B9) >> 24) as u8).collect();
        sums += &format!("{}  {name}\n", sha256(&bytes));
        fs::write(folder.join(name), bytes).unwrap();
    }
    fs::write(folder.join("SUMS"), sums).unwrap();
    File::create(path).unwrap().set_len(SIZE).unwrap();
    run("mkfs.ext4", &["-q", "-b", "4096", "-d", text(&folder), text(path)]);
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The folder of what cargo and the scripts make.
fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Path::new(env!("CARGO_MANIFEST_DIR")).join(target)
}

/// Runs a script in the guest, and returns the sums of the volumes that it tells.
fn boot(script: &str, disks: &[PathBuf]) -> BTreeMap<String, String> {
    boot_with(Path::new(""), script, disks)
}

/// As [`boot`], and the guest has the files of a folder too.
fn boot_with(files: &Path, script: &str, disks: &[PathBuf]) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest");
    let mut command = Command::new(folder.join("run"));
    command.env("ATREST_GUEST_FILES", files).arg(folder.join(script)).args(disks).stderr(Stdio::inherit());
    let output = command.output().unwrap();
    let console = String::from_utf8_lossy(&output.stdout);
    println!("{console}");
    assert!(output.status.success(), "{script}: {}:\n{console}", output.status);
    let sums = console.lines().filter_map(|line| line.trim_end().strip_prefix("sha256 ")?.split_once(' '));
    sums.map(|(disk, sum)| (disk.to_owned(), sum.to_owned())).collect()
}

fn open(path: &Path) -> Result<Volume<FileDevice>> {
    reopen(|| Volume::open(FileDevice::open(path)?, Credential::Passphrase(PASSPHRASE), &OpenOptions::new()))
}

/// The sum of a whole volume, as we read it.
fn sum(volume: &Volume<FileDevice>) -> String {
    let mut bytes = vec![0; volume.size() as usize];
    volume.read_at(0, &mut bytes).unwrap();
    sha256(&bytes)
}

#[test]
#[ignore = "boots a kernel in an emulator: see tests/guest/README.md"]
fn the_kernel_and_we_read_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = |disk: &Disk| folder.path().join(disk.name).with_extension("img");
    let has_hctr2 = target().join("guest/hctr2").is_dir();
    if !has_hctr2 {
        eprintln!("SKIPPED the disks of HCTR2: tests/guest/get could not build its modules");
    }
    let disks: Vec<&Disk> = DISKS.iter().filter(|disk| has_hctr2 || !disk.name.starts_with("hctr2")).collect();
    let paths: Vec<PathBuf> = disks.iter().map(|disk| path(disk)).collect();
    for (disk, path) in disks.iter().zip(&paths) {
        (disk.make)(path);
    }
    let sums = boot("luks.sh", &paths);
    for (disk, path) in disks.iter().zip(&paths) {
        let volume = open(path).unwrap_or_else(|e| panic!("{}: {e}", disk.name));
        assert_eq!(Some(&sum(&volume)), sums.get(disk.name), "{}", disk.name);
    }
    let online = open(paths.last().unwrap()).unwrap();
    assert_eq!(online.dek().algorithm(), DekAlgorithm::Aes256Xts, "its key was one for AES-128");
}

/// A line of old.sh's table.
struct Old {
    name: &'static str,
    cipher: CipherSpec,
    sector_size: SectorSize,
    bits: usize,
    hash: HashAlgorithm,
    offset: u64,
    first_number: u64,
}

impl Old {
    /// Those of this build.
    fn all() -> Vec<Old> {
        let is_disk = |line: &&str| ["plain-", "luks"].iter().any(|start| line.starts_with(start));
        let is_legacy = |line: &&str| line.starts_with("legacy-") || line.starts_with("luksleg-");
        let lines = include_str!("old.sh").lines();
        lines
            .filter(|line| is_legacy(line) && cfg!(feature = "legacy") || is_disk(line) && !is_legacy(line))
            .map(Old::parse)
            .collect()
    }

    fn parse(line: &'static str) -> Old {
        let fields: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| fields[at].parse::<u64>().unwrap();
        let cipher = CipherSpec::from_name(fields[1]).unwrap();
        Old {
            name: fields[0],
            cipher: if line.ends_with("--iv-large-sectors") { cipher.with_large_sectors() } else { cipher },
            sector_size: SectorSize::new(number(4) as u32).unwrap(),
            bits: number(2) as usize,
            hash: HashAlgorithm::from_name(fields[3]).unwrap(),
            offset: number(5) * 512,
            first_number: number(6),
        }
    }

    fn is_luks(&self) -> bool {
        self.name.starts_with("luks")
    }

    fn make(&self, path: &Path) {
        if self.is_luks() {
            return blank(path);
        }
        File::create(path).unwrap().set_len(self.offset + SIZE).unwrap();
        let volume = self.open(path);
        if !volume.is_read_only() {
            let plain = path.with_extension("plain");
            file_system(&plain);
            volume.write_at(0, &fs::read(plain).unwrap()).unwrap();
        }
    }

    fn open(&self, path: &Path) -> Volume<FileDevice> {
        if self.is_luks() {
            return open(path).unwrap_or_else(|e| panic!("{}: {e}", self.name));
        }
        let options = PlainOptions::new(self.cipher).sector_size(self.sector_size).offset(self.offset);
        let algorithm = (0..100)
            .filter_map(DekAlgorithm::from_code)
            .find(|algorithm| algorithm.key_len() * 8 == self.bits && self.takes(*algorithm));
        let dek = hazmat::plain_dek(algorithm.unwrap(), self.hash, PASSPHRASE).unwrap();
        let options = options.first_number(self.first_number);
        Volume::hazmat_open_plain(FileDevice::open(path).unwrap(), &dek, &options).unwrap()
    }

    /// Whether the algorithm's name has the words of the cipher's: `AES-256-XTS` those of `aes-xts-plain64`.
    fn takes(&self, algorithm: DekAlgorithm) -> bool {
        let name = algorithm.name().to_ascii_lowercase();
        let words: Vec<&str> = self.cipher.name().split('-').take(2).collect();
        (name.starts_with(words[0]) || words[1] == "adiantum") && name.ends_with(words[1])
    }
}

#[test]
#[ignore = "boots a kernel in an emulator: see tests/guest/README.md"]
fn the_kernel_and_we_read_the_same_of_old_ciphers() {
    let folder = tempfile::tempdir().unwrap();
    let disks = Old::all();
    let paths: Vec<PathBuf> = disks.iter().map(|disk| folder.path().join(disk.name).with_extension("img")).collect();
    for (disk, path) in disks.iter().zip(&paths) {
        disk.make(path);
    }
    // As many disks as the guest's machine has slots for.
    let mut sums = BTreeMap::new();
    for some in paths.chunks(16) {
        sums.extend(boot("old.sh", some));
    }
    for (disk, path) in disks.iter().zip(&paths) {
        let volume = disk.open(path);
        assert_eq!(Some(&sum(&volume)), sums.get(disk.name), "{}", disk.name);
        if disk.is_luks() {
            assert_eq!(volume.cipher(), disk.cipher);
        }
    }
}

#[test]
#[ignore = "boots a kernel in an emulator: see tests/guest/README.md"]
fn a_reencryption_that_lost_its_power() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.img");
    with_files(&path, luks2(DekAlgorithm::Aes128Xts, 512, PBKDF2));
    let before = sum(&open(&path).unwrap());
    let sums = boot("cut.sh", std::slice::from_ref(&path));
    assert_eq!(Some(&before), sums.get("cut"));
    // We finish a copy of it, the peer the other.
    let ours = folder.path().join("ours.img");
    fs::copy(&path, &ours).unwrap();
    let volume = open(&ours).unwrap();
    let progress = volume.reencryption().unwrap();
    assert!(0 < progress.done && progress.done < progress.total, "{progress:?}");
    assert_eq!(sum(&volume), before);
    finish(&volume);
    drop(volume);
    let volume = open(&ours).unwrap();
    assert_eq!((sum(&volume), volume.dek().algorithm()), (before.clone(), DekAlgorithm::Aes256Xts));
    let key = folder.path().join("key");
    fs::write(&key, PASSPHRASE).unwrap();
    for args in [&["repair"][..], &["reencrypt", "--resume-only", "--force-offline-reencrypt"]] {
        run("cryptsetup", &[args, &["-q", "--key-file", text(&key), text(&path)]].concat());
    }
    assert_eq!(sum(&open(&path).unwrap()), before);
}
