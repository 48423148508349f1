//! dm-crypt's ciphers against OpenSSL, through Python's `cryptography`.

use crate::common::{hex, pipe, python, unhex};
use atrest::cipher::{CipherSpec, DmCipher};
use atrest::{Error, SectorCipher, SectorSize, SectorUnit};

const SPECS: [CipherSpec; 5] = [
    CipherSpec::AesXtsPlain64,
    CipherSpec::AesHctr2Plain64,
    CipherSpec::AesXtsPlain,
    CipherSpec::AesCbcEssivSha256,
    CipherSpec::AesCbcPlain64,
];

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 73 + (i >> 8) * 31 + 29) as u8).collect()
}

fn key_lengths(spec: CipherSpec) -> Vec<usize> {
    (0..100).filter(|&len| spec.takes_key(len)).collect()
}

/// Sectors numbered from `first` on.
struct Run {
    spec: CipherSpec,
    key: Vec<u8>,
    first: u64,
    sector_size: u32,
    plain: Vec<u8>,
}

/// Encrypts runs by OpenSSL's AES, with IVs made as dm-crypt's documentation has them; HCTR2 by a model after its paper.
fn openssl(python: &str, runs: &[Run]) -> Vec<Vec<u8>> {
    const SCRIPT: &str = "
import hashlib, sys
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
block = lambda bytes: Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(bytes)
le = lambda bytes: int.from_bytes(bytes, 'little')

# x * y / x^128 in the field of POLYVAL (RFC 8452, 3), bit by bit.
def dot(x, y):
    product = 0
    for bit in range(128):
        if y >> bit & 1:
            product ^= x << bit
    for bit in range(128):
        if product >> bit & 1:
            product ^= (1 | 1 << 121 | 1 << 126 | 1 << 127 | 1 << 128) << bit
    return product >> 128

def hctr2(tweak, data):
    h, mask = le(block(bytes(16))), le(block((1).to_bytes(16, 'little')))
    def hash(rest):
        sum, text = 0, (2 * 8 * len(tweak) + 2).to_bytes(16, 'little') + tweak + rest
        for i in range(0, len(text), 16):
            sum = dot(sum ^ le(text[i:i + 16]), h)
        return sum
    first, rest = le(data[:16]), data[16:]
    mm = first ^ hash(rest)
    uu = le(block(mm.to_bytes(16, 'little')))
    seed = mm ^ uu ^ mask
    stream = b''.join(block((seed ^ i).to_bytes(16, 'little')) for i in range(1, len(rest) // 16 + 1))
    rest = bytes(a ^ b for a, b in zip(rest, stream))
    return (uu ^ hash(rest)).to_bytes(16, 'little') + rest

def sector(mode, iv_name, number, sector):
    if iv_name == 'plain':
        number &= 0xffffffff
    iv = number.to_bytes(16, 'little')
    if iv_name == 'essiv:sha256':
        iv = Cipher(algorithms.AES(hashlib.sha256(key).digest()), modes.ECB()).encryptor().update(iv)
    if mode == 'hctr2':
        return hctr2(number.to_bytes(32, 'little'), sector)
    mode_of = modes.XTS if mode == 'xts' else modes.CBC
    crypt = Cipher(algorithms.AES(key), mode_of(iv)).encryptor()
    return crypt.update(sector) + crypt.finalize()

for line in sys.stdin:
    spec, key, first, size, data = line.split()
    key, first, size, data = bytes.fromhex(key), int(first), int(size), bytes.fromhex(data)
    aes, mode, iv_name = spec.split('-', 2)
    starts = range(0, len(data), size)
    print(b''.join(sector(mode, iv_name, first + at // 512, data[at:at + size]) for at in starts).hex())
";
    let line = |run: &Run| {
        let Run { spec, key, first, sector_size, plain } = run;
        format!("{} {} {first} {sector_size} {}\n", spec.name(), hex(key), hex(plain))
    };
    let input: String = runs.iter().map(line).collect();
    let printed = String::from_utf8(pipe(python, &["-c", SCRIPT], input.as_bytes())).unwrap();
    let encrypted: Vec<_> = printed.lines().map(unhex).collect();
    assert_eq!(encrypted.len(), runs.len());
    encrypted
}

#[test]
fn every_cipher_is_that_of_openssl() {
    let Some(python) = python("cryptography") else { return };
    let wrap = 1 << 32;
    let mut runs = Vec::new();
    for spec in SPECS {
        for key_len in key_lengths(spec) {
            // Around the end of 32 bits, also where large sectors don't fall on it; and where 64 bits end.
            for (sector_size, first, count) in [
                (512, 0, 5),
                (512, wrap - 2, 5),
                (512, 3 * wrap - 1, 2),
                (512, u64::MAX - 2, 3),
                (4096, 8, 3),
                (4096, wrap - 16, 4),
                (4096, wrap - 12, 4),
                (1536, wrap - 1, 3),
            ] {
                let plain = bytes(count * sector_size as usize);
                runs.push(Run { spec, key: bytes(key_len), first, sector_size, plain });
            }
        }
    }
    for (run, theirs) in runs.iter().zip(openssl(&python, &runs)) {
        let Run { spec, key, first, sector_size, plain } = run;
        let cipher = DmCipher::boxed(*spec, key, SectorSize::new(*sector_size).unwrap()).unwrap();
        let what = format!("{} {} {sector_size} {first}", spec.name(), key.len());

        let mut ours = plain.clone();
        cipher.encrypt(*first, &mut ours).unwrap();
        assert!(ours == theirs, "{what}");
        let mut other = vec![0; plain.len()];
        cipher.encrypt_to(*first, plain, &mut other).unwrap();
        assert!(other == theirs, "{what}");
        cipher.decrypt_to(*first, &theirs, &mut other).unwrap();
        assert!(other == *plain, "{what}");
        cipher.decrypt(*first, &mut ours).unwrap();
        assert!(ours == *plain, "{what}");
    }
}

#[test]
fn a_run_is_its_sectors_one_by_one() {
    for spec in SPECS {
        for sector_size in [SectorSize::B512, SectorSize::B4096, SectorSize::new(2560).unwrap()] {
            let (size, step) = (sector_size.bytes() as usize, u64::from(sector_size.bytes() / 512));
            let cipher = DmCipher::boxed(spec, &bytes(32), sector_size).unwrap();
            let first = (1 << 32) - 3 * step;
            let mut single = bytes(9 * size);
            for (i, sector) in single.chunks_mut(size).enumerate() {
                cipher.encrypt(first + i as u64 * step, sector).unwrap();
            }
            for cut in 0..=9 {
                let mut cut_run = bytes(9 * size);
                let (head, tail) = cut_run.split_at_mut(cut * size);
                cipher.encrypt(first, head).unwrap();
                cipher.encrypt(first + cut as u64 * step, tail).unwrap();
                assert!(cut_run == single, "{spec:?} {size} {cut}");
                let (head, tail) = cut_run.split_at_mut(cut * size);
                cipher.decrypt(first, head).unwrap();
                cipher.decrypt(first + cut as u64 * step, tail).unwrap();
                assert!(cut_run == bytes(9 * size), "{spec:?} {size} {cut}");
            }
        }
    }
}

#[test]
fn xts_plain64_is_the_sector_engine() {
    let (key, plain) = (bytes(64), bytes(8192));
    let cipher = DmCipher::boxed(CipherSpec::AesXtsPlain64, &key, SectorSize::B4096).unwrap();
    let (mut ours, mut engines) = (plain.clone(), plain);
    cipher.encrypt(u64::from(u32::MAX), &mut ours).unwrap();
    SectorCipher::new(&key, SectorSize::B4096, SectorUnit::Bytes512AnyOffset)
        .unwrap()
        .encrypt(u64::from(u32::MAX), &mut engines)
        .unwrap();
    assert!(ours == engines);
}

#[test]
fn what_is_unfit_is_refused_and_nothing_touched() {
    for spec in SPECS {
        for len in (0..100).filter(|&len| !spec.takes_key(len)) {
            let error = DmCipher::boxed(spec, &bytes(len), SectorSize::B512).unwrap_err();
            assert!(matches!(error, Error::KeyLength { len: l } if l == len), "{spec:?} {len}");
        }
        let odd = SectorSize::new(528).unwrap();
        assert!(matches!(DmCipher::boxed(spec, &bytes(32), odd), Err(Error::SectorSize { size: 528 })));
        let equal_halves = DmCipher::boxed(spec, &[9; 32], SectorSize::B512);
        assert_eq!(matches!(equal_halves, Err(Error::EqualKeyHalves)), spec.name().contains("xts"));

        let cipher = DmCipher::boxed(spec, &bytes(32), SectorSize::B4096).unwrap();
        let (src, mut data) = (bytes(8192), bytes(8192));
        let mut refused = |first, len, is_right: fn(&Error) -> bool| {
            assert!(is_right(&cipher.check_run(first, len).unwrap_err()));
            assert!(is_right(&cipher.encrypt(first, &mut data[..len]).unwrap_err()));
            assert!(is_right(&cipher.decrypt(first, &mut data[..len]).unwrap_err()));
            assert!(is_right(&cipher.encrypt_to(first, &src[..len], &mut data[..len]).unwrap_err()));
            assert!(is_right(&cipher.decrypt_to(first, &src[..len], &mut data[..len]).unwrap_err()));
        };
        refused(0, 4095, |e| matches!(e, Error::PartialSector { len: 4095, sector_size: 4096 }));
        refused(0, 512, |e| matches!(e, Error::PartialSector { .. }));
        refused(
            u64::MAX - 7,
            8192,
            |e| matches!(e, Error::SectorOverflow { first_sector } if *first_sector == u64::MAX - 7),
        );
        let unequal = cipher.encrypt_to(0, &src, &mut data[..4096]);
        assert!(matches!(unequal, Err(Error::LengthMismatch { src: 8192, dst: 4096 })));
        assert_eq!(data, src);
        cipher.encrypt(u64::MAX - 8, &mut data).unwrap();
        cipher.encrypt(u64::MAX, &mut []).unwrap();
    }
}

#[test]
fn names_are_those_of_dm_crypt() {
    for spec in SPECS {
        assert_eq!(CipherSpec::from_name(spec.name()), Some(spec));
        let is_new = [CipherSpec::AesXtsPlain64, CipherSpec::AesHctr2Plain64].contains(&spec);
        assert_eq!(spec.is_legacy(), !is_new);
    }
    for name in ["", "aes", "aes-xts-plain6", "AES-XTS-PLAIN64", "aes-xts-plain64 ", "cipher_null-ecb", "aes-cbc-plain"]
    {
        assert_eq!(CipherSpec::from_name(name), None);
    }
}
