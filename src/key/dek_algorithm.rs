//! The algorithms of data encryption keys.

use crate::cipher::{BlockCipher, CipherSpec, Mode};

/// Defines the algorithms: the number in envelopes, the name, the length of the key in bytes, and its purpose.
macro_rules! algorithms {
    ($($(#[doc = $doc:literal])+ $(#[cfg($cfg:meta)])? $algorithm:ident: $code:literal, $name:literal, $len:literal, $purpose:expr;)*) => {
        /// The algorithm that a DEK is used with.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum DekAlgorithm {
            $($(#[doc = $doc])+ $(#[cfg($cfg)])? $algorithm,)*
        }

        impl DekAlgorithm {
            pub(super) const ALL: &[DekAlgorithm] = &[$($(#[cfg($cfg)])? DekAlgorithm::$algorithm,)*];

            /// The length of the key in bytes.
            pub fn key_len(self) -> usize {
                match self { $($(#[cfg($cfg)])? DekAlgorithm::$algorithm => $len,)* }
            }

            /// The name, as people write it.
            pub fn name(self) -> &'static str {
                match self { $($(#[cfg($cfg)])? DekAlgorithm::$algorithm => $name,)* }
            }

            /// The number, as envelopes and the C ABI carry it.
            pub const fn code(self) -> u16 {
                match self { $($(#[cfg($cfg)])? DekAlgorithm::$algorithm => $code,)* }
            }

            fn purpose(self) -> Purpose {
                match self { $($(#[cfg($cfg)])? DekAlgorithm::$algorithm => $purpose,)* }
            }
        }
    };
}

#[derive(PartialEq, Eq)]
enum Purpose {
    Stream,
    Sectors(BlockCipher, Mode),
}

const fn aes(mode: Mode) -> Purpose {
    Purpose::Sectors(BlockCipher::Aes, mode)
}

algorithms! {
    /// AES-128-XTS: 32 bytes of key.
    Aes128Xts: 1, "AES-128-XTS", 32, aes(Mode::Xts);
    /// AES-256-XTS: 64 bytes of key. The default.
    Aes256Xts: 2, "AES-256-XTS", 64, aes(Mode::Xts);
    /// AES-256-HCTR2: 32 bytes of key.
    Aes256Hctr2: 6, "AES-256-HCTR2", 32, aes(Mode::Hctr2);
    /// AES-128-CBC: 16 bytes of key. For old volumes only.
    Aes128Cbc: 3, "AES-128-CBC", 16, aes(Mode::Cbc);
    /// AES-192-CBC: 24 bytes of key. For old volumes only.
    Aes192Cbc: 4, "AES-192-CBC", 24, aes(Mode::Cbc);
    /// AES-256-CBC: 32 bytes of key. For old volumes only.
    Aes256Cbc: 5, "AES-256-CBC", 32, aes(Mode::Cbc);
    /// AES-256-CTR: 32 bytes of key. For engines' files ([`StreamCipher`](crate::StreamCipher)), one key per file.
    Aes256Ctr: 7, "AES-256-CTR", 32, Purpose::Stream;
    /// AES-128-CBC with the Elephant diffuser: 32 bytes of key. Of BitLocker volumes.
    #[cfg(feature = "bitlocker")]
    Aes128CbcElephant: 8, "AES-128-CBC-Elephant", 32, aes(Mode::Elephant);
    /// AES-256-CBC with the Elephant diffuser: 64 bytes of key. Of BitLocker volumes.
    #[cfg(feature = "bitlocker")]
    Aes256CbcElephant: 9, "AES-256-CBC-Elephant", 64, aes(Mode::Elephant);
    /// AES-128-ECB: 16 bytes of key. For reading old volumes only.
    Aes128Ecb: 10, "AES-128-ECB", 16, aes(Mode::Ecb);
    /// AES-192-ECB: 24 bytes of key. For reading old volumes only.
    Aes192Ecb: 11, "AES-192-ECB", 24, aes(Mode::Ecb);
    /// AES-256-ECB: 32 bytes of key. For reading old volumes only.
    Aes256Ecb: 12, "AES-256-ECB", 32, aes(Mode::Ecb);
    /// Serpent-128 in XTS: 32 bytes of key. For old volumes only, as all that follow.
    #[cfg(feature = "legacy")]
    Serpent128Xts: 13, "Serpent-128-XTS", 32, Purpose::Sectors(BlockCipher::Serpent, Mode::Xts);
    /// Serpent-256 in XTS: 64 bytes of key.
    #[cfg(feature = "legacy")]
    Serpent256Xts: 14, "Serpent-256-XTS", 64, Purpose::Sectors(BlockCipher::Serpent, Mode::Xts);
    /// Serpent-128 in CBC: 16 bytes of key.
    #[cfg(feature = "legacy")]
    Serpent128Cbc: 15, "Serpent-128-CBC", 16, Purpose::Sectors(BlockCipher::Serpent, Mode::Cbc);
    /// Serpent-192 in CBC: 24 bytes of key.
    #[cfg(feature = "legacy")]
    Serpent192Cbc: 16, "Serpent-192-CBC", 24, Purpose::Sectors(BlockCipher::Serpent, Mode::Cbc);
    /// Serpent-256 in CBC: 32 bytes of key.
    #[cfg(feature = "legacy")]
    Serpent256Cbc: 17, "Serpent-256-CBC", 32, Purpose::Sectors(BlockCipher::Serpent, Mode::Cbc);
    /// Twofish-128 in XTS: 32 bytes of key.
    #[cfg(feature = "legacy")]
    Twofish128Xts: 18, "Twofish-128-XTS", 32, Purpose::Sectors(BlockCipher::Twofish, Mode::Xts);
    /// Twofish-256 in XTS: 64 bytes of key.
    #[cfg(feature = "legacy")]
    Twofish256Xts: 19, "Twofish-256-XTS", 64, Purpose::Sectors(BlockCipher::Twofish, Mode::Xts);
    /// Twofish-128 in CBC: 16 bytes of key.
    #[cfg(feature = "legacy")]
    Twofish128Cbc: 20, "Twofish-128-CBC", 16, Purpose::Sectors(BlockCipher::Twofish, Mode::Cbc);
    /// Twofish-192 in CBC: 24 bytes of key.
    #[cfg(feature = "legacy")]
    Twofish192Cbc: 21, "Twofish-192-CBC", 24, Purpose::Sectors(BlockCipher::Twofish, Mode::Cbc);
    /// Twofish-256 in CBC: 32 bytes of key.
    #[cfg(feature = "legacy")]
    Twofish256Cbc: 22, "Twofish-256-CBC", 32, Purpose::Sectors(BlockCipher::Twofish, Mode::Cbc);
    /// Camellia-128 in XTS: 32 bytes of key.
    #[cfg(feature = "legacy")]
    Camellia128Xts: 23, "Camellia-128-XTS", 32, Purpose::Sectors(BlockCipher::Camellia, Mode::Xts);
    /// Camellia-256 in XTS: 64 bytes of key.
    #[cfg(feature = "legacy")]
    Camellia256Xts: 24, "Camellia-256-XTS", 64, Purpose::Sectors(BlockCipher::Camellia, Mode::Xts);
    /// Camellia-128 in CBC: 16 bytes of key.
    #[cfg(feature = "legacy")]
    Camellia128Cbc: 25, "Camellia-128-CBC", 16, Purpose::Sectors(BlockCipher::Camellia, Mode::Cbc);
    /// Camellia-192 in CBC: 24 bytes of key.
    #[cfg(feature = "legacy")]
    Camellia192Cbc: 26, "Camellia-192-CBC", 24, Purpose::Sectors(BlockCipher::Camellia, Mode::Cbc);
    /// Camellia-256 in CBC: 32 bytes of key.
    #[cfg(feature = "legacy")]
    Camellia256Cbc: 27, "Camellia-256-CBC", 32, Purpose::Sectors(BlockCipher::Camellia, Mode::Cbc);
    /// Adiantum with XChaCha12 and AES-256: 32 bytes of key.
    #[cfg(feature = "legacy")]
    Adiantum: 28, "Adiantum", 32, aes(Mode::Adiantum);
    /// AES-192-XTS: 48 bytes of key. No standard has it.
    #[cfg(feature = "legacy")]
    Aes192Xts: 29, "AES-192-XTS", 48, aes(Mode::Xts);
}

#[allow(clippy::derivable_impls)] // a mark in the table above would be ambiguous with `cfg`
impl Default for DekAlgorithm {
    fn default() -> Self {
        DekAlgorithm::Aes256Xts
    }
}

impl DekAlgorithm {
    /// The algorithm of this number, if this build has one.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|algorithm| algorithm.code() == code)
    }

    /// The algorithm of a key of `key_len` bytes that dm-crypt uses with the cipher `spec`; `None` if it takes no key of this length.
    ///
    /// ```
    /// use atrest::DekAlgorithm;
    /// use atrest::cipher::CipherSpec;
    ///
    /// assert_eq!(DekAlgorithm::for_cipher(CipherSpec::AesXtsPlain64, 64), Some(DekAlgorithm::Aes256Xts));
    /// assert_eq!(DekAlgorithm::for_cipher(CipherSpec::AesXtsPlain64, 40), None);
    /// ```
    pub fn for_cipher(spec: CipherSpec, key_len: usize) -> Option<Self> {
        let fits = |algorithm: &Self| algorithm.key_len() == key_len && algorithm.fits(spec);
        Self::ALL.iter().copied().find(fits)
    }

    /// The cipher of a new volume under a key of this algorithm; `None` if new volumes don't use it.
    pub(crate) fn new_cipher(self) -> Option<CipherSpec> {
        match self {
            DekAlgorithm::Aes128Xts | DekAlgorithm::Aes256Xts => Some(CipherSpec::AesXtsPlain64),
            DekAlgorithm::Aes256Hctr2 => Some(CipherSpec::AesHctr2Plain64),
            _ => None,
        }
    }

    /// Whether the algorithm is AES-XTS, which sector ciphers need.
    pub(crate) fn is_xts(self) -> bool {
        matches!(self, DekAlgorithm::Aes128Xts | DekAlgorithm::Aes256Xts)
    }

    /// Whether the key is two keys, which may not be equal: XTS of any block cipher.
    pub(super) fn has_halves(self) -> bool {
        matches!(self.purpose(), Purpose::Sectors(_, Mode::Xts))
    }

    /// Whether an envelope takes a key of this algorithm: the algorithms for engines that keep their own metadata.
    pub(crate) fn is_for_engines(self) -> bool {
        self.is_xts() || self == DekAlgorithm::Aes256Ctr
    }

    pub(super) fn fits(self, spec: CipherSpec) -> bool {
        self.purpose() == Purpose::Sectors(spec.block, spec.mode) && spec.takes_key(self.key_len())
    }
}
