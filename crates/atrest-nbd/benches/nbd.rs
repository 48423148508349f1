//! The cost of encryption on an NBD server: a volume on a device beside the device alone, and beside tools of libnbd and QEMU.
//!
//! `cargo bench -p atrest-nbd`. The server is `nbdkit file` on a file in the page cache. Ratios are to the device alone. What
//! isn't installed is left out, and said.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use atrest::key::{HashAlgorithm, Kdf};
use atrest::volume::KeyslotOptions;
use atrest::{BlockDevice, FormatOptions, Protector, SectorSize, Volume};
use atrest_nbd::NbdDevice;

const SIZE: u64 = 256 << 20;
const HEADER: u64 = 16 << 20;

/// How often each is measured. The best counts: other work on the machine only ever slows one down.
const ROUNDS: usize = 7;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

trait Disk: Sync {
    fn read(&self, offset: u64, bytes: &mut [u8]);
    fn write(&self, offset: u64, bytes: &mut [u8]);
}

struct Plain(NbdDevice);

impl Disk for Plain {
    fn read(&self, offset: u64, bytes: &mut [u8]) {
        self.0.read_at(offset, bytes).unwrap();
    }

    fn write(&self, offset: u64, bytes: &mut [u8]) {
        self.0.write_at(offset, bytes).unwrap();
    }
}

impl Disk for Volume<NbdDevice> {
    fn read(&self, offset: u64, bytes: &mut [u8]) {
        self.read_at(offset, bytes).unwrap();
    }

    fn write(&self, offset: u64, bytes: &mut [u8]) {
        self.write_in_place(offset, bytes).unwrap();
    }
}

#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    write: bool,
    len: usize,
    threads: u64,
}

const LOADS: [Load; 6] = [
    Load { name: "read 4 KiB at random, depth 1", write: false, len: 4096, threads: 1 },
    Load { name: "write 4 KiB at random, depth 1", write: true, len: 4096, threads: 1 },
    Load { name: "read 4 KiB at random, 32 threads", write: false, len: 4096, threads: 32 },
    Load { name: "write 4 KiB at random, 32 threads", write: true, len: 4096, threads: 32 },
    Load { name: "read 1 MiB in order", write: false, len: 1 << 20, threads: 1 },
    Load { name: "write 1 MiB in order", write: true, len: 1 << 20, threads: 1 },
];

impl Load {
    /// Bytes per second.
    fn run(&self, disk: &dyn Disk, limit: Duration) -> f64 {
        let bytes = AtomicU64::new(0);
        let began = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..self.threads {
                let bytes = &bytes;
                scope.spawn(move || {
                    let mut buffer = vec![7; self.len];
                    let (mut noise, mut at) = (thread * 2 + 1, 0);
                    while began.elapsed() < limit {
                        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        let blocks = SIZE / self.len as u64;
                        at = if self.threads == 1 && self.len > 4096 {
                            (at + 1) % blocks
                        } else {
                            (noise >> 20) % blocks
                        };
                        match self.write {
                            true => disk.write(at * self.len as u64, &mut buffer),
                            false => disk.read(at * self.len as u64, &mut buffer),
                        }
                        bytes.fetch_add(self.len as u64, Ordering::Relaxed);
                    }
                });
            }
        });
        bytes.into_inner() as f64 / began.elapsed().as_secs_f64()
    }
}

fn nbdkit(socket: &Path, file: &Path) -> Option<Server> {
    std::fs::File::create(file).unwrap().set_len(HEADER + SIZE).unwrap();
    let mut command = Command::new("nbdkit");
    command.args(["-f", "-U"]).arg(socket).arg("file").arg(file).stdout(Stdio::null());
    let server = Server(command.spawn().ok()?);
    let began = Instant::now();
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "nbdkit doesn't listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    Some(server)
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let uri = |name: &str| format!("nbd+unix:///?socket={}", path(name).display());
    let (Some(_one), Some(_other)) = (nbdkit(&path("p"), &path("plain")), nbdkit(&path("v"), &path("volume"))) else {
        println!("nbdkit is not installed: nothing is measured");
        return;
    };
    let plain = Plain(NbdDevice::connect(&uri("p")).unwrap());
    let fast = Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 };
    let options = FormatOptions::new().keyslot(KeyslotOptions::new().kdf(fast)).data_offset(HEADER);
    let device = NbdDevice::connect(&uri("v")).unwrap();
    let protector = Protector::Passphrase(b"pw");
    let volume = Volume::format(device, protector, &options.sector_size(SectorSize::B4096)).unwrap();
    // Both files are whole, and in the page cache.
    for at in (0..SIZE).step_by(1 << 20) {
        plain.write(at, &mut vec![7; 1 << 20]);
        volume.write(at, &mut vec![7; 1 << 20]);
    }
    for load in LOADS {
        let (mut of_plain, mut of_volume) = (0f64, 0f64);
        for _ in 0..ROUNDS {
            of_plain = of_plain.max(load.run(&plain, Duration::from_millis(300)));
            of_volume = of_volume.max(load.run(&volume, Duration::from_millis(300)));
        }
        let say = |speed: f64| match load.len {
            4096 => format!("{:8.1} thousand/s", speed / 4096e3),
            _ => format!("{:8.2} GiB/s     ", speed / f64::from(1 << 30)),
        };
        let ratio = of_volume / of_plain;
        println!("{:34} device {}  volume {}  ratio {ratio:.2}", load.name, say(of_plain), say(of_volume));
    }
    tools(&uri("p"));
}

/// The same server by others.
fn tools(uri: &str) {
    let bench = |depth: &'static str, write: bool| {
        let mut arguments = vec!["bench", "-f", "raw", "-s", "4096", "-S", "1052672", "-c", "40000", "-d", depth];
        arguments.extend(write.then_some("-w"));
        arguments.push(uri);
        ("qemu-img", arguments, 40_000u64 * 4096)
    };
    for (name, (program, arguments, bytes)) in [
        ("read 4 KiB, depth 1", bench("1", false)),
        ("write 4 KiB, depth 1", bench("1", true)),
        ("read 4 KiB, depth 32", bench("32", false)),
        ("write 4 KiB, depth 32", bench("32", true)),
        (
            "read all, depth 1",
            ("nbdcopy", vec!["--requests=1", "--connections=1", "--request-size=1048576", uri, "null:"], HEADER + SIZE),
        ),
        ("read all, its own way", ("nbdcopy", vec![uri, "null:"], HEADER + SIZE)),
    ] {
        let seconds = (0..3).filter_map(|_| {
            let began = Instant::now();
            let mut command = Command::new(program);
            let done = command.args(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
            done.is_ok_and(|status| status.success()).then(|| began.elapsed().as_secs_f64())
        });
        match seconds.min_by(f64::total_cmp) {
            None => println!("{program} is not installed: {name} is left out"),
            Some(seconds) if bytes == 40_000 * 4096 => println!("{program}, {name}: {:.1} thousand/s", 40.0 / seconds),
            Some(seconds) => println!("{program}, {name}: {:.2} GiB/s", bytes as f64 / f64::from(1 << 30) / seconds),
        }
    }
}
