//! BitLocker volumes, built byte by byte from the analyses of the format (see `src/ondisk/bitlocker`) and over other authors'
//! ciphers. Nothing here calls the library.

use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes256};
use ccm::aead::AeadInOut;
use ccm::consts::{U12, U16};
use sha2::{Digest, Sha256};
use xts_mode::Xts128;

pub const AREA: usize = 64 << 10;

pub const SALT: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
/// A password with characters of two and of four bytes, and the key that Python's hashlib makes of it with the salt.
pub const PASSWORD: &str = "pa\u{df}w\u{f6}rt \u{1f511}";
pub const PASSWORD_KEY: &str = "f1e8a5e9f6648a8f76421c2c6d0effbc9fda864ff0d939af5d98aa447bc6475f";
/// A recovery password with the least and the greatest group, and the key that Python's hashlib makes of it with the salt.
pub const RECOVERY: &str = "000000-000011-000022-720885-051260-432531-011000-597531";
pub const RECOVERY_KEY: &str = "2c6ee4b31f244f87dcf92e51816f34c58b37549a0d211b1a93df28629759007e";

pub const MASTER_KEY: [u8; 32] = [0x4d; 32];
pub const EXTERNAL_KEY: [u8; 32] = [0x5e; 32];
pub const EXTERNAL_ID: [u8; 16] = [0xe1; 16];
const CLEAR_KEY: [u8; 32] = [0xc1; 32];

pub const METHODS: [u16; 6] = [0x8000, 0x8001, 0x8002, 0x8003, 0x8004, 0x8005];

pub type Patch = fn(&mut Vec<u8>);

/// A volume of 2 MiB. Tests change what they are about.
#[derive(Clone)]
pub struct Model {
    pub sector: usize,
    pub method: u16,
    pub state: u16,
    pub encrypted: u64,
    pub header_sectors: u32,
    pub header_offset: u64,
    pub copies: [u64; 3],
    pub to_go: bool,
    pub protectors: Vec<Vec<u8>>,
    /// The sealed key's entry.
    pub key: Option<Vec<u8>>,
    pub more: Vec<Vec<u8>>,
    /// What changes the metadata before its checksum and its hash are made.
    pub patch: Patch,
    /// What changes the whole place of a copy, when all is made.
    pub patch_area: Patch,
    /// Of which copies.
    pub patched: [bool; 3],
    pub patch_boot: Patch,
    /// The places that the boot sector names of the maps of chunks.
    pub chunks: Option<[u64; 2]>,
    /// What lies where, as it is.
    pub maps: Vec<(u64, Vec<u8>)>,
}

pub const SIZE: usize = 2 << 20;

impl Model {
    pub fn new(method: u16, sector: usize) -> Self {
        Model {
            sector,
            method,
            state: 4,
            encrypted: SIZE as u64,
            header_sectors: (8192 / sector) as u32,
            header_offset: 0x90_000,
            copies: [0x40_000, 0xa0_000, 0x120_000],
            to_go: false,
            protectors: vec![clear_key()],
            key: Some(volume_key(method)),
            more: Vec::new(),
            patch: |_| {},
            patch_area: |_| {},
            patched: [true; 3],
            patch_boot: |_| {},
            chunks: None,
            maps: Vec::new(),
        }
    }

