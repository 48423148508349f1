//! Names of ciphers in dm-crypt's notation, which LUKS headers use.

use crate::approval::Approval;
use crate::hash::HashAlgorithm;
use crate::latch::Algorithm;

/// The encryption of a segment, in dm-crypt's notation: a block cipher, a mode, and the way to make a sector's IV from its
/// number.
///
/// The constants are the usual ones. [`from_name`](Self::from_name) knows all.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CipherSpec {
    pub(crate) block: BlockCipher,
    pub(crate) mode: Mode,
    pub(crate) iv: IvKind,
    /// Whether numbers count sectors of the cipher's own size, not units of 512 bytes: dm-crypt's `iv_large_sectors`.
    pub(crate) large: bool,
}

/// A block cipher of 128-bit blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum BlockCipher {
    Aes,
    #[cfg(feature = "legacy")]
    Serpent,
    #[cfg(feature = "legacy")]
    Twofish,
    #[cfg(feature = "legacy")]
    Camellia,
}

/// A mode of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    Xts,
    Cbc,
    Ecb,
    Hctr2,
    #[cfg(feature = "legacy")]
    Adiantum,
    #[cfg(feature = "bitlocker")]
    Elephant,
}

/// The IV or tweak that a sector's number gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum IvKind {
    /// No IV: the mode takes none.
    Absent,
    /// The low 32 bits, little-endian.
    Plain,
    /// 64 bits, little-endian.
    Plain64,
    /// 64 bits, big-endian, in the last bytes.
    Plain64Be,
    /// 64 bits, little-endian, encrypted under a hash of the key.
    Essiv(HashAlgorithm),
    /// The number of the sector's first block of 16 bytes, counted from 1, big-endian, in the last bytes.
    Benbi,
    /// 64 bits, little-endian, in the upper half: of SPDK and ubiblk.
    UpperHalf,
    /// The offset of the first byte, encrypted under the key.
    #[cfg(feature = "bitlocker")]
    Eboiv,
}

// Constants named as the variants of the enum that this was, so that they serve in patterns and old code.
#[allow(non_upper_case_globals)]
impl CipherSpec {
    /// `aes-xts-plain64`: XTS-AES. The tweak is the sector number.
    pub const AesXtsPlain64: Self = Self::aes(Mode::Xts, IvKind::Plain64);
    /// `aes-hctr2-plain64`: AES-256-HCTR2, a wide-block mode. If an attacker changes one byte of a sector, the whole
    /// sector becomes noise. Comparing two copies of the disk shows which sectors changed, but not where in them. It is
    /// slower than XTS.
    pub const AesHctr2Plain64: Self = Self::aes(Mode::Hctr2, IvKind::Plain64);
    /// `aes-xts-plain`: XTS-AES. The tweak is the low 32 bits of the sector number, so tweaks repeat after 2 TiB.
    pub const AesXtsPlain: Self = Self::aes(Mode::Xts, IvKind::Plain);
    /// `aes-cbc-essiv:sha256`: AES-CBC. The IV is the sector number encrypted under the SHA-256 of the key.
    pub const AesCbcEssivSha256: Self = Self::aes(Mode::Cbc, IvKind::Essiv(HashAlgorithm::Sha256));
    /// `aes-cbc-plain64`: AES-CBC. The IV is the sector number.
    pub const AesCbcPlain64: Self = Self::aes(Mode::Cbc, IvKind::Plain64);
    /// `aes-cbc-plain`: AES-CBC. The IV is the low 32 bits of the sector number.
    pub const AesCbcPlain: Self = Self::aes(Mode::Cbc, IvKind::Plain);
    /// `aes-ecb`: AES in ECB mode, which shows which blocks of 16 bytes are equal. Volumes of it open for reading only.
    pub const AesEcb: Self = Self::aes(Mode::Ecb, IvKind::Absent);
    /// XTS-AES, where the tweak is the sector's number in the upper half, and numbers count sectors of the cipher's own size:
    /// disks of SPDK's `crypto` block device in software (`bdev_crypto` on `accel_sw`) and of ubiblk. It is no cipher of
    /// dm-crypt's, and no header names it.
    pub const AesXtsUpperHalf: Self = CipherSpec { large: true, ..Self::aes(Mode::Xts, IvKind::UpperHalf) };
    /// `aes-xts-plain64` with dm-crypt's `iv_large_sectors`: XTS-AES. The tweak counts sectors of the cipher's own size. Of
    /// BitLocker volumes, and of plain mappings.
    pub const AesXtsPlain64Large: Self = CipherSpec { large: true, ..Self::AesXtsPlain64 };
    /// `aes-cbc-eboiv`: AES-CBC. The IV is the offset of the sector's first byte, encrypted under the key. Of BitLocker
    /// volumes.
    #[cfg(feature = "bitlocker")]
    pub const AesCbcEboiv: Self = Self::aes(Mode::Cbc, IvKind::Eboiv);
    /// `aes-cbc-elephant`: as `aes-cbc-eboiv`, with the Elephant diffuser below it, which has a second key. Of BitLocker
    /// volumes.
    #[cfg(feature = "bitlocker")]
    pub const AesCbcElephant: Self = Self::aes(Mode::Elephant, IvKind::Eboiv);
}

