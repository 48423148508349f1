//! The sector engine against other implementations of XTS, on random input.

use crate::common::{model, python};
use atrest::{SectorCipher, SectorSize, SectorUnit};
use proptest::collection::vec;
use proptest::prelude::*;

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 32), vec(any::<u8>(), 64)]
        .prop_filter("equal halves", |key| key[..key.len() / 2] != key[key.len() / 2..])
}

/// A sector size, and a number of sectors that crosses batches of 64 where sectors are small.
fn shape() -> impl Strategy<Value = (u32, usize)> {
    let small = prop_oneof![Just(512u32), Just(520), Just(528)].prop_flat_map(|size| (Just(size), 0..=70usize));
    let page = prop_oneof![Just(4096u32), Just(4160), Just(1024), Just(2048)];
    let page = page.prop_flat_map(|size| (Just(size), 0..=12usize));
    let any = prop_oneof![Just(65_536u32), 512..=65_536u32].prop_flat_map(|size| (Just(size), 0..=2usize));
    prop_oneof![3 => small, 2 => page, 1 => any]
}

/// Numbers likely to reveal arithmetic errors: around 0, 2^32 and 2^64, and anywhere else.
fn first_sector() -> impl Strategy<Value = u64> {
    let edge = (1u64 << 32) - 300;
    prop_oneof![0..300u64, edge..edge + 600, u64::MAX - 300..=u64::MAX, any::<u64>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn runs_of_sectors_are_what_xts_mode_makes_of_them(
        key in key(),
        (size, count) in shape(),
        first in first_sector(),
        by_sector in any::<bool>(),
        (before, after) in (0..48usize, 0..48usize),
        seed in any::<u8>(),
    ) {
        let by_sector = by_sector || size % 512 != 0;
        let step = if by_sector { 1 } else { u64::from(size) / 512 };
        // A run ends at 2^64 - 1 at the latest.
        let first = first.min(u64::MAX - (count as u64).saturating_sub(1) * step);
        let unit = match first % (u64::from(size) / 512).max(1) {
            _ if by_sector => SectorUnit::Sector,
            0 => SectorUnit::Bytes512,
            _ => SectorUnit::Bytes512AnyOffset,
        };
        let len = size as usize * count;
        let plaintext: Vec<u8> = (0..len).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed) ^ (i >> 8) as u8).collect();
        let mut wanted = plaintext.clone();
        model::encrypt(&key, first, step, size as usize, &mut wanted);

        let cipher = SectorCipher::new(&key, SectorSize::new(size).unwrap(), unit).unwrap();
        // The run lies anywhere in a larger buffer. The engine must not touch the other bytes.
        let mut buffer = vec![0xEE; before + len + after];
        let run = before..before + len;
        buffer[run.clone()].copy_from_slice(&plaintext);
        cipher.encrypt(first, &mut buffer[run.clone()]).unwrap();
        prop_assert_eq!(&buffer[run.clone()], &wanted[..]);
        cipher.decrypt(first, &mut buffer[run.clone()]).unwrap();
        prop_assert_eq!(&buffer[run.clone()], &plaintext[..]);
        cipher.encrypt_to(first, &plaintext, &mut buffer[run.clone()]).unwrap();
        prop_assert_eq!(&buffer[run.clone()], &wanted[..]);
        cipher.decrypt_to(first, &wanted, &mut buffer[run.clone()]).unwrap();
        prop_assert_eq!(&buffer[run.clone()], &plaintext[..]);
        prop_assert!(buffer[..before].iter().chain(&buffer[run.end..]).all(|&byte| byte == 0xEE));
    }

    #[test]
    fn units_under_any_tweak_are_what_xts_mode_makes_of_them(
        key in key(),
        tweak in prop_oneof![any::<u128>(), u128::MAX - 3..=u128::MAX],
        mut unit in vec(any::<u8>(), 16..3000),
    ) {
        let cipher = SectorCipher::new(&key, SectorSize::B512, SectorUnit::Bytes512).unwrap();
        let (plaintext, mut wanted) = (unit.clone(), unit.clone());
        model::encrypt_unit(&key, tweak, &mut wanted);
        cipher.encrypt_unit(tweak.to_le_bytes(), &mut unit).unwrap();
        prop_assert_eq!(&unit, &wanted);
        cipher.decrypt_unit(tweak.to_le_bytes(), &mut unit).unwrap();
        prop_assert_eq!(&unit, &plaintext);
    }
}

#[test]
fn units_of_every_length_are_what_xts_mode_makes_of_them() {
    for key_len in [32, 64] {
        let key: Vec<u8> = (0..key_len).map(|i| (i as u8).wrapping_mul(7).wrapping_add(1)).collect();
        let cipher = SectorCipher::new(&key, SectorSize::B512, SectorUnit::Bytes512).unwrap();
        for len in 16..=1100usize {
            let (plaintext, tweak) = ((0..len).map(|i| (i * 13) as u8).collect::<Vec<u8>>(), len as u128);
            let (mut wanted, mut unit) = (plaintext.clone(), vec![0; len]);
            model::encrypt_unit(&key, tweak, &mut wanted);
            cipher.encrypt_unit_to(tweak.to_le_bytes(), &plaintext, &mut unit).unwrap();
            assert_eq!(unit, wanted, "{len} bytes");
            unit.fill(0);
            cipher.decrypt_unit_to(tweak.to_le_bytes(), &wanted, &mut unit).unwrap();
            assert_eq!(unit, plaintext, "{len} bytes");
            cipher.encrypt_unit(tweak.to_le_bytes(), &mut unit).unwrap();
            assert_eq!(unit, wanted, "{len} bytes in place");
            cipher.decrypt_unit(tweak.to_le_bytes(), &mut unit).unwrap();
            assert_eq!(unit, plaintext, "{len} bytes in place");
        }
    }
}

#[test]
fn the_largest_data_unit_is_what_xts_mode_makes_of_it() {
    let key: Vec<u8> = (0..64).collect();
    let cipher = SectorCipher::new(&key, SectorSize::B512, SectorUnit::Bytes512).unwrap();
    let mut unit = vec![0x5A; atrest::cipher::MAX_DATA_UNIT];
    cipher.encrypt_unit([9; 16], &mut unit).unwrap();
    model::decrypt_unit(&key, u128::from_le_bytes([9; 16]), &mut unit);
    assert!(unit.iter().all(|&byte| byte == 0x5A));
}

#[test]
fn openssl_makes_the_same_of_runs_numbered_as_plain64() {
    // Behaviour 57
    let Some(python) = python("cryptography") else { return };
    for key_len in [32u8, 64] {
        let key: Vec<u8> = (0..key_len).map(|i| i.wrapping_mul(5).wrapping_add(3)).collect();
        // The second first sector makes the numbers of the run pass 2^32.
        for first in [0u64, (1 << 32) - 64] {
            for (size, step) in [(SectorSize::B512, 1), (SectorSize::B4096, 8)] {
                let cipher = SectorCipher::new(&key, size, SectorUnit::Bytes512).unwrap();
                let size = size.bytes() as usize;
                let plaintext: Vec<u8> = (0..70 * size).map(|i| (i / 3) as u8).collect();
                let mut run = plaintext.clone();
                cipher.encrypt(first, &mut run).unwrap();
                assert!(
                    run == model::openssl(&python, "encryptor", &key, (first, step), size, &plaintext),
                    "{size}-byte sectors from {first}"
                );
                assert!(plaintext == model::openssl(&python, "decryptor", &key, (first, step), size, &run));
            }
        }
    }
}
