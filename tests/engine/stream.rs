//! The stream engine: published vectors, other implementations, and every offset and length.

use crate::common::{hex, pipe, python, unhex};
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use atrest::cipher::KernelKind;
use atrest::{Error, StreamCipher};
use proptest::collection::vec;
use proptest::prelude::*;

/// CTR by the book (SP 800-38A, 6.5), one byte after the other.
fn model(key: &[u8], nonce: [u8; 16], offset: u64, data: &mut [u8]) {
    let aes = aes::Aes256::new_from_slice(key).unwrap();
    for (i, byte) in data.iter_mut().enumerate() {
        let at = offset + i as u64;
        let counter = u128::from_be_bytes(nonce).wrapping_add(u128::from(at / 16));
        let mut block = counter.to_be_bytes().into();
        aes.encrypt_block(&mut block);
        *byte ^= block[(at % 16) as usize];
    }
}

/// One for each kernel that this CPU runs.
fn ciphers(key: &[u8], nonce: [u8; 16]) -> impl Iterator<Item = StreamCipher> {
    KernelKind::available().map(move |kind| {
        let cipher = StreamCipher::with_kernel(key, nonce, kind).unwrap();
        assert_eq!(cipher.kernel(), kind);
        cipher
    })
}

/// SP 800-38A, F.5.5 and F.5.6.
#[test]
fn the_vectors_of_nist() {
    let key = unhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
    let nonce = unhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff").try_into().unwrap();
    let plaintext = unhex(concat!(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51",
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
    ));
    let ciphertext = unhex(concat!(
        "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5",
        "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6",
    ));
    for cipher in ciphers(&key, nonce) {
        let mut data = plaintext.clone();
        cipher.apply(0, &mut data).unwrap();
        assert_eq!(hex(&data), hex(&ciphertext));
        cipher.apply(0, &mut data).unwrap();
        assert_eq!(data, plaintext);
        // Any part of it by itself.
        for start in 0..64 {
            for end in start..=64 {
                let mut part = vec![0; end - start];
                cipher.apply_to(start as u64, &plaintext[start..end], &mut part).unwrap();
                assert_eq!(part, ciphertext[start..end], "{start}..{end}");
            }
        }
    }
}

#[test]
fn the_counter_wraps_at_128_bits() {
    for below in [0u128, 1, 7, 63, 64, 65, 129] {
        for nonce in [u128::MAX - below, u128::from(u64::MAX) - below, u128::from(u32::MAX) - below] {
            let mut wanted = vec![0; 4099];
            model(&[3; 32], nonce.to_be_bytes(), 13, &mut wanted);
            for cipher in ciphers(&[3; 32], nonce.to_be_bytes()) {
                let mut data = vec![0; 4099];
                cipher.apply(13, &mut data).unwrap();
                assert_eq!(data, wanted, "{nonce:x} {:?}", cipher.kernel());
            }
        }
    }
}

#[test]
fn the_last_byte_is_at_two_to_the_64_less_one() {
    let cipher = StreamCipher::new(&[3; 32], [0xFF; 16]).unwrap();
    for (offset, len) in [(u64::MAX, 1), (u64::MAX, 0), (u64::MAX - 999, 1000), (0, 0)] {
        let (mut data, mut wanted) = (vec![9; len], vec![9; len]);
        cipher.apply(offset, &mut data).unwrap();
        model(&[3; 32], [0xFF; 16], offset, &mut wanted);
        assert_eq!(data, wanted, "{len} at {offset}");
    }
    for (offset, len) in [(u64::MAX, 2), (u64::MAX - 999, 1001), (1 << 63, usize::MAX >> 1)] {
        if len > 2000 {
            continue; // no buffer is that long, so that only offsets near the end overflow
        }
        let mut data = vec![9; len];
        let right = |e: Error| matches!(e, Error::StreamOverflow { offset: at } if at == offset);
        assert!(right(cipher.apply(offset, &mut data).unwrap_err()));
        assert!(right(cipher.apply_to(offset, &vec![1; len], &mut data).unwrap_err()));
        assert_eq!(data, vec![9; len]);
    }
}

#[test]
fn what_is_refused() {
    for len in (0..100).filter(|len| *len != 32) {
        assert!(matches!(StreamCipher::new(&vec![1; len], [0; 16]), Err(Error::KeyLength { len: l }) if l == len));
    }
    let cipher = StreamCipher::new(&[3; 32], [0; 16]).unwrap();
    let mut dst = [9; 5];
    assert!(matches!(cipher.apply_to(0, &[1; 4], &mut dst), Err(Error::LengthMismatch { src: 4, dst: 5 })));
    assert_eq!(dst, [9; 5]);
    assert_eq!(format!("{cipher:?}"), "StreamCipher { .. }");
}

