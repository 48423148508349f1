//! The stream engine: AES-256 in counter mode (NIST SP 800-38A, 6.5), addressed by byte offset.

use aes::cipher::inout::InOutBuf;

use super::{BLOCK, KernelKind, two_buffers};
use crate::approval::Approval;
use crate::arch::{CtrKernel, wipe_expansion};
use crate::latch::{self, Algorithm, unhex};
use crate::usage::{KeyUsage, Reach};
use crate::{Error, Result};

/// An expanded key for one stream of bytes, which is read and written at any offset and in any length: AES-256-CTR.
///
/// The byte at `offset` is under byte `offset` modulo 16 of AES(`nonce` + `offset` / 16), where the nonce is a 128-bit
/// big-endian number that wraps at 2^128. Encryption and decryption are the same.
///
/// **One key and nonce are for one stream, and each offset of it is for one content.** Anyone who sees two contents that were
/// encrypted at the same offset under the same key and nonce, say those of a file before and after it was truncated and
/// written anew, has the difference (XOR) of the two, and often both. So a file gets a fresh key whenever it is made,
/// truncated or used again, and its contents are appended to and not changed. That the nonce is fresh as well is no
/// substitute: then it must also be far enough from every other under that key.
///
/// What the mode doesn't do: it **detects no change**, and who can write to the file can flip any bit of the plaintext
/// that they like, and no other. Authenticate above. It takes streams of 2^64 bytes; by the birthday bound of a 128-bit
/// block cipher, what tells a key's output from noise grows with the square of its length: 2^-33 at 2^48 blocks (4 PiB),
/// 2^-9 at the end of the longest stream. Take another key before 4 PiB: [`usage`](Self::usage) counts, and a stream that
/// has used that much is refused more beyond ([`KeyUsage`]).
///
/// One value serves any number of threads; nothing is allocated or locked after it is made. Its round keys are wiped when
/// it is dropped.
///
/// ```
/// use atrest::StreamCipher;
///
/// let (key, nonce) = ([7; 32], [1; 16]); // random ones, and of this file alone, in real use
/// let cipher = StreamCipher::new(&key, nonce)?;
/// let mut piece = *b"a record";
/// cipher.apply(1003, &mut piece)?;
/// assert_ne!(piece, *b"a record");
/// cipher.apply(1005, &mut piece[2..])?; // any part of it alone
/// assert_eq!(piece[2..], *b"record");
/// # Ok::<(), atrest::Error>(())
/// ```
pub struct StreamCipher {
    kernel: CtrKernel,
    nonce: u128,
    used: Reach,
}

impl StreamCipher {
    /// Expands a key of 32 bytes for the stream whose counter starts from `nonce`.
    ///
    /// # Errors
    /// [`Error::KeyLength`].
    #[inline(always)]
    pub fn new(key: &[u8], nonce: [u8; 16]) -> Result<Self> {
        Self::with_kernel(key, nonce, KernelKind::best())
    }

    /// Expands a key for one kernel, to measure it or to compare it with another.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`Error::KernelUnavailable`] when this CPU can't run it.
    #[inline(always)]
    pub fn with_kernel(key: &[u8], nonce: [u8; 16], kind: KernelKind) -> Result<Self> {
        check(kind)?;
        let cipher = Self::expand(key, nonce, kind);
        wipe_expansion(Some(kind));
        cipher
    }

    /// As [`new`](Self::new), in a box. The move into it leaves no key on the stack.
    #[cfg(feature = "std")]
    pub(crate) fn boxed(key: &[u8], nonce: [u8; 16]) -> Result<std::boxed::Box<Self>> {
        Self::new(key, nonce).map(std::boxed::Box::new)
    }

    /// Not inlined, so that what it leaves on the stack is below its caller, who wipes it.
    #[inline(never)]
    fn expand(key: &[u8], nonce: [u8; 16], kind: KernelKind) -> Result<Self> {
        let key = key.try_into().map_err(|_| Error::KeyLength { len: key.len() })?;
        let kernel = CtrKernel::expand(kind, key)?;
        let kernel = kernel.ok_or_else(|| Error::KernelUnavailable { kind: kind.name() })?;
        Ok(StreamCipher { kernel, nonce: u128::from_be_bytes(nonce), used: Reach::new() })
    }

