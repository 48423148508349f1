//! HMAC-SHA-256 and HKDF-SHA-256, for crates that authenticate or derive keys beside this one.

use core::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use sha2::digest::FixedOutput;
use subtle::ConstantTimeEq;

use crate::arch::{on_wiped_stack, wipe_mac};
use crate::latch::{self, Algorithm, unhex};
use crate::memory::Locked;
use crate::{Error, Result, Secret};

/// HMAC-SHA-256 (FIPS 198-1, RFC 2104) under one key.
///
/// The states that it makes of the key stand for the key. They lie where [`Secret`]s do, and are wiped when this is dropped. One
/// value serves any number of threads and messages.
///
/// ```
/// use atrest::Secret;
/// use atrest::key::HmacSha256;
///
/// let hmac = HmacSha256::new(Secret::random(32)?.expose())?;
/// let mac = hmac.mac(&[b"a record", b" in two parts"])?;
/// assert!(hmac.verify(&[b"a record in two parts"], &mac)?);
/// assert!(!hmac.verify(&[b"another one"], &mac)?);
/// # Ok::<(), atrest::Error>(())
/// ```
pub struct HmacSha256(Locked<Hmac<Sha256>>);

impl HmacSha256 {
    /// Takes a key of any length. One of more than 64 bytes counts as its SHA-256.
    ///
    /// # Errors
    /// [`Error::SelfTest`].
    pub fn new(key: &[u8]) -> Result<Self> {
        Algorithm::HmacSha256.check(is_right)?;
        Ok(on_wiped_stack(|| HmacSha256(Locked::new(keyed(key)))))
    }

    /// The MAC of a message in parts, as if they were one.
    ///
    /// # Errors
    /// [`Error::SelfTest`]; [`Error::Forked`].
    pub fn mac(&self, message: &[&[u8]]) -> Result<[u8; 32]> {
        let mut mac = [0; 32];
        self.mac_to(message, &mut mac)?;
        Ok(mac)
    }

    /// As [`mac`](Self::mac), for a MAC that is a key.
    ///
    /// # Errors
    /// As [`mac`](Self::mac).
    pub fn derive(&self, message: &[&[u8]]) -> Result<Secret> {
        let mut key = Secret::zeroed(32);
        self.mac_to(message, key.expose_mut().try_into().expect("32 bytes"))?;
        Ok(key)
    }

    /// Whether `mac` is the whole MAC of the message, in constant time.
    ///
    /// # Errors
    /// As [`mac`](Self::mac).
    pub fn verify(&self, message: &[&[u8]], mac: &[u8]) -> Result<bool> {
        Ok(self.mac(message)?[..].ct_eq(mac).into())
    }

    fn mac_to(&self, message: &[&[u8]], mac: &mut [u8; 32]) -> Result<()> {
        latch::sound()?;
        finish(self.0.get()?, message, mac);
        wipe_mac();
        Ok(())
    }
}

impl fmt::Debug for HmacSha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacSha256")
    }
}

/// Derives a key of `len` bytes: HKDF-SHA-256 (RFC 5869) of `secret`, with an empty `salt` for none.
///
/// # Errors
/// [`Error::InvalidOption`] for more than 8160 bytes, the most that HKDF gives; [`Error::SelfTest`]; [`Error::Forked`].
///
/// ```
/// use atrest::Secret;
/// use atrest::key::hkdf_sha256;
///
/// let key = hkdf_sha256(&Secret::random(32)?, b"a salt", b"its use", 64)?;
/// assert_eq!(key.len(), 64);
/// # Ok::<(), atrest::Error>(())
/// ```
pub fn hkdf_sha256(secret: &Secret, salt: &[u8], info: &[u8], len: usize) -> Result<Secret> {
    Algorithm::HkdfSha256.check(hkdf_is_right)?;
    secret.check()?;
    // Before any memory is taken for it.
    if len > MOST_DERIVED {
        return Err(Error::InvalidOption(format!("HKDF-SHA-256 gives at most {MOST_DERIVED} bytes, not {len}")));
    }
    let mut key = Secret::zeroed(len);
    let salt = if salt.is_empty() { None } else { Some(salt) };
    let expanded = on_wiped_stack(|| Hkdf::<Sha256>::new(salt, secret.expose()).expand(info, key.expose_mut()));
    expanded.expect("the length is within HKDF's limit");
    Ok(key)
}

/// The most bytes that HKDF gives: 255 hashes (RFC 5869, 2.3).
const MOST_DERIVED: usize = 255 * 32;

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

/// Not inlined, so that all that it leaves on the stack lies below its caller, who wipes it.
#[inline(never)]
fn finish(keyed: &Hmac<Sha256>, message: &[&[u8]], mac: &mut [u8; 32]) {
    let mut state = keyed.clone();
    message.iter().for_each(|part| state.update(part));
    state.finalize_into(mac.into());
}

/// RFC 4231, 4.3: a key shorter than a block, and 4.7: one longer than a block.
pub(super) fn is_right() -> bool {
    const SHORT: [u8; 32] = unhex(b"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    const LONG: [u8; 32] = unhex(b"60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    let mut mac = [0; 32];
    finish(&keyed(b"Jefe"), &[b"what do ya want ", b"for nothing?"], &mut mac);
    let short = mac == SHORT;
    finish(&keyed(&[0xaa; 131]), &[b"Test Using Larger Than Block-Size Key - Hash Key First"], &mut mac);
    short && mac == LONG
}

/// HMAC: RFC 4231, 4.2. HKDF: RFC 5869, A.3, without salt, and A.1, with it.
pub(super) fn hkdf_is_right() -> bool {
    const MAC: [u8; 32] = unhex(b"b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    const OKM: [u8; 42] =
        unhex(b"8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
    const SALTED: [u8; 42] =
        unhex(b"3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
    const SALT: [u8; 13] = unhex(b"000102030405060708090a0b0c");
    const INFO: [u8; 10] = unhex(b"f0f1f2f3f4f5f6f7f8f9");
    let mut mac = [0; 32];
    finish(&keyed(&[0x0b; 20]), &[b"Hi There"], &mut mac);
    let expands = |salt: Option<&[u8]>, info: &[u8], okm: [u8; 42]| {
        let mut out = [0; 42];
        Hkdf::<Sha256>::new(salt, &[0x0b; 22]).expand(info, &mut out).is_ok() && out == okm
    };
    mac == MAC && expands(None, &[], OKM) && expands(Some(&SALT), &INFO, SALTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hkdf_refuses_more_than_it_gives_before_it_takes_memory() {
        let derive = |len| hkdf_sha256(&Secret::copy_from(&[0x0b; 22]), b"", b"", len);
        // RFC 5869, A.3: a longer key begins with the shorter one.
        let longest = derive(8160).unwrap();
        assert_eq!(longest.len(), 8160);
        assert_eq!(longest.expose()[..8], [0x8d, 0xa4, 0xe7, 0x75, 0xa5, 0x63, 0xc1, 0x8f]);
        for len in [8161, usize::MAX / 2, usize::MAX] {
            assert!(matches!(derive(len), Err(Error::InvalidOption(_))), "{len}");
        }
    }
}