impl CipherSpec {
    const fn aes(mode: Mode, iv: IvKind) -> Self {
        CipherSpec { block: BlockCipher::Aes, mode, iv, large: false }
    }

    /// The cipher of these parts; `None` if no header has it.
    pub(super) fn of(block: BlockCipher, mode: Mode, iv: IvKind) -> Option<Self> {
        let is_aes = block == BlockCipher::Aes;
        let fits = match mode {
            Mode::Xts | Mode::Cbc => match iv {
                IvKind::Plain | IvKind::Plain64 | IvKind::Plain64Be | IvKind::Benbi => true,
                IvKind::Essiv(hash) => hash.output_len() == 32,
                _ => false,
            },
            Mode::Ecb => is_aes && iv == IvKind::Absent,
            Mode::Hctr2 => is_aes && iv == IvKind::Plain64,
            #[cfg(feature = "legacy")]
            Mode::Adiantum => is_aes && matches!(iv, IvKind::Plain | IvKind::Plain64),
            #[cfg(feature = "bitlocker")]
            Mode::Elephant => false,
        };
        fits.then_some(CipherSpec { block, mode, iv, large: false })
    }

    /// Whether its IVs are made of offsets in bytes.
    pub(super) fn is_by_bytes(self) -> bool {
        #[cfg(feature = "bitlocker")]
        return self.iv == IvKind::Eboiv;
        #[cfg(not(feature = "bitlocker"))]
        return false;
    }

