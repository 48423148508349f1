//! The stream engine: AES-256 in counter mode (NIST SP 800-38A, 6.5), addressed by byte offset.

use aes::cipher::inout::InOutBuf;

use super::{BLOCK, KernelKind, two_buffers};
use crate::approval::Approval;
use crate::arch::{CtrKernel, wipe_expansion};
use crate::latch::{self, Algorithm, unhex};
use crate::usage::{KeyUsage, Reach};
use crate::{Error, Result};

/// An expanded AES-256-CTR key for one stream of bytes. The stream can be read and written at any offset and in any
/// length.
///
/// The byte at `offset` is xored with byte `offset` modulo 16 of AES(`nonce` + `offset` / 16). The nonce is a 128-bit
/// big-endian number that wraps at 2^128. Encryption and decryption are the same operation.
///
/// **Use a key and nonce for one stream only, and each offset of it for one content only.** Suppose that two contents
/// are encrypted at the same offset under the same key and nonce, for example before and after a file is truncated and
/// written anew. Anyone who sees both ciphertexts has the difference (XOR) of the two plaintexts, and often both
/// plaintexts. So give a file a fresh key whenever it is made, truncated or used again. Append to its contents, and do
/// not change them. A fresh nonce alone is no substitute: it must also be far enough from every other nonce under that
/// key.
///
/// The mode **detects no change**. Anyone who can write to the file can flip chosen bits of the plaintext. Authenticate
/// in a layer above. A stream can have 2^64 bytes. By the birthday bound of a 128-bit block cipher, the advantage of
/// telling a key's output from noise grows with the square of its length: 2^-33 at 2^48 blocks (4 PiB), 2^-9 at the end
/// of the longest stream. Take another key before 4 PiB: [`usage`](Self::usage) counts the use, and calls beyond 4 PiB
/// are refused once that much is used ([`KeyUsage`]).
///
/// One value serves any number of threads. After its creation nothing is allocated or locked. Its round keys are wiped
/// when it is dropped.
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
    /// Expands a key of 32 bytes for a stream whose counter starts from `nonce`.
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

    /// Not inlined, so that it leaves its data on the stack below its caller. The caller wipes that part.
    #[inline(never)]
    fn expand(key: &[u8], nonce: [u8; 16], kind: KernelKind) -> Result<Self> {
        let key = key.try_into().map_err(|_| Error::KeyLength { len: key.len() })?;
        let kernel = CtrKernel::expand(kind, key)?;
        let kernel = kernel.ok_or_else(|| Error::KernelUnavailable { kind: kind.name() })?;
        Ok(StreamCipher { kernel, nonce: u128::from_be_bytes(nonce), used: Reach::new() })
    }

    /// The kernel in use.
    pub fn kernel(&self) -> KernelKind {
        self.kernel.kind()
    }

    /// Whether it is [approved](crate::approval). AES-CTR is approved as long as each key and nonce are for one stream.
    /// Only the caller knows that.
    pub fn approval(&self) -> Approval {
        Approval::Approved
    }

    /// The use of its key so far: everything up to the highest offset reached.
    pub fn usage(&self) -> KeyUsage {
        self.used.usage()
    }

    /// Encrypts or decrypts bytes in place. The first one is at `offset` of the stream.
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

/// SP 800-38A, F.5.5 and F.5.6, also from the second block on. A kernel that this CPU can't run passes here. Its
/// constructor reports it.
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
