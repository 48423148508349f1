//! The cost of encryption on Ceph: plain librbd, a volume of ours, and librbd's own LUKS, side by side in one run.
//!
//! `cargo bench -p atrest-rbd` starts a cluster with an OSD in memory. Plain librbd and librbd's LUKS are loaded by a program in C
//! that keeps 32 operations of `rbd_aio_*` under way, or one; ours by as many threads of this process, and by one thread with a queue.
//! Ratios are to plain librbd, of rounds that take turns; the median counts.

#[path = "../../../tests/common/ceph.rs"]
mod ceph;
#[allow(dead_code)]
#[path = "../tests/rbd/cluster.rs"]
mod cluster;
#[path = "../../../tests/common/peers.rs"]
mod peers;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use atrest::key::{HashAlgorithm, Kdf};
use atrest::volume::KeyslotOptions;
use atrest::{BlockDevice, FormatOptions, Protector, SectorSize, Volume};
use atrest_rbd::{Queue, RbdDevice};

use cluster::Cluster;

/// The bytes that are read and written: 256 MiB.
const SIZE: u64 = 256 << 20;
/// The most operations that are under way at once.
const MOST: usize = 32;
const TIME: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 7;

#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    len: u64,
    write: bool,
    random: bool,
    depth: usize,
}

const LOADS: [Load; 6] = [
    Load { name: "4 KiB random write, 32", len: 4096, write: true, random: true, depth: 32 },
    Load { name: "4 KiB random read, 32", len: 4096, write: false, random: true, depth: 32 },
    Load { name: "1 MiB seq. write, 1", len: 1 << 20, write: true, random: false, depth: 1 },
    Load { name: "1 MiB seq. read, 1", len: 1 << 20, write: false, random: false, depth: 1 },
    Load { name: "1 MiB seq. write, 32", len: 1 << 20, write: true, random: false, depth: 32 },
    Load { name: "1 MiB seq. read, 32", len: 1 << 20, write: false, random: false, depth: 32 },
];

fn main() {
    let Some(cluster) = cluster::start("memstore") else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compiled(folder.path()) else { return };
    let plain = cluster.image((SIZE >> 20) + 16);
    let luks = cluster.image((SIZE >> 20) + 32);
    let passphrase = folder.path().join("passphrase");
    std::fs::write(&passphrase, "secret").unwrap();
    cluster.rbd(&["encryption", "format", &luks, "luks2", passphrase.to_str().unwrap()]);
    let ours = cluster.image((SIZE >> 20) + 16);
    let fast = Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 };
    let options = FormatOptions::new().sector_size(SectorSize::B4096).data_offset(16 << 20);
    let device = RbdDevice::open(&ours, &cluster.options()).unwrap();
    let device = &device;
    let options = options.keyslot(KeyslotOptions::new().kdf(fast));
    let volume = Volume::format(device, Protector::Passphrase(b"secret"), &options).unwrap();
    let raw = cluster.image((SIZE >> 20) + 16);
    let raw = RbdDevice::open(&raw, &cluster.options()).unwrap();

    let mut plain = Program::start(&program, &cluster, &plain, "plain");
    let mut luks = Program::start(&program, &cluster, &luks, "luks2");
    let fill = Load { name: "fill", len: 1 << 20, write: true, random: false, depth: MOST };
    plain.run(fill);
    luks.run(fill);
    run(&raw, fill);
    run(&volume, fill);
    println!("by wall clock, MiB/s and ratios to plain librbd; and what the client takes of a CPU, in seconds per GiB");
    println!("{:<24}{:>18}{:>18}{:>18}{:>18}{:>18}", "", "librbd", "librbd's LUKS2", "RbdDevice", "Volume", "Queue");
    for load in LOADS {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let by_queue = || measured(std::process::id(), || run_queue(&volume, load));
            rounds.push([
                plain.measure(load),
                luks.measure(load),
                measure(&raw, load),
                measure(&volume, load),
                by_queue(),
            ]);
        }
        let ratio = |n: usize| median(rounds.iter().map(|round| round[n].rate / round[0].rate));
        let cpu = |n: usize| median(rounds.iter().map(|round| round[n].cpu));
        let base = format!("{:.1} {:.2} s", median(rounds.iter().map(|round| round[0].rate)), cpu(0));
        let [luks, raw, volume, queue] = [1, 2, 3, 4].map(|n| format!("{:.2} {:.2} s", ratio(n), cpu(n)));
        println!("{:<24}{base:>18}{luks:>18}{raw:>18}{volume:>18}{queue:>18}", load.name);
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// MiB/s, and seconds of a CPU for each GiB.
struct Measured {
    rate: f64,
    cpu: f64,
}

