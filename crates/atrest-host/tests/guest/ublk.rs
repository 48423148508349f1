//! A volume as a block device of the machine itself, by ublk. Debian's kernel 6.12 has it.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use atrest::key::{HashAlgorithm, Kdf};
use atrest::volume::KeyslotOptions;
use atrest::{Credential, FileDevice, FormatOptions, OpenOptions, Protector, SectorSize, Volume};
use atrest_host::{Serve, Ublk};

use crate::MIB;
use crate::peers::{run, text};

const PASSPHRASE: &[u8] = b"of the guest";

/// A program of this machine, in a guest's folder, with its libraries.
fn with_libraries(folder: &Path, program: &Path, name: &str) {
    let script = "install -D -s -m 755 $1 $0/bin/$2\nfor path in $(ldd $1 | grep -o '/[^ ]*'); do install -D -m 755 $path $0/$path; done";
    run("sh", &["-euc", script, text(folder), text(program), name]);
}

/// Not a test: what serves the disk in the guest, until its standard input ends.
#[test]
#[ignore = "it is a part of another test"]
fn server_process() {
    let Some(disk) = std::env::var_os("ATREST_UBLK_DISK") else { return };
    let options = OpenOptions::new().discard(true);
    let device = FileDevice::open(disk).unwrap();
    let volume = Volume::open(device, Credential::Passphrase(PASSPHRASE), &options).unwrap();
    let served = Ublk::new().queues(2).serve(Arc::new(volume), "ublk").unwrap();
    println!("\n{}", served.device().unwrap().display());
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
    served.stop();
}

/// The guest mounts it, reads what was there, writes, discards and zeroes. The volume holds afterwards what the guest saw.
#[test]
#[ignore = "boots a kernel in an emulator: see tests/guest/README.md"]
fn a_machine_has_a_volume_as_its_block_device() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("files");
    fs::create_dir(&files).unwrap();
    let large: Vec<u8> = (0..2_000_000u32).map(|i| (i.wrapping_mul(0x9E37_79B9) >> 24) as u8).collect();
    fs::write(files.join("large"), &large).unwrap();
    run("sh", &["-c", "cd $0 && sha256sum large > SUMS", text(&files)]);
    let plain = folder.path().join("plain");
    fs::File::create(&plain).unwrap().set_len(8 * MIB).unwrap();
    run("mkfs.ext4", &["-q", "-b", "4096", "-d", text(&files), text(&plain)]);
    let image = folder.path().join("disk.img");
    let device = FileDevice::create(&image, 24 * MIB).unwrap();
    let options = FormatOptions::new().data_offset(16 * MIB).sector_size(SectorSize::B4096);
    // Cheap options for an emulated machine.
    let options =
        options.keyslot(KeyslotOptions::new().kdf(Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 }));
    let volume = Volume::format(device, Protector::Passphrase(PASSPHRASE), &options).unwrap();
    volume.write_at(0, &fs::read(&plain).unwrap()).unwrap();
    drop(volume);

    let guest = folder.path().join("guest");
    with_libraries(&guest, &std::env::current_exe().unwrap(), "tests");
    let output = Command::new(here.join("../../tests/guest/run"))
        .arg(here.join("tests/guest/ublk.sh"))
        .arg(&image)
        .env("ATREST_GUEST_FILES", &guest)
        .env("ATREST_GUEST_KERNEL", "6.12")
        .output()
        .unwrap();
    let console = String::from_utf8_lossy(&output.stdout);
    println!("{console}");
    assert!(output.status.success(), "{console}");

    let credential = Credential::Passphrase(PASSPHRASE);
    let volume = Volume::open(FileDevice::open(&image).unwrap(), credential, &OpenOptions::new()).unwrap();
    let mut now = vec![0; volume.size() as usize];
    volume.read_at(0, &mut now).unwrap();
    fs::write(&plain, now).unwrap();
    let sum = run("sha256sum", &[text(&plain)]);
    let told = console.lines().find_map(|line| line.trim_end().strip_prefix("sha256 "));
    assert_eq!(told, sum.split(' ').next());
    run("e2fsck", &["-fn", text(&plain)]);
    run("debugfs", &["-R", &format!("dump written {}", text(&folder.path().join("written"))), text(&plain)]);
    assert!(fs::read(folder.path().join("written")).unwrap() == large[..1 << 20]);
}
