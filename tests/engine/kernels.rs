//! Every kernel of this CPU against the portable one. Published vectors and other implementations verify the portable
//! one.

use atrest::cipher::KernelKind;
use atrest::{Error, SectorCipher, SectorSize, SectorUnit};

/// The feature of the CPU that the library treats as absent.
fn denied() -> Option<String> {
    std::env::var("ATREST_DENY").ok()
}

/// A page, and how far into it buffers begin.
const PAGE: usize = 4096;
const OFFSETS: [usize; 6] = [0, 1, 16, 63, 64, 4088];

fn key(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i * 37 + 11) as u8).collect()
}

fn plaintext(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect()
}

fn wide_kernels() -> Vec<KernelKind> {
    let kinds: Vec<_> = KernelKind::available().filter(|&kind| kind != KernelKind::Portable).collect();
    use std::io::Write;
    let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
    let denied = denied().map(|feature| format!(" ({feature} denied)")).unwrap_or_default();
    let _ = writeln!(std::io::stderr(), "kernels compared with the portable one: {}{denied}", names.join(", "));
    kinds
}

/// A buffer that begins `offset` bytes into a page.
struct Buffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    fn new(bytes: &[u8], offset: usize) -> Self {
        let mut memory = vec![0xEE; bytes.len() + 2 * PAGE];
        let start = memory.as_ptr().align_offset(PAGE) + offset;
        memory[start..start + bytes.len()].copy_from_slice(bytes);
        Buffer { memory, start, len: bytes.len() }
    }

    fn get(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }

    /// The bytes, after a look that none was written beside them.
    fn checked(&self) -> &[u8] {
        let end = self.start + self.len;
        let is_untouched = |bytes: &[u8]| *bytes == [0xEE; 2 * PAGE][..bytes.len()];
        assert!(is_untouched(&self.memory[..self.start]) && is_untouched(&self.memory[end..]), "written out of bounds");
        &self.memory[self.start..end]
    }
}

#[test]
fn a_kernel_that_is_denied_is_not_there() {
    let there = |kind| KernelKind::available().any(|available| available == kind);
    assert!(there(KernelKind::Portable));
    let needs = [
        (KernelKind::Vaes512, &["aes", "vaes", "avx512"][..]),
        (KernelKind::Vaes256, &["aes", "vaes"]),
        (KernelKind::AesNi, &["aes"]),
        (KernelKind::Armv8, &["aes"]),
    ];
    for (kind, needs) in needs {
        let denied = denied().is_some_and(|feature| needs.contains(&feature.as_str()));
        let made = SectorCipher::with_kernel(&key(64), SectorSize::B512, SectorUnit::Sector, kind);
        assert_eq!(made.is_ok(), there(kind));
        assert!(!(denied && there(kind)), "{kind:?} is denied and there");
        if !there(kind) {
            assert!(matches!(made, Err(Error::KernelUnavailable { kind: name }) if name == kind.name()));
        }
    }
    // The widest that is there is the default.
    let default = SectorCipher::new(&key(64), SectorSize::B512, SectorUnit::Bytes512).unwrap();
    assert_eq!(Some(default.kernel()), KernelKind::available().next());
}

