//! The anti-forensic splitter (LUKS1 specification, 2.4). It spreads a key over many sectors. Erasing a keyslot
//! destroys the key even if only some of these sectors are really overwritten.

use sha2::Digest;
use sha2::digest::Output;
use zeroize::{Zeroize, Zeroizing};

use crate::key::{HashAlgorithm, WithHash, self_test};
use crate::{Error, Result, Secret, random};

/// The number of stripes that a key is spread over. Both versions of LUKS allow only this number.
pub(crate) const STRIPES: u32 = 4000;

/// Spreads `key` over `stripes` stripes, each as long as the key.
pub(crate) fn split(key: &[u8], stripes: u32, hash: HashAlgorithm) -> Result<Zeroizing<Vec<u8>>> {
    self_test::hash(hash)?;
    let too_large = || Error::InvalidOption(format!("{stripes} stripes of {} bytes are out of bounds", key.len()));
    let len = key.len().checked_mul(stripes as usize).filter(|&len| len > 0).ok_or_else(too_large)?;
    let mut material = Zeroizing::new(vec![0; len]);
    let (all_but_last, last) = material.split_at_mut(len - key.len());
    random::fill(all_but_last)?;
    let sum = diffused(all_but_last, key.len(), hash);
    for ((byte, sum), key) in last.iter_mut().zip(sum.expose()).zip(key) {
        *byte = sum ^ key;
    }
    Ok(material)
}

/// Joins the stripes to a key of `key_len` bytes. `material` has at least `key_len` times `stripes` bytes, and neither
/// is 0; any bytes after them are ignored.
pub(crate) fn merge(material: &[u8], key_len: usize, stripes: u32, hash: HashAlgorithm) -> Result<Secret> {
    self_test::hash(hash)?;
    let (all_but_last, rest) = material.split_at(key_len * (stripes as usize - 1));
    let mut key = diffused(all_but_last, key_len, hash);
    xor(key.expose_mut(), &rest[..key_len]);
    Ok(key)
}

/// The value d of the last but one stripe: starting from d0 = 0, each stripe is added and the sum diffused (equation
/// 2).
fn diffused(stripes: &[u8], key_len: usize, hash: HashAlgorithm) -> Secret {
    hash.with(Diffused { stripes, key_len })
}

struct Diffused<'a> {
    stripes: &'a [u8],
    key_len: usize,
}

impl WithHash for Diffused<'_> {
    type Output = Secret;

    /// The function H1 of 2.4.1 diffuses: it replaces each piece of the hash's length by a hash of the piece's number and the
    /// piece. The last hash is cut.
    fn run<H: Digest>(self) -> Secret {
        let mut sum = Secret::zeroed(self.key_len);
        let mut hash = Output::<H>::default(); // one for all, since there are thousands
        for stripe in self.stripes.chunks_exact(self.key_len) {
            xor(sum.expose_mut(), stripe);
            for (i, piece) in sum.expose_mut().chunks_mut(<H as Digest>::output_size()).enumerate() {
                H::new().chain_update((i as u32).to_be_bytes()).chain_update(&*piece).finalize_into(&mut hash);
                piece.copy_from_slice(&hash[..piece.len()]);
            }
        }
        hash.as_mut_slice().zeroize();
        sum
    }
}

fn xor(sum: &mut [u8], bytes: &[u8]) {
    for (sum, byte) in sum.iter_mut().zip(bytes) {
        *sum ^= byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tests of `material` have cryptsetup read the output.
    #[test]
    fn what_is_split_comes_together_again() {
        for &hash in HashAlgorithm::ALL {
            for (len, stripes) in [(1, 1), (16, 2), (24, 7), (32, 4000), (64, 4000), (100, 3)] {
                let key = Secret::random(len).unwrap();
                let mut material = split(key.expose(), stripes, hash).unwrap();
                assert_eq!(material.len(), len * stripes as usize);
                material.extend([0xA5; 100]);
                assert_eq!(merge(&material, len, stripes, hash).unwrap(), key, "{hash:?} {len} {stripes}");
                // Every stripe counts.
                material[0] ^= 1;
                assert_ne!(merge(&material, len, stripes, hash).unwrap(), key, "{hash:?} {len} {stripes}");
            }
        }
        assert!(matches!(split(&[], 4000, HashAlgorithm::Sha256), Err(Error::InvalidOption(_))));
        assert!(matches!(split(&[1; 32], 0, HashAlgorithm::Sha256), Err(Error::InvalidOption(_))));
    }
}
