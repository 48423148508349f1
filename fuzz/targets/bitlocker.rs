//! BitLocker: a volume of the tests' model, with edits by an input.
//!
//! An input is 2 bytes that say what is done, and edits of 4 bytes: a place, and a value. Checksums are made right after them, as
//! anybody can. The hash that the master key seals is not.

#![no_main]

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use atrest::volume::{Header, KeyslotOptions, StartupKey};
use atrest::{Credential, OpenOptions, Protector, Volume};
use atrest_fuzz::bitlocker_model::{self as model, AREA, CHUNK, CHUNKS, Model, SIZE};
use atrest_fuzz::disk::Disk;
use atrest_fuzz::{Input, limits, seeds};
use libfuzzer_sys::{Corpus, fuzz_target};

/// The bytes that edits reach: of a copy of the metadata, of the boot sector, of the maps of chunks.
const BLOCK: usize = 1024;
const BOOT: usize = 512;
const MAPS: usize = 0x80 + 0x600;
/// Where a copy has the volume's state.
const STATE: usize = 12;
/// From this operation on, all data is read; else parts of this length.
const WHOLE: u8 = 0xf0;
const PART: usize = 8192;

static MODEL: LazyLock<Model> = LazyLock::new(|| {
    let mut model = Model::new(0x8004, 512);
    model.protectors.extend([model::startup_key(), model::recovery_password()]);
    model
});
static PLAIN: LazyLock<Vec<u8>> = LazyLock::new(model::plain);
/// What the volume shows.
static SHOWN: LazyLock<Vec<u8>> = LazyLock::new(|| MODEL.shown(&PLAIN));
/// Encrypted as a whole; and by chunks.
static IMAGES: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let mut by_chunks = MODEL.clone();
    let (information, bitmap) = model::chunk_maps(SIZE as u64);
    by_chunks.chunks = Some([CHUNKS, CHUNKS + 0x2000]);
    by_chunks.maps = vec![(CHUNKS, information), (CHUNKS + 0x1000, bitmap)];
    [MODEL.image(&PLAIN, |_| true), by_chunks.image(&PLAIN, |_| true)]
});

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());
static STARTUP_KEY: LazyLock<PathBuf> = LazyLock::new(|| StartupKey::generate().unwrap().write(FOLDER.path()).unwrap());
/// Whether a passphrase was added once.
static STRETCHED: AtomicBool = AtomicBool::new(false);

fuzz_target!(init: seeds::write(seeds()), |data: &[u8]| -> Corpus {
    limits::limited(|| run(data));
    Corpus::Keep
});

fn seeds() -> Vec<Vec<u8>> {
    assert_eq!(crc32(&PLAIN[..999]), model::crc32(&PLAIN[..999]));
    let places = [
        0u16,
        8,
        12,
        16,
        28,
        32,
        56,
        64,
        72,
        76,
        96,
        100,
        112,
        132,
        1024 + 11,
        1024 + 160,
        1024 + 176,
        1536,
        1536 + 20,
    ];
    let edits = places.into_iter().map(|at| [&[1, 0][..], &at.to_le_bytes(), &[0, 0]].concat());
    edits.chain((0..8).flat_map(|flags| [1, WHOLE].map(|operation| vec![flags, operation]))).collect()
}

