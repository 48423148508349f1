//! Images that Windows Vista to 11 made, which other projects carry with their sources: `tests/bitlocker/get` fetches them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use atrest::{Credential, FileDevice, OpenOptions, Result, Volume};
use sha2::{Digest, Sha256};

/// A folder that `get` has filled; if it isn't there, that is said aloud.
pub fn images(of: &str) -> Option<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("bitlocker").join(of);
    if folder.is_dir() {
        return Some(folder);
    }
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let required = std::env::var_os("ATREST_REQUIRE_PEERS").is_some_and(|v| v == "1");
    assert!(!required, "{test} needs the images that tests/bitlocker/get fetches");
    // Not `eprintln!`: `cargo test` hides its output if a test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: there are no images; tests/bitlocker/get fetches them");
    None
}

/// Opens an image for reading.
pub fn open(image: &Path, credential: Credential<'_>, options: &OpenOptions) -> Result<Volume<FileDevice>> {
    let device = FileDevice::open(image)?;
    Volume::open(device, credential, &options.clone().read_only(true))
}

pub fn sha256(volume: &Volume<FileDevice>) -> String {
    let mut hash = Sha256::new();
    let mut bytes = vec![0; 1 << 20];
    for at in (0..volume.size()).step_by(bytes.len()) {
        let len = (volume.size() - at).min(bytes.len() as u64) as usize;
        volume.read_at(at, &mut bytes[..len]).unwrap();
        hash.update(&bytes[..len]);
    }
    super::common::hex(&hash.finalize())
}

/// cryptsetup's list of its images has the hash of what each holds.
#[test]
fn what_windows_encrypted_is_what_the_kernel_of_linux_reads() {
    let Some(folder) = images("cryptsetup") else { return };
    let list = fs::read_to_string(folder.join("images.conf")).unwrap();
    let mut read = 0;
    for part in list.split('[').skip(1) {
        let (name, fields) = part.split_once(']').unwrap();
        let fields: BTreeMap<&str, &str> = fields.lines().filter_map(|line| line.split_once('=')).collect();
        let image = folder.join(name).with_extension("img");
        let expected = fields["SHA256SUM"];
        let mut credentials = vec![Credential::RecoveryPassword(fields["RP"])];
        if !fields["PW"].is_empty() {
            credentials.push(Credential::Passphrase(fields["PW"].as_bytes()));
        }
        let key = fields.get("SK_VMK_GUID").map(|id| folder.join(id.to_uppercase()).with_extension("BEK"));
        credentials.extend(key.as_deref().map(Credential::StartupKey));
        if expected.is_empty() {
            continue; // that cryptsetup doesn't open either
        }
        for (i, credential) in credentials.into_iter().enumerate() {
            let volume = open(&image, credential, &OpenOptions::new()).unwrap();
            if i == 0 {
                assert_eq!(sha256(&volume), expected, "{name} {credential:?}");
            }
            read += 1;
        }
    }
    assert_eq!(read, 27);
}
