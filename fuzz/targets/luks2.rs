//! LUKS2: both copies of the header, with checksums that are right unless the input says otherwise.
//!
//! An input is 8 bytes that say what is done, 512 bytes of the binary header, and the JSON area of both copies; what
//! follows a zero byte in it is that of the second copy.

#![no_main]

use std::sync::{Arc, LazyLock};

use atrest::hazmat;
use atrest::luks::{LuksVersion, Metadata};
use atrest_fuzz::disk::Disk;
use atrest_fuzz::volumes::{self, DEK, How};
use atrest_fuzz::{Input, json, limits, seeds};
use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target};
use sha2::{Digest, Sha256};

const CONTROL: usize = 8;
const BINARY: usize = 512;
const JSON: usize = 4096;
const COPY: usize = 0x4000;
const CHECKSUM: core::ops::Range<usize> = 448..512;

static OURS: LazyLock<Vec<u8>> = LazyLock::new(|| volumes::image(LuksVersion::Luks2));
/// With the same data under the same DEK: an input may put one's header before the other's.
static THEIRS: LazyLock<Option<Vec<u8>>> = LazyLock::new(|| {
    let mut image = cryptsetup(&["luksFormat", "--label", "theirs"])?;
    image[volumes::DATA..].copy_from_slice(&OURS[volumes::DATA..]);
    Some(image)
});

fuzz_target!(init: seeds::write(seeds()), |data: &[u8]| -> Corpus {
    let readable = limits::limited(|| run(data));
    if readable { Corpus::Keep } else { Corpus::Reject }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    json::mutator(data, size, max_size, seed, CONTROL + BINARY)
});

/// What cryptsetup makes of a volume with our DEK, which it is told in a file.
fn cryptsetup(command: &[&str]) -> Option<Vec<u8>> {
    let key = tempfile::NamedTempFile::new().ok()?;
    std::fs::write(key.path(), [hazmat::dek_bytes(&DEK).expose(), volumes::PASSPHRASE].concat()).ok()?;
    let key = key.path().to_str()?;
    let common = [
        "--batch-mode",
        "--type",
        "luks2",
        "--cipher",
        "aes-xts-plain64",
        "--key-size",
        "256",
        "--volume-key-file",
        key,
        "--key-file",
        key,
        "--keyfile-offset",
        "32",
        "--pbkdf",
        "pbkdf2",
        "--pbkdf-force-iterations",
        "1000",
        "--offset",
        "2048",
        "--luks2-metadata-size",
        "16k",
        "--luks2-keyslots-size",
        "992k",
    ];
    seeds::cryptsetup(&vec![0; volumes::DATA + volumes::SIZE], &[&[command, &common].concat()])
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (image, theirs) in [Some(&*OURS), THEIRS.as_ref()].into_iter().zip([0, 8]) {
        let Some(image) = image else { continue };
        let text = |copy: usize| {
            let area = &image[copy * COPY + JSON..(copy + 1) * COPY];
            &area[..area.iter().position(|&byte| byte == 0).unwrap()]
        };
        for (flags, credential) in [(4, 0), (0, 8), (0, 15), (3, 15)] {
            for operation in [0, 1, 4, 8, 9] {
                let control = [flags, credential, operation, 0, 0, 0, 0, theirs];
                seeds.push([&control[..], &image[..BINARY], text(0)].concat());
                // Copies of two times, and one that is not there.
                let control = [flags, credential, operation, 1, 0, 0, 0, theirs];
                seeds.push([&control[..], &image[..BINARY], text(0), &[0], text(1)].concat());
                let control = [flags, credential, operation, 0, 2, 0, 0, theirs];
                seeds.push([&control[..], &image[..BINARY], text(0)].concat());
            }
        }
    }
    // Other ciphers, sectors and segments, for which there is no MAC.
    let plain = String::from_utf8(seeds[0][CONTROL + BINARY..].to_vec()).unwrap();
    let dynamic = "\"size\":\"dynamic\"";
    for (from, to) in [
        ("aes-xts-plain64", "aes-xts-plain"),
        ("aes-xts-plain64", "aes-hctr2-plain64"),
        ("aes-xts-plain64", "aes-cbc-essiv:sha256"),
        ("\"sector_size\":4096", "\"sector_size\":512"),
        (dynamic, "\"size\":\"8192\""),
        ("\"type\":\"crypt\"", "\"type\":\"linear\""),
    ] {
        let text = plain.replace(from, to).replace("\"type\":\"atrest\"", "\"type\":\"other\"");
        let control = [3, 15, 0, 0, 0, 0, 0, 0];
        seeds.push([&control[..], &OURS[..BINARY], text.as_bytes()].concat());
    }
    seeds
}

