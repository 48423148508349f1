//! A file system in a volume of ours, read by programs that share no code with us.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::device::reopen;
use crate::common::vaults::MemoryVault;
use crate::common::{cryptsetup, model, peer, python, run, text};
use atrest::{Credential, FileDevice, FormatOptions, OpenOptions, Protector, SectorSize, Volume, hazmat};

const SIZE: usize = 4 << 20;
const OFFSET: usize = 1 << 20;
const LETTER: &str = "Dear reader, this went through a volume.\n";

/// A file system with two files in it.
fn ext4(mke2fs: &str, folder: &Path) -> Vec<u8> {
    let (tree, image) = (folder.join("tree"), folder.join("ext4"));
    fs::create_dir_all(tree.join("papers")).unwrap();
    fs::write(tree.join("papers/letter"), LETTER).unwrap();
    fs::write(tree.join("large"), large()).unwrap();
    run(mke2fs, &["-q", "-t", "ext4", "-b", "4096", "-d", text(&tree), text(&image), "4M"]);
    let bytes = fs::read(&image).unwrap();
    assert_eq!(bytes.len(), SIZE);
    bytes
}

fn large() -> Vec<u8> {
    (0..1_000_003u32).map(|i| (i ^ (i >> 8)) as u8).collect()
}

/// Writes a file system into a new volume of ours, in a file, and returns its key.
fn encrypted(path: &Path, vault: &MemoryVault, sector_size: SectorSize, plain: &[u8]) -> Vec<u8> {
    let device = FileDevice::create(path, (OFFSET + SIZE) as u64).unwrap();
    let options = FormatOptions::new().data_offset(OFFSET as u64).sector_size(sector_size);
    let volume = Volume::format(device, Protector::Vault(vault, "disks"), &options).unwrap();
    for (i, piece) in plain.chunks(1 << 20).enumerate() {
        volume.write_at((i << 20) as u64, piece).unwrap();
    }
    volume.sync().unwrap();
    hazmat::dek_bytes(&volume.dek()).expose().to_vec()
}

/// Whether e2fsck finds a whole file system in some bytes, with the files in it that went in.
fn is_the_file_system(folder: &Path, bytes: &[u8]) -> bool {
    let (Some(e2fsck), Some(debugfs)) = (peer("e2fsck", &["-V"]), peer("debugfs", &["-V"])) else { return true };
    let (image, out) = (folder.join("decrypted"), folder.join("out"));
    fs::write(&image, bytes).unwrap();
    run(&e2fsck, &["-f", "-n", text(&image)]);
    [("/papers/letter", LETTER.as_bytes()), ("/large", &large())].iter().all(|(name, content)| {
        run(&debugfs, &["-R", &format!("dump {name} {}", text(&out)), text(&image)]);
        fs::read(&out).unwrap() == *content
    })
}

