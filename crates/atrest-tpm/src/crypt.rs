//! The ciphers of sessions: KDFa, KDFe, AES in CFB mode, and the salt by ECDH (TPM 2.0 Library, Part 1, 11.4 and Annex C). Their
//! callers have tested them: see `self_test`.

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use atrest::key::HmacSha256;
use atrest::{Result, Secret};
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{NonZeroScalar, PublicKey, SecretKey};
use zeroize::{Zeroize, Zeroizing};

/// The length of a SHA-256 digest, of HMACs by it, and of coordinates on P-256.
pub(crate) const LEN: usize = 32;

pub(crate) fn sha256(parts: &[&[u8]]) -> Result<[u8; LEN]> {
    atrest::key::sha256(parts)
}

pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> Result<[u8; LEN]> {
    HmacSha256::new(key)?.mac(parts)
}

/// Whether a MAC is right, in constant time.
pub(crate) fn verify(key: &[u8], parts: &[&[u8]], mac: &[u8]) -> Result<bool> {
    HmacSha256::new(key)?.verify(parts, mac)
}

/// KDFa for 256 bits.
pub(crate) fn kdf_a(key: &[u8], label: &[u8], u: &[u8], v: &[u8]) -> Result<Secret> {
    counter(key, &[label, &[0], u, v, &256u32.to_be_bytes()])
}

/// One round of HMAC in counter mode (SP 800-108 Rev. 1, 4.1).
pub(crate) fn counter(key: &[u8], fixed: &[&[u8]]) -> Result<Secret> {
    let first = 1u32.to_be_bytes();
    HmacSha256::new(key)?.derive(&[&[&first[..]], fixed].concat())
}

/// KDFe for 256 bits.
fn kdf_e(z: &[u8], label: &[u8], u: &[u8], v: &[u8]) -> Result<Secret> {
    one_step(z, &[label, &[0], u, v])
}

/// One round of a hash over a shared secret (SP 800-56C Rev. 2, 4.1).
pub(crate) fn one_step(z: &[u8], fixed: &[&[u8]]) -> Result<Secret> {
    let first = 1u32.to_be_bytes();
    atrest::key::sha256_secret(&[&[&first[..], z], fixed].concat())
}

/// Encrypts or decrypts by AES-128 in CFB mode with a feedback of whole blocks.
pub(crate) fn cfb(key: &[u8; 16], iv: &[u8; 16], data: &mut [u8], encrypts: bool) {
    let cipher = Aes128::new(key.into());
    let mut feedback = *iv;
    for chunk in data.chunks_mut(16) {
        let mut block = feedback.into();
        cipher.encrypt_block(&mut block);
        for ((byte, stream), next) in chunk.iter_mut().zip(&block).zip(&mut feedback) {
            let before = *byte;
            *byte ^= stream;
            *next = if encrypts { *byte } else { before };
        }
        block.as_mut_slice().zeroize();
    }
}

/// A point on P-256 by its coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) x: [u8; LEN],
    pub(crate) y: [u8; LEN],
}