#[test]
fn many_threads_share_a_cipher() {
    let cipher = StreamCipher::new(&[3; 32], [8; 16]).unwrap();
    let mut whole = vec![0x55; 64 << 10];
    let mut wanted = whole.clone();
    cipher.apply(77, &mut wanted).unwrap();
    std::thread::scope(|scope| {
        for (i, piece) in whole.chunks_mut(4001).enumerate() {
            let cipher = &cipher;
            scope.spawn(move || cipher.apply(77 + i as u64 * 4001, piece).unwrap());
        }
    });
    assert!(whole == wanted);
}

/// Offsets likely to reveal arithmetic errors: around 0, 2^32 blocks and 2^64, and anywhere else.
fn offset() -> impl Strategy<Value = u64> {
    let edge = (1u64 << 36) - 3000;
    prop_oneof![0..300u64, edge..edge + 6000, u64::MAX - 9000..=u64::MAX - 5000, 0..=u64::MAX - 5000]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_piece_is_what_the_book_says(
        key in any::<[u8; 32]>(),
        nonce in prop_oneof![any::<[u8; 16]>(), (0..400u128).prop_map(|below| (u128::MAX - below).to_be_bytes())],
        offset in offset(),
        data in vec(any::<u8>(), 0..5000),
        cuts in vec(1..700usize, 0..20),
    ) {
        let mut wanted = data.clone();
        model(&key, nonce, offset, &mut wanted);
        for cipher in ciphers(&key, nonce) {
            let mut other = vec![0; data.len()];
            cipher.apply_to(offset, &data, &mut other).unwrap();
            prop_assert_eq!(&other, &wanted);
        }
        let cipher = StreamCipher::new(&key, nonce).unwrap();
        // In pieces, from the last to the first.
        let (mut pieces, mut at) = (Vec::new(), 0);
        for cut in cuts {
            let end = (at + cut).min(data.len());
            pieces.push(at..end);
            at = end;
        }
        pieces.push(at..data.len());
        let mut cut_up = data.clone();
        for piece in pieces.into_iter().rev() {
            cipher.apply(offset + piece.start as u64, &mut cut_up[piece]).unwrap();
        }
        prop_assert_eq!(&cut_up, &wanted);
        cipher.apply(offset, &mut cut_up).unwrap();
        prop_assert_eq!(cut_up, data);
    }
}

/// OpenSSL's CTR has no offset. So the counter is set to the block's, and the bytes before the offset are dropped.
const OPENSSL: &str = r#"
import sys
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
for line in sys.stdin:
    key, nonce, offset, data = line.split()
    offset = int(offset)
    counter = (int(nonce, 16) + offset // 16) % (1 << 128)
    ctr = Cipher(algorithms.AES(bytes.fromhex(key)), modes.CTR(counter.to_bytes(16, "big"))).encryptor()
    ctr.update(bytes(offset % 16))
    print(ctr.update(bytes.fromhex(data)).hex())
"#;

#[test]
fn openssl_agrees() {
    let Some(python) = python("cryptography") else { return };
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes = |len: usize| -> Vec<u8> { (0..len).map(|_| random() as u8).collect() };
    let (mut input, mut wanted) = (String::new(), String::new());
    for i in 0..300 {
        let key = bytes(32);
        // Now and then a counter that wraps within the data.
        let nonce: [u8; 16] = if i % 4 == 0 { (u128::MAX - i).to_be_bytes() } else { bytes(16).try_into().unwrap() };
        let number = u64::from_le_bytes(bytes(8).try_into().unwrap());
        let (offset, len) = (number >> (i % 60), 1 + number as usize % 9000);
        let offset = offset.min(u64::MAX - 10_000);
        let mut data = bytes(len);
        input += &format!("{} {} {offset} {}\n", hex(&key), hex(&nonce), hex(&data));
        StreamCipher::new(&key, nonce).unwrap().apply(offset, &mut data).unwrap();
        wanted += &format!("{}\n", hex(&data));
    }
    let answer = String::from_utf8(pipe(&python, &["-c", OPENSSL], input.as_bytes())).unwrap();
    assert!(answer == wanted, "OpenSSL gives other bytes");
}
