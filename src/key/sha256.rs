//! SHA-256 of public and secret messages, for crates that hash beside this one.

use sha2::{Digest, Sha256};

use crate::arch::wipe_mac;
use crate::latch::Algorithm;
use crate::{Result, Secret, hash};

/// SHA-256 (FIPS 180-4) of a message in parts, as if they were one. The message may be a secret: its blocks are wiped from the stack.
/// For a hash that is a key there is [`sha256_secret`].
///
/// # Errors
/// [`Error::SelfTest`](crate::Error::SelfTest).
///
/// ```
/// let hash = atrest::key::sha256(&[b"a", b"bc"])?;
/// assert_eq!(hash[..4], [0xba, 0x78, 0x16, 0xbf]);
/// # Ok::<(), atrest::Error>(())
/// ```
pub fn sha256(message: &[&[u8]]) -> Result<[u8; 32]> {
    let mut hash = [0; 32];
    sha256_to(message, &mut hash)?;
    Ok(hash)
}

/// As [`sha256`], for a hash that is a key, such as that of a shared secret (SP 800-56C).
///
/// # Errors
/// As [`sha256`].
///
/// ```
/// let key = atrest::key::sha256_secret(&[b"a", b"bc"])?;
/// assert_eq!(key.expose()[..4], [0xba, 0x78, 0x16, 0xbf]);
/// # Ok::<(), atrest::Error>(())
/// ```
pub fn sha256_secret(message: &[&[u8]]) -> Result<Secret> {
    let mut hash = Secret::zeroed(32);
    sha256_to(message, hash.expose_mut().try_into().expect("32 bytes"))?;
    Ok(hash)
}

fn sha256_to(message: &[&[u8]], hash: &mut [u8; 32]) -> Result<()> {
    hash::check(Algorithm::Sha256)?;
    finish(message, hash);
    wipe_mac();
    Ok(())
}

/// Not inlined, so that all that it leaves on the stack lies below its caller, who wipes it.
#[inline(never)]
fn finish(message: &[&[u8]], hash: &mut [u8; 32]) {
    let mut state = Sha256::new();
    message.iter().for_each(|part| state.update(part));
    state.finalize_into(hash.into());
}