impl Point {
    /// Coordinates of a TPM, which may leave out leading zeros.
    pub(crate) fn new(x: &[u8], y: &[u8]) -> Option<Self> {
        let whole = |bytes: &[u8]| {
            let mut out = [0; LEN];
            out.get_mut(LEN.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
            Some(out)
        };
        Some(Point { x: whole(x)?, y: whole(y)? })
    }

    fn of(key: &PublicKey) -> Option<Self> {
        let point = key.to_sec1_point(false);
        Point::new(point.x()?, point.y()?)
    }

    fn key(&self) -> Option<PublicKey> {
        // It is a valid point only if it lies on the curve.
        PublicKey::from_sec1_bytes(&[&[4][..], &self.x, &self.y].concat()).ok()
    }
}

/// A salt that only the TPM with the private half of `key` learns, and the point that tells it (Part 1, C.6.1). `None`: the point
/// doesn't lie on the curve.
pub(crate) fn salt(key: &Point, random: impl FnMut(&mut [u8]) -> Option<()>) -> Result<Option<(Secret, Point)>> {
    let Some((z, own)) = secret_key(random).and_then(|own| shared(key, &own)) else { return Ok(None) };
    Ok(Some((kdf_e(&*z, b"SECRET", &own.x, &key.x)?, own)))
}

/// The shared secret of ECDH (SP 800-56A Rev. 3, 5.7.1.2), and the own point.
pub(crate) fn shared(key: &Point, own: &SecretKey) -> Option<(Zeroizing<[u8; LEN]>, Point)> {
    let scalar: NonZeroScalar = own.to_nonzero_scalar();
    let z = p256::ecdh::diffie_hellman(scalar, key.key()?.as_affine());
    let z = Zeroizing::new((*z.raw_secret_bytes()).into());
    Some((z, Point::of(&own.public_key())?))
}

/// A random key. Bytes that are no scalar, one in 2^32, are drawn anew.
fn secret_key(mut random: impl FnMut(&mut [u8]) -> Option<()>) -> Option<SecretKey> {
    let mut bytes = Zeroizing::new([0; LEN]);
    for _ in 0..8 {
        random(&mut *bytes)?;
        if let Ok(key) = SecretKey::from_slice(&*bytes) {
            return Some(key);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn cfb_as_sp_800_38a_has_it() {
        // SP 800-38A, F.3.13.
        let key = hex("2b7e151628aed2a6abf7158809cf4f3c").try_into().unwrap();
        let iv = hex("000102030405060708090a0b0c0d0e0f").try_into().unwrap();
        let plain = hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
        let sealed = hex("3b3fd92eb72dad20333449f8e83cfb4ac8a64537a0b3a93fcde3cdad9f1ce58b");
        for len in [0, 1, 16, 17, 32] {
            let mut data = plain[..len].to_vec();
            cfb(&key, &iv, &mut data, true);
            assert_eq!(data, sealed[..len]);
            cfb(&key, &iv, &mut data, false);
            assert_eq!(data, plain[..len]);
        }
    }

    #[test]
    fn points_off_the_curve_are_none() {
        let off = Point { x: [1; 32], y: [2; 32] };
        let filled_with = |byte: u8| {
            move |bytes: &mut [u8]| {
                bytes.fill(byte);
                Some(())
            }
        };
        assert!(salt(&off, filled_with(7)).unwrap().is_none());
        assert!(Point::new(&[0; 33], &[0; 32]).is_none());
        assert_eq!(
            Point::new(&[5], &[]).unwrap(),
            Point {
                x: {
                    let mut x = [0; 32];
                    x[31] = 5;
                    x
                },
                y: [0; 32]
            }
        );
        // Random numbers that are no scalar are drawn again, but not for ever.
        assert!(secret_key(filled_with(0xFF)).is_none());
        assert!(secret_key(|_| None).is_none());
    }

    #[test]
    fn macs() {
        // RFC 4231, test case 2.
        let mac = hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]).unwrap();
        assert_eq!(mac.to_vec(), hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"));
        let verify = |key, mac| verify(key, &[b"what do ya want for nothing?"], mac).unwrap();
        assert!(verify(b"Jefe", &mac));
        assert!(!verify(b"Jefe", &mac[..31]));
        assert!(!verify(b"jefe", &mac));
    }

    #[test]
    fn kdfs_of_several_parts_are_those_of_the_whole() {
        // Part 1, 11.4.10.2 and 11.4.10.3, by Python's hmac and hashlib.
        let derived = kdf_a(b"key", b"CFB", b"newer", b"older").unwrap();
        assert_eq!(derived.expose(), hex("3efd901e4b6263dd054ee2cdcaefe7c87b5ad3c126144012293cbe4d0afa0ad5"));
        let derived = kdf_e(b"z", b"SECRET", b"u", b"v").unwrap();
        assert_eq!(derived.expose(), hex("86cdd0280aace72aeae3c72797c7441c53d86e1914e0d1fe4c1f319b73f0f894"));
    }
}