fn run(data: &[u8]) {
    let mut input = Input(data);
    let [flags, operation] = [(); 2].map(|()| input.byte());
    let by_chunks = flags >> 2 & 1 == 1;
    let image: &'static [u8] = &IMAGES[usize::from(by_chunks)];
    let of = |at: u64, len: usize| image[at as usize..][..len].to_vec();
    let (mut copies, mut boot, mut maps) = (MODEL.copies.map(|copy| of(copy, BLOCK)), of(0, BOOT), of(CHUNKS, 0x2000));
    let mut is_boot_sound = !by_chunks;
    for _ in 0..16 {
        if input.0.is_empty() {
            break;
        }
        let [low, high, value, more] = [(); 4].map(|()| input.byte());
        let at = usize::from(u16::from_le_bytes([low, high])) % (BLOCK + BOOT + MAPS);
        if at < BLOCK {
            // In all copies, or in some.
            let copies = copies.iter_mut().enumerate().filter(|(i, _)| more == 0 || more >> i & 1 == 1);
            copies.for_each(|(_, copy)| copy[at] = value);
        } else if at < BLOCK + BOOT {
            boot[at - BLOCK] = value;
            is_boot_sound = false;
        } else if by_chunks {
            let at = at - BLOCK - BOOT;
            maps[if at < 0x80 { at } else { 0x1000 + at - 0x80 }] = value;
        }
    }
    // One that says it is decrypted as a whole has no key that could prove it: it is shown as it lies to who asks for that.
    let is_decrypted = copies.iter().any(|copy| copy[STATE..][..2] == [1, 0]) && flags & 1 == 1;
    let disk = Arc::new(Disk::new(image, SIZE as u64));
    let is_right = flags & 2 == 0;
    for (place, mut copy) in MODEL.copies.into_iter().zip(copies) {
        if is_right {
            make_right(&mut copy, &image[place as usize..][..AREA]);
        }
        disk.put(place, &copy);
    }
    disk.put(0, &boot);
    if by_chunks {
        if is_right {
            make_maps_right(&mut maps);
        }
        disk.put(CHUNKS, &maps);
    }
    if let Ok(header) = Header::load(&disk) {
        let _ = (format!("{header:?}"), header.uuid(), header.label(), header.size(), header.needs_repair());
    }
    assert_eq!(disk.writes(), 0, "looking at it wrote to it");
    let options = OpenOptions::new().hazmat_allow_unencrypted(flags & 1 != 0).read_only(operation % 2 == 0);
    let Ok(volume) = Volume::open(disk.clone(), Credential::ClearKey, &options) else {
        assert_eq!(disk.writes(), 0, "what was refused was written to");
        return;
    };
    // The master key proves the metadata. Nothing proves the boot sector, nor the maps of chunks.
    let is_boot_sound = is_boot_sound && !is_decrypted;
    let mut bytes = vec![0; if operation >= WHOLE { SIZE } else { PART }];
    for at in places(operation) {
        let len = bytes.len().min((volume.size() as usize).saturating_sub(at));
        volume.read_at(at as u64, &mut bytes[..len]).unwrap();
        assert!(!is_boot_sound || bytes[..len] == SHOWN[at..][..len], "other data than was written at {at}");
    }
    assert!(!is_boot_sound || volume.size() == SIZE as u64, "a volume of {} bytes", volume.size());
    // Without a key nothing could prove new metadata either, and it says so.
    if volume.is_read_only() || is_decrypted || operation % 64 != 1 {
        return;
    }
    add(&volume, Protector::StartupKey(&STARTUP_KEY));
    // A passphrase is stretched by a million hashes, so that one is enough.
    if !STRETCHED.swap(true, Ordering::Relaxed) {
        add(&volume, Protector::Passphrase(b"new"));
    }
}

/// Where data is read. Reading all of it takes most of an input's time, so most inputs have parts read, before and behind each
/// place where something else begins.
fn places(operation: u8) -> Vec<usize> {
    if operation >= WHOLE {
        return vec![0];
    }
    let copies = MODEL.copies.iter().flat_map(|copy| [*copy as usize, *copy as usize + AREA]);
    let others = [MODEL.header_offset as usize, CHUNKS as usize, CHUNKS as usize + CHUNK as usize, SIZE - PART / 2];
    copies.chain(others).map(|at| at - PART / 2).chain([0]).collect()
}

fn add(volume: &Volume<Arc<Disk<'_>>>, protector: Protector<'_>) {
    let before = volume.header().keyslots().len();
    volume.add_protector(protector, &KeyslotOptions::new()).unwrap();
    let header = Header::load(volume.device()).unwrap();
    assert!(!header.needs_repair());
    let keyslots = header.keyslots();
    let kind = if matches!(protector, Protector::Passphrase(_)) { "password" } else { "startup key" };
    assert!(keyslots.len() == before + 1 && keyslots.last().unwrap().kind == kind, "{keyslots:?}");
}

/// Makes the checksum of a copy's metadata right, of which what follows the edited bytes is in `area`.
fn make_right(copy: &mut Vec<u8>, area: &[u8]) {
    let end = usize::from(u16::from_le_bytes([copy[8], copy[9]])) * 16;
    if end + 8 < AREA {
        let there = copy.len();
        copy.extend(area.get(there..end + 8).unwrap_or_default());
        let sum = crc32(&copy[..end]);
        copy[end + 4..end + 8].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Makes the checksums of the maps of chunks right.
fn make_maps_right(maps: &mut [u8]) {
    let (information, bitmap) = maps.split_at_mut(0x1000);
    sum(information, 36, usize::from(information[10]).max(56));
    let records = usize::from(u16::from_le_bytes([bitmap[44], bitmap[45]])).clamp(60, 0x600);
    sum(bitmap, 56, records);
    for at in [0x200, 0x400] {
        sum(&mut bitmap[at..at + 0x200], 32, 0x200);
    }
}

/// As the model's, which goes bit by bit and would take most of an input's time.
fn sum(bytes: &mut [u8], at: usize, len: usize) {
    bytes[at..at + 4].fill(0);
    let sum = crc32(&bytes[..len.min(bytes.len())]);
    bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
}

fn crc32(bytes: &[u8]) -> u32 {
    static TABLE: LazyLock<[u32; 256]> = LazyLock::new(|| {
        let step = |sum: u32, _| sum >> 1 ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 };
        core::array::from_fn(|byte| (0..8).fold(byte as u32, step))
    });
    let table = &*TABLE;
    !bytes.iter().fold(u32::MAX, |sum, byte| sum >> 8 ^ table[usize::from(sum as u8 ^ byte)])
}
