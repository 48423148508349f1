//! The kernel's dm-crypt under volumes of ours that the plugin opened, in a guest: see tests/guest/README.md at the top.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use atrest::vault::{FileVault, Unlock, VersionChange};
use atrest::{Credential, FileDevice, FormatOptions, OpenOptions, Protector, Volume};

const DATA_OFFSET: u64 = 16 << 20;
const SIZE: u64 = 8 << 20;
/// The folder in which libcryptsetup looks for plugins.
const PLUGINS: &str = "lib/x86_64-linux-gnu/cryptsetup";

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let told = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&told));
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

struct World {
    folder: tempfile::TempDir,
    vault: FileVault,
}

impl World {
    /// A vault as the guest has it, and the configuration that names it there.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let etc = folder.path().join("etc/atrest");
        fs::create_dir_all(&etc).unwrap();
        FileVault::generate_key_file(etc.join("disks.key")).unwrap();
        let vault = FileVault::create(etc.join("disks.vault"), Unlock::KeyFile(&etc.join("disks.key"))).unwrap();
        vault.create_key("disks").unwrap();
        fs::write(etc.join("token.conf"), "file:/etc/atrest/disks.vault?key-file=/etc/atrest/disks.key\n").unwrap();
        World { folder, vault }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn plugin(&self, folder: &Path) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("build-plugin");
        run(Command::new(script).arg(folder).env("ATREST_PLUGIN_PROFILE", "debug"));
    }

    /// A volume of this name with a file system of these files, and a keyslot for its token. `key` wraps its DEK.
    fn disk(&self, name: &str, key: &str, files: &Path) -> PathBuf {
        let (path, plain) = (self.path(name).with_extension("img"), self.path(name).with_extension("plain"));
        File::create(&plain).unwrap().set_len(SIZE).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-b", "4096", "-d"]).args([files, &plain]));
        let device = FileDevice::create(&path, DATA_OFFSET + SIZE).unwrap();
        let options = FormatOptions::new().data_offset(DATA_OFFSET);
        let volume = Volume::format(device, Protector::Vault(&self.vault, key), &options).unwrap();
        volume.write_at(0, &fs::read(plain).unwrap()).unwrap();
        volume.bind_tokens().unwrap();
        path
    }

    fn open(&self, path: &Path) -> Volume<FileDevice> {
        Volume::open(FileDevice::open(path).unwrap(), Credential::Vault(&self.vault), &OpenOptions::new()).unwrap()
    }

    /// The sum of a whole volume, as we read it.
    fn sum(&self, path: &Path) -> String {
        let volume = self.open(path);
        let mut bytes = vec![0; volume.size() as usize];
        volume.read_at(0, &mut bytes).unwrap();
        let plain = self.path("sum.plain");
        fs::write(&plain, bytes).unwrap();
        let output = Command::new("sha256sum").arg(plain).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
    }
}

/// Files, and the file SUMS of their sums.
fn files(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let bytes: Vec<u8> = (0..1_000_000).map(|i: u32| (i.wrapping_mul(0x9E37_79B9) >> 24) as u8).collect();
    fs::write(folder.join("large"), bytes).unwrap();
    run(Command::new("sh").args(["-c", "sha256sum large > SUMS"]).current_dir(folder));
}

/// Puts a program of this machine into a folder, with its libraries.
fn with_libraries(folder: &Path, program: &str) {
    let script = "for path in $1 $(ldd $1 | grep -o '/[^ ]*'); do install -D -m 755 $path $0/$path; done";
    run(Command::new("sh").args(["-euc", script]).arg(folder).arg(program));
}

/// Boots the guest, and returns what its console says.
fn boot(command: &mut Command, script: &str, disks: &[&PathBuf]) -> String {
    command.arg(script).args(disks).stderr(Stdio::inherit());
    let output = command.output().unwrap();
    let console = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{console}");
    assert!(output.status.success(), "{}:\n{console}", output.status);
    console
}

fn guest() -> Command {
    Command::new(top().join("tests/guest/run"))
}

