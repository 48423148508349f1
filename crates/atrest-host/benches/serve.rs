//! The cost of serving an encrypted disk: this crate beside `qemu-storage-daemon`, `qemu-nbd` and `nbdkit`, in one run.
//!
//! `cargo bench -p atrest-host`. Each server is a process of its own, on the same file, which is in the page cache. vhost-user-blk
//! is loaded by a front end in this process, NBD by `nbdcopy` and `qemu-img bench`. Ratios are to the server that serves the
//! file as it is. What isn't installed is left out, and said. Servers are measured in turns, and the best round of each counts: other
//! work on the machine only ever slows one down.
//!
//! `cargo bench -p atrest-host --bench serve -- vhost '4 KiB' rounds=9` measures a part, in more rounds: what has all of the words.

#[path = "serve/load.rs"]
mod load;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use atrest::key::{HashAlgorithm, Kdf};
use atrest::volume::KeyslotOptions;
use atrest::{Credential, FileDevice, FormatOptions, OpenOptions, Protector, Volume};
use atrest_host::{Disk, HazmatPlain, Nbd, Serve, VhostUser};

use load::{Load, Pattern};

const SIZE: u64 = 512 << 20;
const SERVER: &str = "ATREST_BENCH_SERVER";

fn main() {
    if let Ok(arguments) = std::env::var(SERVER) {
        return serve(&arguments.split(' ').collect::<Vec<_>>());
    }
    let wanted = Wanted::parse();
    let folder = tempfile::tempdir().unwrap();
    let files = Files::make(folder.path());
    println!("vhost-user-blk, GiB/s by ratio, CPU seconds of the server per GiB");
    let mut servers = vec![
        ("qemu-storage-daemon, raw", qsd(&files, "vhost-user-blk", "raw")),
        ("qemu-storage-daemon, luks", qsd(&files, "vhost-user-blk", "luks")),
        ("atrest-host, plain", ours(&files, "vhost", "plain")),
        ("atrest-host, encrypted", ours(&files, "vhost", "volume")),
        ("the same without helpers", ours(&files, "alone", "volume")),
    ];
    vhost_user("vhost", &mut servers, &files.socket, &wanted);
    println!("vhost-user-blk past the page cache");
    let mut servers = vec![
        ("qemu-storage-daemon, raw", qsd(&files, "vhost-user-blk", "raw,cache.direct=on")),
        ("the same by io_uring", qsd(&files, "vhost-user-blk", "raw,cache.direct=on,aio=io_uring")),
        ("qemu-storage-daemon, luks", qsd(&files, "vhost-user-blk", "luks,cache.direct=on")),
        ("atrest-host, encrypted", ours(&files, "vhost", "direct")),
    ];
    if cfg!(feature = "uring") {
        servers.push(("the same by io_uring", ours(&files, "vhost", "uring")));
    } else {
        println!("    the feature `uring` is left out");
    }
    vhost_user("direct", &mut servers, &files.socket, &wanted);
    println!("NBD, by nbdcopy and qemu-img bench");
    let mut servers = vec![
        ("nbdkit file", nbdkit(&files, &[])),
        ("nbdkit luks", nbdkit(&files, &["--filter=luks"])),
        ("qemu-nbd raw", qemu_nbd(&files, "raw")),
        ("qemu-nbd luks", qemu_nbd(&files, "luks")),
        ("atrest-host, plain", ours(&files, "nbd", "plain")),
        ("atrest-host, encrypted", ours(&files, "nbd", "volume")),
    ];
    nbd(&mut servers, &files.socket, folder.path(), &wanted);
}

/// The measurements to make, and their number.
struct Wanted {
    words: Vec<String>,
    rounds: usize,
}

impl Wanted {
    fn parse() -> Self {
        let mut wanted = Wanted { words: Vec::new(), rounds: 3 };
        for word in std::env::args().skip(1).filter(|word| word != "--bench") {
            match word.strip_prefix("rounds=") {
                Some(rounds) => wanted.rounds = rounds.parse().unwrap(),
                None => wanted.words.push(word),
            }
        }
        wanted
    }

    fn has(&self, name: &str) -> bool {
        self.words.iter().all(|word| name.contains(word.as_str()))
    }
}

struct Files {
    plain: PathBuf,
    volume: PathBuf,
    luks1: PathBuf,
    passphrase: PathBuf,
    socket: PathBuf,
}

