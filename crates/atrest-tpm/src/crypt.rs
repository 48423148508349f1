//! The ciphers of sessions: KDFa, KDFe, AES in CFB mode, and the salt by ECDH (TPM 2.0 Library, Part 1, 11.4 and Annex C).

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use hmac::{Hmac, Mac};
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{NonZeroScalar, PublicKey, SecretKey};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

/// The length of a SHA-256 digest, of HMACs by it, and of coordinates on P-256.
pub(crate) const LEN: usize = 32;

pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; LEN] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

fn keyed(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    // HMAC takes keys of any length.
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else { unreachable!("HMAC takes any key") };
    parts.iter().for_each(|part| mac.update(part));
    mac
}

pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; LEN] {
    keyed(key, parts).finalize().into_bytes().into()
}

/// Whether a MAC is right, in constant time.
pub(crate) fn verify(key: &[u8], parts: &[&[u8]], mac: &[u8]) -> bool {
    keyed(key, parts).verify_slice(mac).is_ok()
}

/// KDFa for 256 bits: one round of HMAC in counter mode (SP 800-108).
pub(crate) fn kdf_a(key: &[u8], label: &[u8], u: &[u8], v: &[u8]) -> Zeroizing<[u8; LEN]> {
    Zeroizing::new(hmac(key, &[&1u32.to_be_bytes(), label, &[0], u, v, &256u32.to_be_bytes()]))
}

/// KDFe for 256 bits: one round of a hash (SP 800-56A).
fn kdf_e(z: &[u8], label: &[u8], u: &[u8], v: &[u8]) -> Zeroizing<[u8; LEN]> {
    Zeroizing::new(sha256(&[&1u32.to_be_bytes(), z, label, &[0], u, v]))
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
pub(crate) fn salt(key: &Point, random: impl FnMut(&mut [u8]) -> Option<()>) -> Option<(Zeroizing<[u8; LEN]>, Point)> {
    let own = secret_key(random)?;
    shared(key, &own)
}

fn shared(key: &Point, own: &SecretKey) -> Option<(Zeroizing<[u8; LEN]>, Point)> {
    let scalar: NonZeroScalar = own.to_nonzero_scalar();
    let z = p256::ecdh::diffie_hellman(scalar, key.key()?.as_affine());
    let own = Point::of(&own.public_key())?;
    Some((kdf_e(z.raw_secret_bytes(), b"SECRET", &own.x, &key.x), own))
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
    fn ecdh_as_rfc_5903_has_it() {
        // RFC 5903, 8.1.
        let i =
            SecretKey::from_slice(&hex("C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433")).unwrap();
        let r = Point::new(
            &hex("D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63"),
            &hex("56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB"),
        );
        let (salt, own) = shared(&r.unwrap(), &i).unwrap();
        assert_eq!(own.x.to_vec(), hex("DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180"));
        let z = hex("D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE");
        assert_eq!(*salt, *kdf_e(&z, b"SECRET", &own.x, &r.unwrap().x));
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
        assert!(salt(&off, filled_with(7)).is_none());
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
        let mac = hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(mac.to_vec(), hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"));
        assert!(verify(b"Jefe", &[b"what do ya want for nothing?"], &mac));
        assert!(!verify(b"Jefe", &[b"what do ya want for nothing?"], &mac[..31]));
        assert!(!verify(b"jefe", &[b"what do ya want for nothing?"], &mac));
    }
}
