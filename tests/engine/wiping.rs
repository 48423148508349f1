//! No key byte outlives a cipher in its memory, or a call on the stack below it.
//!
//! A build without optimisation leaves copies of everything on the stack, so the stack is only checked in release
//! builds.

use std::collections::HashMap;
use std::hint::black_box;
use std::mem::MaybeUninit;

use aes::cipher::{BlockCipherEncrypt, KeyInit};
#[cfg(target_os = "linux")]
use atrest::Secret;
use atrest::cipher::{CipherSpec, DmCipher, KernelKind};
#[cfg(target_os = "linux")]
use atrest::key::{HmacSha256, hkdf_sha256, sha256, sha256_secret};
use atrest::{
    Credential, FormatOptions, MemoryDevice, OpenOptions, Protector, SectorCipher, SectorSize, SectorUnit,
    StreamCipher, Volume,
};
use sha2::{Digest, Sha256};

const SECTOR: u64 = 0x0123_4567_89AB;
/// How many sectors the longest calls have.
const SECTORS: usize = 129;

fn key(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 73 + 29) as u8 ^ 0xC3).collect()
}

/// Every 8 bytes that must not be found: of the key, its round keys in both directions, and the tweaks of some sectors, also with the
/// last round key of a direction, as kernels keep them.
fn needles(key: &[u8]) -> Vec<u64> {
    let (data, tweak) = key.split_at(key.len() / 2);
    let keys = schedule(data);
    let [first, .., last] = keys.as_chunks().0 else { unreachable!() };
    let masks = [0, u128::from_le_bytes(*first), u128::from_le_bytes(*last)];
    let mut secret: Vec<u8> = [keys.clone(), schedule(tweak)].concat();
    // What goes from a tweak with the last round key to the one 32 or 64 blocks behind, which gives the key away.
    for key in &masks[1..] {
        secret.extend(
            [32, 64].map(|steps| (0..steps).fold(*key, |t, _| times_x(t)) ^ key).map(u128::to_le_bytes).concat(),
        );
    }
    for sector in (0..SECTORS as u64).map(|i| SECTOR + i) {
        let mut block = u128::from(sector).to_le_bytes().into();
        match tweak.len() {
            16 => aes::Aes128::new_from_slice(tweak).unwrap().encrypt_block(&mut block),
            _ => aes::Aes256::new_from_slice(tweak).unwrap().encrypt_block(&mut block),
        }
        let mut t = u128::from_le_bytes(block.into());
        for _ in 0..256 {
            masks.iter().for_each(|mask| secret.extend((t ^ mask).to_le_bytes()));
            t = times_x(t);
        }
    }
    secret.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// The next tweak (IEEE 1619-2018, 5.2).
fn times_x(tweak: u128) -> u128 {
    (tweak << 1) ^ if tweak >> 127 == 1 { 0x87 } else { 0 }
}

/// As `needles`, of a key for CBC, and of the key of its IVs.
fn cbc_needles(key: &[u8]) -> Vec<u64> {
    let mut secret = [schedule(key), schedule(&Sha256::digest(key))].concat();
    if let Ok(aes) = aes::Aes256::new_from_slice(key) {
        // HCTR2's values derived from the key: the key of its hash, and L.
        for number in [0u128, 1] {
            let mut block = number.to_le_bytes().into();
            aes.encrypt_block(&mut block);
            secret.extend(block);
        }
    }
    secret.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// The key schedule of FIPS 197, 5.2, by the book.
fn schedule(key: &[u8]) -> Vec<u8> {
    let words = key.len() / 4;
    let mut w: Vec<[u8; 4]> = key.chunks_exact(4).map(|word| word.try_into().unwrap()).collect();
    let mut rcon = 1;
    for i in words..4 * (words + 7) {
        let mut t = w[i - 1];
        if i % words == 0 {
            t.rotate_left(1);
            t = t.map(s_box);
            t[0] ^= rcon;
            rcon = times(rcon, 2);
        } else if words > 6 && i % words == 4 {
            t = t.map(s_box);
        }
        let before = w[i - words];
        w.push(std::array::from_fn(|j| before[j] ^ t[j]));
    }
    w.concat()
}

fn s_box(byte: u8) -> u8 {
    let inverse = (0..=255).find(|&x| times(byte, x) == 1).unwrap_or(0);
    (0..5).fold(0x63, |sum, i| sum ^ inverse.rotate_left(i))
}

/// Multiplication in GF(2^8) of FIPS 197, 4.2.
fn times(a: u8, b: u8) -> u8 {
    (0..8).rev().fold(0u8, |product, bit| {
        let doubled = (product << 1) ^ if product & 0x80 != 0 { 0x1b } else { 0 };
        if b >> bit & 1 == 1 { doubled ^ a } else { doubled }
    })
}

/// Where a needle was found, and which.
fn found(memory: &[u64], needles: &[u64]) -> Vec<(usize, usize)> {
    let needles: HashMap<u64, usize> = needles.iter().enumerate().map(|(i, &needle)| (needle, i)).collect();
    memory.iter().enumerate().filter_map(|(i, word)| Some((i, *needles.get(word)?))).collect()
}

#[test]
fn the_schedule_is_that_of_fips_197() {
    // FIPS 197, A.1: the last round key of 2b7e1516...
    let key = [0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c];
    assert_eq!(schedule(&key)[160..164], [0xd0, 0x14, 0xf9, 0xa8]);
}

#[test]
fn a_dropped_cipher_leaves_no_key_in_its_memory() {
    const WORDS: usize = size_of::<SectorCipher>().div_ceil(8);
    for kind in KernelKind::available() {
        for len in [32, 64] {
            let key = key(len);
            let needles = needles(&key);
            let mut memory = Box::new([0u64; WORDS + 2]);
            let place = memory.as_mut_ptr().cast::<MaybeUninit<SectorCipher>>();
            let place = place.map_addr(|address| address.next_multiple_of(align_of::<SectorCipher>()));
            // SAFETY: the place is aligned, and with two words more than a cipher takes it is within `memory`, which has
            // no padding to lose: words are read as words afterwards.
            unsafe {
                let cipher = SectorCipher::with_kernel(&key, SectorSize::B512, SectorUnit::Sector, kind).unwrap();
                let cipher = (*place).write(cipher);
                cipher.encrypt(SECTOR, &mut [0; 2048]).unwrap();
                let live = std::slice::from_raw_parts(black_box(memory.as_ptr()), WORDS + 2).to_vec();
                // They lie with the secrets, where `memory` looks for them. A build without optimisation leaves old
                // stack bytes in the gaps between fields.
                assert!(cfg!(debug_assertions) || found(&live, &needles).is_empty(), "{kind:?} {len}");
                (*place).assume_init_drop();
            }
            let dead = black_box(&*memory);
            assert!(found(dead, &needles).is_empty(), "{kind:?} {len}");
        }
    }
}

#[test]
fn a_dropped_cipher_of_dm_crypt_leaves_no_key_in_its_memory() {
    for (spec, len) in DM_CIPHERS {
        let key = key(len);
        let needles = if spec.name().contains("xts") { needles(&key) } else { cbc_needles(&key) };
        let cipher = Box::into_raw(DmCipher::boxed(spec, &key, SectorSize::B512).unwrap());
        let words = size_of::<DmCipher>() / 8;
        // SAFETY: the memory belongs to the box until it is given back, and is aligned for words. Any bytes there after
        // the drop are valid words.
        let dead: Vec<u64> = unsafe {
            (*cipher).encrypt(SECTOR, &mut [0; 2048]).unwrap();
            std::ptr::drop_in_place(cipher);
            let dead = (0..words).map(|i| black_box(cipher).cast::<u64>().add(i).read_volatile()).collect();
            std::alloc::dealloc(cipher.cast(), std::alloc::Layout::new::<DmCipher>());
            dead
        };
        assert!(found(&dead, &needles).is_empty(), "{spec:?} {len}");
    }
}

const DM_CIPHERS: [(CipherSpec, usize); 11] = [
    (CipherSpec::AesXtsPlain64, 64),
    (CipherSpec::AesXtsPlain, 32),
    (CipherSpec::AesHctr2Plain64, 32),
    (CipherSpec::AesCbcEssivSha256, 16),
    (CipherSpec::AesCbcEssivSha256, 24),
    (CipherSpec::AesCbcEssivSha256, 32),
    (CipherSpec::AesCbcPlain64, 16),
    (CipherSpec::AesCbcPlain64, 32),
    (CipherSpec::AesCbcPlain, 16),
    (CipherSpec::AesCbcPlain, 32),
    (CipherSpec::AesXtsUpperHalf, 64),
];

/// The depth of the stack that is searched.
const DEPTH: usize = 24 << 10;

/// Runs something, then copies its remains on the stack.
#[inline(never)]
fn stack_after(work: &mut dyn FnMut()) -> Vec<u64> {
    let mut copy = vec![0; DEPTH / 8];
    clear_stack();
    work();
    read_stack(&mut copy);
    copy
}

#[inline(never)]
fn clear_stack() {
    black_box(&mut [0u64; DEPTH / 8 + 512]);
}

#[inline(never)]
fn read_stack(copy: &mut [u64]) {
    let here = 0u64;
    let top = black_box(&raw const here).expose_provenance() & !7;
    for (i, word) in copy.iter_mut().enumerate() {
        let below: *const u64 = std::ptr::with_exposed_provenance(top - 8 * (i + 1));
        // SAFETY: `clear_stack` has just used this much of this thread's stack, so it is mapped. Finished calls have
        // left the bytes there, and any bytes are valid words.
        *word = unsafe { below.read_volatile() };
    }
}

#[test]
fn no_call_leaves_a_key_on_the_stack() {
    if cfg!(debug_assertions) {
        return;
    }
    for kind in KernelKind::available() {
        for len in [32, 64] {
            let key = key(len);
            let needles = needles(&key);
            clear_stack();
            let cipher = SectorCipher::with_kernel(&key, SectorSize::B512, SectorUnit::Sector, kind).unwrap();
            let mut made = vec![0; DEPTH / 8];
            read_stack(&mut made);
            assert_eq!(found(&made, &needles), Vec::new(), "{kind:?} {len}: key set-up");
            let mut calls: [(&str, &mut dyn FnMut()); 3] = [
                ("a unit", &mut || cipher.encrypt_unit(u128::from(SECTOR).to_le_bytes(), &mut [0; 1234]).unwrap()),
                ("a short unit", &mut || cipher.decrypt_unit(u128::from(SECTOR).to_le_bytes(), &mut [0; 17]).unwrap()),
                ("an even unit", &mut || cipher.decrypt_unit(u128::from(SECTOR).to_le_bytes(), &mut [0; 208]).unwrap()),
            ];
            for (name, call) in &mut calls {
                assert_eq!(found(&stack_after(call), &needles), Vec::new(), "{kind:?} {len}: {name}");
            }
            for size in [512, 1024, 2048, 4096] {
                let cipher =
                    SectorCipher::with_kernel(&key, SectorSize::new(size).unwrap(), SectorUnit::Sector, kind).unwrap();
                let mut data = vec![0; SECTORS * size as usize];
                for count in [1, 2, 3, SECTORS] {
                    let data = &mut data[..count * size as usize];
                    let encrypting = found(&stack_after(&mut || cipher.encrypt(SECTOR, data).unwrap()), &needles);
                    let decrypting = found(&stack_after(&mut || cipher.decrypt(SECTOR, data).unwrap()), &needles);
                    let any = (Vec::new(), Vec::new());
                    assert_eq!((encrypting, decrypting), any, "{kind:?} {len}: {count} sectors of {size}");
                }
            }
        }
    }
}

#[test]
fn no_call_of_a_cipher_of_dm_crypt_leaves_a_key_on_the_stack() {
    if cfg!(debug_assertions) {
        return;
    }
    for (spec, len) in DM_CIPHERS {
        let key = key(len);
        let needles = if spec.name().contains("xts") { needles(&key) } else { cbc_needles(&key) };
        let (mut cipher, mut sectors) = (None, vec![0; 129 * 512]);
        let made = stack_after(&mut || cipher = Some(DmCipher::boxed(spec, &key, SectorSize::B512).unwrap()));
        assert_eq!(found(&made, &needles), Vec::new(), "{spec:?} {len}: key set-up");
        let cipher = cipher.unwrap();
        let encrypted = stack_after(&mut || cipher.encrypt(SECTOR, &mut sectors).unwrap());
        assert_eq!(found(&encrypted, &needles), Vec::new(), "{spec:?} {len}: encryption");
        let decrypted = stack_after(&mut || cipher.decrypt(SECTOR, &mut sectors).unwrap());
        assert_eq!(found(&decrypted, &needles), Vec::new(), "{spec:?} {len}: decryption");
    }
}

/// As `needles`, of a key for CTR: its round keys, and the keystream of the first blocks.
fn ctr_needles(key: &[u8], nonce: u128) -> Vec<u64> {
    let mut secret = schedule(key);
    let aes = aes::Aes256::new_from_slice(key).unwrap();
    for number in 0..600 {
        let mut block = nonce.wrapping_add(number).to_be_bytes().into();
        aes.encrypt_block(&mut block);
        secret.extend(block);
    }
    secret.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap())).collect()
}

