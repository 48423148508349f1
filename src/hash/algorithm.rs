//! Hashes that LUKS headers name, and PBKDF2 with HMAC of each (RFC 8018, 5.2).

use std::time::Duration;

use hmac::Hmac;
use sha1::Sha1;
use sha2::digest::Output;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use crate::Error;
use crate::approval::Approval;
use crate::latch::Algorithm;

/// Defines the hashes: the name in headers, other names, the length in bytes, the nanoseconds that an iteration of PBKDF2
/// takes, the crate's type, the HMAC, and the unit of testing of the hash and of PBKDF2.
macro_rules! hashes {
    ($($(#[doc = $doc:literal])+ $(#[cfg($cfg:meta)])? $hash:ident: $names:expr, $len:literal, $cost:literal, $type:ty, $hmac:ty, $test:ident, $pbkdf2_test:ident;)*) => {
        /// A hash that LUKS headers name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum HashAlgorithm {
            $($(#[doc = $doc])+ $(#[cfg($cfg)])? $hash,)*
        }

        impl HashAlgorithm {
            /// All hashes of this build.
            pub(crate) const ALL: &'static [HashAlgorithm] = &[$($(#[cfg($cfg)])? HashAlgorithm::$hash,)*];

            fn names(self) -> &'static [&'static str] {
                match self { $($(#[cfg($cfg)])? HashAlgorithm::$hash => &$names,)* }
            }

            /// The length of the hash in bytes.
            pub fn output_len(self) -> usize {
                match self { $($(#[cfg($cfg)])? HashAlgorithm::$hash => $len,)* }
            }

            /// The nanoseconds that an iteration of PBKDF2 takes for one block of output, about.
            fn nanoseconds(self) -> u64 {
                match self { $($(#[cfg($cfg)])? HashAlgorithm::$hash => $cost,)* }
            }

            /// Calls `work` with the hash's type.
            pub(crate) fn with<W: WithHash>(self, work: W) -> W::Output {
                match self { $($(#[cfg($cfg)])? HashAlgorithm::$hash => work.run::<$type>(),)* }
            }

            /// PBKDF2 with HMAC of this hash.
            pub(crate) fn pbkdf2(self, passphrase: &[u8], salt: &[u8], iterations: u32, out: &mut [u8]) {
                match self {
                    $($(#[cfg($cfg)])? HashAlgorithm::$hash => pbkdf2::pbkdf2::<$hmac>(passphrase, salt, iterations, out),)*
                }
                .expect("HMAC takes a key of any length");
            }

            /// The unit of testing of the hash.
            pub(crate) fn unit(self) -> Algorithm {
                match self { $($(#[cfg($cfg)])? HashAlgorithm::$hash => Algorithm::$test,)* }
            }

            /// The unit of testing of PBKDF2 with the hash.
            pub(crate) fn pbkdf2_unit(self) -> Algorithm {
                match self { $($(#[cfg($cfg)])? HashAlgorithm::$hash => Algorithm::$pbkdf2_test,)* }
            }
        }
    };
}

/// HMAC of a hash whose state can't be kept between blocks: it hashes the padded key again each time.
#[cfg(feature = "legacy")]
type Slow<H> = hmac::SimpleHmac<H>;

hashes! {
    /// SHA-1. For reading existing headers; nothing new uses it.
    Sha1: ["sha1", "sha-1"], 20, 150, Sha1, Hmac<Sha1>, Sha1, Pbkdf2Sha1;
    /// SHA-224. For reading existing headers.
    Sha224: ["sha224", "sha-224", "sha2-224"], 28, 150, Sha224, Hmac<Sha224>, Sha224, Pbkdf2Sha224;
    /// SHA-256.
    Sha256: ["sha256", "sha-256", "sha2-256"], 32, 150, Sha256, Hmac<Sha256>, Sha256, Pbkdf2Sha256;
    /// SHA-384.
    Sha384: ["sha384", "sha-384", "sha2-384"], 48, 600, Sha384, Hmac<Sha384>, Sha384, Pbkdf2Sha384;
    /// SHA-512.
    Sha512: ["sha512", "sha-512", "sha2-512"], 64, 600, Sha512, Hmac<Sha512>, Sha512, Pbkdf2Sha512;
    /// SHA3-224 (FIPS 202). For reading existing headers, as all that follow.
    #[cfg(feature = "legacy")]
    Sha3_224: ["sha3-224"], 28, 2000, sha3::Sha3_224, Slow<sha3::Sha3_224>, Sha3_224, Sha3_224;
    /// SHA3-256 (FIPS 202).
    #[cfg(feature = "legacy")]
    Sha3_256: ["sha3-256"], 32, 2000, sha3::Sha3_256, Slow<sha3::Sha3_256>, Sha3_256, Sha3_256;
    /// SHA3-384 (FIPS 202).
    #[cfg(feature = "legacy")]
    Sha3_384: ["sha3-384"], 48, 2000, sha3::Sha3_384, Slow<sha3::Sha3_384>, Sha3_384, Sha3_384;
    /// SHA3-512 (FIPS 202).
    #[cfg(feature = "legacy")]
    Sha3_512: ["sha3-512"], 64, 2000, sha3::Sha3_512, Slow<sha3::Sha3_512>, Sha3_512, Sha3_512;
    /// RIPEMD-160.
    #[cfg(feature = "legacy")]
    Ripemd160: ["ripemd160", "ripemd-160", "rmd160"], 20, 600, ripemd::Ripemd160, Slow<ripemd::Ripemd160>, Ripemd160, Ripemd160;
    /// Whirlpool (ISO/IEC 10118-3).
    #[cfg(feature = "legacy")]
    Whirlpool: ["whirlpool", "wp512"], 64, 4000, whirlpool::Whirlpool, Slow<whirlpool::Whirlpool>, Whirlpool, Whirlpool;
    /// BLAKE2b with 20 bytes of output (RFC 7693).
    #[cfg(feature = "legacy")]
    Blake2b160: ["blake2b-160"], 20, 1000, Blake2b160, Slow<Blake2b160>, Blake2b160, Blake2b160;
    /// BLAKE2b with 32 bytes of output.
    #[cfg(feature = "legacy")]
    Blake2b256: ["blake2b-256"], 32, 1000, Blake2b256, Slow<Blake2b256>, Blake2b256, Blake2b256;
    /// BLAKE2b with 48 bytes of output.
    #[cfg(feature = "legacy")]
    Blake2b384: ["blake2b-384"], 48, 1000, Blake2b384, Slow<Blake2b384>, Blake2b384, Blake2b384;
    /// BLAKE2b with 64 bytes of output.
    #[cfg(feature = "legacy")]
    Blake2b512: ["blake2b-512", "blake2b512"], 64, 1000, blake2::Blake2b512, Slow<blake2::Blake2b512>, Blake2b512, Blake2b512;
    /// BLAKE2s with 20 bytes of output (RFC 7693).
    #[cfg(feature = "legacy")]
    Blake2s160: ["blake2s-160"], 20, 1000, Blake2s160, Slow<Blake2s160>, Blake2s160, Blake2s160;
    /// BLAKE2s with 28 bytes of output.
    #[cfg(feature = "legacy")]
    Blake2s224: ["blake2s-224"], 28, 1000, Blake2s224, Slow<Blake2s224>, Blake2s224, Blake2s224;
    /// BLAKE2s with 32 bytes of output.
    #[cfg(feature = "legacy")]
    Blake2s256: ["blake2s-256", "blake2s256"], 32, 1000, blake2::Blake2s256, Slow<blake2::Blake2s256>, Blake2s256, Blake2s256;
    /// SM3 (ISO/IEC 10118-3).
    #[cfg(feature = "legacy")]
    Sm3: ["sm3"], 32, 1000, sm3::Sm3, Slow<sm3::Sm3>, Sm3, Sm3;
}

#[cfg(feature = "legacy")]
type Blake2b160 = blake2::Blake2b<blake2::digest::consts::U20>;
#[cfg(feature = "legacy")]
type Blake2b256 = blake2::Blake2b<blake2::digest::consts::U32>;
#[cfg(feature = "legacy")]
type Blake2b384 = blake2::Blake2b<blake2::digest::consts::U48>;
#[cfg(feature = "legacy")]
type Blake2s160 = blake2::Blake2s<blake2::digest::consts::U20>;
#[cfg(feature = "legacy")]
type Blake2s224 = blake2::Blake2s<blake2::digest::consts::U28>;

impl core::str::FromStr for HashAlgorithm {
    type Err = Error;

    /// As [`from_name`](HashAlgorithm::from_name), with a reason.
    ///
    /// # Errors
    /// [`Error::InvalidOption`].
    fn from_str(name: &str) -> Result<Self, Error> {
        let why = || Error::InvalidOption(format!("no hash here is {name:?}, {}", Self::why_unknown(name)));
        Self::from_name(name).ok_or_else(why)
    }
}

/// Work that is written once for all hashes.
pub(crate) trait WithHash {
    /// The result of the work.
    type Output;
    /// Does the work.
    fn run<H: Digest>(self) -> Self::Output;
}

struct DigestTo<'a>(&'a [u8], &'a mut [u8]);

impl WithHash for DigestTo<'_> {
    type Output = ();

    fn run<H: Digest>(self) {
        let mut hash = Output::<H>::default();
        H::new().chain_update(self.0).finalize_into(&mut hash);
        self.1.copy_from_slice(&hash);
        zeroize::Zeroize::zeroize(hash.as_mut_slice());
    }
}

impl HashAlgorithm {
    /// The name, as headers have it.
    pub fn name(self) -> &'static str {
        self.names()[0]
    }

    /// The hash of this name, if this build knows it. Case doesn't count. OpenSSL's other names are taken too, because other
    /// programs copy into a header the name that their user typed: `SHA512`, `sha-256`, `sha2-256`.
    pub fn from_name(name: &str) -> Option<Self> {
        let is_it = |hash: &&Self| hash.names().iter().any(|known| known.eq_ignore_ascii_case(name));
        Self::ALL.iter().find(is_it).copied()
    }

    /// Why a header's hash is refused: the end of a sentence that names it.
    pub(crate) fn why_unknown(name: &str) -> &'static str {
        let rare = ["sha3-", "ripemd", "rmd", "whirlpool", "wp", "blake2", "sm3"];
        if cfg!(not(feature = "legacy")) && rare.iter().any(|start| name.starts_with(start)) {
            return "which needs a build with the feature `legacy`; `cryptsetup open` may open it";
        }
        "which is not known; `cryptsetup open` may open it"
    }

    /// Whether it is only for existing headers and keyslots: new ones take SHA-256, SHA-384 or SHA-512.
    pub fn is_legacy(self) -> bool {
        !matches!(self, HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512)
    }

    /// Whether it is [approved](crate::approval).
    pub fn approval(self) -> Approval {
        self.unit().approval()
    }

    /// Hashes `bytes` into `out`, which has the hash's length.
    pub(crate) fn digest_to(self, bytes: &[u8], out: &mut [u8]) {
        self.with(DigestTo(bytes, out));
    }

    /// The time PBKDF2 takes with this hash; see `Kdf::cost`.
    pub(crate) fn pbkdf2_cost(self, iterations: u32, out_len: usize) -> Duration {
        let blocks = out_len.div_ceil(self.output_len()) as u64;
        Duration::from_nanos((u64::from(iterations) * self.nanoseconds()).saturating_mul(blocks))
    }
}