/// The CPU time that a process has used, in seconds.
fn cpu(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Measures a load by a process, which returns MiB/s.
fn measured(process: u32, run: impl FnOnce() -> f64) -> Measured {
    let (before, begun) = (cpu(process), Instant::now());
    let rate = run();
    let gib = rate * begun.elapsed().as_secs_f64() / 1024.0;
    Measured { rate, cpu: (cpu(process) - before) / gib }
}

fn measure(device: &dyn BlockDevice, load: Load) -> Measured {
    measured(std::process::id(), || run(device, load))
}

/// Loads a device from as many threads as operations are to be under way, and returns MiB/s.
fn run(device: &dyn BlockDevice, load: Load) -> f64 {
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..load.depth {
            scope.spawn(|| {
                let mut buffer = vec![0x5a; load.len as usize];
                while begun.elapsed() < TIME {
                    let offset = place(load, next.fetch_add(1, Ordering::Relaxed));
                    if load.write {
                        device.write_at(offset, &buffer).unwrap();
                    } else {
                        device.read_at(offset, &mut buffer).unwrap();
                    }
                    done.fetch_add(load.len, Ordering::Relaxed);
                }
            });
        }
    });
    done.into_inner() as f64 / begun.elapsed().as_secs_f64() / f64::from(1 << 20)
}

/// Loads a volume by one thread with a queue, and returns MiB/s.
fn run_queue(volume: &Volume<&RbdDevice>, load: Load) -> f64 {
    let len = load.len as usize;
    let mut queue = Queue::new(volume, volume.device(), load.depth, len).unwrap();
    let (begun, mut next, mut done) = (Instant::now(), 0, 0);
    while begun.elapsed() < TIME {
        while !queue.is_full() {
            let offset = place(load, next);
            match load.write {
                true => queue.write(offset, len, 0, |_| {}).unwrap(),
                false => queue.read(offset, len, 0).unwrap(),
            }
            next += 1;
        }
        done += queue.wait(if load.random { 4 } else { 1 }, |done| assert!(done.result.is_ok()));
    }
    (done as u64 * load.len) as f64 / begun.elapsed().as_secs_f64() / f64::from(1 << 20)
}

/// The offset of operation `n`, as in the program in C.
fn place(load: Load, n: u64) -> u64 {
    let n = if load.random { n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20 } else { n };
    n % (SIZE / load.len) * load.len
}

/// The program in C, with its image open.
struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Program {
    fn start(program: &Path, cluster: &Cluster, image: &str, kind: &str) -> Self {
        let mut command = Command::new(program);
        command.arg(cluster.config()).args([image.strip_prefix("rbd/").unwrap(), kind]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Program { child, input, output }
    }

    fn measure(&mut self, load: Load) -> Measured {
        measured(self.child.id(), || self.run(load))
    }

    fn run(&mut self, load: Load) -> f64 {
        let Load { len, write, random, depth, .. } = load;
        let (write, random, time) = (u8::from(write), u8::from(random), TIME.as_millis());
        writeln!(self.input, "{len} {write} {random} {depth} {time} {SIZE}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().parse().unwrap_or_else(|_| panic!("the program in C ended"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn compiled(folder: &Path) -> Option<std::path::PathBuf> {
    peers::peer("cc", &["--version"])?;
    let program = folder.join("load");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/load.c");
    let built = Command::new("cc").args(["-O2", "-o"]).arg(&program).args([source, "-lrbd", "-lrados"]).status();
    if built.is_ok_and(|status| status.success()) {
        return Some(program);
    }
    eprintln!("SKIPPED: load.c needs librbd-dev and librados-dev");
    None
}
