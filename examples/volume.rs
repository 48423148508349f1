//! The life of a volume: made, written, opened again, read, and its KEK rotated.
//!
//! `cargo run --example volume [FOLDER]`; without a folder, in a temporary one.

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use atrest::vault::{FileVault, Unlock};
use atrest::{Credential, FileDevice, FormatOptions, OpenOptions, Protector, Volume};
use clap::Parser;

/// Makes a volume and its vault, writes to it, opens it again, reads, and rotates its KEK.
#[derive(Parser)]
#[command(after_help = "Example:\n  cargo run --example volume -- /tmp")]
struct Args {
    /// The folder to make them in, which has to be there; without one, a temporary folder.
    folder: Option<PathBuf>,
}

fn main() -> ExitCode {
    let done = match Args::parse().folder {
        Some(folder) => life_of_a_volume(&folder),
        None => tempfile::tempdir().map_err(Into::into).and_then(|folder| life_of_a_volume(folder.path())),
    };
    match done {
        Ok(said) => {
            // It is fine if nobody reads it.
            let _ = writeln!(io::stdout(), "{said}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn life_of_a_volume(folder: &Path) -> Result<String, Box<dyn Error>> {
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

    // Later: the vault opens it, if it is the right disk.
    let vault = FileVault::open(&keys, Unlock::KeyFile(&root))?;
    let options = OpenOptions::new().context(b"disk-17");
    let volume = Volume::open(FileDevice::open(&disk)?, Credential::Vault(&vault), &options)?;
    let mut sectors = [0; 1024];
    volume.read_at(4096, &mut sectors)?;
    assert_eq!(sectors, [0x5a; 1024]);

    // A new version of the key takes over while the volume is in use. No sector is touched, and the old version can go.
    vault.rotate_key("disks")?;
    let kek = volume.rotate_kek(&vault)?;
    Ok(format!("{} of {} bytes, under {kek}", volume.uuid(), volume.size()))
}
