//! Runs in several pieces of memory, and output past the cache, compared with one run in one piece.

use atrest::cipher::KernelKind;
use atrest::{Error, SectorCipher, SectorSize, SectorUnit};

const LENGTHS: [&[usize]; 6] = [&[], &[0], &[1], &[3, 1, 0, 5, 64, 2], &[130, 1], &[1, 1, 1, 1, 1, 1, 1]];

fn ciphers() -> Vec<SectorCipher> {
    let key: Vec<u8> = (0..64).collect();
    let sizes = [(512, SectorUnit::Bytes512), (4096, SectorUnit::Bytes512AnyOffset), (520, SectorUnit::Sector)];
    let cipher =
        |kind, (size, unit)| SectorCipher::with_kernel(&key, SectorSize::new(size).unwrap(), unit, kind).unwrap();
    KernelKind::available().flat_map(|kind| sizes.map(|size| cipher(kind, size))).collect()
}

fn bytes(sectors: usize, cipher: &SectorCipher) -> Vec<u8> {
    (0..sectors * cipher.sector_size().bytes() as usize).map(|i| (i * 31 / 7) as u8).collect()
}

/// Cuts a buffer at whole sectors.
fn cut<'a>(mut bytes: &'a mut [u8], lengths: &[usize], cipher: &SectorCipher) -> Vec<&'a mut [u8]> {
    let mut segments = Vec::new();
    for &sectors in lengths {
        let (segment, rest) = bytes.split_at_mut(sectors * cipher.sector_size().bytes() as usize);
        segments.push(segment);
        bytes = rest;
    }
    assert!(bytes.is_empty());
    segments
}

#[test]
fn segments_are_one_run() {
    for cipher in ciphers() {
        for lengths in LENGTHS {
            let sectors = lengths.iter().sum();
            let plain = bytes(sectors, &cipher);
            let mut expected = plain.clone();
            cipher.encrypt(1000, &mut expected).unwrap();

            let mut buffer = plain.clone();
            cipher.encrypt_segments(1000, &mut cut(&mut buffer, lengths, &cipher)).unwrap();
            assert!(buffer == expected, "{cipher:?} {lengths:?}");
            cipher.decrypt_segments(1000, &mut cut(&mut buffer, lengths, &cipher)).unwrap();
            assert!(buffer == plain, "{cipher:?} {lengths:?}");

            // Source and destination cut in different ways.
            let mut reversed = lengths.to_vec();
            reversed.reverse();
            let (mut src, mut dst) = (plain.clone(), vec![0; plain.len()]);
            let src: Vec<&[u8]> = cut(&mut src, lengths, &cipher).into_iter().map(|segment| &*segment).collect();
            cipher.encrypt_segments_to(1000, &src, &mut cut(&mut dst, &reversed, &cipher)).unwrap();
            assert!(dst == expected, "{cipher:?} {lengths:?}");
            let mut back = vec![0; plain.len()];
            cipher.decrypt_segments_to(1000, &[&dst], &mut cut(&mut back, lengths, &cipher)).unwrap();
            assert!(back == plain, "{cipher:?} {lengths:?}");
        }
    }
}

#[test]
fn segments_are_checked_before_the_first_is_touched() {
    for cipher in ciphers() {
        let size = cipher.sector_size().bytes() as usize;
        let plain = bytes(2, &cipher);
        let (mut one, mut two) = (plain.clone(), vec![7; size + 1]);
        let partial = cipher.encrypt_segments(0, &mut [&mut one, &mut two]);
        assert!(matches!(partial, Err(Error::PartialSector { len, .. }) if len == size + 1));
        let mut two = plain.clone();
        // Each fits below the last number, both together do not.
        let unit = if cipher.sector_unit() != SectorUnit::Sector { size as u64 / 512 } else { 1 };
        let overflow = cipher.encrypt_segments(u64::MAX - 2 * unit, &mut [&mut one, &mut two]);
        assert!(matches!(overflow, Err(Error::SectorOverflow { .. })));
        let mismatch = cipher.encrypt_segments_to(0, &[&plain, &plain], &mut [&mut one]);
        assert!(matches!(mismatch, Err(Error::LengthMismatch { src, dst }) if src == 4 * size && dst == 2 * size));
        assert!(one == plain && two == plain);
        // Up to the last number there is no error.
        cipher.encrypt_segments(u64::MAX - 3 * unit, &mut [&mut one, &mut two]).unwrap();
    }
}

#[test]
fn streaming_gives_the_same_bytes_at_every_alignment() {
    for cipher in ciphers() {
        for sectors in [1, 2, 3, 64, 65, 200] {
            let plain = bytes(sectors, &cipher);
            let mut expected = plain.clone();
            cipher.encrypt(5, &mut expected).unwrap();
            for offset in [0, 1, 16, 32, 64] {
                let mut memory = vec![0xEE; plain.len() + 256];
                let start = memory.as_ptr().align_offset(64) + offset;
                let dst = &mut memory[start..start + plain.len()];
                cipher.encrypt_streaming(5, &plain, dst).unwrap();
                assert!(dst == expected, "{cipher:?} {sectors} {offset}");
                let mut back = vec![0; plain.len()];
                cipher.decrypt_streaming(5, dst, &mut back).unwrap();
                assert!(back == plain, "{cipher:?} {sectors} {offset}");
                let end = start + plain.len();
                assert!(memory[..start].iter().chain(&memory[end..]).all(|&b| b == 0xEE));
            }
        }
        let error = cipher.encrypt_streaming(0, &[0; 4096], &mut [0; 512]).unwrap_err();
        assert!(matches!(error, Error::LengthMismatch { src: 4096, dst: 512 }));
    }
}