#[test]
fn a_dropped_stream_cipher_leaves_no_key_in_its_memory() {
    const WORDS: usize = size_of::<StreamCipher>() / 8;
    let key = key(32);
    let needles = ctr_needles(&key, 7);
    let cipher = Box::into_raw(Box::new(StreamCipher::new(&key, 7u128.to_be_bytes()).unwrap()));
    // SAFETY: the memory belongs to the box until it is given back, and is aligned for words. Any bytes there after the
    // drop are valid words.
    let dead: Vec<u64> = unsafe {
        (*cipher).apply(1, &mut [0; 2048]).unwrap();
        std::ptr::drop_in_place(cipher);
        let dead = (0..WORDS).map(|i| black_box(cipher).cast::<u64>().add(i).read_volatile()).collect();
        std::alloc::dealloc(cipher.cast(), std::alloc::Layout::new::<StreamCipher>());
        dead
    };
    assert!(found(&dead, &needles).is_empty());
}

#[test]
fn no_call_of_a_stream_cipher_leaves_a_key_or_keystream_on_the_stack() {
    if cfg!(debug_assertions) {
        return;
    }
    let key = key(32);
    let needles = ctr_needles(&key, 7);
    let dek = atrest::hazmat::dek_from_bytes_for(atrest::DekAlgorithm::Aes256Ctr, &key).unwrap();
    let mut boxed = None;
    let made = stack_after(&mut || boxed = Some(dek.stream_cipher([0; 16]).unwrap()));
    assert_eq!(found(&made, &needles), Vec::new(), "key set-up, in a box");
    for kind in KernelKind::available() {
        let mut made = vec![0; DEPTH / 8];
        clear_stack();
        let cipher = StreamCipher::with_kernel(&key, 7u128.to_be_bytes(), kind).unwrap();
        read_stack(&mut made);
        assert_eq!(found(&made, &needles), Vec::new(), "{kind:?}: key set-up");
        let mut bytes = vec![0xA5; 8192];
        for (offset, len) in [(0, 1), (0, 16), (5, 100), (16, 1000), (3, 8192), (4096, 4096)] {
            let applied = stack_after(&mut || cipher.apply(offset, &mut bytes[..len]).unwrap());
            assert_eq!(found(&applied, &needles), Vec::new(), "{kind:?}: {len} bytes at {offset}");
        }
    }
}

