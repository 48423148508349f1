//! A glance at a header gives the same result as reading it, whatever its two copies hold. Skimming it does so unless both copies are
//! damaged.

use super::*;
use crate::key::{EncryptionType, KeyVault, WrapAlgorithm, WrappedDek};
use crate::ondisk::luks::{BINARY_HEADER, BinaryHeader, HEADER_SIZES};
use crate::{FormatOptions, MemoryDevice, Protector, Secret, Volume};

const COPY: usize = HEADER_SIZES[0] as usize;

/// A vault that keeps the DEK in the clear.
struct Plain;

impl KeyVault for Plain {
    fn id(&self) -> &str {
        "memory:one"
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        let (kek, bytes) = (KeyId::new(self.id(), key, "1")?, dek.expose().to_vec());
        Ok(WrappedDek { kek, algorithm: WrapAlgorithm::Opaque, bytes })
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        Ok(Some(Secret::copy_from(&wrapped.bytes)))
    }
}

/// Both copies of a header, after each of some changes.
fn states() -> Vec<[Vec<u8>; 2]> {
    let options = FormatOptions::new().data_offset(1 << 20);
    let volume = Volume::format(MemoryDevice::new(2 << 20), Protector::Vault(&Plain, "a"), &options).unwrap();
    let copies = || {
        let mut bytes = vec![0; 2 * COPY];
        volume.device().read_at(0, &mut bytes).unwrap();
        [bytes[..COPY].to_vec(), bytes[COPY..].to_vec()]
    };
    let mut states = vec![copies()];
    for key in ["b", "c"] {
        volume.replace_keks(&Plain, key, EncryptionType::CustomerKey).unwrap();
        states.push(copies());
    }
    states
}

/// The states in which a copy may be.
fn fates(copy: &[u8]) -> Vec<Vec<u8>> {
    let edited = |at: usize, with: u8, sealed: bool| {
        let mut copy = copy.to_vec();
        copy[at] ^= with;
        if sealed {
            BinaryHeader::seal(&mut copy);
        }
        copy
    };
    vec![
        copy.to_vec(),
        vec![0; COPY],
        edited(0, 1, false),
        edited(7, 3, true),     // the version
        edited(10, 1, true),    // the size
        edited(16, 0x80, true), // the sequence number
        edited(23, 8, true),
        edited(23, 8, false),
        edited(4096, 1, true), // the JSON
        edited(4100, 1, false),
    ]
}

#[test]
fn a_glance_tells_what_reading_tells() {
    let states = states();
    let (mut seen, mut glances, mut skims) = (0, 0, 0);
    for [first, _] in &states {
        for [_, second] in &states {
            for first in fates(first) {
                for second in fates(second) {
                    let mut image = vec![0; 2 << 20];
                    image[..COPY].copy_from_slice(&first);
                    image[COPY..2 * COPY].copy_from_slice(&second);
                    let device = MemoryDevice::from_bytes(image);
                    let read = load(&device).and_then(|header| header.tokens());
                    let read = read.map(|tokens| tokens.into_iter().map(|(_, token)| token.wrapped.kek).collect());
                    let told = |result: Result<Vec<KeyId>>| result.map_err(|e| e.to_string());
                    let (skimmed, read) = (told(keks_skimmed(&device)), told(read));
                    assert_eq!(told(keks(&device)), read);
                    if read.is_ok() || skimmed.is_err() {
                        assert_eq!(skimmed, read);
                    } else {
                        // Only the checksums tell.
                        assert!(first[BINARY_HEADER..] == second[BINARY_HEADER..]);
                        skims += 1;
                    }
                    seen += 1;
                    glances += usize::from(Luks2Store::glance(&device).unwrap().is_some());
                }
            }
        }
    }
    assert!(seen == 900 && (9..seen / 2).contains(&glances), "{glances} of {seen}");
    // In each state one byte that is flipped in both: of the sequence number, or of the JSON.
    assert_eq!(skims, 2 * states.len());
    for size in [0, 4096, COPY, 2 * COPY - 1] {
        let device = MemoryDevice::from_bytes(vec![0; size]);
        assert!(keks(&device).is_err());
    }
}
