//! The calls that the sector engine refuses, and that it then changes nothing.

use atrest::cipher::MAX_DATA_UNIT;
use atrest::{Error, SectorCipher, SectorSize, SectorUnit};

const KEY: [u8; 32] = *b"one half of it, and another half";

fn cipher(size: u32, unit: SectorUnit) -> SectorCipher {
    SectorCipher::new(&KEY, SectorSize::new(size).unwrap(), unit).unwrap()
}

/// Runs all four calls for a run. All must refuse it in the same way and leave every buffer unchanged.
fn refused(cipher: &SectorCipher, first: u64, len: usize, is_right: impl Fn(Error) -> bool) {
    let (src, mut data) = (vec![0xAA; len], vec![0xAA; len]);
    assert!(is_right(cipher.encrypt(first, &mut data).unwrap_err()));
    assert!(is_right(cipher.decrypt(first, &mut data).unwrap_err()));
    assert!(is_right(cipher.encrypt_to(first, &src, &mut data).unwrap_err()));
    assert!(is_right(cipher.decrypt_to(first, &src, &mut data).unwrap_err()));
    assert_eq!(data, src);
}

#[test]
fn a_key_of_another_length_is_refused() {
    for len in (0..100).filter(|len| ![32, 64].contains(len)) {
        let key: Vec<u8> = (0..len as u8).collect();
        let error = SectorCipher::new(&key, SectorSize::B512, SectorUnit::Bytes512).unwrap_err();
        assert!(matches!(error, Error::KeyLength { len: l } if l == len));
        assert!(error.to_string().contains(&format!("not {len}")), "{error}");
    }
}

#[test]
fn equal_halves_of_a_key_are_refused() {
    // Behaviour 10
    for half in [16, 32] {
        let mut key = vec![0x42; 2 * half];
        assert!(matches!(SectorCipher::new(&key, SectorSize::B4096, SectorUnit::Bytes512), Err(Error::EqualKeyHalves)));
        // One bit, of any byte, is a difference.
        for i in 0..2 * half {
            key[i] ^= 1 << (i % 8);
            SectorCipher::new(&key, SectorSize::B4096, SectorUnit::Bytes512).unwrap();
            key[i] ^= 1 << (i % 8);
        }
    }
}

#[test]
fn sector_sizes_out_of_bounds_are_refused() {
    for size in [0, 1, 16, 511, 65_537, u32::MAX] {
        let error = SectorSize::new(size).unwrap_err();
        assert!(matches!(error, Error::SectorSize { size: s } if s == u64::from(size)));
        assert!(error.to_string().contains(&size.to_string()), "{error}");
    }
    assert_eq!(SectorSize::new(512).unwrap(), SectorSize::B512);
    assert_eq!(SectorSize::new(65_536).unwrap().bytes(), 65_536);
}

#[test]
fn odd_sectors_can_not_be_counted_in_units_of_512_bytes() {
    for size in [513, 520, 528, 4104, 4160, 65_535] {
        let size = SectorSize::new(size).unwrap();
        let error = SectorCipher::new(&KEY, size, SectorUnit::Bytes512).unwrap_err();
        assert!(matches!(error, Error::SectorSize { size: s } if s == u64::from(size.bytes())));
        assert!(matches!(SectorCipher::new(&KEY, size, SectorUnit::Bytes512), Err(Error::SectorSize { .. })));
        SectorCipher::new(&KEY, size, SectorUnit::Sector).unwrap();
    }
}

#[test]
fn a_part_of_a_sector_is_refused() {
    for (size, len) in [(512, 1), (512, 511), (512, 513), (512, 1000), (4096, 512), (4096, 8191), (65_536, 4096)] {
        refused(
            &cipher(size, SectorUnit::Sector),
            7,
            len,
            |e| matches!(e, Error::PartialSector { len: l, sector_size } if l == len && sector_size == size),
        );
    }
}

#[test]
fn a_number_between_two_sectors_is_refused() {
    for (size, units) in [(1024, 2), (1536, 3), (4096, 8), (65_536, 128)] {
        let cipher = cipher(size, SectorUnit::Bytes512);
        for first in [1, units - 1, units + 1, 5 * units + 1, u64::MAX - u64::MAX % units - 1] {
            for count in [0, 1, 3] {
                let is_right = |e| {
                    matches!(e, Error::SectorNumber { first_sector, units_per_sector }
                        if first_sector == first && u64::from(units_per_sector) == units)
                };
                refused(&cipher, first, count * size as usize, is_right);
                assert!(is_right(cipher.check_run(first, count * size as usize).unwrap_err()));
                let mut segment = vec![7; count * size as usize];
                assert!(is_right(cipher.encrypt_segments(first, &mut [&mut segment]).unwrap_err()));
            }
        }
        cipher.encrypt(5 * units, &mut vec![0; size as usize]).unwrap();
    }
    let error = cipher(4096, SectorUnit::Bytes512).encrypt(1, &mut [0; 4096]).unwrap_err().to_string();
    assert!(error.contains("multiply page numbers by 8") && error.contains("SectorUnit::Sector"), "{error}");
}