#[cfg(target_os = "linux")] // for the states
#[test]
fn no_mac_leaves_its_key_on_the_stack() {
    if cfg!(debug_assertions) {
        return;
    }
    let key: [u8; 32] = key(32).try_into().unwrap();
    let mut secret: Vec<u8> = key.into();
    for state in crate::common::maps::hmac_states(&key) {
        secret.extend(state.expose());
        // Where a state of 32-bit words lies between two words of 64 bits.
        secret.extend(&state.expose()[4..28]);
    }
    let words = |bytes: &[u8]| -> Vec<u64> {
        bytes.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap())).collect()
    };
    let needles = words(&secret);
    let mut hmac = None;
    let made = stack_after(&mut || hmac = Some(HmacSha256::new(&key).unwrap()));
    assert_eq!(found(&made, &needles), Vec::new(), "key set-up");
    let hmac = hmac.unwrap();
    for len in [0, 3, 64, 100, 1000, 4096] {
        let message = vec![0xA5; len];
        let mut mac = [0; 32];
        let after = stack_after(&mut || mac = hmac.mac(&[b"part", &message]).unwrap());
        assert_eq!(found(&after, &needles), Vec::new(), "the MAC of {len} bytes");
        let after = stack_after(&mut || assert!(hmac.verify(&[b"part", &message], &mac).unwrap()));
        assert_eq!(found(&after, &needles), Vec::new(), "the check of {len} bytes");
        let mut derived = None;
        let after = stack_after(&mut || derived = Some(hmac.derive(&[b"part", &message]).unwrap()));
        let needles = [needles.clone(), words(derived.unwrap().expose())].concat();
        assert_eq!(found(&after, &needles), Vec::new(), "a key from {len} bytes");
    }
    let key = Secret::copy_from(&key);
    let mut derived = None;
    let after = stack_after(&mut || derived = Some(hkdf_sha256(&key, b"salt", b"info", 64).unwrap()));
    let needles = [needles, words(derived.unwrap().expose())].concat();
    assert_eq!(found(&after, &needles), Vec::new(), "HKDF");
}