    /// The weakness of a volume under this cipher, compared with AES-XTS with 64-bit sector numbers; `None` if it has none.
    pub fn weakness(self) -> Option<&'static str> {
        match (self.mode, self.iv) {
            (Mode::Ecb, _) => {
                Some("it shows which blocks are equal, and an attacker who can write to the disk can exchange blocks")
            }
            (Mode::Cbc, IvKind::Plain) => Some(
                "an attacker who can write to the disk can flip chosen bits, files can be marked visibly, and its IVs \
                 repeat after 2 TiB",
            ),
            (Mode::Cbc, IvKind::Plain64 | IvKind::Plain64Be | IvKind::Benbi) => {
                Some("an attacker who can write to the disk can flip chosen bits, and files can be marked visibly")
            }
            (Mode::Cbc, _) => Some("an attacker who can write to the disk can flip chosen bits"),
            (Mode::Xts, IvKind::Plain) => Some("its tweaks repeat after 2 TiB"),
            _ => None,
        }
    }

    /// The same cipher, where numbers count sectors of its own size: dm-crypt's `iv_large_sectors`. No LUKS header has it.
    #[must_use]
    pub fn with_large_sectors(self) -> Self {
        CipherSpec { large: true, ..self }
    }

    /// Whether it takes a key of `len` bytes: 32 or 64 for XTS, and with the feature `legacy` 48 if its blocks are AES; 32 for HCTR2 and Adiantum; 16, 24 or 32 for CBC and ECB. Of
    /// BitLocker's, CBC takes 16 or 32, and 32 or 64 with the diffuser.
    pub fn takes_key(self, len: usize) -> bool {
        match self.mode {
            #[cfg(feature = "bitlocker")]
            Mode::Elephant => matches!(len, 32 | 64),
            #[cfg(feature = "bitlocker")]
            Mode::Cbc if self.iv == IvKind::Eboiv => matches!(len, 16 | 32),
            #[cfg(feature = "legacy")]
            Mode::Adiantum => len == 32,
            Mode::Xts => matches!(len, 32 | 64) || self.is_aes_192_xts(len),
            Mode::Hctr2 => len == 32,
            Mode::Cbc | Mode::Ecb => matches!(len, 16 | 24 | 32),
        }
    }

    /// Whether it is for old volumes only. CBC is, because an attacker who can write to the disk can flip chosen bits; and
    /// so are 32-bit sector numbers, ECB, and block ciphers other than AES.
    pub fn is_legacy(self) -> bool {
        match (self.block, self.mode, self.iv) {
            (BlockCipher::Aes, Mode::Xts, IvKind::Plain64) | (_, Mode::Hctr2, _) => false,
            #[cfg(feature = "legacy")]
            (_, Mode::Adiantum, IvKind::Plain64) => false,
            _ => true,
        }
    }

    /// Whether it is so weak that volumes of it open for reading only: ECB is.
    pub fn is_read_only(self) -> bool {
        self.mode == Mode::Ecb
    }

    /// Whether a key of `len` bytes makes it AES-192-XTS, which dm-crypt takes, but no standard has.
    pub(super) fn is_aes_192_xts(self, len: usize) -> bool {
        cfg!(feature = "legacy") && (self.block, self.mode, len) == (BlockCipher::Aes, Mode::Xts, 48)
    }

    /// As [`approval`](Self::approval), for a key of `len` bytes.
    pub(crate) fn approval_for_key(self, len: usize) -> Approval {
        if self.is_aes_192_xts(len) {
            let reason = "SP 800-38E has XTS with AES of 128 and 256 bits only";
            return Approval::NotApproved { algorithm: "AES-192-XTS", reason };
        }
        self.approval()
    }

    /// Whether it is [approved](crate::approval) for sectors, with a key of a length that the standards have.
    #[inline]
    pub fn approval(self) -> Approval {
        if let (BlockCipher::Aes, Mode::Xts, IvKind::Plain64) = (self.block, self.mode, self.iv) {
            return Approval::Approved;
        }
        self.disapproval()
    }

    #[cold]
    fn disapproval(self) -> Approval {
        let not = |reason| Approval::NotApproved { algorithm: self.name(), reason };
        match (self.block, self.mode, self.iv) {
            #[cfg(feature = "legacy")]
            (BlockCipher::Serpent | BlockCipher::Twofish | BlockCipher::Camellia, ..) => {
                not("no publication of NIST's has its block cipher")
            }
            #[cfg(feature = "legacy")]
            (_, Mode::Adiantum, _) => not("no publication of NIST's has it"),
            #[cfg(feature = "bitlocker")]
            (_, Mode::Elephant, _) => Algorithm::CbcPortable.approval(),
            (_, Mode::Xts, IvKind::Plain) => not("its tweaks come twice after 2 TiB"),
            (_, Mode::Xts, _) => not("its tweaks aren't the numbers that IEEE 1619 has"),
            (_, Mode::Cbc, _) => Algorithm::CbcPortable.approval(),
            (_, Mode::Ecb, _) => not("it shows which blocks are equal"),
            (_, Mode::Hctr2, _) => Algorithm::Hctr2Portable.approval(),
        }
    }
}

impl core::fmt::Debug for CipherSpec {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}
