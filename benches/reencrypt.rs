//! Re-encryption in the foreground against `cryptsetup`'s own, offline, of the same file; and random reads and writes of 4 KiB
//! with a re-encryption beside them, and without. `cargo bench -p atrest-benches --bench reencrypt [FOLDER]`; the folder should
//! be on a disk, and hold 2 GiB.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use atrest::key::{HashAlgorithm, Kdf};
use atrest::volume::{KeyslotOptions, ReencryptOptions, Resilience};
use atrest::{Credential, FileDevice, FormatOptions, OpenOptions, Protector, SectorSize, Volume};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 512 * MIB;
const RUNS: usize = 3;
const BY: Protector<'static> = Protector::Passphrase(b"one");

fn main() {
    let folder = env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let folder = folder.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let image = folder.join("reencrypt-bench.img");
    let key = folder.join("reencrypt-bench.key");
    fs::write(&key, "one").expect("the key can be written");
    println!("{} MiB, AES-256-XTS to AES-256-XTS, the best of {RUNS}, MiB/s", SIZE / MIB);
    for sector_size in [SectorSize::B512, SectorSize::B4096] {
        for (name, resilience) in [("checksum", Resilience::Checksum), ("journal", Resilience::Journal)] {
            let (mut ours, mut theirs) = (Duration::MAX, Duration::MAX);
            for _ in 0..RUNS {
                let volume = volume(&image, sector_size);
                ours = ours.min(timed(|| finish(&volume, resilience)));
                drop(volume);
                theirs = theirs.min(cryptsetup(&image, &key, name).unwrap_or(Duration::MAX));
            }
            let rate = |time: Duration| SIZE as f64 / MIB as f64 / time.as_secs_f64();
            println!(
                "sectors of {:>4}, {name:>8}: {:>5.0}, cryptsetup {:>5.0}, ratio {:.2}",
                sector_size.bytes(),
                rate(ours),
                rate(theirs),
                theirs.as_secs_f64() / ours.as_secs_f64()
            );
        }
    }
    beside(&image);
    let _ = (fs::remove_file(&image), fs::remove_file(&key));
}

fn keyslot() -> KeyslotOptions {
    KeyslotOptions::new().kdf(Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 })
}

/// A volume full of data, all of it on the disk.
fn volume(image: &Path, sector_size: SectorSize) -> Volume<FileDevice> {
    let _ = fs::remove_file(image);
    let device = FileDevice::create(image, SIZE + 16 * MIB).expect("the image can be made");
    let options = FormatOptions::new().sector_size(sector_size).keyslot(keyslot());
    let volume = Volume::format(device, BY, &options).expect("it can be formatted");
    let noise: Vec<u8> = (0..MIB).map(|i| (i.wrapping_mul(0x9E37_79B9) >> 13) as u8).collect();
    (0..SIZE / MIB).for_each(|at| volume.write_at(at * MIB, &noise).expect("it can be written"));
    volume.sync().expect("it can be synced");
    volume
}

fn finish(volume: &Volume<FileDevice>, resilience: Resilience) {
    let options = ReencryptOptions::new().resilience(resilience).keyslot(keyslot());
    volume.begin_reencryption(&[BY], &options).expect("it can be begun");
    volume.reencrypt(|_| std::ops::ControlFlow::Continue(())).expect("it can be finished");
}

fn cryptsetup(image: &Path, key: &Path, resilience: &str) -> Option<Duration> {
    let mut command = Command::new("cryptsetup");
    command.args(["reencrypt", "-q", "--force-offline-reencrypt", "--resilience", resilience]);
    command.args(["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file"]).arg(key).arg(image);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut done = false;
    let time = timed(|| done = command.status().is_ok_and(|status| status.success()));
    done.then_some(time)
}

fn timed(act: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    act();
    begun.elapsed()
}

/// Reads and writes of one thread, half and half, at random places.
fn beside(image: &Path) {
    let volume = volume(image, SectorSize::B4096);
    drop(volume);
    // Past the cache, as a service does; otherwise each sync of a step would wait for all that was ever written.
    let device = FileDevice::open(image).and_then(FileDevice::direct_io).expect("it is there");
    let volume = Volume::open(device, Credential::Passphrase(b"one"), &OpenOptions::new()).expect("it opens");
    let (stop, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut sectors, mut random) = (vec![7; 4096], 1u64);
            while !stop.load(Relaxed) {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = (random >> 33) % (SIZE / 4096) * 4096;
                if random >> 63 == 0 {
                    volume.read_at(at, &mut sectors).expect("it can be read");
                } else {
                    volume.write_at(at, &sectors).expect("it can be written");
                }
                calls.fetch_add(1, Relaxed);
            }
        });
        let rate = |while_done: &mut dyn FnMut()| {
            let (before, begun) = (calls.load(Relaxed), Instant::now());
            while_done();
            (calls.load(Relaxed) - before) as f64 / begun.elapsed().as_secs_f64()
        };
        let pause = || thread::sleep(Duration::from_secs(3));
        let mut alone = rate(&mut || pause());
        let mut beside = Vec::new();
        for budget in [16 * MIB, MIB, MIB / 4] {
            let done = || volume.reencryption().map_or(SIZE, |progress| progress.done);
            let options = ReencryptOptions::new().keyslot(keyslot());
            volume.begin_reencryption(&[BY], &options).expect("it can be begun");
            let begun = Instant::now();
            let with = rate(&mut || {
                while begun.elapsed() < Duration::from_secs(3)
                    && !volume.reencrypt_step(budget).expect("it goes on").is_finished()
                {}
            });
            beside.push((budget, with, done() as f64 / MIB as f64 / begun.elapsed().as_secs_f64()));
            volume.reencrypt(|_| std::ops::ControlFlow::Continue(())).expect("it can be finished");
        }
        alone = alone.max(rate(&mut || pause()));
        stop.store(true, Relaxed);
        println!("random 4 KiB a second, past the cache: {alone:.0} alone");
        for (budget, with, speed) in beside {
            let (budget, ratio) = (budget / 1024, with / alone);
            println!("  beside steps of {budget:>5} KiB, {speed:>3.0} MiB/s: {with:>6.0}, ratio {ratio:.2}");
        }
    });
}
