//! The envelope: a wrapped DEK as bytes.
//!
//! An input is a byte that says what is done, and an envelope.

#![no_main]

use std::sync::LazyLock;

use atrest::key::{KeyId, WrapAlgorithm};
use atrest::{Dek, DekAlgorithm, Envelope, hazmat};
use atrest_fuzz::vaults::MemoryVault;
use atrest_fuzz::{Input, limits, seeds};
use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target};

static VAULT: LazyLock<MemoryVault> = LazyLock::new(|| MemoryVault::new("memory:one"));

/// Sound envelopes, and what is in them.
static SOUND: LazyLock<Vec<(Vec<u8>, Dek)>> = LazyLock::new(|| {
    let mut sound = Vec::new();
    for algorithm in [DekAlgorithm::Aes128Xts, DekAlgorithm::Aes256Xts, DekAlgorithm::Aes256Ctr] {
        let bytes: Vec<u8> = (0..algorithm.key_len()).map(|i| i as u8).collect();
        let dek = hazmat::dek_from_bytes_for(algorithm, &bytes).unwrap();
        for context in [&b""[..], b"disk-17", &[7; 1024]] {
            let vault: &MemoryVault = &VAULT;
            sound.push((Envelope::seal(&dek, vault, "disks", context).unwrap().to_bytes(), dek.clone()));
        }
    }
    sound
});

fuzz_target!(init: seeds::write(seeds()), |data: &[u8]| -> Corpus {
    let readable = limits::limited(|| run(data));
    if readable { Corpus::Keep } else { Corpus::Reject }
});

// Mutates, and then mostly makes the lengths fit again, without which nothing else is looked at.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let size = libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    if size > 21 + 32 && !seed.is_multiple_of(4) {
        let field = |at: usize| usize::from(data[at]) << 8 | usize::from(data[at + 1]);
        let room = size - 1 - 20 - 32;
        let url = field(15).min(room);
        let wrapped = field(17).min(room - url);
        for (at, len) in [(15, url), (17, wrapped), (19, room - url - wrapped)] {
            data[at..at + 2].copy_from_slice(&(len as u16).to_be_bytes());
        }
    }
    size
});

fn seeds() -> Vec<Vec<u8>> {
    SOUND.iter().map(|(bytes, _)| [&[0][..], bytes].concat()).collect()
}

fn run(data: &[u8]) -> bool {
    let mut input = Input(data);
    let control = input.byte();
    let bytes = input.rest();
    key_id(bytes);
    let Ok(envelope) = Envelope::from_bytes(bytes) else { return false };
    assert!(bytes.len() <= Envelope::MAX_LEN);
    assert_eq!(envelope.to_bytes(), bytes, "it is written otherwise than read");
    let _ = (envelope.kek(), envelope.wrap_algorithm(), format!("{envelope:?}"));
    let context = if control & 1 == 0 { envelope.context().to_vec() } else { b"another".to_vec() };
    if let Ok(dek) = envelope.unseal(&*VAULT, &context) {
        // Every byte is covered by the MAC: what opens is what was sealed.
        let sound = SOUND.iter().find(|(sound, _)| sound == bytes);
        let (_, sealed) = sound.expect("only what was sealed opens");
        assert_eq!(hazmat::dek_bytes(&dek).expose(), hazmat::dek_bytes(sealed).expose(), "another DEK");
        assert_eq!(dek.algorithm(), envelope.dek_algorithm());
        assert_eq!(context, envelope.context());
    }
    true
}

/// A URL that is taken is written as it was, and names of algorithms go both ways.
fn key_id(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(id) = text.parse::<KeyId>() {
        assert_eq!(id.to_string(), text);
        assert_eq!(KeyId::new(id.vault(), id.key(), id.version()).unwrap(), id);
    }
    if let Some(algorithm) = bytes.first().and_then(|&code| WrapAlgorithm::from_code(code.into())) {
        assert_eq!(WrapAlgorithm::from_code(algorithm.code()), Some(algorithm));
    }
}
