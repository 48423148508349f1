//! A volume's life: made, written, opened again, read, and its KEK rotated.
//!
//! `cargo run --example volume [FOLDER]`; without a folder, in a temporary one.

use std::path::PathBuf;

use atrest::vault::{FileVault, Unlock};
use atrest::{Credential, FileDevice, FormatOptions, OpenOptions, Protector, Volume};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let temporary = tempfile::tempdir()?;
    let folder = std::env::args_os().nth(1).map_or(temporary.path().to_owned(), PathBuf::from);
    let (root, keys, disk) = (folder.join("root.key"), folder.join("keys.vault"), folder.join("disk.img"));

    // The vault holds the key that wraps the keys of disks. A root key file or a passphrase opens it.
    FileVault::generate_key_file(&root)?;
    let vault = FileVault::create(&keys, Unlock::KeyFile(&root))?;
    vault.create_key("disks")?;

    // A new volume: its data key is generated, wrapped by the vault, and kept in the volume's header.
    let options = FormatOptions::new().context(b"disk-17");
    let volume = Volume::format(FileDevice::create(&disk, 64 << 20)?, Protector::Vault(&vault, "disks"), &options)?;
    volume.write_at(4096, &[0x5a; 1024])?;
    volume.sync()?;
    drop(volume);

    // Later: the vault opens it, if it is the disk that is meant.
    let vault = FileVault::open(&keys, Unlock::KeyFile(&root))?;
    let options = OpenOptions::new().context(b"disk-17");
    let volume = Volume::open(FileDevice::open(&disk)?, Credential::Vault(&vault), &options)?;
    let mut sectors = [0; 1024];
    volume.read_at(4096, &mut sectors)?;
    assert_eq!(sectors, [0x5a; 1024]);

    // A new version of the key takes over while the volume is in use. No sector is touched, and the old version can go.
    vault.rotate_key("disks")?;
    let kek = volume.rotate_kek(&vault)?;
    println!("{} of {} bytes, under {kek}", volume.uuid(), volume.size());
    Ok(())
}
