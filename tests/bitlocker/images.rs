//! Images that Windows Vista to 11 made, which other projects carry with their sources: `tests/bitlocker/get` fetches them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use atrest::{Credential, FileDevice, OpenOptions, Result, Volume};
use sha2::{Digest, Sha256};

pub use super::common::bitlocker_images as images;
use super::common::device::reopen;
use super::common::{hex, python, run, text};

/// Opens an image for reading.
pub fn open(image: &Path, credential: Credential<'_>, options: &OpenOptions) -> Result<Volume<FileDevice>> {
    // Tests read the same images at once.
    let device = reopen(|| FileDevice::open_read_only(image))?;
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
    hex(&hash.finalize())
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

/// An image of dissect's, with what opens it, and the programs that read it as Windows does.
struct Image {
    name: &'static str,
    kind: &'static str,
    secret: &'static str,
    peers: &'static [&'static str],
}

const BOTH: &[&str] = &["dissect", "libbde"];
/// libbde wants all three copies of the metadata, of which two images lack two, and knows no maps of chunks.
const ONE: &[&str] = &["dissect"];

const fn image(name: &'static str, kind: &'static str, secret: &'static str, peers: &'static [&'static str]) -> Image {
    Image { name, kind, secret, peers }
}

const DISSECT: [Image; 14] = [
    image("aes-xts_128", "password", "password12!@", BOTH),
    image("aes-xts_256", "password", "password12!@", BOTH),
    image("aes_128", "password", "password12!@", BOTH),
    image("aes_256", "password", "password12!@", BOTH),
    image("aes_128_diffuser", "password", "password12!@", BOTH),
    image("aes_256_diffuser", "password", "password12!@", BOTH),
    image("recovery_password", "recovery", "284867-596541-514998-422114-660297-261613-215424-199408", BOTH),
    image("recovery_key", "file", "recovery_key.bek", BOTH),
    image("startup_key", "file", "startup_key.bek", BOTH),
    image("suspended", "clear", "", BOTH),
    image("decrypted", "clear", "", BOTH),
    image("vista", "recovery", "517506-503998-044583-576191-587004-635965-501270-087802", ONE),
    image("win7_partial", "recovery", "131450-120197-153989-250338-511368-495572-680944-381546", ONE),
    image("eow_partial", "password", "password12!@", ONE),
];

/// The start, the middle and the end of each piece, and what lies across each boundary.
fn places(volume: &Volume<FileDevice>) -> Vec<(u64, usize)> {
    const LEN: u64 = 8 << 10;
    let segments = volume.header().segments();
    let mut places = Vec::new();
    let mut start = 0;
    for segment in segments {
        let end = start + segment.size.unwrap();
        let wanted =
            [start, start.saturating_sub(LEN / 2), start + (end - start) / 2 / 4096 * 4096, end.saturating_sub(LEN)];
        places.extend(wanted.map(|at| (at, LEN.min(volume.size() - at) as usize)));
        start = end;
    }
    assert_eq!(start, volume.size());
    places
}

#[test]
fn what_windows_encrypted_is_what_dissect_and_libbde_read() {
    let Some(folder) = images("dissect") else { return };
    for Image { name, kind, secret, peers } in DISSECT {
        let image = folder.join(name).with_extension("bin");
        let file = folder.join(secret);
        let (credential, secret) = match kind {
            "password" => (Credential::Passphrase(secret.as_bytes()), secret),
            "recovery" => (Credential::RecoveryPassword(secret), secret),
            "file" => (Credential::StartupKey(&file), text(&file)),
            _ => (Credential::ClearKey, secret),
        };
        let options = OpenOptions::new().hazmat_allow_unencrypted(true);
        let volume = open(&image, credential, &options).unwrap_or_else(|e| panic!("{name}: {e:#}"));
        let read = compare(&image, name, kind, secret, peers, &volume);
        assert!(read > 30, "{name}: {read}");
        // Of one image two copies were cut off.
        assert_eq!(volume.header().needs_repair(), name == "win7_partial", "{name}");
    }
}

/// Compares what we read of an image with what other programs do, and says in how many places.
pub fn compare(
    image: &Path,
    name: &str,
    kind: &str,
    secret: &str,
    peers: &[&str],
    volume: &Volume<FileDevice>,
) -> usize {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bitlocker/peer.py");
    let places = places(volume);
    let hash = |&(offset, len): &(u64, usize)| {
        let mut bytes = vec![0; len];
        volume.read_at(offset, &mut bytes).unwrap();
        hex(&Sha256::digest(&bytes))
    };
    let ours: Vec<String> = places.iter().map(hash).collect();
    let offsets: Vec<String> = places.iter().map(|(offset, len)| format!("{offset}+{len}")).collect();
    for peer in peers {
        let Some(python) = python(if *peer == "dissect" { "dissect.fve" } else { "pybde" }) else { continue };
        let mut arguments = vec![script, peer, text(image), kind, secret];
        arguments.extend(offsets.iter().map(String::as_str));
        let theirs = run(&python, &arguments);
        for (place, (ours, theirs)) in places.iter().zip(ours.iter().zip(theirs.lines())) {
            assert_eq!(ours, theirs, "{name}: {peer} reads something else at {place:?}");
        }
        assert_eq!(theirs.lines().count(), ours.len(), "{name} {peer}");
    }
    ours.len()
}

/// They were made while Windows encrypted by maps of chunks, and the maps were cut out with the data. Of one a part is plain,
/// which nothing shows any more. cryptsetup and libbde open neither.
#[test]
fn volumes_without_the_maps_of_chunks_that_they_name_are_refused() {
    let Some(folder) = images("cryptsetup") else { return };
    for name in ["bitlk-aes-xts-128-eow", "bitlk-clearkey-aes-cbc-128"] {
        let image = folder.join(name).with_extension("img");
        let refused = open(&image, Credential::Passphrase(b"anaconda"), &OpenOptions::new()).unwrap_err();
        assert!(refused.to_string().contains("maps of its chunks"), "{name}: {refused}");
    }
}