#[test]
#[ignore = "boots a kernel in an emulator: see tests/guest/README.md"]
fn cryptsetup_and_systemd_open_our_volumes_by_our_vault() {
    let world = World::new();
    let (guest_files, plain_files) = (world.path("guest"), world.path("files"));
    files(&plain_files);
    world.vault.create_key("disabled").unwrap();
    let bound = world.disk("bound", "disks", &plain_files);
    let systemd = world.disk("systemd", "disks", &plain_files);
    let disabled = world.disk("disabled", "disabled", &plain_files);
    let kek = world.open(&disabled).keks().remove(0);
    world.vault.set_version(&kek, VersionChange::new().enabled(false)).unwrap();

    world.plugin(&guest_files.join(PLUGINS));
    run(Command::new("cp").arg("-r").arg(world.path("etc")).arg(&guest_files));
    if Path::new("/lib/systemd/systemd-cryptsetup").exists() {
        with_libraries(&guest_files, "/lib/systemd/systemd-cryptsetup");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest/token.sh");
    let console =
        boot(guest().env("ATREST_GUEST_FILES", &guest_files), script.to_str().unwrap(), &[&bound, &systemd, &disabled]);
    let sums = console.lines().filter_map(|line| line.trim_end().strip_prefix("sha256 ")?.split_once(' '));
    let sums: BTreeMap<&str, &str> = sums.collect();
    assert_eq!(sums.get("bound"), Some(&&*world.sum(&bound)));
    if guest_files.join("lib/systemd/systemd-cryptsetup").exists() {
        assert_eq!(sums.get("systemd"), Some(&&*world.sum(&systemd)));
    }
}

/// Boots a Debian with an initramfs of these tools from an encrypted root. Returns the console.
fn boot_from_root(by: &str) -> Option<String> {
    let world = World::new();
    let root = world.path("root");
    files(&root);
    for folder in ["bin", "dev", "etc", "proc", "run", "sbin", "sys", "tmp"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    fs::write(root.join("etc/os-release"), "ID=test\n").unwrap(); // what systemd takes for a system has one
    // The first program of the system on that root.
    let init = "#!/bin/busybox sh\n/bin/busybox grep ' / ' /proc/mounts\ncd / && /bin/busybox sha256sum -c SUMS\n\
                echo \"guest: status $?\"\n/bin/busybox sync\n/bin/busybox poweroff -f\n";
    fs::write(root.join("sbin/init"), init).unwrap();
    fs::set_permissions(root.join("sbin/init"), fs::Permissions::from_mode(0o755)).unwrap();
    let disk = world.disk("disk", "disks", &root);

    let given = world.path("given");
    world.plugin(&given.join("plugin"));
    run(Command::new("cp").arg("-r").arg(world.path("etc/atrest")).arg(given.join("etc")));
    fs::write(given.join("etc/initramfs-files"), "/etc/atrest/disks.vault\n/etc/atrest/disks.key\n").unwrap();
    let uuid = world.open(&disk).uuid();
    fs::write(given.join("crypttab"), format!("root UUID={uuid} none luks,initramfs\n")).unwrap();
    let initramfs = world.path("initramfs");
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest/image");
    let output = Command::new(image).arg(by).args([&given, &initramfs]).output().unwrap();
    if output.status.code() == Some(77) {
        eprintln!("SKIPPED: {}", String::from_utf8_lossy(&output.stdout));
        return None;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let mut command = guest();
    command.env("ATREST_GUEST_INITRAMFS", &initramfs);
    let told = format!("root=/dev/mapper/root ro rd.luks.name={uuid}=root");
    let console = boot(&mut command, &told, &[&disk]);
    assert!(console.contains("/dev/mapper/root / ext4"), "{console}");
    Some(console)
}

#[test]
#[ignore = "boots a kernel in an emulator: see tests/guest/README.md"]
fn a_debian_by_initramfs_tools_boots_from_a_root_that_its_vault_opens() {
    let Some(console) = boot_from_root("initramfs-tools") else { return };
    assert!(console.contains("root: opened by its vault"), "{console}");
}

#[test]
#[ignore = "boots a kernel in an emulator: see tests/guest/README.md"]
fn a_debian_by_dracut_boots_from_a_root_that_its_vault_opens() {
    boot_from_root("dracut");
}