impl Files {
    fn make(folder: &Path) -> Self {
        let path = |name: &str| folder.join(name);
        let files = Files {
            plain: path("plain"),
            volume: path("volume"),
            luks1: path("luks1"),
            passphrase: path("passphrase"),
            socket: path("socket"),
        };
        fs::write(&files.passphrase, "pw").unwrap();
        // All are written in pieces of one size: ext4 takes longer to write into a large folio of the page cache than into a small one.
        let noise: Vec<u8> = (0..64 << 10).map(|i: u32| (i.wrapping_mul(0x9E37_79B9) >> 24) as u8).collect();
        let plain = HazmatPlain(FileDevice::create(&files.plain, SIZE).unwrap());
        let fast = Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 };
        for (path, version) in
            [(&files.volume, atrest::volume::LuksVersion::Luks2), (&files.luks1, atrest::volume::LuksVersion::Luks1)]
        {
            let options = FormatOptions::new().version(version).keyslot(KeyslotOptions::new().kdf(fast));
            let device = FileDevice::create(path, SIZE + (16 << 20)).unwrap();
            let volume = Volume::format(device, Protector::Passphrase(b"pw"), &options.data_offset(16 << 20)).unwrap();
            for at in (0..SIZE).step_by(noise.len()) {
                volume.write_at(at, &noise).unwrap();
            }
        }
        for at in (0..SIZE).step_by(noise.len()) {
            plain.write_at(at, &mut noise.clone()).unwrap();
        }
        files
    }
}

/// A server, which ends with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    fn start(command: &mut Command) -> Option<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok().map(Server)
    }

    fn wait_for(&self, socket: &Path) {
        let begun = Instant::now();
        while std::os::unix::net::UnixStream::connect(socket).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "no server at {}", socket.display());
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(100));
    }

    /// The CPU time that it has used, in seconds.
    fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    }
}

type Start<'a> = Box<dyn Fn() -> Option<Server> + 'a>;

fn ours<'a>(files: &'a Files, protocol: &'static str, what: &'static str) -> Start<'a> {
    Box::new(move || {
        let path = if what == "plain" { &files.plain } else { &files.volume };
        let arguments = format!("{protocol} {what} {} {}", path.display(), files.socket.display());
        Server::start(Command::new(std::env::current_exe().unwrap()).env(SERVER, arguments))
    })
}

/// This program as a server.
fn serve(arguments: &[&str]) {
    let [protocol, what, path, socket] = arguments else { panic!("{arguments:?}") };
    let device = FileDevice::open(path).unwrap();
    let disk: Arc<dyn Disk> = match *what {
        "plain" => Arc::new(HazmatPlain(device)),
        "volume" => Arc::new(open(device)),
        "direct" => Arc::new(open(device.direct_io().unwrap())),
        _ => by_io_uring(device.direct_io().unwrap()),
    };
    let _served = match *protocol {
        "alone" => VhostUser::new(socket).helpers(0).serve(disk, "disk").unwrap(),
        "vhost" => VhostUser::new(socket)
            .polling(Duration::from_micros(std::env::var("POLL").map_or(50, |v| v.parse().unwrap())))
            .serve(disk, "disk")
            .unwrap(),
        _ => Nbd::unix(socket).serve(disk, "").unwrap(),
    };
    loop {
        std::thread::park();
    }
}

fn open(device: FileDevice) -> Volume<FileDevice> {
    Volume::open(device, Credential::Passphrase(b"pw"), &OpenOptions::new()).unwrap()
}

#[cfg(feature = "uring")]
fn by_io_uring(device: FileDevice) -> Arc<dyn Disk> {
    let file = device.file().try_clone().unwrap();
    Arc::new(atrest_host::Uring::new(open(device), file))
}

#[cfg(not(feature = "uring"))]
fn by_io_uring(_: FileDevice) -> Arc<dyn Disk> {
    unreachable!("it was left out")
}

/// `form` is the kind of image, and options of the file below.
fn qsd<'a>(files: &'a Files, export: &'static str, form: &'static str) -> Start<'a> {
    Box::new(move || {
        let (form, options) = form.split_at(form.find(',').unwrap_or(form.len()));
        let path = if form == "raw" { &files.plain } else { &files.luks1 };
        let mut command = Command::new("qemu-storage-daemon");
        command.args(["--object", "secret,id=s,data=pw", "--object", "iothread,id=t", "--blockdev"]);
        command.arg(format!("driver=file,filename={},node-name=f{options}", path.display()));
        if form == "luks" {
            command.args(["--blockdev", "driver=luks,key-secret=s,file=f,node-name=l"]);
        }
        let node = if form == "raw" { "f" } else { "l" };
        let socket = files.socket.display();
        command.arg("--export");
        command.arg(format!("{export},id=e,node-name={node},addr.type=unix,addr.path={socket},writable=on,iothread=t"));
        Server::start(&mut command)
    })
}

fn nbdkit<'a>(files: &'a Files, filter: &'a [&'a str]) -> Start<'a> {
    Box::new(move || {
        let path = if filter.is_empty() { &files.plain } else { &files.luks1 };
        let mut command = Command::new("nbdkit");
        command.args(["-f", "-U"]).arg(&files.socket).args(filter).arg("file").arg(path);
        if !filter.is_empty() {
            command.arg(format!("passphrase=+{}", files.passphrase.display()));
        }
        Server::start(&mut command)
    })
}

fn qemu_nbd<'a>(files: &'a Files, form: &'static str) -> Start<'a> {
    Box::new(move || {
        let mut command = Command::new("qemu-nbd");
        command.args(["-t", "-e", "16", "--object", "secret,id=s,data=pw", "--image-opts", "-k"]).arg(&files.socket);
        command.arg(match form {
            "raw" => format!("driver=raw,file.driver=file,file.filename={}", files.plain.display()),
            _ => format!("driver=luks,key-secret=s,file.driver=file,file.filename={}", files.luks1.display()),
        });
        Server::start(&mut command)
    })
}

