//! Metadata that somebody has damaged or made up: each with one defect, after which checksums and hashes are made right again
//! where the defect isn't in them. Each is refused with a text that says what is wrong, soon, and without a panic.

use atrest::volume::Header;
use atrest::{Credential, Error, MemoryDevice, OpenOptions, Volume};

use super::model::{self, Model, Patch, SIZE, entry, key_entry, protector, seal};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Invalid,
    Unsupported,
    Tampered,
    WrongPassphrase,
    NoSuchProtector,
    TooSmall,
    NotLuks,
    Misc,
}
use Verdict::*;

struct Defect {
    name: &'static str,
    change: fn(&mut Model),
    verdict: Verdict,
    /// What the error's text says, in part.
    says: &'static str,
}

const fn defect(name: &'static str, verdict: Verdict, says: &'static str, change: fn(&mut Model)) -> Defect {
    Defect { name, change, verdict, says }
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

fn boot(model: &mut Model, patch: Patch) {
    model.patch_boot = patch;
}

/// Changes the metadata before its checksum and hash are made.
fn meta(model: &mut Model, patch: Patch) {
    model.patch = patch;
}

fn area(model: &mut Model, patch: Patch) {
    model.patch_area = patch;
}

/// Changes the metadata and makes the checksum right, but not the hash: what anybody can do.
fn forged(area: &mut [u8], patch: fn(&mut [u8])) {
    patch(area);
    let size = usize::from(u16::from_le_bytes([area[8], area[9]])) * 16;
    let checksum = model::crc32(&area[..size]);
    put(area, size + 4, &checksum.to_le_bytes());
}

fn after(area: &[u8]) -> usize {
    usize::from(u16::from_le_bytes([area[8], area[9]])) * 16 + 8
}

/// Where the first entry is, of a description of 20 bytes; and the first protector behind it.
const ENTRIES: usize = 64 + 48;
const PROTECTOR: usize = ENTRIES + 20;

#[rustfmt::skip] // a table
const DEFECTS: &[Defect] = &[
    // The boot sector.
    defect("sectors of 1024 bytes", Unsupported, "sectors have 1024 bytes", |m| boot(m, |b| put(b, 11, &[0, 4]))),
    defect("sectors of 65535 bytes", Unsupported, "65535", |m| boot(m, |b| put(b, 11, &[255, 255]))),
    defect("another identifier", NotLuks, "BitLocker", |m| boot(m, |b| b[160] ^= 1)),
    defect("another signature", NotLuks, "", |m| boot(m, |b| b[3] ^= 1)),
    defect("copies at byte 0", Invalid, "no place of a device", |m| boot(m, |b| b[176..200].fill(0))),
    defect("copies beyond the end", Invalid, "no place of a device", |m| boot(m, |b| b[176..200].fill(0x7f))),
    defect("copies at the last bytes of 2^64", Invalid, "no place of a device", |m| boot(m, |b| b[176..200].fill(0xff))),
    defect("copies between sectors", Invalid, "no place of a device", |m| boot(m, |b| for i in 0..3 { b[176 + 8 * i] = 1 })),
    defect("copies in the last sector", Invalid, "doesn't begin with", |m| boot(m, |b| for i in 0..3 { put(b, 176 + 8 * i, &[0, 0xfe, 0x1f]) })),
    defect("other copies than the metadata names", Invalid, "other places", |m| boot(m, |b| put(b, 192, &[0, 0, 0x13]))),
    defect("Windows Vista's boot code without a cluster", Invalid, "no place of the metadata", |m| boot(m, |b| { b[1] = 0x52; b[160] = 0; b[13] = 0 })),
    defect("Windows Vista's boot code with a cluster number over 2^64", Invalid, "no place of the metadata", |m| boot(m, |b| { b[1] = 0x52; b[160] = 0; b[56..64].fill(0xff) })),
    defect("Windows Vista's boot code before newer metadata", Invalid, "other places", |m| boot(m, |b| { b[1] = 0x52; b[160] = 0; put(b, 56, &[0x40]) })),
    // The metadata's header.
    defect("no signature", Invalid, "doesn't begin with", |m| area(m, |a| a[0] ^= 1)),
    defect("zeros for all copies", Invalid, "doesn't begin with", |m| area(m, |a| a.fill(0))),
    defect("a wrong checksum", Invalid, "checksum", |m| area(m, |a| a[200] ^= 1)),
    defect("a size of 0", Invalid, "it says that it has 0 bytes", |m| area(m, |a| put(a, 8, &[0, 0]))),
    defect("a size below its headers", Invalid, "it says that it has 96 bytes", |m| area(m, |a| put(a, 8, &[6, 0]))),
    defect("a size over its place", Invalid, "it says that it has 1048560 bytes", |m| area(m, |a| put(a, 8, &[255, 255]))),
    defect("a size of all of its place", Invalid, "cut off", |m| area(m, |a| put(a, 8, &[0, 16]))),
    defect("version 0", Unsupported, "version is 0", |m| area(m, |a| put(a, 10, &[0, 0]))),
    defect("version 3", Unsupported, "version is 3", |m| area(m, |a| put(a, 10, &[3, 0]))),
    defect("Windows Vista's version", Invalid, "says that it has 25 bytes", |m| area(m, |a| put(a, 10, &[1, 0]))),
    defect("state 0", Unsupported, "state is 0", |m| m.state = 0),
    defect("a conversion that was cut off", Unsupported, "let Windows start", |m| m.state = 2),
    defect("state 6", Unsupported, "state is 6", |m| m.state = 6),
    defect("state 65535", Unsupported, "state is 65535", |m| m.state = 65535),
    defect("a volume larger than its device", TooSmall, "", |m| m.encrypted = SIZE as u64 + 512),
    defect("a volume of 2^64 - 1 bytes", TooSmall, "", |m| m.encrypted = u64::MAX),
    defect("a volume of no whole sectors", Invalid, "2096641", |m| m.encrypted = SIZE as u64 - 511),
    defect("a volume that ends before its metadata", Invalid, "its own", |m| m.encrypted = 0x100_000),
    defect("a boundary beyond the volume", Invalid, "are encrypted", |m| (m.state, m.encrypted) = (5, SIZE as u64 + 512)),
    defect("a boundary within a sector", Invalid, "are encrypted", |m| (m.state, m.encrypted) = (5, 0x10001)),
    defect("no first sectors that are kept elsewhere", Invalid, "kept elsewhere", |m| m.header_sectors = 0),
    defect("more first sectors than the volume has", Invalid, "kept elsewhere", |m| meta(m, |b| put(b, 28, &[255; 4]))),
    defect("first sectors kept at byte 0", Invalid, "its own", |m| m.header_offset = 0),
    defect("first sectors kept where they are", Invalid, "its own", |m| m.header_offset = 0x1000),
    defect("first sectors kept between sectors", Invalid, "its own", |m| m.header_offset = 0x90_001),
    defect("first sectors kept beyond the end", Invalid, "its own", |m| m.header_offset = SIZE as u64),
    defect("first sectors kept at the last bytes of 2^64", Invalid, "its own", |m| m.header_offset = u64::MAX - 511),
    defect("first sectors kept in a copy of the metadata", Invalid, "its own", |m| m.header_offset = 0x41_000),
    defect("two places of the first sectors", Invalid, "two places", |m| m.more = vec![entry(15, 15, &[1; 16])]),
    defect("a place of the first sectors that is cut off", Invalid, "two places", |m| m.more = vec![entry(15, 15, &[1; 7])]),
    defect("copies that overlap", Invalid, "its own", |m| m.copies[1] = 0x48_000),
    defect("copies at the same place", Invalid, "its own", |m| m.copies[1] = m.copies[0]),
    defect("a copy over the first sectors", Invalid, "its own", |m| m.copies[0] = 0x1000),
    defect("a copy that the end cuts off", Invalid, "its own", |m| m.copies[2] = SIZE as u64 - 0x8000),
    // The data set.
    defect("a data set of version 2", Unsupported, "version is 2", |m| meta(m, |b| b[68] = 2)),
    defect("a data set larger than the metadata", Invalid, "data set", |m| meta(m, |b| put(b, 64, &[255, 255]))),
    defect("a data set of 2^32 - 1 bytes", Invalid, "data set", |m| meta(m, |b| put(b, 64, &[255; 4]))),
    defect("entries that begin in the data set's header", Invalid, "data set", |m| meta(m, |b| b[72] = 47)),
    defect("entries that begin beyond the end", Invalid, "data set", |m| meta(m, |b| put(b, 72, &[255; 4]))),
    defect("entries that end before they begin", Invalid, "data set", |m| meta(m, |b| put(b, 76, &[47, 0]))),
    defect("entries that end beyond the data set", Invalid, "data set", |m| meta(m, |b| put(b, 76, &[255, 255]))),
    defect("no entries", NoSuchProtector, "has no protector", |m| meta(m, |b| put(b, 76, &[48, 0]))),
    defect("an unknown method", Unsupported, "0x8006", |m| meta(m, |b| put(b, 100, &[6, 0x80]))),
    defect("no method", Unsupported, "0x0000", |m| meta(m, |b| put(b, 100, &[0, 0]))),
    defect("an entry of 1 byte", Invalid, "an entry of 1 bytes", |m| meta(m, |b| put(b, ENTRIES, &[1, 0]))),
    defect("an entry of 0 bytes before others", Invalid, "an entry of 0 bytes", |m| meta(m, |b| put(b, ENTRIES, &[0, 0]))),
    defect("an entry of 7 bytes", Invalid, "an entry of 7 bytes", |m| meta(m, |b| put(b, ENTRIES, &[7, 0]))),
    defect("an entry of 65535 bytes", Invalid, "an entry of 65535 bytes", |m| meta(m, |b| put(b, ENTRIES, &[255, 255]))),
    defect("an entry that is cut off", Invalid, "an entry of", |m| meta(m, |b| { let end = b[76] - 1; b[76] = end })),
    // Protectors.
    defect("a protector without its fixed fields", Invalid, "fewer than 28", |m| m.protectors = vec![entry(2, 8, &[1; 27])]),
    defect("a protector with an entry of 3 bytes", Invalid, "an entry of 3 bytes", |m| meta(m, |b| put(b, PROTECTOR + 36, &[3, 0]))),
    defect("a protector with an entry beyond its end", Invalid, "an entry of 300 bytes", |m| meta(m, |b| put(b, PROTECTOR + 36, &[44, 1]))),
    defect("a salt that is cut off", Invalid, "salt is cut off", |m| m.protectors = vec![protector(1, 0x2000, &[entry(0, 3, &[1; 19])])]),
    defect("a clear key that is cut off", Invalid, "key's entry is cut off", |m| m.protectors = vec![protector(1, 0, &[entry(0, 1, &[1; 3])])]),
    defect("a sealed key without its tag", Invalid, "fewer than 28", |m| m.protectors = vec![protector(1, 0, &[entry(0, 5, &[1; 27])])]),
    defect("a protector without a master key", Unsupported, "has no master key", |m| m.protectors = vec![protector(1, 0, &[key_entry(0x2000, &[1; 32])])]),
    defect("a password's protector without a salt", Unsupported, "has no salt", |m| m.protectors = vec![protector(1, 0x2000, &[model::sealed_master_key(&[1; 32])])]),
    defect("a password that is stretched by PBKDF2", Unsupported, "PBKDF2", |m| m.protectors = vec![model::password(0x40)]),
    defect("a clear key's protector without the key", WrongPassphrase, "", |m| m.protectors = vec![protector(1, 0, &[model::sealed_master_key(&[1; 32])])]),
    defect("a clear key of 31 bytes", WrongPassphrase, "", |m| m.protectors = vec![protector(1, 0, &[key_entry(0x2000, &[1; 31]), model::sealed_master_key(&[1; 32])])]),
    defect("another clear key", WrongPassphrase, "", |m| m.protectors = vec![protector(1, 0, &[key_entry(0x2000, &[1; 32]), model::sealed_master_key(&[2; 32])])]),
    defect("a TPM alone", NoSuchProtector, "TPM {01", |m| m.protectors = vec![protector(1, 0x0100, &[])]),
    defect("a TPM with a PIN alone", NoSuchProtector, "TPM and PIN {01", |m| m.protectors = vec![protector(1, 0x0500, &[])]),
    defect("a TPM with a startup key alone", NoSuchProtector, "TPM and startup key {01", |m| m.protectors = vec![protector(1, 0x0300, &[])]),
    defect("a TPM with PIN and startup key alone", NoSuchProtector, "TPM, PIN and startup key {01", |m| m.protectors = vec![protector(1, 0x0700, &[])]),
    defect("a smart card alone", NoSuchProtector, "smart card {01", |m| m.protectors = vec![protector(1, 0x1000, &[])]),
    defect("an unknown protector alone", NoSuchProtector, "unknown kind 0x4000 {01", |m| m.protectors = vec![protector(1, 0x4000, &[])]),
    defect("a master key of 31 bytes", Invalid, "a master key has 31 bytes", |m| m.protectors = by_clear_key(&key_entry(0x2003, &[1; 31]))),
    defect("a master key of 0 bytes", Invalid, "a master key has 0 bytes", |m| m.protectors = by_clear_key(&key_entry(0x2003, &[]))),
    defect("a sealed entry that is no key", Invalid, "something else", |m| m.protectors = by_clear_key(&entry(0, 2, &[1; 36]))),
    defect("a sealed key and more", Invalid, "something else", |m| m.protectors = by_clear_key(&[key_entry(0x2003, &[1; 32]), vec![0; 8]].concat())),
    defect("a sealed entry that is too long for what was sealed", Invalid, "an entry of 200 bytes", |m| m.protectors = by_clear_key(&[&[200, 0, 0, 0, 1, 0, 1, 0][..], &[1; 36]].concat())),
    defect("nothing sealed", Invalid, "is empty", |m| m.protectors = by_clear_key(&[])),
    // The volume's key, and the proof.
    defect("no volume key", Unsupported, "volume's key is missing", |m| m.key = None),
    defect("a volume key under another master key", Tampered, "", |m| m.key = Some(entry(3, 5, &seal(&[7; 32], 2, &key_entry(0x8004, &[1; 32]))))),
    defect("a volume key of another method", Invalid, "another method", |m| m.key = Some(volume_key(0x8002, 32))),
    defect("a volume key of 16 bytes for XTS", Invalid, "has 16 bytes, not 32", |m| m.key = Some(volume_key(0x8004, 16))),
    defect("a volume key of 32 bytes for the diffuser", Invalid, "has 32 bytes, not 64", |m| (m.method, m.key) = (0x8000, Some(volume_key(0x8000, 32)))),
    defect("a volume key of 4096 bytes", Invalid, "has 4096 bytes", |m| m.key = Some(volume_key(0x8004, 4096))),
    defect("a volume key with equal halves", Misc, "equal", |m| m.key = Some(entry(3, 5, &seal(&model::MASTER_KEY, 2, &key_entry(0x8004, &[1; 32]))))),
    defect("no proof", Invalid, "altered is missing", |m| area(m, |a| { let at = after(a); a[at..].fill(0) })),
    defect("a proof that is cut off", Invalid, "an entry of 4 bytes", |m| area(m, |a| { let at = after(a); put(a, at, &[4, 0]) })),
    defect("a proof beyond its place", Invalid, "altered is missing", |m| area(m, |a| { let at = after(a); put(a, at, &[255, 255]) })),
    defect("a proof of another kind", Invalid, "altered is missing", |m| area(m, |a| { let at = after(a); a[at + 4] = 2 })),
    defect("a proof that is not sealed", Tampered, "", |m| area(m, |a| {
        let at = after(a);
        let hash = <sha2::Sha256 as sha2::Digest>::digest(&a[..at - 8]);
        let bare = key_entry(0x2005, &hash);
        put(a, at, &bare);
    })),
    defect("a proof that is not sealed, and is wrong", Invalid, "hash is wrong", |m| area(m, |a| { let at = after(a); let bare = key_entry(0x2005, &[7; 32]); put(a, at, &bare) })),
    defect("a proof under another key", Tampered, "", |m| area(m, |a| { let at = after(a); a[at + 9] ^= 1 })),
    defect("a proof that is altered", Tampered, "", |m| area(m, |a| { let at = after(a); a[at + 60] ^= 1 })),
    defect("a forged description", Tampered, "", |m| area(m, |a| forged(a, |a| a[ENTRIES + 8] ^= 1))),
    defect("a forged method", Tampered, "", |m| area(m, |a| forged(a, |a| a[100] = 2))),
    defect("a forged boundary, which would have data written in the clear", Unsupported, "hazmat_allow_unencrypted", |m| area(m, |a| forged(a, |a| { a[12] = 5; put(a, 16, &[0; 8]) }))),
    defect("a forged place of the first sectors", Tampered, "", |m| area(m, |a| forged(a, |a| {
        let at = (ENTRIES..a.len()).find(|at| a[*at..].starts_with(&[24, 0, 15, 0, 15, 0])).unwrap();
        put(a, 56, &[0, 0, 0x0c]);
        put(a, at + 8, &[0, 0, 0x0c]);
    }))),
    defect("a forged volume identifier", Tampered, "", |m| area(m, |a| forged(a, |a| a[80] ^= 1))),
    // Maps of chunks.
    defect("maps of chunks that are missing", Invalid, "are missing", |m| chunks(m, |i, _| i.fill(0))),
    defect("a map of chunks with a wrong checksum", Invalid, "checksum", |m| chunks(m, |i, _| i[16] ^= 1)),
    defect("a map of chunks with a short header", Invalid, "a header of 55", |m| chunks(m, |i, _| { i[8] = 55; info_sum(i) })),
    defect("a map of chunks smaller than its header", Invalid, "has 55 bytes", |m| chunks(m, |i, _| { i[10] = 55; info_sum(i) })),
    defect("chunks of 0 bytes", Invalid, "chunks have 0 bytes", |m| chunks(m, |i, _| { put(i, 20, &[0; 4]); info_sum(i) })),
    defect("chunks of no whole sectors", Invalid, "chunks have 65537 bytes", |m| chunks(m, |i, _| { i[20] = 1; info_sum(i) })),
    defect("a map of chunks without regions", Invalid, "has no regions", |m| chunks(m, |i, _| { i[10] = 56; info_sum(i) })),
    defect("a bitmap beyond the end", Invalid, "a map of its chunks is at byte", |m| chunks(m, |i, _| { put(i, 56, &[0xff; 8]); info_sum(i) })),
    defect("a bitmap without its signature", Invalid, "region's chunks is missing", |m| chunks(m, |_, b| b[0] ^= 1)),
    defect("a bitmap with a wrong checksum", Invalid, "checksum", |m| chunks(m, |_, b| b[24] ^= 1)),
    defect("a bitmap with a record over its header", Invalid, "records at bytes 8", |m| chunks(m, |_, b| { put(b, 44, &[8, 0]); bitmap_sum(b) })),
    defect("a bitmap with records in the wrong order", Invalid, "records at bytes", |m| chunks(m, |_, b| { put(b, 48, &[0x80, 0]); bitmap_sum(b) })),
    defect("a bitmap with records beyond its end", Invalid, "cut off", |m| chunks(m, |_, b| { put(b, 52, &[0xff; 4]); bitmap_sum(b) })),
    defect("a bitmap of 2^32 - 1 bytes", Invalid, "cut off", |m| chunks(m, |_, b| { put(b, 12, &[0xff; 4]); bitmap_sum(b) })),
    defect("two damaged records", Invalid, "both records", |m| chunks(m, |_, b| { b[0x230] ^= 1; b[0x430] ^= 1 })),
    defect("a region that ends over 2^64", Invalid, "has no end", |m| chunks(m, |_, b| { put(b, 28, &[0xff; 8]); bitmap_sum(b) })),
    defect("a region with more chunks than its bitmap", Invalid, "has 32 chunks", |m| chunks(m, |_, b| { put(b, 28, &[0, 0, 0, 1]); bitmap_sum(b) })),
    defect("a region that isn't all of the volume", Invalid, "the map of its chunks is of bytes", |m| chunks(m, |_, b| { put(b, 28, &[0, 0, 1]); bitmap_sum(b) })),
    defect("a region of no whole sectors", Invalid, "don't follow", |m| chunks(m, |_, b| { put(b, 28, &[1]); bitmap_sum(b) })),
    defect("a log over a copy of the metadata", Invalid, "its own", |m| chunks(m, |_, b| { put(b, 36, &[0, 0, 4]); bitmap_sum(b) })),
    defect("a log that the end cuts off", Invalid, "its own", |m| chunks(m, |_, b| { put(b, 36, &[0, 0xfe, 0x1f]); bitmap_sum(b) })),
    defect("parts that aren't encrypted", Unsupported, "hazmat_allow_unencrypted", |m| chunks(m, |_, _| {})),
];

fn by_clear_key(sealed: &[u8]) -> Vec<Vec<u8>> {
    vec![protector(1, 0, &[key_entry(0x2000, &[3; 32]), entry(0, 5, &seal(&[3; 32], 1, sealed))])]
}

fn volume_key(method: u32, len: usize) -> Vec<u8> {
    let key: Vec<u8> = (0..len).map(|i| i as u8).collect();
    entry(3, 5, &seal(&model::MASTER_KEY, 2, &key_entry(method, &key)))
}

/// Has the volume encrypted by chunks of 64 KiB, every second one; and changes their map and the bitmap.
fn chunks(model: &mut Model, patch: fn(&mut Vec<u8>, &mut Vec<u8>)) {
    let (mut information, mut bitmap) = model::chunk_maps(SIZE as u64);
    patch(&mut information, &mut bitmap);
    model.chunks = Some([model::CHUNKS, model::CHUNKS + 0x2000]);
    model.maps = vec![(model::CHUNKS, information), (model::CHUNKS + 0x1000, bitmap)];
}

fn info_sum(information: &mut [u8]) {
    model::sum(information, 36, usize::from(information[10]).max(56));
}

fn bitmap_sum(bitmap: &mut [u8]) {
    let end = usize::from(u16::from_le_bytes([bitmap[44], bitmap[45]])).clamp(60, bitmap.len());
    model::sum(bitmap, 56, end);
}

fn verdict(error: &Error) -> Verdict {
    match error {
        Error::InvalidHeader(_) => Invalid,
        Error::TamperedHeader => Tampered,
        Error::WrongPassphrase => WrongPassphrase,
        Error::NoSuchProtector(_) => NoSuchProtector,
        Error::DeviceTooSmall { .. } => TooSmall,
        Error::NotLuks { .. } => NotLuks,
        Error::UnsupportedHeader(_) => Unsupported,
        _ => Misc,
    }
}

#[test]
fn each_defect_is_named() {
    let (plain, mut wrong) = (model::plain(), Vec::new());
    for Defect { name, change, verdict: expected, says } in DEFECTS {
        let mut model = Model::new(0x8004, 512);
        change(&mut model);
        let device = MemoryDevice::from_bytes(model.image(&plain, |_| true));
        let by_password = ["salt", "PBKDF2"].iter().any(|word| says.contains(word));
        let credential = if by_password { Credential::Passphrase(b"pw") } else { Credential::ClearKey };
        match Volume::open(device, credential, &OpenOptions::new()) {
            Ok(_) => wrong.push(format!("{name}: it opens")),
            Err(e) if verdict(&e) == *expected && e.to_string().contains(says) => {}
            Err(e) => wrong.push(format!("{name}: {:?}: {e:#}", verdict(&e))),
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), DEFECTS.len(), wrong.join("\n"));
    assert!(DEFECTS.len() >= 60);
    println!("{} defects", DEFECTS.len());
}

/// Who allows parts that aren't encrypted sees only those that the master key's owner has left so.
#[test]
fn a_forged_boundary_is_noticed_also_where_plain_parts_are_allowed() {
    let mut model = Model::new(0x8004, 512);
    area(&mut model, |a| {
        forged(a, |a| {
            a[12] = 5;
            put(a, 16, &[0; 8]);
        });
    });
    let device = MemoryDevice::from_bytes(model.image(&model::plain(), |_| true));
    let options = OpenOptions::new().hazmat_allow_unencrypted(true);
    let opened = Volume::open(device, Credential::ClearKey, &options);
    assert!(matches!(opened, Err(Error::TamperedHeader)), "{opened:?}");
}

#[test]
fn a_volume_that_is_converted_by_chunks_is_read_and_not_written() {
    let mut model = Model::new(0x8004, 512);
    chunks(&mut model, |_, _| {});
    let plain = model::plain();
    // The first chunk is that behind the first 8192 bytes.
    let image = model.image(&plain, |at| at >= 8192 && ((at - 8192) / model::CHUNK).is_multiple_of(2));
    let options = OpenOptions::new().hazmat_allow_unencrypted(true);
    let volume = Volume::open(MemoryDevice::from_bytes(image), Credential::ClearKey, &options).unwrap();
    let mut shown = model.shown(&plain);
    for (at, len) in [(0, 0x200), (0x2000, 0x200), (0x1000, 0x600), (0x3000, 0x1000)] {
        shown[model::CHUNKS as usize + at..][..len].fill(0);
    }
    let mut read = vec![0; SIZE];
    volume.read_at(0, &mut read).unwrap();
    assert!(read == shown);
    // Windows keeps a log of what it converts, and may write from it over what is written now.
    assert!(volume.is_read_only());
    let added = volume.add_protector(atrest::Protector::Passphrase(b"pw"), &Default::default());
    assert!(matches!(added, Err(Error::ReadOnly)));
    assert!(matches!(volume.write_at(0, &[0; 512]), Err(Error::ReadOnly)));
}

#[test]
fn many_protectors_take_no_longer_than_is_allowed() {
    let mut model = Model::new(0x8004, 512);
    model.protectors = vec![model::password(0); 300];
    let image = model.image(&model::plain(), |_| true);
    let opened = Volume::open(MemoryDevice::from_bytes(image), Credential::Passphrase(b"wrong"), &{
        let limits = atrest::key::KdfLimits::new().max_total(core::time::Duration::from_secs(1));
        OpenOptions::new().kdf_limits(limits)
    });
    let text = opened.unwrap_err().to_string();
    assert!(text.contains("max_total"), "{text}");
}

/// Every byte of the metadata, changed in all three copies at once.
#[test]
fn no_change_of_a_byte_goes_unnoticed() {
    let mut model = Model::new(0x8004, 512);
    model.protectors.extend([model::startup_key(), model::recovery_password()]);
    let plain = model::plain();
    let area = model.area();
    let size = after(&area) + 80;
    let image = model.image(&plain, |_| true);
    for at in 0..size {
        for is_forged in [false, true] {
            let mut image = image.clone();
            for copy in model.copies {
                let area = &mut image[copy as usize..][..model::AREA];
                area[at] ^= 0x11;
                let end = usize::from(u16::from_le_bytes([area[8], area[9]])) * 16;
                if is_forged && end + 8 < area.len() {
                    forged(area, |_| {});
                }
            }
            let opened = Volume::open(MemoryDevice::from_bytes(image), Credential::ClearKey, &OpenOptions::new());
            // Behind the metadata: the size and the version of its proof, which this doesn't need; the checksum, if it is made
            // right; and the role and the version of the proof's entry.
            let slack = [0, 1, 2, 3, 10, 11, 14, 15].map(|at| size - 88 + at);
            let is_slack = slack.contains(&at) || is_forged && (size - 84..size - 80).contains(&at);
            assert_eq!(opened.is_ok(), is_slack, "byte {at} of {size}, forged: {is_forged}");
        }
    }
}

/// Changes of several bytes, with the checksum made right.
#[test]
fn noise_in_the_metadata_is_refused_without_a_panic() {
    let mut model = Model::new(0x8004, 512);
    chunks(&mut model, |_, _| {});
    model.protectors.extend([model::startup_key(), model::recovery_password()]);
    let image = model.image(&model::plain(), |_| true);
    let device = |image: &[u8]| MemoryDevice::from_bytes(image.to_vec());
    let mut state = 1u64;
    let mut next = |most: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % most
    };
    let mut refused = 0;
    for round in 0..2000 {
        let mut image = image.clone();
        for _ in 0..=next(4) {
            let value = [0, 1, 7, 8, 0x7f, 0x80, 0xff, next(256) as u8][next(8)];
            let (place, len) =
                [(0, 512), (model::CHUNKS as usize, 0x80), (model::CHUNKS as usize + 0x1000, 0x600), (1, 1)][next(4)];
            if place != 1 {
                image[place + next(len)] = value;
                continue;
            }
            let at = next(700);
            for copy in model.copies {
                image[copy as usize + at] = value;
            }
        }
        for copy in model.copies {
            let area = &mut image[copy as usize..][..model::AREA];
            let end = usize::from(u16::from_le_bytes([area[8], area[9]])) * 16;
            if end + 8 < area.len() {
                forged(area, |_| {});
            }
        }
        if round % 2 == 0 {
            let (information, bitmap) = image[model::CHUNKS as usize..][..0x2000].split_at_mut(0x1000);
            info_sum(information);
            bitmap_sum(bitmap);
        }
        let device = device(&image);
        if let Ok(header) = Header::load(&device) {
            let _ = (header.keyslots(), header.segments(), format!("{header:?}"));
        }
        let options = OpenOptions::new().hazmat_allow_unencrypted(true);
        match Volume::open(device, Credential::ClearKey, &options) {
            Ok(volume) => {
                let mut bytes = vec![0; volume.size() as usize];
                volume.read_at(0, &mut bytes).unwrap();
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn a_device_of_any_length_is_refused_or_opened() {
    let image = Model::new(0x8004, 512).image(&model::plain(), |_| true);
    for len in (0..SIZE).step_by(4096).chain(0..600).chain([SIZE - 1, SIZE]) {
        let device = MemoryDevice::from_bytes(image[..len].to_vec());
        assert_eq!(Volume::open(device, Credential::ClearKey, &OpenOptions::new()).is_ok(), len == SIZE, "{len}");
    }
}