#[cfg(target_os = "linux")]
#[test]
fn no_hash_leaves_its_message_on_the_stack() {
    if cfg!(debug_assertions) {
        return;
    }
    let secret = key(1000);
    // SHA-256 reads words of 32 bits with the high byte first.
    let swapped: Vec<u8> = secret.chunks_exact(4).flat_map(|word| [word[3], word[2], word[1], word[0]]).collect();
    for len in [32, 40, 64, 100, 1000] {
        let words = |bytes: &[u8]| -> Vec<u64> {
            bytes.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap())).collect()
        };
        let needles = [words(&secret[..len]), words(&swapped[..len])].concat();
        let mut hash = [0; 32];
        let after = stack_after(&mut || hash = sha256(&[&secret[..len]]).unwrap());
        assert_eq!(found(&after, &needles), Vec::new(), "{len} bytes");
        let mut derived = None;
        let after = stack_after(&mut || derived = Some(sha256_secret(&[&secret[..len]]).unwrap()));
        let derived = derived.unwrap();
        assert_eq!(derived.expose(), &Sha256::digest(&secret[..len])[..]);
        assert_eq!(derived.expose(), hash);
        let needles = [needles, words(derived.expose())].concat();
        assert_eq!(found(&after, &needles), Vec::new(), "a key from {len} bytes");
    }
}

