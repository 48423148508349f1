//! Guests with a stock kernel on disks of a host: tests/guest/README.md says what they need.
#![cfg(target_os = "linux")]

mod clear;
#[path = "../../../../tests/common/peers.rs"]
mod peers;
#[path = "../../../atrest-nbd/tests/nbd/proxy.rs"]
mod proxy;
#[path = "../../../atrest-nbd/tests/nbd/servers.rs"]
mod servers;
#[cfg(feature = "ublk")]
mod ublk;
#[path = "../common/world.rs"]
mod world;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use atrest::FileDevice;
use atrest_host::{HazmatPlain, Nbd, NewTemporary, Serve, VhostUser};
use rustix::process::{Pid, Signal, kill_process_group};

use world::{SET, World};

const MARKER: &str = "a text that nobody but the guest may read, 7c1e4f";
const FOLDER: &str = "ATREST_HOST_FOLDER";
const MIB: u64 = 1 << 20;

/// Longer than anything takes in an emulated machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process, with the lines that it prints.
struct Process {
    child: Child,
    lines: Receiver<String>,
    stdin: Option<ChildStdin>,
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).spawn().unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let line = String::from_utf8_lossy(line.unwrap_or_default().trim_end().as_bytes()).into_owned();
                println!("{line}");
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        Process { child, lines, stdin }
    }

    /// A guest that runs a script with disks.
    fn guest(script: &str, disks: &[String]) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new("bash");
        command.arg(here.join("../../tests/guest/run")).arg(here.join("tests/guest").join(script)).args(disks);
        Self::start(&mut command)
    }

    fn wait_for(&self, what: &str) {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("no line says {what:?}: {e}"));
            assert!(!line.starts_with("guest: status"), "the guest ended before it said {what:?}");
            if line.contains(what) {
                return;
            }
        }
    }

    /// Waits until a guest ends, and says whether its script succeeded.
    fn succeeds(mut self) -> bool {
        self.lines.iter().for_each(drop);
        self.child.wait().unwrap().success()
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// `kill -9`, of all that it started.
    fn kill(&mut self) {
        let group = Pid::from_child(&self.child);
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn vhost_user(socket: &Path) -> String {
    format!("vhost-user:{}", socket.display())
}

fn nbd(name: &str, socket: &Path) -> String {
    format!("{name}=nbd:{}", socket.display())
}

/// An image of a system that starts `start.sh`.
fn system(folder: &Path) -> PathBuf {
    let root = folder.join("system");
    for name in ["bin", "dev", "proc", "sys", "mnt", "tmp"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    let busybox = peers::run("sh", &["-c", "command -v busybox"]);
    fs::copy(busybox.trim(), root.join("bin/busybox")).unwrap();
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest/start.sh"), root.join("start")).unwrap();
    fs::write(root.join("marker"), MARKER).unwrap();
    let image = folder.join("system.img");
    fs::File::create(&image).unwrap().set_len(16 * MIB).unwrap();
    peers::run("mkfs.ext4", &["-q", "-b", "4096", "-d", peers::text(&root), peers::text(&image)]);
    fs::remove_dir_all(root).unwrap();
    image
}

/// How many files in a folder hold the marker.
fn plain_files(folder: &Path) -> usize {
    let found = fs::read_dir(folder).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let has = |bytes: &[u8]| bytes.windows(MARKER.len()).any(|window| window == MARKER.as_bytes());
        match path.metadata() {
            Ok(found) if found.is_dir() => plain_files(&path),
            Ok(found) if found.is_file() => usize::from(has(&fs::read(path).unwrap())),
            _ => 0,
        }
    });
    found.sum()
}

/// A guest starts from its OS disk, makes a file system on a data disk, writes, syncs, and is killed. It
/// comes back, and finds all; the host's files hold none of it. Without encryption they would.
#[test]
#[ignore = "boots a kernel in an emulator: see tests/guest/README.md"]
fn a_guest_is_killed_and_comes_back() {
    // Behaviours 53, 54, 57, 59
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    let image = system(folder.path());
    world.disk("os", 16 * MIB, 512);
    let os = world.host.service().open_disk("os").unwrap();
    os.write_at(0, &fs::read(&image).unwrap()).unwrap();
    os.sync().unwrap();
    drop(os);
    fs::remove_file(image).unwrap();
    world.disk("data", 24 * MIB, 4096);

    let sockets = ["os", "temp", "data", "control"].map(|name| world.socket(name));
    let [os, temp, data, control] = &sockets;
    let attach = || {
        world.host.attach("vm", "os", &VhostUser::new(os)).unwrap();
        world.host.attach("vm", "data", &Nbd::unix(data)).unwrap();
        world
            .host
            .attach_temporary("vm", &NewTemporary::new("temp", 8 * MIB).kept(true), &VhostUser::new(temp))
            .unwrap();
    };
    attach();
    let mut guest = Process::guest("boot.sh", &[vhost_user(os), vhost_user(temp), nbd("data", data)]);
    guest.wait_for("guest: synced");
    std::thread::sleep(Duration::from_millis(500));
    guest.kill();
    assert_eq!(plain_files(folder.path()), 0, "the host's disks hold what the guest wrote");

    world.host.stop("vm").unwrap();
    attach();
    let file = FileDevice::create(folder.path().join("control"), 8 * MIB).unwrap();
    let _control = VhostUser::new(control).serve(Arc::new(HazmatPlain(file)), "control").unwrap();
    let disks = [vhost_user(os), vhost_user(temp), vhost_user(control), nbd("data", data)];
    assert!(Process::guest("boot.sh", &disks).succeeds());
    assert_eq!(plain_files(folder.path()), 1, "the search finds what isn't encrypted");
}

/// Not a test: the process of a host, which the test below kills. It does what it is told on its standard input.
#[test]
#[ignore = "it is a part of another test"]
fn host_process() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let world = World::open(Path::new(&folder));
    world.host.attach("vm", "vhost", &VhostUser::new(world.socket("vhost"))).unwrap();
    world.host.attach("vm", "nbd", &Nbd::unix(world.socket("nbd"))).unwrap();
    println!("host: serves");
    let mut key = world.key.clone();
    for line in std::io::stdin().lines() {
        match line.unwrap().as_str() {
            "disable" => world.enable(&key, false),
            "enable" => world.enable(&key, true),
            "rotate" => {
                key = world.customer.rotate_key("disks").unwrap();
                world.host.service().rotate_set(SET, &|_| {}).unwrap();
            }
            "rekey" => {
                for disk in ["vhost", "nbd"] {
                    world.host.service().rekey_disk(disk).unwrap();
                    while !world.host.service().reencrypt_step(disk, MIB).unwrap().is_finished() {}
                }
            }
            "grow" => world.host.resize_disk("vhost", 32 * MIB).unwrap(),
            other => panic!("{other}"),
        }
        println!("host: did it");
    }
}