    /// The metadata, without what follows it.
    fn metadata(&self) -> Vec<u8> {
        let mut entries = entry(7, 2, &utf16("MODEL"));
        entries.extend(self.protectors.concat());
        entries.extend(self.key.iter().flatten());
        let place =
            [self.header_offset.to_le_bytes(), (u64::from(self.header_sectors) * self.sector as u64).to_le_bytes()];
        entries.extend(entry(15, 15, &place.concat()));
        entries.extend(self.more.concat());
        let end = 48 + entries.len();
        let mut set: Vec<u8> = [end, 1, 48, end].iter().flat_map(|field| (*field as u32).to_le_bytes()).collect();
        set.extend([0x1d; 16]);
        set.extend(100u32.to_le_bytes());
        set.extend(u32::from(self.method).to_le_bytes());
        set.extend([7; 8]);
        set.extend(entries);
        let mut bytes = b"-FVE-FS-".to_vec();
        let size = (64 + set.len()).next_multiple_of(16);
        bytes.extend(((size / 16) as u16).to_le_bytes());
        bytes.extend([2u16, self.state, self.state].iter().flat_map(|field| field.to_le_bytes()));
        bytes.extend(self.encrypted.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(self.header_sectors.to_le_bytes());
        bytes.extend(self.copies.iter().flat_map(|copy| copy.to_le_bytes()));
        bytes.extend(self.header_offset.to_le_bytes());
        bytes.extend(set);
        bytes.resize(size, 0);
        bytes
    }

    /// The place of a copy.
    pub fn area(&self) -> Vec<u8> {
        let mut area = self.metadata();
        (self.patch)(&mut area);
        let hash = Sha256::digest(&area);
        let after = [(AREA - area.len()) as u16, 2].map(u16::to_le_bytes).concat();
        let checksum = crc32(&area);
        area.extend(after);
        area.extend(checksum.to_le_bytes());
        area.extend(entry(0, 5, &seal(&MASTER_KEY, 90, &key_entry(0x2005, &hash))));
        area.resize(AREA, 0);
        area
    }

    fn boot(&self) -> Vec<u8> {
        let mut boot = vec![0; 512];
        boot[..3].copy_from_slice(b"\xeb\x58\x90");
        boot[3..11].copy_from_slice(if self.to_go { b"MSWIN4.1" } else { b"-FVE-FS-" });
        boot[11..13].copy_from_slice(&(self.sector as u16).to_le_bytes());
        boot[13] = 8;
        let at = if self.to_go { 424 } else { 160 };
        let usual = b"\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01";
        let by_chunks = b"\x3b\x4d\xa8\x92\x80\xdd\x0e\x4d\x9e\x4e\xb1\xe3\x28\x4e\xae\xd8";
        boot[at..at + 16].copy_from_slice(if self.chunks.is_some() { by_chunks } else { usual });
        let offsets = self.copies.iter().chain(self.chunks.iter().flatten());
        for (i, offset) in offsets.enumerate() {
            boot[at + 16 + 8 * i..][..8].copy_from_slice(&offset.to_le_bytes());
        }
        boot[510..].copy_from_slice(b"\x55\xaa");
        (self.patch_boot)(&mut boot);
        boot
    }

    /// The device of a volume that holds `plain`, of which `is_encrypted` tells whether the sector at a byte of the device is.
    pub fn image(&self, plain: &[u8], is_encrypted: impl Fn(u64) -> bool) -> Vec<u8> {
        let (mut image, header) = (plain.to_vec(), self.header_sectors as usize * self.sector);
        let kept = plain[..header.min(SIZE)].to_vec();
        if let Some(place) = image.get_mut(self.header_offset as usize..).and_then(|rest| rest.get_mut(..kept.len())) {
            place.copy_from_slice(&kept);
        }
        for (i, sector) in image.chunks_mut(self.sector).enumerate() {
            let at = (i * self.sector) as u64;
            if is_encrypted(at) {
                encrypt(self.method, at, sector);
            }
        }
        for (i, copy) in self.copies.iter().enumerate() {
            let mut area = self.area();
            if self.patched[i] {
                (self.patch_area)(&mut area);
            }
            let at = usize::try_from(*copy).unwrap_or(usize::MAX).min(image.len());
            let len = area.len().min(image.len() - at);
            image[at..at + len].copy_from_slice(&area[..len]);
        }
        for (at, bytes) in &self.maps {
            image[*at as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        // What is kept elsewhere is never read here.
        image[..header.min(SIZE)].fill(0xee);
        image[..512].copy_from_slice(&self.boot());
        image
    }

    /// What the volume shows of `plain`.
    pub fn shown(&self, plain: &[u8]) -> Vec<u8> {
        let mut shown = plain.to_vec();
        for copy in self.copies {
            shown[copy as usize..][..AREA].fill(0);
        }
        shown[self.header_offset as usize..][..self.header_sectors as usize * self.sector].fill(0);
        shown
    }
}

/// Where the maps of chunks are.
pub const CHUNKS: u64 = 0x1a0_000;
pub const CHUNK: u64 = 64 << 10;

/// The maps of a volume of `size` bytes of which every second chunk is encrypted: what names the bitmap, which lies 4096 bytes
/// behind it, and the bitmap, with its log 4096 bytes behind that.
pub fn chunk_maps(size: u64) -> (Vec<u8>, Vec<u8>) {
    let mut information = b"FVE-EOW\0".to_vec();
    information.extend([56u16, 64].iter().flat_map(|field| field.to_le_bytes()));
    information.extend([512u32, 512, CHUNK as u32, 4096, 0, 1, 0].iter().flat_map(|field| field.to_le_bytes()));
    information.extend([CHUNKS, CHUNKS + 0x2000, CHUNKS + 0x1000].iter().flat_map(|field| field.to_le_bytes()));
    sum(&mut information, 36, 64);
    let mut bitmap = b"FVE-EOWBM\0".to_vec();
    bitmap.extend(60u16.to_le_bytes());
    bitmap.extend([0x600u32, 0].iter().flat_map(|field| field.to_le_bytes()));
    bitmap.extend([8192, size - 8192, CHUNKS + 0x3000].iter().flat_map(|field| field.to_le_bytes()));
    bitmap.extend([0x200u32, 0x400, 0x200, 0].iter().flat_map(|field| field.to_le_bytes()));
    bitmap.resize(0x200, 0);
    sum(&mut bitmap, 56, 0x200);
    // The older record says something else.
    for (number, bits) in [(7u64, 0x55u8), (6, 0xff)] {
        let mut record = b"FVE-EOWBR\0".to_vec();
        record.extend(36u16.to_le_bytes());
        record.extend([0x200u32, 32].iter().flat_map(|field| field.to_le_bytes()));
        record.extend(number.to_le_bytes());
        record.extend([2u32, 0].iter().flat_map(|field| field.to_le_bytes()));
        record.resize(0x200, bits);
        sum(&mut record, 32, 0x200);
        bitmap.extend(record);
    }
    (information, bitmap)
}

/// Makes a checksum right that lies in what it is of.
pub fn sum(bytes: &mut [u8], at: usize, len: usize) {
    bytes[at..at + 4].fill(0);
    let sum = crc32(&bytes[..len.min(bytes.len())]);
    bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
}

pub fn plain() -> Vec<u8> {
    (0..SIZE).map(|i| (i ^ i >> 8 ^ i >> 16) as u8 | 1).collect()
}

pub fn entry(role: u16, kind: u16, data: &[u8]) -> Vec<u8> {
    let fields = [8 + data.len() as u16, role, kind, 1].map(u16::to_le_bytes);
    [fields.as_flattened(), data].concat()
}

pub fn key_entry(method: u32, key: &[u8]) -> Vec<u8> {
    entry(0, 1, &[&method.to_le_bytes(), key].concat())
}

/// The data of a sealed entry.
pub fn seal(under: &[u8; 32], counter: u32, plain: &[u8]) -> Vec<u8> {
    let nonce = [&[9; 8], &counter.to_le_bytes()[..]].concat();
    let mut bytes = plain.to_vec();
    let aead = ccm::Ccm::<Aes256, U16, U12>::new(under.into());
    let tag =
        aead.encrypt_inout_detached(nonce.as_slice().try_into().unwrap(), b"", bytes.as_mut_slice().into()).unwrap();
    [&nonce, &tag[..], &bytes].concat()
}

pub fn protector(id: u8, kind: u16, properties: &[Vec<u8>]) -> Vec<u8> {
    let fixed = [&[id; 16][..], &[5; 8], &[0; 2], &kind.to_le_bytes()].concat();
    entry(2, 8, &[fixed, properties.concat()].concat())
}

pub fn sealed_master_key(under: &[u8; 32]) -> Vec<u8> {
    entry(0, 5, &seal(under, 1, &key_entry(0x2003, &MASTER_KEY)))
}

pub fn clear_key() -> Vec<u8> {
    protector(0xc0, 0, &[key_entry(0x2000, &CLEAR_KEY), sealed_master_key(&CLEAR_KEY)])
}

fn stretched(flags: u16) -> Vec<u8> {
    entry(0, 3, &[&0x1001u16.to_le_bytes()[..], &flags.to_le_bytes(), &SALT].concat())
}

pub fn password(flags: u16) -> Vec<u8> {
    protector(0xb0, 0x2000, &[stretched(flags), sealed_master_key(&unhex(PASSWORD_KEY))])
}

pub fn recovery_password() -> Vec<u8> {
    let name = entry(0, 2, &utf16("DiskPassword"));
    protector(0xb1, 0x0800, &[name, stretched(0), sealed_master_key(&unhex(RECOVERY_KEY))])
}

pub fn startup_key() -> Vec<u8> {
    let used = entry(0, 4, &[&0x2002u32.to_le_bytes()[..], &[0; 40]].concat());
    protector(EXTERNAL_ID[0], 0x0200, &[used, sealed_master_key(&EXTERNAL_KEY)])
}

/// The file of the startup key.
pub fn startup_key_file() -> Vec<u8> {
    let properties = [entry(0, 2, &utf16("ExternalKey")), key_entry(0x2002, &EXTERNAL_KEY)].concat();
    let entry = entry(6, 9, &[&EXTERNAL_ID[..], &[5; 8], &properties].concat());
    let size = (48 + entry.len()) as u32;
    let header: Vec<u8> = [size, 1, 48, size].iter().flat_map(|field| field.to_le_bytes()).collect();
    [&header, &EXTERNAL_ID[..], &1u32.to_le_bytes(), &[0; 4], &[5; 8], &entry].concat()
}

/// The key of the data: bytes of which no two are alike.
pub fn data_key(method: u16) -> Vec<u8> {
    let len = match method {
        0x8002 => 16,
        0x8003 | 0x8004 => 32,
        _ => 64,
    };
    (0..len).map(|i| 0x80 + i).collect()
}

pub fn volume_key(method: u16) -> Vec<u8> {
    entry(3, 5, &seal(&MASTER_KEY, 2, &key_entry(method.into(), &data_key(method))))
}

pub fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

pub fn unhex(text: &str) -> [u8; 32] {
    core::array::from_fn(|i| u8::from_str_radix(&text[2 * i..][..2], 16).unwrap())
}

/// Bit by bit, from the highest degree on: the definition.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut remainder = u32::MAX;
    for byte in bytes {
        for bit in 0..8 {
            let carry = (remainder >> 31) as u8 ^ byte >> bit & 1;
            remainder = remainder << 1 ^ if carry == 1 { 0x04c1_1db7 } else { 0 };
        }
    }
    !remainder.reverse_bits()
}

/// Encrypts a sector that begins at a byte of the device.
fn encrypt(method: u16, at: u64, sector: &mut [u8]) {
    let key = data_key(method);
    let tweak = u128::from(at / sector.len() as u64).to_le_bytes();
    match method {
        0x8004 => xts::<Aes128>(&key, sector, tweak),
        0x8005 => xts::<Aes256>(&key, sector, tweak),
        0x8000 => diffuse(|block| ecb(&key[32..48], block), at, sector),
        0x8001 => diffuse(|block| ecb(&key[32..], block), at, sector),
        _ => {}
    }
    let cbc_key = match method {
        0x8000 => &key[..16],
        0x8001 => &key[..32],
        0x8002 | 0x8003 => &key,
        _ => return,
    };
    let mut chain = ecb(cbc_key, u128::from(at).to_le_bytes());
    for block in sector.as_chunks_mut::<16>().0 {
        chain.iter_mut().zip(&*block).for_each(|(chain, byte)| *chain ^= byte);
        chain = ecb(cbc_key, chain);
        *block = chain;
    }
}

fn xts<
    C: KeyInit + BlockCipherEncrypt + aes::cipher::BlockCipherDecrypt + aes::cipher::BlockSizeUser<BlockSize = U16>,
>(
    key: &[u8],
    sector: &mut [u8],
    tweak: [u8; 16],
) {
    let (data, other) = key.split_at(key.len() / 2);
    let cipher = |key| C::new_from_slice(key).unwrap();
    Xts128::new(cipher(data), cipher(other)).encrypt_sector(sector, tweak.into());
}

fn ecb(key: &[u8], block: [u8; 16]) -> [u8; 16] {
    let mut block = Array::from(block);
    match key.len() {
        16 => Aes128::new_from_slice(key).unwrap().encrypt_block(&mut block),
        _ => Aes256::new_from_slice(key).unwrap().encrypt_block(&mut block),
    }
    block.into()
}

/// The Elephant diffuser as its paper has it: decryption adds, from the first word on; encryption is what undoes it.
fn diffuse(tweak: impl Fn([u8; 16]) -> [u8; 16], at: u64, sector: &mut [u8]) {
    let first = u128::from(at).to_le_bytes();
    let mut second = first;
    second[15] = 0x80;
    let key = [tweak(first), tweak(second)].concat();
    sector.iter_mut().enumerate().for_each(|(i, byte)| *byte ^= key[i % 32]);
    let n = sector.len() / 4;
    let mut d: Vec<u32> = sector.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    for _ in 0..5 {
        for i in (0..n).rev() {
            let other = d[(i + n - 5) % n].rotate_left([9, 0, 13, 0][i % 4]);
            d[i] = d[i].wrapping_sub(d[(i + n - 2) % n] ^ other);
        }
    }
    for _ in 0..3 {
        for i in (0..n).rev() {
            let other = d[(i + 5) % n].rotate_left([0, 10, 0, 25][i % 4]);
            d[i] = d[i].wrapping_sub(d[(i + 2) % n] ^ other);
        }
    }
    for (bytes, word) in sector.as_chunks_mut::<4>().0.iter_mut().zip(d) {
        *bytes = word.to_le_bytes();
    }
}