/// If an engine numbers pages 0, 1, 2, ..., each page has a tweak of its own, or is refused. The reference is
/// `xts-mode`, which numbers sectors in that way.
#[test]
fn pages_numbered_by_ones_never_share_a_tweak() {
    let xts = xts_mode::Xts128::new(
        aes::cipher::KeyInit::new_from_slice(&KEY[..16]).unwrap(),
        aes::cipher::KeyInit::new_from_slice(&KEY[16..]).unwrap(),
    );
    let xts: &xts_mode::Xts128<aes::Aes128> = &xts;
    let pages: Vec<u8> = (0..3 * 4096u32).map(|i| (i % 4096 / 7) as u8).collect();
    let mut wanted = pages.clone();
    xts.encrypt_area(&mut wanted, 4096, 0, xts_mode::get_tweak_default);

    let by_page = cipher(4096, SectorUnit::Sector);
    let mut at_once = pages.clone();
    by_page.encrypt(0, &mut at_once).unwrap();
    assert_eq!(at_once, wanted);
    for (number, page) in pages.chunks(4096).enumerate() {
        let mut alone = page.to_vec();
        by_page.encrypt(number as u64, &mut alone).unwrap();
        assert_eq!(alone, wanted[number * 4096..][..4096]);
        let by_512 = cipher(4096, SectorUnit::Bytes512).encrypt(number as u64, &mut alone);
        assert_eq!(by_512.is_ok(), number == 0, "page {number}");
    }
}

#[test]
fn a_run_past_the_last_sector_number_is_refused() {
    for (size, unit, step) in [
        (512, SectorUnit::Bytes512, 1),
        (4096, SectorUnit::Bytes512AnyOffset, 8),
        (4096, SectorUnit::Sector, 1),
        (520, SectorUnit::Sector, 1),
        (65_536, SectorUnit::Bytes512AnyOffset, 128),
    ] {
        let cipher = cipher(size, unit);
        for count in [2, 3, 9] {
            let last_that_fits = u64::MAX - (count - 1) * step;
            let len = count as usize * size as usize;
            cipher.encrypt(last_that_fits, &mut vec![0; len]).unwrap();
            for first in [last_that_fits + 1, u64::MAX] {
                let is_right = |e| matches!(e, Error::SectorOverflow { first_sector } if first_sector == first);
                refused(&cipher, first, len, is_right);
            }
        }
        // One sector, and none at all, fit at the very end.
        cipher.encrypt(u64::MAX, &mut vec![0; size as usize]).unwrap();
        cipher.encrypt(u64::MAX, &mut []).unwrap();
    }
}

#[test]
fn a_data_unit_that_is_too_short_or_too_long_is_refused() {
    let cipher = cipher(512, SectorUnit::Bytes512);
    for len in [0, 1, 15, MAX_DATA_UNIT + 1, MAX_DATA_UNIT + 16] {
        let (src, mut unit) = (vec![0xAA; len], vec![0xAA; len]);
        let right = |e: Error| matches!(e, Error::DataUnitLength { len: l } if l == len);
        assert!(right(cipher.encrypt_unit([0; 16], &mut unit).unwrap_err()));
        assert!(right(cipher.decrypt_unit([0; 16], &mut unit).unwrap_err()));
        assert!(right(cipher.encrypt_unit_to([0; 16], &src, &mut unit).unwrap_err()));
        assert!(right(cipher.decrypt_unit_to([0; 16], &src, &mut unit).unwrap_err()));
        assert!(unit == src, "{len} bytes were touched");
    }
    cipher.encrypt_unit([0; 16], &mut [0; 16]).unwrap();
}

#[test]
fn source_and_destination_of_different_lengths_are_refused() {
    let cipher = cipher(512, SectorUnit::Bytes512);
    for (src, dst) in [(512, 1024), (1024, 512), (0, 512), (512, 0), (512, 511)] {
        let (from, mut to) = (vec![1; src], vec![2; dst]);
        let right = |e: Error| matches!(e, Error::LengthMismatch { src: s, dst: d } if (s, d) == (src, dst));
        assert!(right(cipher.encrypt_to(0, &from, &mut to).unwrap_err()));
        assert!(right(cipher.decrypt_to(0, &from, &mut to).unwrap_err()));
        assert!(right(cipher.encrypt_unit_to([0; 16], &from, &mut to).unwrap_err()));
        assert!(right(cipher.decrypt_unit_to([0; 16], &from, &mut to).unwrap_err()));
        assert_eq!(to, vec![2; dst]);
    }
}

#[test]
fn debug_shows_no_key() {
    let text = format!("{:?}", cipher(512, SectorUnit::Bytes512));
    assert!(text.starts_with("SectorCipher") && text.contains("512"), "{text}");
    assert!(!text.contains("111, 110") && !text.contains("6f6e65"), "{text}");
}
