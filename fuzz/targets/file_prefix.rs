//! The prefix of an encrypted file: two slots, with checksums that are right unless the input says otherwise.
//!
//! An input is 4 bytes that say what is done, and what is put into the slots: the first half into the first one.

#![no_main]

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use atrest::{Error, FilePrefix, MemoryDevice, SectorSize, SectorUnit};
use atrest_fuzz::vaults::MemoryVault;
use atrest_fuzz::{Input, limits, seeds};
use libfuzzer_sys::{Corpus, fuzz_target};
use sha2::{Digest, Sha256};

const SLOT: usize = 4096;
const CONTEXT: &[u8] = b"db-7";
const ZEROS: [u8; 512] = [0; 512];

/// New in each process, as the DEKs of [`SOUND`] are: what a former process made, and the corpus has kept, must not open.
static VAULT: LazyLock<MemoryVault> = LazyLock::new(|| {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    MemoryVault::new(&format!("memory:{:020}", now.as_nanos()))
});

/// Sound slots, and what their ciphers make of zeros.
static SOUND: LazyLock<Vec<(Vec<u8>, [u8; 512])>> = LazyLock::new(|| {
    let vault: &MemoryVault = &VAULT;
    let (stream, stream_cipher) = FilePrefix::create(vault, "disks", CONTEXT).unwrap();
    let (sectors, sector_cipher) =
        FilePrefix::create_sectors(vault, "disks", CONTEXT, SectorSize::B512, SectorUnit::Bytes512).unwrap();
    let (mut of_stream, mut of_sectors) = (ZEROS, ZEROS);
    stream_cipher.apply(100, &mut of_stream).unwrap();
    sector_cipher.encrypt(7, &mut of_sectors).unwrap();
    vec![(stream.to_bytes()[..SLOT].to_vec(), of_stream), (sectors.to_bytes()[..SLOT].to_vec(), of_sectors)]
});

fuzz_target!(init: seeds::write(seeds()), |data: &[u8]| -> Corpus {
    let readable = limits::limited(|| run(data));
    if readable { Corpus::Keep } else { Corpus::Reject }
});

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (slot, _) in SOUND.iter() {
        // Without the zeros at its end.
        let end = slot[..SLOT - 32].iter().rposition(|&byte| byte != 0).unwrap() + 1;
        seeds.push([&[0; 4][..], &slot[..end], &slot[..end]].concat());
        seeds.push([&[1, 0, 0, 0][..], &slot[..end], &[0; 300]].concat());
    }
    seeds
}

fn run(data: &[u8]) -> bool {
    let mut input = Input(data);
    let [control, unsealed, cut, _] = [(); 4].map(|()| input.byte());
    let bytes = input.rest();
    let halves = if control & 1 == 0 { bytes.split_at(bytes.len() / 2) } else { (bytes, &b""[..]) };
    let mut prefix = Vec::new();
    for (half, not) in [(halves.0, unsealed & 3 == 3), (halves.1, unsealed & 12 == 12)] {
        let mut slot = half[..half.len().min(SLOT - 32)].to_vec();
        slot.resize(SLOT - 32, 0);
        let sum = if not { [0xEE; 32].into() } else { Sha256::digest(&slot) };
        slot.extend(sum);
        prefix.extend(slot);
    }
    prefix.truncate(prefix.len() - if cut > 200 { usize::from(cut) } else { 0 });

    let device = MemoryDevice::from_bytes(prefix.clone());
    let vault: &MemoryVault = &VAULT;
    let read = FilePrefix::from_bytes(&prefix);
    let Ok(read) = read else {
        assert!(FilePrefix::rotate_kek(&device, vault, CONTEXT).is_err(), "rotated, and can't be read");
        assert!(device.into_bytes() == prefix, "a prefix was written to that can't be read");
        return false;
    };
    let again = FilePrefix::from_bytes(&read.to_bytes()).expect("it reads what it wrote");
    assert_eq!((again.kek(), again.context()), (read.kek(), read.context()));
    assert_eq!(again.to_bytes(), read.to_bytes(), "it is written otherwise than read");

    let opened = open(&read);
    let rotated = FilePrefix::rotate_kek(&device, vault, CONTEXT);
    let after = device.into_bytes();
    match (opened, rotated) {
        (None, Err(_)) => assert!(after == prefix, "a prefix was written to that does not open"),
        (Some(opened), Ok(_)) => {
            // The MACs cover all: what opens is what was made, in either slot.
            let sound = SOUND.iter().find(|(_, made)| *made == opened);
            let (slot, _) = sound.expect("only what was made opens");
            assert_eq!(read.to_bytes()[..SLOT], slot[..], "it was changed, and opens");
            let after = FilePrefix::from_bytes(&after).expect("it was rotated");
            assert_eq!(open(&after), Some(opened), "it was rotated to something else");
        }
        // One slot is sound, and in the place of the other is something that may be somebody's.
        (Some(_), Err(Error::ForeignData(_))) => assert!(after == prefix, "refused, and written to"),
        (Some(_), Err(e)) => panic!("it opens, and can't be rotated: {e:?}"),
        (None, Ok(_)) => panic!("it doesn't open, and was rotated"),
    }
    true
}

/// What its cipher makes of zeros.
fn open(prefix: &FilePrefix) -> Option<[u8; 512]> {
    let vault: &MemoryVault = &VAULT;
    let mut bytes = ZEROS;
    match prefix.open(vault, CONTEXT) {
        Ok(cipher) => cipher.apply(100, &mut bytes).unwrap(),
        Err(_) => {
            let cipher = prefix.open_sectors(vault, CONTEXT, SectorSize::B512, SectorUnit::Bytes512).ok()?;
            cipher.encrypt(7, &mut bytes).unwrap();
        }
    }
    Some(bytes)
}
