//! Volumes that `cryptsetup` makes, as the extension has it make them.

use std::path::Path;
use std::sync::Arc;

use atrest::key::{HashAlgorithm, Kdf};
use atrest::volume::KeyslotOptions;
use atrest::{BlockDevice, FormatOptions, Protector, Secret, Volume};
use atrest_ade::{AdeToken, TokenPassphrase};

use crate::device::TestDevice;
use crate::memory::ID;
use crate::peers::{run, text};

/// The size of the data.
pub const SIZE: usize = 64 << 10;

/// The offset of the data of small volumes, in bytes.
const DATA: usize = 1 << 20;

pub const KEK: &str = "https://Contoso.vault.azure.net:443/keys/disks/0123456789abcdef0123456789abcdef";

pub fn content() -> Vec<u8> {
    (0..SIZE).map(|i| (i / 7) as u8).collect()
}

pub fn holds_content<D: BlockDevice>(volume: &Volume<D>) -> bool {
    let mut bytes = vec![0; SIZE];
    volume.read_at(0, &mut bytes).is_ok() && bytes == content()
}

pub fn cheap() -> KeyslotOptions {
    KeyslotOptions::new().kdf(Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 })
}

/// A small volume with this passphrase, the content, and these tokens.
pub fn small(passphrase: &Secret, tokens: &[Vec<u8>]) -> Arc<TestDevice> {
    let device = Arc::new(TestDevice::new(vec![0; DATA + SIZE]));
    let options = FormatOptions::new().data_offset(DATA as u64).keyslot(cheap());
    let volume = Volume::format(device.clone(), Protector::Passphrase(passphrase.expose()), &options).unwrap();
    volume.write_at(0, &content()).unwrap();
    for token in tokens {
        volume.header().import_token(token).unwrap();
    }
    drop(volume);
    device.take_log();
    device
}

/// A token, as the extension writes it.
pub fn token(passphrase: TokenPassphrase) -> AdeToken {
    let mut token = AdeToken::default();
    token.kek_url = Some(KEK.into());
    token.vault_url = Some(format!("{ID}/"));
    token.vault_resource = Some("/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/contoso".into());
    token.kek_vault_resource = token.vault_resource.clone();
    token.passphrase = passphrase;
    token
}

/// Formats files by `cryptsetup luksFormat` with the passphrase in a key file: the device, and the detached header if it is another.
pub fn luks_format(folder: &Path, passphrase: &Secret, kind: &str, is_detached: bool) {
    let (disk, header, key) =
        (folder.join("disk"), folder.join("osluksheader"), folder.join("LinuxPassPhraseFileName"));
    std::fs::write(&key, passphrase.expose()).unwrap();
    let file = std::fs::File::create(&disk).unwrap();
    file.set_len(24 << 20).unwrap();
    let mut args = vec!["luksFormat", "-q", "--type", kind, "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    if is_detached {
        std::fs::File::create(&header).unwrap().set_len(32 << 20).unwrap();
        args.extend(["--header", text(&header)]);
    }
    args.extend([text(&disk), text(&key)]);
    run("cryptsetup", &args);
}

/// Whether a crash image is tried: those after a sync, and some of the others, since each costs many key derivations.
pub fn is_tried(what: &str, seen: &mut usize, every: usize) -> bool {
    *seen += 1;
    what.starts_with("after") || seen.is_multiple_of(every)
}
