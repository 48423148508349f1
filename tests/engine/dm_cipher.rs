//! dm-crypt's ciphers against OpenSSL, through Python's `cryptography`.

use crate::common::{hex, pipe, python, unhex};
use atrest::cipher::{CipherSpec, DmCipher};
use atrest::{Error, SectorCipher, SectorSize, SectorUnit};

/// Every block cipher and mode with every way to make IVs.
fn specs() -> Vec<CipherSpec> {
    let mut names: Vec<String> = vec!["aes-ecb".into(), "aes-hctr2-plain64".into()];
    let mut blocks = vec!["aes"];
    let mut ivs = vec!["plain", "plain64", "plain64be", "benbi", "essiv:sha256"];
    if cfg!(feature = "legacy") {
        blocks.extend(["serpent", "twofish", "camellia"]);
        ivs.push("essiv:sm3");
    }
    for block in blocks {
        names.extend(ivs.iter().flat_map(|iv| [format!("{block}-xts-{iv}"), format!("{block}-cbc-{iv}")]));
    }
    names.iter().map(|name| CipherSpec::from_name(name).unwrap()).collect()
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 73 + (i >> 8) * 31 + 29) as u8).collect()
}

/// libgcrypt has no Twofish of 192 bits.
fn key_lengths(spec: CipherSpec) -> Vec<usize> {
    let has_peer = |len: &usize| !(spec.name().starts_with("twofish-cbc") && *len == 24);
    (0..100).filter(|&len| spec.takes_key(len)).filter(has_peer).collect()
}

/// Sectors numbered from `first` on.
struct Run {
    spec: CipherSpec,
    key: Vec<u8>,
    first: u64,
    sector_size: u32,
    plain: Vec<u8>,
}

/// Encrypts runs by other implementations, with IVs made as dm-crypt's documentation has them.
fn openssl(python: &str, runs: &[Run]) -> Vec<Vec<u8>> {
    const LOOP: &str = "
for line in sys.stdin:
    spec, key, first, size, data = line.split()
    print(sectors(spec, bytes.fromhex(key), int(first), int(size), bytes.fromhex(data)).hex())
";
    let script = [include_str!("../common/dm_crypt.py"), LOOP].concat();
    let line = |run: &Run| {
        let Run { spec, key, first, sector_size, plain } = run;
        let name = spec.name().replace(" of SPDK", "-upper,iv_large_sectors");
        format!("{name} {} {first} {sector_size} {}\n", hex(key), hex(plain))
    };
    let input: String = runs.iter().map(line).collect();
    let printed = String::from_utf8(pipe(python, &["-c", &script], input.as_bytes())).unwrap();
    let encrypted: Vec<_> = printed.lines().map(unhex).collect();
    assert_eq!(encrypted.len(), runs.len());
    encrypted
}

#[test]
fn every_cipher_is_that_of_openssl() {
    let Some(python) = python("cryptography") else { return };
    let wrap = 1 << 32;
    let mut runs = Vec::new();
    for spec in specs() {
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
    // Where numbers count sectors of 4096 bytes.
    let large = specs().into_iter().filter(|spec| !spec.name().ends_with("ecb")).map(CipherSpec::with_large_sectors);
    for spec in large.chain([CipherSpec::AesXtsUpperHalf]) {
        for key_len in key_lengths(spec) {
            for first in [0, 8, 8 * (wrap - 2), u64::MAX - 31] {
                runs.push(Run { spec, key: bytes(key_len), first, sector_size: 4096, plain: bytes(4 * 4096) });
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
    for spec in specs() {
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
fn a_number_within_a_large_sector_is_refused() {
    for spec in [CipherSpec::AesXtsPlain64.with_large_sectors(), CipherSpec::AesXtsUpperHalf] {
        let cipher = DmCipher::boxed(spec, &bytes(64), SectorSize::B4096).unwrap();
        let refused = cipher.encrypt(4, &mut [0; 4096]);
        assert!(matches!(refused, Err(Error::SectorNumber { first_sector: 4, units_per_sector: 8 })));
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
    for spec in specs() {
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
    for spec in specs() {
        assert_eq!(CipherSpec::from_name(spec.name()), Some(spec));
        let is_new = [CipherSpec::AesXtsPlain64, CipherSpec::AesHctr2Plain64].contains(&spec);
        assert_eq!(spec.is_legacy(), !is_new);
        assert_eq!(spec.is_read_only(), spec == CipherSpec::AesEcb);
    }
    for name in ["", "aes", "aes-xts-plain6", "AES-XTS-PLAIN64", "aes-xts-plain64 ", "cipher_null-ecb", "aes-cbc-null"]
    {
        assert_eq!(CipherSpec::from_name(name), None);
    }
}
