//! A process that re-encrypts a volume in a file, and writes to it, is killed at random instants. What was written is there,
//! and the re-encryption goes on.
//!
//! `ATREST_KILLS` sets the number of kills.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::common::SetOnDrop;
use crate::common::device::reopen;
use crate::common::reencryption::{RESILIENCES, SECTOR_SIZES, content, noise};
use crate::common::vaults::MemoryVault;
use crate::common::volumes::DATA;
use atrest::volume::ReencryptOptions;
use atrest::{Credential, FileDevice, FormatOptions, OpenOptions, Protector, SectorSize, Volume};

const FOLDER: &str = "ATREST_KILLED_REENCRYPTION";
const SIZE: usize = 1 << 20;
/// Written as a whole, with one stamp. A multiple of all sector sizes.
const BLOCK: usize = 4096;

fn open(folder: &Path) -> Volume<FileDevice> {
    let vault = MemoryVault::new("memory:one");
    let open = || {
        let device = FileDevice::open(folder.join("image"))?;
        Volume::open(device, Credential::Vault(&vault), &OpenOptions::new())
    };
    reopen(open).unwrap()
}

/// What each block holds by the journal of the writer: the stamp of what was written last, and of what may have been.
fn journal(folder: &Path) -> (Vec<[u64; 2]>, u64) {
    let (mut blocks, mut last) = (vec![[0; 2]; SIZE / BLOCK], 0);
    for line in fs::read_to_string(folder.join("journal")).unwrap_or_default().lines() {
        let words: Vec<u64> = line.split(' ').skip(1).map(|word| word.parse().unwrap()).collect();
        let block = &mut blocks[words[0] as usize];
        *block = if line.starts_with("begin") { [block[0], words[1]] } else { [words[1]; 2] };
        last = words[1];
    }
    (blocks, last)
}

fn block(stamp: u64) -> Vec<u8> {
    stamp.to_le_bytes().repeat(BLOCK / 8)
}

/// The process that is killed. Run on its own, it does nothing.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let (volume, vault) = (open(folder), MemoryVault::new("memory:one"));
    let (_, mut stamp) = journal(folder);
    let (mut round, stop) = (stamp, AtomicBool::new(false));
    let mut journal = fs::OpenOptions::new().append(true).create(true).open(folder.join("journal")).unwrap();
    std::thread::scope(|scope| {
        let _stops = SetOnDrop(&stop);
        scope.spawn(|| {
            while !stop.load(SeqCst) {
                stamp += 1;
                let n = u64::from_le_bytes(noise(8, stamp).try_into().unwrap()) % (SIZE / BLOCK) as u64;
                journal.write_all(format!("begin {n} {stamp}\n").as_bytes()).unwrap();
                volume.write_at(n * BLOCK as u64, &block(stamp)).unwrap();
                journal.write_all(format!("done {n} {stamp}\n").as_bytes()).unwrap();
            }
        });
        loop {
            if volume.reencryption().is_none() {
                round += 1;
                let sector_size = SectorSize::new(SECTOR_SIZES[round as usize % 4]).unwrap();
                let resilience = RESILIENCES[round as usize / 4 % 2];
                let options = ReencryptOptions::new().sector_size(sector_size).resilience(resilience);
                volume.begin_reencryption(&[Protector::Vault(&vault, "disks")], &options).unwrap();
                fs::OpenOptions::new()
                    .append(true)
                    .create(true)
                    .open(folder.join("begun"))
                    .unwrap()
                    .write_all(b".")
                    .unwrap();
            }
            volume.reencrypt_step(100_000).unwrap();
        }
    });
}

#[test]
fn a_process_that_is_killed_while_it_reencrypts_loses_nothing_that_it_wrote() {
    let kills = std::env::var("ATREST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let device = FileDevice::create(folder.join("image"), (DATA + SIZE) as u64).unwrap();
    let vault = MemoryVault::new("memory:one");
    let options = FormatOptions::new().data_offset(DATA as u64);
    Volume::format(device, Protector::Vault(&vault, "disks"), &options).unwrap().write_at(0, &[0; SIZE]).unwrap();
    let (mut moving, mut torn) = (0, 0);
    for kill in 0..kills {
        let began = journal(folder).1;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "reencrypt_kills::child", "--nocapture"])
            .env(FOLDER, folder)
            .stdout(Stdio::null())
            .stderr(fs::OpenOptions::new().append(true).create(true).open(folder.join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let patience = Instant::now() + Duration::from_secs(60);
        // A machine with much else to do may take long until a re-encryption begins.
        let idles = || journal(folder).1 < began + 3 || !folder.join("begun").exists();
        while idles() && child.try_wait().unwrap().is_none() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros((kill * 7919 + 104_729) % 150_000));
        let ended = child.try_wait().unwrap();
        let said = || fs::read_to_string(folder.join("stderr")).unwrap_or_default();
        assert!(ended.is_none(), "the child ended by itself: {ended:?}\n{}", said());
        child.kill().unwrap();
        child.wait().unwrap();

        let header = fs::read(folder.join("image")).unwrap();
        torn += usize::from(header[..1 << 15].windows(15).any(|text| text == b"in-reencryption"));
        let volume = open(folder);
        moving += usize::from(volume.reencryption().is_some());
        let bytes = content(&volume);
        let (blocks, _) = journal(folder);
        let mut known = Vec::new();
        for (n, (found, [done, begun])) in bytes.chunks(BLOCK).zip(blocks).enumerate() {
            // A write that was killed may have changed a part.
            let stamps: Vec<u64> = found.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
            let odd = stamps.iter().find(|stamp| **stamp != done && **stamp != begun);
            assert!(odd.is_none(), "kill {kill}, block {n}: {odd:?}, not {done} or {begun}");
            if done != begun {
                known.push((n, begun));
            }
        }
        // Written anew, so that it is of one stamp again.
        let mut journal = fs::OpenOptions::new().append(true).open(folder.join("journal")).unwrap();
        for (n, stamp) in known {
            volume.write_at((n * BLOCK) as u64, &block(stamp)).unwrap();
            journal.write_all(format!("done {n} {stamp}\n").as_bytes()).unwrap();
        }
    }
    let begun = fs::read(folder.join("begun")).unwrap().len();
    let writes = journal(folder).1;
    println!("{kills} kills survived: {moving} in a re-encryption, {torn} in a zone, of {begun}, with {writes} writes");
    assert!(moving > 0 && begun > 0);
}
