//! Volumes of librbd's own encryption, opened here, and ours, opened by librbd.

use atrest::volume::LuksVersion;
use atrest::{Credential, FormatOptions, OpenOptions, Protector, SectorSize, Volume};
use atrest_rbd::RbdDevice;

use crate::ceph::run;
use crate::cluster::{Cluster, cluster, python};
use crate::fast;

const MIB: u64 = 1 << 20;

/// Opens an image's encryption by librbd, and reads it or writes it: CONFIG IMAGE luks1|luks2 PASSPHRASE read|write OFFSET LENGTH|BYTE.
const LIBRBD: &str = "
import rados, rbd, sys
config, name, version, passphrase, what, offset, value = sys.argv[1:]
cluster = rados.Rados(conffile=config, name='client.admin')
cluster.connect()
image = rbd.Image(cluster.open_ioctx('rbd'), name.split('/')[1])
format = rbd.RBD_ENCRYPTION_FORMAT_LUKS1 if version == 'luks1' else rbd.RBD_ENCRYPTION_FORMAT_LUKS2
image.encryption_load(format, passphrase)
if what == 'read':
    sys.stdout.write(image.read(int(offset), int(value)).hex())
elif what == 'size':
    sys.stdout.write(str(image.size()))
else:
    image.write(bytes([int(value)]) * 8192, int(offset))
    image.flush()
image.close()
";

fn librbd(cluster: &Cluster, python: &str, image: &str, version: &str, what: [&str; 3]) -> String {
    let mut command = cluster.command(python);
    command.args(["-c", LIBRBD]).arg(cluster.config()).args([image, version, "secret"]).args(what);
    run(&mut command)
}