    /// The kernel that does the work.
    pub fn kernel(&self) -> KernelKind {
        self.kernel.kind()
    }

    /// Whether it is [approved](crate::approval): AES-CTR is, as long as each key and nonce are for one stream, which only
    /// the caller knows.
    pub fn approval(&self) -> Approval {
        Approval::Approved
    }

    /// How much of its stream it has encrypted or decrypted: as far as that reaches.
    pub fn usage(&self) -> KeyUsage {
        self.used.usage()
    }

    /// Encrypts or decrypts bytes in place; the first of them is at `offset` of the stream.
    ///
    /// # Errors
    /// [`Error::StreamOverflow`]; [`Error::KeyExhausted`], beyond 4 PiB only. `data` is untouched then.
    pub fn apply(&self, offset: u64, data: &mut [u8]) -> Result<()> {
        self.run(offset, InOutBuf::from(data))
    }

    /// Encrypts or decrypts bytes from `src` to `dst`. As [`apply`](Self::apply).
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] and those of [`apply`](Self::apply). `dst` is untouched then.
    pub fn apply_to(&self, offset: u64, src: &[u8], dst: &mut [u8]) -> Result<()> {
        self.run(offset, two_buffers(src, dst)?)
    }

    fn run(&self, offset: u64, data: InOutBuf<'_, '_, u8>) -> Result<()> {
        latch::sound()?;
        // The last byte of a stream is at 2^64 - 1. In 128 bits this can't wrap.
        if u128::from(offset) + data.len() as u128 > 1 << 64 {
            return Err(Error::StreamOverflow { offset });
        }
        self.used.add(u128::from(offset) + data.len() as u128, data.len())?;
        let block = self.nonce.wrapping_add(u128::from(offset / BLOCK as u64));
        self.kernel.apply(block, (offset % BLOCK as u64) as usize, data)
    }
}

impl core::fmt::Debug for StreamCipher {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("StreamCipher").finish_non_exhaustive()
    }
}

/// Tries a kernel before its first use.
#[inline(always)]
fn check(kind: KernelKind) -> Result<()> {
    let (algorithm, test) = of_kernel(kind);
    algorithm.check(test)
}

pub(super) fn of_kernel(kind: KernelKind) -> (Algorithm, fn() -> bool) {
    match kind {
        KernelKind::Portable => (Algorithm::CtrPortable, || is_right(KernelKind::Portable)),
        KernelKind::AesNi => (Algorithm::CtrAesNi, || is_right(KernelKind::AesNi)),
        KernelKind::Vaes256 => (Algorithm::CtrVaes256, || is_right(KernelKind::Vaes256)),
        KernelKind::Vaes512 => (Algorithm::CtrVaes512, || is_right(KernelKind::Vaes512)),
        KernelKind::Armv8 => (Algorithm::CtrArmv8, || is_right(KernelKind::Armv8)),
    }
}

/// SP 800-38A, F.5.5 and F.5.6; from the second block on, too. A kernel that this CPU can't run is told where it is made.
#[inline(never)]
fn is_right(kind: KernelKind) -> bool {
    let cipher = match StreamCipher::expand(&KEY, NONCE, kind) {
        Ok(cipher) => cipher,
        Err(error) => return matches!(error, Error::KernelUnavailable { .. }),
    };
    let mut data = PLAINTEXT;
    let mut part = [0; 16];
    part.copy_from_slice(&PLAINTEXT[16..]);
    let applied = cipher.apply(0, &mut data).is_ok() && cipher.apply(16, &mut part).is_ok();
    let encrypts = applied && data == CIPHERTEXT && part == data[16..];
    encrypts && cipher.apply(0, &mut data).is_ok() && data == PLAINTEXT
}

const KEY: [u8; 32] = unhex(b"603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
const NONCE: [u8; 16] = unhex(b"f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
const PLAINTEXT: [u8; 32] = unhex(b"6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
const CIPHERTEXT: [u8; 32] = unhex(b"601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5");
