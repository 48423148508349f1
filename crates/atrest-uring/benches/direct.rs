//! One thread with a queue, past the page cache: `fio` with its engine `io_uring`, this crate without a cipher, and a volume.
//!
//! ```console
//! $ cargo bench -p atrest-uring --bench direct [ROUNDS [SECONDS [FOLDER]]]
//! ```
//!
//! All take turns on one file, and each round is compared with `fio` of the same round.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use atrest::key::Kdf;
use atrest::volume::KeyslotOptions;
use atrest::{FileDevice, FormatOptions, Protector, Result, SectorSize, Volume};
use atrest_uring::{Queue, Sectors, UringDevice};

const SIZE: u64 = 1 << 30;
/// The offset of the volume's data, in bytes.
const DATA: u64 = 16 << 20;

/// The same sectors, in the clear.
struct Plain;

impl Sectors for Plain {
    type Write = ();

    fn begin_read(&self, offset: u64, _: usize) -> Result<u64> {
        Ok(DATA + offset)
    }

    fn complete_read(&self, _: u64, _: &mut [u8]) -> Result<()> {
        Ok(())
    }

    fn begin_write(&self, offset: u64, _: &mut [u8]) -> Result<(u64, ())> {
        Ok((DATA + offset, ()))
    }
}

#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    fio: &'static str,
    depth: usize,
    len: usize,
    is_write: bool,
    is_random: bool,
}

const LOADS: [Load; 6] = [
    Load {
        name: "4 KiB read, random, depth 1",
        fio: "randread",
        depth: 1,
        len: 4096,
        is_write: false,
        is_random: true,
    },
    Load {
        name: "4 KiB read, random, depth 32",
        fio: "randread",
        depth: 32,
        len: 4096,
        is_write: false,
        is_random: true,
    },
    Load {
        name: "4 KiB write, random, depth 1",
        fio: "randwrite",
        depth: 1,
        len: 4096,
        is_write: true,
        is_random: true,
    },
    Load {
        name: "4 KiB write, random, depth 32",
        fio: "randwrite",
        depth: 32,
        len: 4096,
        is_write: true,
        is_random: true,
    },
    Load {
        name: "1 MiB read, in order, depth 8",
        fio: "read",
        depth: 8,
        len: 1 << 20,
        is_write: false,
        is_random: false,
    },
    Load {
        name: "1 MiB write, in order, depth 8",
        fio: "write",
        depth: 8,
        len: 1 << 20,
        is_write: true,
        is_random: false,
    },
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let number = |n: usize, default| args.get(n).map_or(default, |arg| arg.parse().expect("ROUNDS SECONDS FOLDER"));
    let (rounds, time) = (number(0, 5), Duration::from_secs(number(1, 2)));
    let folder = args.get(2).map_or(env!("CARGO_TARGET_TMPDIR"), String::as_str);
    let folder = tempfile::tempdir_in(folder).unwrap();
    let path = folder.path().join("disk");
    let device = FileDevice::create(&path, SIZE + DATA).unwrap().direct_io().expect("a file system with O_DIRECT");
    let cheap = KeyslotOptions::new().kdf(Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 });
    let options = FormatOptions::new().sector_size(SectorSize::B4096).data_offset(DATA).keyslot(cheap);
    let volume = Volume::format(UringDevice::new(device), Protector::Passphrase(b"secret"), &options).unwrap();
    let piece = vec![7; 8 << 20];
    (0..SIZE / (8 << 20)).for_each(|n| volume.write_at(n * (8 << 20), &piece).unwrap());
    volume.sync().unwrap();
    println!("{rounds} rounds of {} s each, {}; medians", time.as_secs(), path.display());
    println!("{:<32} {:>10} {:>8} {:>8} {:>12}", "", "fio, MiB/s", "plain", "volume", "CPU s/GiB");
    for load in LOADS {
        let (mut fio, mut plain, mut ours, mut cpu) = (vec![], vec![], vec![], vec![]);
        for _ in 0..rounds {
            let Some(of_fio) = by_fio(&path, load, time) else { return println!("fio is missing") };
            let before = cpu_time();
            let of_volume = by_queue(&volume, volume.device().file(), load, time);
            cpu.push((cpu_time() - before) / (of_volume * time.as_secs_f64() / 1024.0));
            plain.push(by_queue(&Plain, volume.device().file(), load, time) / of_fio);
            ours.push(of_volume / of_fio);
            fio.push(of_fio);
        }
        let [fio, plain, ours, cpu] = [fio, plain, ours, cpu].map(median);
        println!("{:<32} {fio:>10.0} {plain:>8.2} {ours:>8.2} {cpu:>12.2}", load.name);
    }
}

/// MiB a second.
fn by_queue<S: Sectors>(sectors: &S, file: &File, load: Load, time: Duration) -> f64 {
    let mut queue = Queue::new(sectors, file, load.depth, load.len).unwrap();
    let (mut state, mut next, mut count) = (0x9E37_79B9_7F4A_7C15_u64, 0, 0);
    let began = Instant::now();
    while began.elapsed() < time {
        while !queue.is_full() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            next = if load.is_random { state } else { next + 1 };
            let offset = next % (SIZE / load.len as u64) * load.len as u64;
            match load.is_write {
                true => queue.write(offset, load.len, 0, |sectors| sectors[0] = 1).unwrap(),
                false => queue.read(offset, load.len, 0).unwrap(),
            }
        }
        count += queue.wait(1, |done| assert!(done.result.is_ok())).unwrap();
    }
    count as f64 * load.len as f64 / began.elapsed().as_secs_f64() / f64::from(1 << 20)
}

/// MiB a second.
fn by_fio(path: &Path, load: Load, time: Duration) -> Option<f64> {
    let output = Command::new("fio")
        .args(["--name=peer", "--ioengine=io_uring", "--direct=1", "--time_based", "--minimal", "--norandommap"])
        .arg(format!("--filename={}", path.display()))
        .args([format!("--rw={}", load.fio), format!("--bs={}", load.len), format!("--iodepth={}", load.depth)])
        .args([format!("--runtime={}", time.as_secs()), format!("--offset={DATA}"), format!("--size={SIZE}")])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    // The bandwidth in KiB a second: field 7 of reads, field 48 of writes.
    let fields: Vec<&str> = text.trim().split(';').collect();
    let kib: f64 = fields.get(if load.is_write { 47 } else { 6 })?.parse().ok()?;
    Some(kib / 1024.0)
}

/// The seconds of processor that this process has used.
fn cpu_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // In hundredths, as Linux always tells them: user and system.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