fn open(cluster: &Cluster, image: &str) -> Volume<RbdDevice> {
    let device = RbdDevice::open(image, &cluster.options()).unwrap();
    Volume::open(device, Credential::Passphrase(b"secret"), &OpenOptions::new()).unwrap()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(0x9E37_79B9) >> 24) as u8).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn passphrase_file(cluster: &Cluster) -> String {
    let path = cluster.folder().join("passphrase");
    std::fs::write(&path, "secret").unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn librbd_opens_volumes_of_ours_and_writes_what_is_read_here() {
    let (Some(cluster), Some(python)) = (cluster(), python()) else { return };
    let _calm = cluster.calm();
    let cells = [
        ("luks1", LuksVersion::Luks1, SectorSize::B512),
        ("luks2", LuksVersion::Luks2, SectorSize::B512),
        ("luks2", LuksVersion::Luks2, SectorSize::B4096),
    ];
    for (version, luks, sector_size) in cells {
        let image = cluster.image(64);
        let device = RbdDevice::open(&image, &cluster.options()).unwrap();
        // librbd wants the data to begin at an object.
        let options = fast(FormatOptions::new().version(luks).sector_size(sector_size).data_offset(16 * MIB));
        let volume = Volume::format(device, Protector::Passphrase(b"secret"), &options).unwrap();
        let bytes = pattern(64 << 10);
        // Over the end of an object.
        volume.write_at(4 * MIB - 4096, &bytes).unwrap();
        drop(volume);
        let read = librbd(cluster, python, &image, version, ["read", &(4 * MIB - 4096).to_string(), "65536"]);
        assert!(read == hex(&bytes), "{version} {sector_size:?}");
        let size = librbd(cluster, python, &image, version, ["size", "0", "0"]);
        assert_eq!(size, (48 * MIB).to_string());
        librbd(cluster, python, &image, version, ["write", &(8 * MIB - 4096).to_string(), "171"]);
        let mut back = [0; 8192];
        open(cluster, &image).read_at(8 * MIB - 4096, &mut back).unwrap();
        assert!(back == [171; 8192], "{version} {sector_size:?}");
    }
}

#[test]
fn volumes_that_librbd_made_are_opened_here_and_read_there_after_a_write() {
    let (Some(cluster), Some(python)) = (cluster(), python()) else { return };
    let _calm = cluster.calm();
    let passphrase = passphrase_file(cluster);
    // Its KDFs take seconds, so the last one is for a longer run.
    let cells = [("luks1", "aes-256"), ("luks2", "aes-256"), ("luks2", "aes-128")];
    let few = if std::env::var_os("ATREST_ROUNDS").is_some() { cells.len() } else { 2 };
    for (version, cipher) in &cells[..few] {
        let image = cluster.image(64);
        cluster.rbd(&["encryption", "format", "--cipher-alg", cipher, &image, version, &passphrase]);
        librbd(cluster, python, &image, version, ["write", "4186112", "205"]);
        let volume = open(cluster, &image);
        // Its LUKS2 has sectors of 4096 bytes.
        assert_eq!(volume.sector_size().bytes(), if *version == "luks1" { 512 } else { 4096 });
        let mut bytes = [0; 8192];
        volume.read_at(4_186_112, &mut bytes).unwrap();
        assert!(bytes == [205; 8192], "{version}");
        let written = pattern(1 << 16);
        volume.write_at(12 * MIB - 4096, &written).unwrap();
        drop(volume);
        let read = librbd(cluster, python, &image, version, ["read", &(12 * MIB - 4096).to_string(), "65536"]);
        assert!(read == hex(&written), "{version}");
    }
}

#[test]
fn clones_are_volumes_of_their_own_with_the_key_of_their_parent() {
    let (Some(cluster), Some(python)) = (cluster(), python()) else { return };
    let _calm = cluster.calm();
    let passphrase = passphrase_file(cluster);
    for made_here in [true, false] {
        let parent = cluster.image(64);
        if made_here {
            let device = RbdDevice::open(&parent, &cluster.options()).unwrap();
            let options = fast(FormatOptions::new().data_offset(16 * MIB));
            Volume::format(device, Protector::Passphrase(b"secret"), &options).unwrap();
        } else {
            cluster.rbd(&["encryption", "format", &parent, "luks2", &passphrase]);
        }
        let volume = open(cluster, &parent);
        let bytes = pattern(1 << 16);
        volume.write_at(4 * MIB - 8192, &bytes).unwrap();
        volume.sync().unwrap();
        let (snapshot, clone) = (format!("{parent}@base"), format!("{parent}-clone"));
        // While it is open: who has the lock makes the snapshot for others.
        cluster.rbd(&["snap", "create", &snapshot]);
        cluster.rbd(&["snap", "protect", &snapshot]);
        cluster.rbd(&["clone", &snapshot, &clone]);
        volume.write_at(4 * MIB - 8192, &[1; 4096]).unwrap();
        let format = ["encryption", "format", &clone, "luks2", &passphrase];
        let refused = cluster.command("rbd").args(format).output().unwrap();
        assert!(!refused.status.success(), "this librbd gives clones keys of their own: update docs/storage/rbd.md");
        let cloned = open(cluster, &clone);
        let mut back = vec![0; 1 << 16];
        cloned.read_at(4 * MIB - 8192, &mut back).unwrap();
        assert!(back == bytes);
        // The first write to an object of the clone copies the parent's.
        cloned.write_at(4 * MIB, &[2; 4096]).unwrap();
        cloned.read_at(4 * MIB - 8192, &mut back).unwrap();
        assert!(back[..8192] == bytes[..8192] && back[8192..12288] == [2; 4096] && back[12288..] == bytes[12288..]);
        volume.read_at(4 * MIB, &mut back[..4096]).unwrap();
        assert!(back[..4096] == bytes[8192..12288]);
        drop((volume, cloned));
        let read = librbd(cluster, python, &clone, "luks2", ["read", &(4 * MIB).to_string(), "4096"]);
        assert!(read == hex(&[2; 4096]));
        let read = librbd(cluster, python, &clone, "luks2", ["read", &(4 * MIB - 8192).to_string(), "8192"]);
        assert!(read == hex(&bytes[..8192]));
        // The snapshot is as it was, and is opened for reading.
        let device = RbdDevice::open_read_only(&snapshot, &cluster.options()).unwrap();
        let options = OpenOptions::new().read_only(true);
        let old = Volume::open(device, Credential::Passphrase(b"secret"), &options).unwrap();
        old.read_at(4 * MIB - 8192, &mut back).unwrap();
        assert!(back == bytes);
    }
}