#[test]
fn a_file_system_comes_back_out_of_openssl() {
    let (Some(mke2fs), Some(python)) = (peer("mke2fs", &["-V"]), python("cryptography")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let plain = ext4(&mke2fs, folder.path());
    for (sector_size, step) in [(SectorSize::B512, 1), (SectorSize::B4096, 8)] {
        let size = sector_size.bytes() as usize;
        let path = folder.path().join(format!("{size}.img"));
        let key = encrypted(&path, &MemoryVault::new("memory:one"), sector_size, &plain);
        let image = fs::read(&path).unwrap();
        let decrypted = model::openssl(&python, "decryptor", &key, (0, step), size, &image[OFFSET..]);
        assert!(decrypted == plain, "{size}");
        assert!(is_the_file_system(folder.path(), &decrypted), "{size}");
    }
}

/// A volume of ours to which cryptsetup has added a passphrase.
struct WithPassphrase {
    folder: tempfile::TempDir,
    vault: MemoryVault,
    path: PathBuf,
    plain: Vec<u8>,
    passphrase: PathBuf,
}

fn with_passphrase(mke2fs: &str, cryptsetup: &str, sector_size: SectorSize) -> WithPassphrase {
    let folder = tempfile::tempdir().unwrap();
    let plain = ext4(mke2fs, folder.path());
    let [path, key_file, passphrase] = ["image", "key", "passphrase"].map(|name| folder.path().join(name));
    let vault = MemoryVault::new("memory:one");
    fs::write(&key_file, encrypted(&path, &vault, sector_size, &plain)).unwrap();
    fs::write(&passphrase, "hunter2").unwrap();
    let cost = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    let add = ["luksAddKey", "-q", "--key-size", "512", "--volume-key-file", text(&key_file)];
    run(cryptsetup, &[&add[..], &cost, &[text(&path), text(&passphrase)]].concat());
    WithPassphrase { folder, vault, path, plain, passphrase }
}

impl WithPassphrase {
    fn open(&self) -> Volume<FileDevice> {
        let device = reopen(|| FileDevice::open(&self.path)).unwrap();
        Volume::open(device, Credential::Vault(&self.vault), &OpenOptions::new()).unwrap()
    }

    fn read(&self) -> Vec<u8> {
        let mut bytes = vec![0; SIZE];
        self.open().read_at(0, &mut bytes).unwrap();
        bytes
    }

    fn passphrase_opens(&self, cryptsetup: &str) {
        let test = ["open", "--test-passphrase", "--key-file", text(&self.passphrase), text(&self.path)];
        run(cryptsetup, &test);
    }
}

#[test]
fn dissect_reads_a_volume_to_which_cryptsetup_added_a_passphrase() {
    const SCRIPT: &str = "
import sys
from dissect.fve.luks import LUKS
with open(sys.argv[1], 'rb') as image, open(sys.argv[2], 'wb') as out:
    luks = LUKS(image)
    luks.unlock_with_passphrase('hunter2')
    out.write(luks.open().read(int(sys.argv[3])))
";
    let (Some(mke2fs), Some(cryptsetup)) = (peer("mke2fs", &["-V"]), cryptsetup()) else { return };
    let Some(python) = python("dissect.fve.luks") else { return };
    for sector_size in [SectorSize::B512, SectorSize::B4096] {
        let volume = with_passphrase(&mke2fs, &cryptsetup, sector_size);
        let out = volume.folder.path().join("dissected");
        run(&python, &["-c", SCRIPT, text(&volume.path), text(&out), &SIZE.to_string()]);
        let decrypted = fs::read(&out).unwrap();
        assert!(decrypted == volume.plain, "{sector_size:?}");
        assert!(is_the_file_system(volume.folder.path(), &decrypted), "{sector_size:?}");
    }
}

#[test]
fn a_volume_that_cryptsetup_changed_still_opens_and_rotates_by_its_vault() {
    let (Some(mke2fs), Some(cryptsetup)) = (peer("mke2fs", &["-V"]), cryptsetup()) else { return };
    let volume = with_passphrase(&mke2fs, &cryptsetup, SectorSize::B512);
    volume.passphrase_opens(&cryptsetup);
    // The digest names a keyslot now; the token and its MAC still hold.
    assert!(volume.read() == volume.plain);
    volume.vault.rotate();
    assert_eq!(volume.open().rotate_kek(&volume.vault).unwrap().version(), "2");
    volume.vault.destroy(1);
    volume.passphrase_opens(&cryptsetup);
    assert!(volume.read() == volume.plain);
    let path = text(&volume.path);
    run(&cryptsetup, &["config", "--label", "renamed", path]);
    run(&cryptsetup, &["luksKillSlot", "-q", path, "0"]);
    assert!(volume.read() == volume.plain);
}

#[test]
fn cryptsetup_decrypts_a_volume_in_place() {
    let (Some(mke2fs), Some(cryptsetup)) = (peer("mke2fs", &["-V"]), cryptsetup()) else { return };
    for sector_size in [SectorSize::B512, SectorSize::B4096] {
        let volume = with_passphrase(&mke2fs, &cryptsetup, sector_size);
        let header = volume.folder.path().join("header");
        let how = ["reencrypt", "-q", "--decrypt", "--force-offline-reencrypt", "--key-file", text(&volume.passphrase)];
        run(&cryptsetup, &[&how[..], &["--header", text(&header), text(&volume.path)]].concat());
        let decrypted = fs::read(&volume.path).unwrap();
        assert!(decrypted[..SIZE] == volume.plain, "{sector_size:?}");
        assert!(is_the_file_system(volume.folder.path(), &decrypted[..SIZE]), "{sector_size:?}");
    }
}
