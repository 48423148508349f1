//! `cargo run --example quickstart`, in an empty folder.
use atrest::vault::{FileVault, Unlock};
use atrest::{Credential, FileDevice, FormatOptions, OpenOptions, Protector, Result, Volume};

fn encrypt_and_read_back() -> Result<()> {
    let vault = FileVault::create("keys.vault", Unlock::Passphrase(b"correct horse battery staple"))?;
    vault.create_key("disks")?;
    let device = FileDevice::create("disk.img", 64 << 20)?;
    let volume = Volume::format(device, Protector::Vault(&vault, "disks"), &FormatOptions::new())?;
    volume.write_at(0, &[0x5a; 4096])?;
    volume.sync()?;
    drop(volume);
    let volume = Volume::open(FileDevice::open("disk.img")?, Credential::Vault(&vault), &OpenOptions::new())?;
    let mut sectors = [0; 4096];
    volume.read_at(0, &mut sectors)?;
    assert_eq!(sectors, [0x5a; 4096]);
    Ok(())
}

fn main() {
    if let Some(argument) = std::env::args_os().nth(1) {
        eprintln!("usage: quickstart, in an empty folder: it makes keys.vault and disk.img there");
        std::process::exit((argument != "--help").into());
    }
    if let Err(error) = encrypt_and_read_back() {
        eprintln!("{error:#}");
        std::process::exit(1);
    }
}
