//! BitLocker: a volume of the tests' model, with edits by an input.
//!
//! An input is 2 bytes that say what is done, and edits of 4 bytes: a place, and a value. Checksums are made right after them, as
//! anybody can. The hash that the master key seals is not.

#![no_main]

use std::sync::{Arc, LazyLock};

use atrest::volume::{Header, KeyslotOptions};
use atrest::{Credential, OpenOptions, Protector, Volume};
use atrest_fuzz::bitlocker_model::{self as model, AREA, CHUNKS, Model, SIZE};
use atrest_fuzz::disk::Disk;
use atrest_fuzz::{Input, limits, seeds};
use libfuzzer_sys::{Corpus, fuzz_target};

/// The bytes that edits reach: of a copy of the metadata, of the boot sector, of the maps of chunks.
const BLOCK: usize = 1024;
const BOOT: usize = 512;
const MAPS: usize = 0x80 + 0x600;

static MODEL: LazyLock<Model> = LazyLock::new(|| {
    let mut model = Model::new(0x8004, 512);
    model.protectors.extend([model::startup_key(), model::recovery_password()]);
    model
});
static PLAIN: LazyLock<Vec<u8>> = LazyLock::new(model::plain);
/// Encrypted as a whole; and by chunks.
static IMAGES: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let mut by_chunks = MODEL.clone();
    let (information, bitmap) = model::chunk_maps(SIZE as u64);
    by_chunks.chunks = Some([CHUNKS, CHUNKS + 0x2000]);
    by_chunks.maps = vec![(CHUNKS, information), (CHUNKS + 0x1000, bitmap)];
    [MODEL.image(&PLAIN, |_| true), by_chunks.image(&PLAIN, |_| true)]
});

fuzz_target!(init: seeds::write(seeds()), |data: &[u8]| -> Corpus {
    limits::limited(|| run(data));
    Corpus::Keep
});

fn seeds() -> Vec<Vec<u8>> {
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
    edits.chain((0..8).map(|flags| vec![flags, 1])).collect()
}

fn run(data: &[u8]) {
    let mut input = Input(data);
    let [flags, operation] = [(); 2].map(|()| input.byte());
    let by_chunks = flags >> 2 & 1 == 1;
    let mut image = IMAGES[usize::from(by_chunks)].clone();
    let mut is_boot_sound = !by_chunks;
    for _ in 0..16 {
        if input.0.is_empty() {
            break;
        }
        let [low, high, value, more] = [(); 4].map(|()| input.byte());
        let at = usize::from(u16::from_le_bytes([low, high])) % (BLOCK + BOOT + MAPS);
        if at < BLOCK {
            // In all copies, or in some.
            let copies = MODEL.copies.iter().enumerate().filter(|(i, _)| more == 0 || more >> i & 1 == 1);
            copies.for_each(|(_, copy)| image[*copy as usize + at] = value);
        } else if at < BLOCK + BOOT {
            image[at - BLOCK] = value;
            is_boot_sound = false;
        } else if by_chunks {
            let at = at - BLOCK - BOOT;
            let maps = CHUNKS as usize;
            image[if at < 0x80 { maps + at } else { maps + 0x1000 + at - 0x80 }] = value;
        }
    }
    if flags & 2 == 0 {
        make_right(&mut image, by_chunks);
    }
    let disk = Arc::new(Disk::new(&image, SIZE as u64));
    if let Ok(header) = Header::load(&disk) {
        let _ = (format!("{header:?}"), header.uuid(), header.label(), header.size(), header.needs_repair());
    }
    assert_eq!(disk.writes(), 0, "looking at it wrote to it");
    let options = OpenOptions::new().hazmat_allow_unencrypted(flags & 1 != 0).read_only(operation % 2 == 0);
    let Ok(volume) = Volume::open(disk.clone(), Credential::ClearKey, &options) else {
        assert_eq!(disk.writes(), 0, "what was refused was written to");
        return;
    };
    let mut bytes = vec![0; volume.size() as usize];
    volume.read_at(0, &mut bytes).unwrap();
    // The master key proves the metadata. Nothing proves the boot sector, nor the maps of chunks.
    assert!(!is_boot_sound || bytes == MODEL.shown(&PLAIN), "other data than was written");
    if !volume.is_read_only() && operation % 64 == 1 {
        volume.add_protector(Protector::Passphrase(b"new"), &KeyslotOptions::new()).unwrap();
        drop(volume);
        let header = Header::load(&disk).unwrap();
        assert!(!header.needs_repair() && header.keyslots().last().unwrap().kind == "password");
    }
}

/// Makes all checksums right.
fn make_right(image: &mut [u8], by_chunks: bool) {
    for copy in MODEL.copies {
        let area = &mut image[copy as usize..][..AREA];
        let end = usize::from(u16::from_le_bytes([area[8], area[9]])) * 16;
        if end + 8 < AREA {
            let sum = model::crc32(&area[..end]);
            area[end + 4..end + 8].copy_from_slice(&sum.to_le_bytes());
        }
    }
    if !by_chunks {
        return;
    }
    let (information, bitmap) = image[CHUNKS as usize..][..0x2000].split_at_mut(0x1000);
    model::sum(information, 36, usize::from(information[10]).max(56));
    let records = usize::from(u16::from_le_bytes([bitmap[44], bitmap[45]])).clamp(60, 0x600);
    model::sum(bitmap, 56, records);
    for at in [0x200, 0x400] {
        model::sum(&mut bitmap[at..at + 0x200], 32, 0x200);
    }
}