fn run(data: &[u8]) -> bool {
    let mut input = Input(data);
    let [flags, credential, operation, behind, copies, unsealed, sizes, theirs] = [(); CONTROL].map(|()| input.byte());
    let binary = input.bytes(BINARY);
    let text = input.rest();
    parse(text);

    let first: &'static [u8] = match &*THEIRS {
        Some(image) if theirs & 8 != 0 => image,
        _ => &OURS,
    };
    let size = match sizes % 8 {
        0..5 => first.len() as u64,
        5 => (sizes as usize / 8 * 4096) as u64,
        6 => first.len() as u64 - u64::from(sizes / 8) * 512,
        _ => u64::from(sizes) << 32,
    };
    let disk = Disk::new(first, size);
    let copy_size = copy_size(binary);
    let (first_text, second_text) = match text.iter().position(|&byte| byte == 0) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, text),
    };
    if copies & 1 == 0 {
        let mut copy = copy(binary, first_text, copy_size);
        seal(&mut copy, unsealed & 3 == 3);
        disk.put(0, &copy);
    } else {
        disk.put(0, &[0; COPY]);
    }
    if copies & 2 == 0 {
        let mut copy = copy(binary, second_text, copy_size);
        copy[..6].copy_from_slice(b"SKUL\xBA\xBE");
        let seqid = u64::from_be_bytes(copy[16..24].try_into().unwrap()).wrapping_sub(behind.into());
        copy[16..24].copy_from_slice(&seqid.to_be_bytes());
        copy[256..264].copy_from_slice(&(copy_size as u64).to_be_bytes());
        seal(&mut copy, unsealed & 12 == 12);
        disk.put(copy_size as u64, &copy);
    } else {
        disk.put(copy_size as u64, &[0; COPY]);
    }
    volumes::judge(Arc::new(disk), &How { credential, flags, operation })
}

/// The size of a copy: what it says, where that is one that the format has and that is small enough to be fast.
fn copy_size(binary: &[u8]) -> usize {
    match binary.get(8..16).map(|bytes| u64::from_be_bytes(bytes.try_into().unwrap())) {
        Some(size @ (0x4000 | 0x8000 | 0x1_0000)) => size as usize,
        _ => COPY,
    }
}

fn copy(binary: &[u8], text: &[u8], size: usize) -> Vec<u8> {
    let mut copy = vec![0; size];
    copy[..binary.len()].copy_from_slice(binary);
    let text = &text[..text.len().min(size - JSON)];
    copy[JSON..JSON + text.len()].copy_from_slice(text);
    copy
}

fn seal(copy: &mut [u8], not: bool) {
    if not {
        return;
    }
    copy[CHECKSUM].fill(0);
    let sum = Sha256::digest(&*copy);
    copy[448..480].copy_from_slice(&sum);
}

/// What the parser takes it writes in a form that it reads as the same.
fn parse(text: &[u8]) {
    let mut area = text[..text.len().min(COPY - JSON)].to_vec();
    area.resize(COPY - JSON, 0);
    let Ok(metadata) = Metadata::parse(&area, COPY as u64) else { return };
    let written = metadata.encode(COPY as u64).expect("it fits where it came from");
    assert_eq!(Metadata::parse(&written, COPY as u64).as_ref(), Ok(&metadata), "it is read otherwise than written");
}