#[test]
fn opening_a_volume_leaves_no_key_on_the_stack() {
    if cfg!(debug_assertions) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let vault = atrest::FileVault::create(
        folder.path().join("keys.vault"),
        atrest::vault::Unlock::Passphrase(b"correct horse battery staple"),
    )
    .unwrap();
    vault.create_key("disks").unwrap();
    let options = FormatOptions::new().data_offset(1 << 20);
    clear_stack();
    let made = Volume::format(MemoryDevice::new(2 << 20), Protector::Vault(&vault, "disks"), &options).unwrap();
    let mut after = vec![0; DEPTH / 8];
    read_stack(&mut after);
    let dek = atrest::hazmat::dek_bytes(&made.dek());
    let raw: Vec<u64> = dek.expose().chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!(found(&after, &raw), Vec::new(), "format");
    let device = made.into_device();
    clear_stack();
    let opened = Volume::open(device, Credential::Vault(&vault), &OpenOptions::new()).unwrap();
    read_stack(&mut after);
    assert_eq!(found(&after, &raw), Vec::new(), "open");
    clear_stack();
    opened.rotate_kek(&vault).unwrap();
    read_stack(&mut after);
    assert_eq!(found(&after, &raw), Vec::new(), "rotate_kek");

    // By a passphrase, through a keyslot that was made by the same.
    let kdf = atrest::key::Kdf::Pbkdf2 { hash: atrest::key::HashAlgorithm::Sha256, iterations: 1000 };
    let cheap = atrest::volume::KeyslotOptions::new().kdf(kdf);
    clear_stack();
    opened.add_protector(Protector::Passphrase(b"correct horse"), &cheap).unwrap();
    read_stack(&mut after);
    assert_eq!(found(&after, &raw), Vec::new(), "add_protector");
    let device = opened.into_device();
    clear_stack();
    let _opened = Volume::open(device, Credential::Passphrase(b"correct horse"), &OpenOptions::new()).unwrap();
    read_stack(&mut after);
    assert_eq!(found(&after, &raw), Vec::new(), "open by a passphrase");
}
