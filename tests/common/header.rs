//! Reads and edits LUKS2 headers, strictly by the specification and without the crate's code.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The size of a copy of the headers that the crate writes.
pub const COPY: usize = 0x4000;
/// The offset of its JSON.
pub const JSON: usize = 0x1000;
const CHECKSUM: std::ops::Range<usize> = 448..512;

/// One copy: 0 is the primary, 1 the secondary.
pub fn copy(image: &[u8], which: usize) -> &[u8] {
    &image[which * COPY..(which + 1) * COPY]
}

/// The metadata of a copy.
pub fn json(image: &[u8], which: usize) -> Value {
    let area = &copy(image, which)[JSON..];
    let end = area.iter().position(|&byte| byte == 0).unwrap();
    serde_json::from_slice(&area[..end]).unwrap()
}

pub fn seqid(image: &[u8], which: usize) -> u64 {
    u64::from_be_bytes(copy(image, which)[16..24].try_into().unwrap())
}

/// Whether a copy has its magic and a right checksum.
pub fn is_intact(image: &[u8], which: usize) -> bool {
    let copy = copy(image, which);
    copy[..6] == [*b"LUKS\xba\xbe", *b"SKUL\xba\xbe"][which] && copy[448..480] == checksum(copy)
}

/// Whether both copies are intact and say the same.
pub fn is_whole(image: &[u8]) -> bool {
    (0..2).all(|which| is_intact(image, which))
        && seqid(image, 0) == seqid(image, 1)
        && copy(image, 0)[JSON..] == copy(image, 1)[JSON..]
        && copy(image, 0)[24..72] == copy(image, 1)[24..72]
        && copy(image, 0)[168..256] == copy(image, 1)[168..256]
}

/// Edits the bytes of a copy and makes its checksum right again.
pub fn edit_copy(image: &mut [u8], which: usize, edit: impl FnOnce(&mut [u8])) {
    let copy = &mut image[which * COPY..(which + 1) * COPY];
    edit(copy);
    seal(copy);
}

/// Makes the checksum of a copy of any size right again.
pub fn seal(copy: &mut [u8]) {
    let sum = checksum(copy);
    copy[448..480].copy_from_slice(&sum);
}

/// Edits the metadata of both copies and makes their checksums right again, as an attacker without keys can.
pub fn edit_json(image: &mut [u8], edit: impl Fn(&mut Value)) {
    for which in 0..2 {
        let mut value = json(image, which);
        edit(&mut value);
        let text = serde_json::to_vec(&value).unwrap();
        edit_copy(image, which, |copy| {
            copy[JSON..].fill(0);
            copy[JSON..JSON + text.len()].copy_from_slice(&text);
        });
    }
}

fn checksum(copy: &[u8]) -> [u8; 32] {
    let mut copy = copy.to_vec();
    copy[CHECKSUM].fill(0);
    Sha256::digest(&copy).into()
}