fn vhost_user(group: &str, servers: &mut [(&str, Start<'_>)], socket: &Path, wanted: &Wanted) {
    let patterns = [
        ("read 4 KiB, depth 1", Pattern { write: false, random: true, len: 4096, depth: 1 }),
        ("read 4 KiB, depth 32", Pattern { write: false, random: true, len: 4096, depth: 32 }),
        ("write 4 KiB, depth 1", Pattern { write: true, random: true, len: 4096, depth: 1 }),
        ("write 4 KiB, depth 32", Pattern { write: true, random: true, len: 4096, depth: 32 }),
        ("read 1 MiB in order", Pattern { write: false, random: false, len: 1 << 20, depth: 4 }),
        ("write 1 MiB in order", Pattern { write: true, random: false, len: 1 << 20, depth: 4 }),
    ];
    for (name, pattern) in patterns {
        if !wanted.has(&format!("{group} {name}")) {
            continue;
        }
        println!("  {name}");
        let best = in_turns(servers, socket, wanted.rounds, |process| {
            let mut load = Load::connect(socket, SIZE);
            load.run(&pattern, Duration::from_millis(200));
            let cpu = process.cpu();
            let (bytes, seconds) = load.run(&pattern, Duration::from_millis(700));
            let gib = bytes as f64 / f64::from(1 << 30);
            (seconds / gib, (process.cpu() - cpu) / gib)
        });
        let Some(first) = best[0] else { continue };
        for ((server, _), best) in servers.iter().zip(best) {
            let Some((pace, cpu)) = best else { continue };
            println!("    {server:28} {:6.3} GiB/s  {:5.2}  {cpu:6.3} s/GiB", 1.0 / pace, first.0 / pace);
        }
    }
}

/// Measures each server in turns, in a process of its own. Of each the round with the least seconds, and the CPU seconds of that;
/// `None` for one that isn't installed.
fn in_turns(
    servers: &mut [(&str, Start<'_>)],
    socket: &Path,
    rounds: usize,
    measure: impl Fn(&Server) -> (f64, f64),
) -> Vec<Option<(f64, f64)>> {
    let mut best: Vec<Option<(f64, f64)>> = vec![None; servers.len()];
    for round in 0..rounds {
        for ((server, start), best) in servers.iter_mut().zip(&mut best) {
            let Some(process) = start() else {
                if round == 0 {
                    println!("    {server:28} is not installed");
                }
                continue;
            };
            process.wait_for(socket);
            let measured = measure(&process);
            if best.is_none_or(|best| measured.0 < best.0) {
                *best = Some(measured);
            }
            drop(process);
            let _ = fs::remove_file(socket);
        }
    }
    best
}

fn nbd(servers: &mut [(&str, Start<'_>)], socket: &Path, folder: &Path, wanted: &Wanted) {
    let uri = format!("nbd+unix:///?socket={}", socket.display());
    let noise = folder.join("noise");
    let file = File::create(&noise).unwrap();
    let bytes: Vec<u8> = (0..1 << 20).map(|i: u32| (i.wrapping_mul(0x9E37_79B9) >> 23) as u8).collect();
    for at in (0..SIZE).step_by(bytes.len()) {
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, at).unwrap();
    }
    let noise = noise.to_str().unwrap();
    let random = |write: &'static str, depth: &'static str| {
        // Not in order: a step that has no common divisor with the size.
        let step = "1052672";
        ["qemu-img", "bench", "-f", "raw", "-s", "4096", "-S", step, "-c", "40000", "-d", depth, write, &uri]
            .map(String::from)
            .to_vec()
    };
    let loads = [
        ("nbdcopy from it", vec!["nbdcopy".into(), uri.clone(), "null:".into()]),
        ("nbdcopy to it", vec!["nbdcopy".into(), noise.into(), uri.clone()]),
        ("read 4 KiB, depth 1", random("-q", "1")),
        ("read 4 KiB, depth 32", random("-q", "32")),
        ("write 4 KiB, depth 32", random("-w", "32")),
    ];
    for (name, load) in loads {
        if !wanted.has(&format!("nbd {name}")) {
            continue;
        }
        let load: Vec<String> = load.into_iter().filter(|argument| argument != "-q").collect();
        println!("  {name}");
        let best = in_turns(servers, socket, wanted.rounds, |process| {
            let (cpu, begun) = (process.cpu(), Instant::now());
            let ended = Command::new(&load[0]).args(&load[1..]).stdout(Stdio::null()).status().unwrap();
            assert!(ended.success(), "{load:?}");
            (begun.elapsed().as_secs_f64(), process.cpu() - cpu)
        });
        let Some(first) = best[0] else { continue };
        for ((server, _), best) in servers.iter().zip(best) {
            let Some((seconds, cpu)) = best else { continue };
            println!("    {server:28} {seconds:6.3} s  {:5.2}  {cpu:6.3} s of CPU", first.0 / seconds);
        }
    }
}