fn host_process_in(folder: &Path) -> Process {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let host =
        Process::start(command.args(["host_process", "--exact", "--ignored", "--nocapture"]).env(FOLDER, folder));
    host.wait_for("host: serves");
    host
}

/// A guest goes on while the process that serves its disks is killed, twice, while the key is rotated, and while both disks get
/// another DEK. It sees its disk grow. It gets errors while the key is disabled, and goes on when it is enabled again.
#[test]
#[ignore = "boots a kernel in an emulator: see tests/guest/README.md"]
fn a_guest_goes_on_under_a_host_that_is_killed() {
    // Behaviours 26, 36, 39, 83
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.disk("vhost", 24 * MIB, 4096);
    world.disk("nbd", 24 * MIB, 512);
    let sockets = ["vhost", "nbd"].map(|name| world.socket(name));
    drop(world);
    let mut host = host_process_in(folder.path());
    let guest = Process::guest("load.sh", &[vhost_user(&sockets[0]), nbd("nbd", &sockets[1])]);
    for round in ["guest: round 1", "guest: round 3"] {
        guest.wait_for(round);
        std::thread::sleep(Duration::from_millis(120));
        host.kill();
        std::thread::sleep(Duration::from_millis(300));
        host = host_process_in(folder.path());
    }
    // Unnoticed, while it works.
    for change in ["rotate", "rekey"] {
        host.say(change);
        host.wait_for("host: did it");
    }
    guest.wait_for("guest: all is there");
    host.say("grow");
    host.wait_for("host: did it");
    guest.wait_for("guest: vhost has grown");
    host.say("disable");
    guest.wait_for("guest: nbd fails");
    host.say("enable");
    guest.wait_for("guest: nbd goes on");
    assert!(guest.succeeds());
}