#[test]
fn runs_of_sectors_are_the_same_in_every_kernel() {
    let kinds = wide_kernels();
    for key_len in [32, 64] {
        for size in [512, 520, 528, 1008, 1024, 1040, 1536, 2048, 4096, 4104, 4160, 8192, 65_536] {
            let with_kernel = |kind| {
                let size = SectorSize::new(size).unwrap();
                SectorCipher::with_kernel(&key(key_len), size, SectorUnit::Sector, kind).unwrap()
            };
            let portable = with_kernel(KernelKind::Portable);
            let counts: &[usize] = match size {
                512 => &[1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 127, 128, 129, 130],
                513..=2048 => &[1, 2, 3, 63, 64, 65, 66],
                2049..=8192 => &[1, 2, 5, 64, 65],
                _ => &[1, 2],
            };
            for (i, &count) in counts.iter().enumerate() {
                let plain = plaintext(count * size as usize);
                // Numbers that carry over 32 bits, and the last that there are.
                for first in [0, u64::from(u32::MAX) - 1, u64::MAX - (count as u64 - 1)] {
                    let mut expected = plain.clone();
                    portable.encrypt(first, &mut expected).unwrap();
                    for &kind in &kinds {
                        let wide = with_kernel(kind);
                        assert_eq!(wide.kernel(), kind);
                        let what = format!("{kind:?} key {key_len} size {size} count {count} first {first}");
                        let offset = OFFSETS[i % OFFSETS.len()];
                        let mut buffer = Buffer::new(&plain, offset);
                        wide.encrypt(first, buffer.get()).unwrap();
                        assert!(buffer.checked() == expected, "encrypt {what}");
                        wide.decrypt(first, buffer.get()).unwrap();
                        assert!(buffer.checked() == plain, "decrypt {what}");
                        let mut other = Buffer::new(&vec![0; plain.len()], OFFSETS[(i + 1) % OFFSETS.len()]);
                        wide.encrypt_to(first, buffer.get(), other.get()).unwrap();
                        assert!(other.checked() == expected && buffer.checked() == plain, "encrypt_to {what}");
                        wide.decrypt_to(first, other.get(), buffer.get()).unwrap();
                        assert!(buffer.checked() == plain, "decrypt_to {what}");
                    }
                }
            }
        }
    }
}

#[test]
fn data_units_of_every_length_are_the_same_in_every_kernel() {
    let kinds = wide_kernels();
    for key_len in [32, 64] {
        let with_kernel =
            |kind| SectorCipher::with_kernel(&key(key_len), SectorSize::B512, SectorUnit::Sector, kind).unwrap();
        let portable = with_kernel(KernelKind::Portable);
        let wide: Vec<_> = kinds.iter().map(|&kind| with_kernel(kind)).collect();
        for len in (16..=2200).chain([4095, 4096, 4097, 16_385, 1 << 20]) {
            let plain = plaintext(len);
            let tweak = [0xFF; 16].map(|b: u8| b.wrapping_sub(len as u8));
            let mut expected = plain.clone();
            portable.encrypt_unit(tweak, &mut expected).unwrap();
            for (kind, wide) in kinds.iter().zip(&wide) {
                let mut buffer = Buffer::new(&plain, OFFSETS[len % OFFSETS.len()]);
                wide.encrypt_unit(tweak, buffer.get()).unwrap();
                assert!(buffer.checked() == expected, "encrypt {kind:?} key {key_len} len {len}");
                let mut other = Buffer::new(&vec![0; len], OFFSETS[(len + 1) % OFFSETS.len()]);
                wide.decrypt_unit_to(tweak, buffer.get(), other.get()).unwrap();
                assert!(other.checked() == plain, "decrypt {kind:?} key {key_len} len {len}");
            }
        }
    }
}

#[test]
fn tweaks_at_the_edges_of_the_field_are_the_same_in_every_kernel() {
    for kind in wide_kernels() {
        let portable =
            SectorCipher::with_kernel(&key(64), SectorSize::B4096, SectorUnit::Sector, KernelKind::Portable).unwrap();
        let wide = SectorCipher::with_kernel(&key(64), SectorSize::B4096, SectorUnit::Sector, kind).unwrap();
        // Many tweaks, so that every pattern of high bits falls out of every shift.
        for number in 0..2000u64 {
            let mut expected = [0; 1024];
            let mut bytes = [0; 1024];
            let tweak = (u128::from(number) << 64 | u128::from(!number)).to_le_bytes();
            portable.encrypt_unit(tweak, &mut expected).unwrap();
            wide.encrypt_unit(tweak, &mut bytes).unwrap();
            assert!(bytes == expected, "{kind:?} {number}");
        }
    }
}
