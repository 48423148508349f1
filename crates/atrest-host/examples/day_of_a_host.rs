//! A day of a host: a machine with an OS disk, a cached data disk and a temporary disk, a guest that boots if QEMU is
//! installed, a rotation, a key that is revoked and restored, and a search of the host's disks as a thief would make it.
//!
//! `cargo run -p atrest-host --example day_of_a_host`

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atrest::managed::{DiskFolder, DiskService, KnownVaults, NewDisk, NewSet, ServiceOptions};
use atrest::vault::{FileVault, KeyOperation, Unlock, VaultOptions, VersionChange};
use atrest::{ManualClock, Result as Done};
use atrest_host::cache::{CacheMode, CacheOptions};
use atrest_host::{Disk, Host, HostOptions, Nbd, NewTemporary, Serve, Served, VhostUser};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const MORNING: u64 = 1_700_000_000;
const REGION: &str = "north";
const COMPANY: &str = "contoso";
const MIB: u64 = 1 << 20;
const SECRET: &[u8; 32] = b"what only the machine may read\r\n";

const HELP: &str = "usage: day_of_a_host

Plays a day of a host in a temporary folder, and tells of it. It takes no arguments.";

fn main() -> ExitCode {
    if let Some(argument) = std::env::args_os().nth(1) {
        if argument == "--help" {
            // It is fine if nobody reads it.
            let _ = writeln!(io::stdout(), "{HELP}");
            return ExitCode::SUCCESS;
        }
        eprintln!("error: {} is no argument; see --help", argument.display());
        return ExitCode::from(2);
    }
    match day() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // The reader of the pipe closed it, as `head` does. It wants no more output.
            if e.downcast_ref::<io::Error>().is_none_or(|e| e.kind() != ErrorKind::BrokenPipe) {
                eprintln!("error: {e:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn day() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    // A clock set by hand, so that an hour takes no time.
    let clock = Arc::new(ManualClock::new(MORNING));

    step("08:00", "The platform has a vault, and so has Contoso; a set is under Contoso's key")?;
    let platform = make_vault(folder.path(), "platform", &clock)?;
    platform.create_key("floor")?;
    let contoso = make_vault(folder.path(), "contoso", &clock)?;
    let first = contoso.create_key("disks")?;
    let vaults = KnownVaults::new();
    vaults.add_file(contoso.clone())?;
    // This folder stands for the storage, which may as well be far away.
    fs::create_dir(path("storage"))?;
    let storage = Arc::new(DiskFolder::new(path("storage")));
    let options = ServiceOptions::new(storage, Arc::new(vaults), Arc::new(platform.clone()), "floor");
    let service = Arc::new(DiskService::open(path("fleet.redb"), options.clock(clock.clone()))?);
    let set = NewSet::new("contoso", first.clone()).region(REGION).subscription(COMPANY).tenant(COMPANY);
    let set = service.create_set(&set)?;
    contoso.grant(&set.identity, &[KeyOperation::Get, KeyOperation::WrapKey, KeyOperation::UnwrapKey])?;

    step("08:10", "An OS disk and a data disk, and on the OS disk a system")?;
    for name in ["os", "data"] {
        let disk = NewDisk::new(name, 8 * MIB).region(REGION).subscription(COMPANY).sector_size(512);
        service.create_disk(&disk.encryption_set("contoso"))?;
    }
    service.open_disk("os")?.write_at(0, &boot_sector())?;

    step("08:20", "The host attaches them to a machine, and makes a temporary disk")?;
    let host =
        Host::new(service.clone(), HostOptions::new(path("host"), Arc::new(platform), "floor").maintenance(None))?;
    host.attach("vm1", "os", &VhostUser::new(path("os.sock")))?;
    let data = Seen::new(Nbd::unix(path("data.sock")));
    host.attach_cached("vm1", "data", &CacheOptions::new(CacheMode::WriteBack, 16 * MIB), &data)?;
    let scratch = Seen::new(Nbd::unix(path("scratch.sock")));
    host.attach_temporary("vm1", &NewTemporary::new("scratch", 4 * MIB), &scratch)?;
    for attachment in host.attachments() {
        let kind = if attachment.temporary { "temporary" } else { "persisted" };
        say(&format!("{}: {} ({kind})", attachment.machine, attachment.disk))?;
    }

    step("09:00", "The machine starts from its OS disk, and writes to it")?;
    match boot(&path("os.sock"))? {
        Some(console) => {
            say(&format!("its console: {}", console.trim_end()))?;
            let mut written = [0; 512];
            service.open_disk("os")?.read_at(512, &mut written)?;
            assert_eq!(written, boot_sector(), "it has copied its first sector to the second");
            say("its second sector is what it wrote")?;
        }
        None => say("QEMU is not installed here, so nobody starts")?,
    }
    for disk in [data.disk(), scratch.disk()] {
        let mut sectors = SECRET.repeat(128);
        disk.write_at(0, &mut sectors)?;
        disk.flush()?;
    }

    step("10:00", "Contoso rotates its key; no machine notices")?;
    let second = contoso.rotate_key("disks")?;
    say(&format!("{} wrapped anew", service.rotate_set("contoso", &|_| {})?.rewrapped))?;
    contoso.set_version(&first, VersionChange::new().enabled(false))?;
    assert!(holds_secret(&data)?);

    step("12:00", "Contoso disables the key: the machine's requests fail")?;
    contoso.set_version(&second, VersionChange::new().enabled(false))?;
    clock.advance(Duration::from_secs(3600));
    service.maintain();
    let refused = holds_secret(&data).expect_err("it has no key");
    say(&format!("data: {refused}"))?;
    assert!(holds_secret(&scratch)?);
    say("scratch is under a key of its own, and goes on")?;

    step("13:00", "And enables it again: the machine goes on")?;
    contoso.set_version(&second, VersionChange::new().enabled(true))?;
    clock.advance(Duration::from_secs(60));
    assert!(holds_secret(&data)?);

    step("17:00", "Somebody takes the host's disks away, and those of the storage")?;
    for name in ["host", "storage"] {
        let (files, found) = search(&path(name))?;
        assert_eq!(found, 0);
        say(&format!("{name}: {files} files, and in none of them what the machine wrote"))?;
    }

    step("18:00", "The machine stops")?;
    drop((data, scratch));
    host.stop("vm1")?;
    let (files, _) = search(&path("host/temporary"))?;
    assert_eq!((files, host.attachments().len()), (0, 0));
    say("its temporary disk and its cache are gone, and all that it wrote is on its disks")?;
    let mut sectors = [0; 512];
    service.open_disk("data")?.read_at(0, &mut sectors)?;
    assert!(sectors.starts_with(SECRET));
    Ok(())
}

/// A way to serve that keeps hold of the disk: in this example we are the machine, too.
struct Seen {
    how: Nbd,
    disk: Mutex<Option<Arc<dyn Disk>>>,
}

impl Seen {
    fn new(how: Nbd) -> Self {
        Seen { how, disk: Mutex::default() }
    }

    fn disk(&self) -> Arc<dyn Disk> {
        self.disk.lock().expect("nobody panics with it").clone().expect("it is attached")
    }
}

impl Serve for Seen {
    fn serve(&self, disk: Arc<dyn Disk>, id: &str) -> Done<Served> {
        *self.disk.lock().expect("nobody panics with it") = Some(disk.clone());
        self.how.serve(disk, id)
    }
}

fn holds_secret(of: &Seen) -> Result<bool> {
    let mut sectors = [0; 512];
    of.disk().read_at(0, &mut sectors)?;
    Ok(sectors.starts_with(SECRET))
}

/// The first sector of a system for a PC. It prints the text behind it to the serial port, copies itself to the second sector
/// by the firmware's own calls, and ends the machine.
fn boot_sector() -> [u8; 512] {
    const CODE: [u8; 62] = [
        0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, // ax, ds, ss = 0; sp = 0x7c00
        0xbe, 0x3e, 0x7c, // si = the text
        0xac, 0x84, 0xc0, 0x74, 0x06, // al = the next byte, or on at its end
        0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf5, // to the serial port 0x3f8, and the next
        0xb8, 0x00, 0x43, 0xb2, 0x80, 0xbe, 0x2e, 0x7c, 0xcd,
        0x13, // int 0x13: write to the first disk, by the packet below
        0xb0, 0x10, 0x73, 0x02, 0xb0, 0x11, // al = 0x10, or 0x11 if that failed
        0xba, 0xf4, 0x00, 0xee, // to the port 0xf4: the end
        0xf4, 0xeb, 0xfd, // halt
        0x10, 0x00, 0x01, 0x00, 0x00, 0x7c, 0x00, 0x00, 1, 0, 0, 0, 0, 0, 0,
        0, // one sector from 0x7c00 to sector 1
    ];
    let mut sector = [0; 512];
    sector[..CODE.len()].copy_from_slice(&CODE);
    sector[CODE.len()..][..SECRET.len()].copy_from_slice(SECRET);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// Boots from a disk that is served as vhost-user-blk. Returns the machine's output; `None` without QEMU.
fn boot(socket: &Path) -> Result<Option<String>> {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-M", "q35,memory-backend=memory", "-accel", "tcg", "-m", "64", "-nodefaults", "-no-user-config"]);
    qemu.args(["-object", "memory-backend-memfd,id=memory,size=64M,share=on", "-display", "none", "-serial", "stdio"]);
    qemu.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-device", "vhost-user-blk-pci,chardev=os"]);
    qemu.arg("-chardev").arg(format!("socket,id=os,path={}", socket.display()));
    match qemu.stdin(Stdio::null()).stderr(Stdio::inherit()).output() {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        // The status of a machine that writes 0x10 to the port of its end.
        Ok(output) if output.status.code() == Some(0x21) => {
            Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
        }
        Ok(output) => Err(format!("the machine did not come to its end: {}", output.status).into()),
        Err(e) => Err(e.into()),
    }
}

/// The number of files, and the number of those that contain the machine's data.
fn search(folder: &Path) -> io::Result<(usize, usize)> {
    let (mut files, mut found) = (0, 0);
    let mut next: Vec<PathBuf> = vec![folder.into()];
    while let Some(path) = next.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(path)? {
                next.push(entry?.path());
            }
        } else if path.is_file() {
            files += 1;
            found += usize::from(fs::read(path)?.windows(SECRET.len()).any(|window| window == SECRET));
        }
    }
    Ok((files, found))
}

fn make_vault(folder: &Path, name: &str, clock: &Arc<ManualClock>) -> Result<FileVault> {
    let root = folder.join(format!("{name}.root"));
    FileVault::generate_key_file(&root)?;
    let options = VaultOptions::new().id(name).region(REGION).tenant(COMPANY).purge_protection(true);
    let vault = FileVault::create_with(folder.join(format!("{name}.vault")), Unlock::KeyFile(&root), &options)?;
    Ok(vault.with_clock(clock.clone()))
}

fn step(time: &str, what: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{time}  {what}")
}

fn say(what: &str) -> io::Result<()> {
    writeln!(io::stdout(), "       {what}")
}
