//! The spellings of [`CipherSpec`].

use core::str::FromStr;

use super::spec::{BlockCipher, CipherSpec, IvKind, Mode};
use crate::Error;
use crate::hash::HashAlgorithm;

/// The names of all modes of a block cipher.
macro_rules! modes {
    ($spec:expr, $block:literal) => {
        if $spec.large { modes!(@ $spec, $block, ",iv_large_sectors") } else { modes!(@ $spec, $block, "") }
    };
    (@ $spec:expr, $block:literal, $after:literal) => {
        match ($spec.mode, $spec.iv) {
            (Mode::Xts, iv) => modes!(@ iv, $block, "-xts", $after),
            (Mode::Cbc, iv) => modes!(@ iv, $block, "-cbc", $after),
            (Mode::Ecb, _) => concat!($block, "-ecb"),
            (Mode::Hctr2, _) => concat!($block, "-hctr2-plain64", $after),
            #[cfg(feature = "legacy")]
            (Mode::Adiantum, IvKind::Plain) => concat!("xchacha12,", $block, "-adiantum-plain", $after),
            #[cfg(feature = "legacy")]
            (Mode::Adiantum, _) => concat!("xchacha12,", $block, "-adiantum-plain64", $after),
            #[cfg(feature = "bitlocker")]
            (Mode::Elephant, _) => concat!($block, "-cbc-elephant"),
        }
    };
    (@ $iv:expr, $block:literal, $mode:literal, $after:literal) => {
        match $iv {
            IvKind::Absent => concat!($block, $mode),
            IvKind::Plain => concat!($block, $mode, "-plain", $after),
            IvKind::Plain64 => concat!($block, $mode, "-plain64", $after),
            IvKind::Plain64Be => concat!($block, $mode, "-plain64be", $after),
            IvKind::Benbi => concat!($block, $mode, "-benbi", $after),
            IvKind::UpperHalf => concat!($block, $mode, " of SPDK"),
            #[cfg(feature = "bitlocker")]
            IvKind::Eboiv => concat!($block, $mode, "-eboiv"),
            #[cfg(feature = "legacy")]
            IvKind::Essiv(HashAlgorithm::Sha3_256) => concat!($block, $mode, "-essiv:sha3-256", $after),
            #[cfg(feature = "legacy")]
            IvKind::Essiv(HashAlgorithm::Blake2b256) => concat!($block, $mode, "-essiv:blake2b-256", $after),
            #[cfg(feature = "legacy")]
            IvKind::Essiv(HashAlgorithm::Blake2s256) => concat!($block, $mode, "-essiv:blake2s-256", $after),
            #[cfg(feature = "legacy")]
            IvKind::Essiv(HashAlgorithm::Sm3) => concat!($block, $mode, "-essiv:sm3", $after),
            // The only other hash of 32 bytes.
            IvKind::Essiv(_) => concat!($block, $mode, "-essiv:sha256", $after),
        }
    };
}

impl CipherSpec {
    /// The name, as headers have it: of all spellings, the usual one.
    pub fn name(self) -> &'static str {
        match self.block {
            BlockCipher::Aes => modes!(self, "aes"),
            #[cfg(feature = "legacy")]
            BlockCipher::Serpent => modes!(self, "serpent"),
            #[cfg(feature = "legacy")]
            BlockCipher::Twofish => modes!(self, "twofish"),
            #[cfg(feature = "legacy")]
            BlockCipher::Camellia => modes!(self, "camellia"),
        }
    }

    /// The cipher of this name, if this build knows it and a LUKS header may name it: `aes-xts-plain64`, or as the kernel's
    /// crypto API spells it, `capi:xts(aes)-plain64`. A hash after `plain` or `plain64` (`aes-xts-plain64:sha256`, an option
    /// of QEMU) has no effect, as in dm-crypt: only ESSIV uses one. `aes-plain` is the old name of `aes-cbc-plain`.
    ///
    /// ```
    /// use atrest::cipher::CipherSpec;
    ///
    /// assert_eq!(CipherSpec::from_name("aes-xts-plain64"), Some(CipherSpec::AesXtsPlain64));
    /// assert_eq!(CipherSpec::from_name("capi:cbc(aes)-essiv:sha256"), Some(CipherSpec::AesCbcEssivSha256));
    /// assert_eq!(CipherSpec::from_name("aes-cbc-benbi").unwrap().name(), "aes-cbc-benbi");
    /// assert_eq!(CipherSpec::from_name("cipher_null-ecb"), None);
    /// ```
    pub fn from_name(name: &str) -> Option<Self> {
        parse(name)
    }

    /// Why it takes no key of `len` bytes: the end of a sentence that names both.
    pub(crate) fn why_no_key(self, len: usize) -> &'static str {
        if self.lacks_key(len) {
            return "which needs a build with the feature `legacy`";
        }
        "which is not supported"
    }

    /// Whether it takes a key of `len` bytes in a build with the feature `legacy`, and not in this one: AES-192-XTS.
    pub(crate) fn lacks_key(self, len: usize) -> bool {
        cfg!(not(feature = "legacy")) && (self.block, self.mode, len) == (BlockCipher::Aes, Mode::Xts, 48)
    }

    /// Why a header's cipher is refused: the end of a sentence that names it.
    pub(crate) fn why_unknown(name: &str) -> &'static str {
        let has = |part: &str| name.contains(part);
        if has("null") {
            return "which encrypts nothing, or gives all sectors one IV, so it is refused; `cryptsetup open` opens it, to copy its \
                    data to a new volume";
        }
        if has("authenc") || has("gcm") || has("ccm") || has("poly1305") || has("-random") {
            return "whose sectors carry integrity tags that dm-integrity keeps beside them; `cryptsetup open` opens it on Linux";
        }
        if has("-lmk") {
            return "which numbers sectors as loop-AES does; `cryptsetup open --type loopaes` opens its volumes on Linux";
        }
        if has("-tcw") {
            return "which numbers sectors as old volumes of TrueCrypt do; `cryptsetup open --type tcrypt` opens them on Linux";
        }
        if no_key_for_essiv(name) {
            return "whose IVs need a hash that is a key of the cipher, so one of 16, 24 or 32 bytes; the kernel refuses it, too";
        }
        let rare = ["serpent", "twofish", "camellia", "adiantum", "sha3-256", "blake2", "sm3"];
        if cfg!(not(feature = "legacy")) && rare.into_iter().any(has) {
            return "which needs a build with the feature `legacy`; `cryptsetup open` may open it, if the kernel supports it";
        }
        "which is not known; `cryptsetup open` may open it, if the kernel supports it"
    }
}

/// Whether the hash of an ESSIV is of a length that the cipher has no key of. The kernel (`crypto/essiv.c`) takes the hash's
/// output as the key that encrypts the numbers: AES, Twofish and Camellia have keys of 16, 24 and 32 bytes, Serpent any up
/// to 32.
fn no_key_for_essiv(name: &str) -> bool {
    let Some((before, hash)) = name.split_once("essiv:") else { return false };
    let Some(len) = HashAlgorithm::from_name(hash).map(HashAlgorithm::output_len) else { return false };
    if before.contains("serpent") { len > 32 } else { !matches!(len, 16 | 24 | 32) }
}

impl FromStr for CipherSpec {
    type Err = Error;

    /// As [`from_name`](CipherSpec::from_name), with a reason.
    ///
    /// # Errors
    /// [`Error::InvalidOption`], which says how to open a volume under such a cipher.
    fn from_str(name: &str) -> Result<Self, Error> {
        let why = || Error::InvalidOption(format!("no cipher here is {name:?}, {}", Self::why_unknown(name)));
        parse(name).ok_or_else(why)
    }
}

/// As [`CipherSpec::from_name`].
fn parse(name: &str) -> Option<CipherSpec> {
    if let Some(spelled) = name.strip_prefix("capi:") {
        return of_crypto_api(spelled);
    }
    let (block, rest) = name.split_once('-')?;
    if rest == "plain" {
        return CipherSpec::of(of_block(block)?, Mode::Cbc, IvKind::Plain);
    }
    let (mode, made_by) = rest.split_once('-').map_or((rest, None), |(mode, iv)| (mode, Some(iv)));
    #[cfg(feature = "legacy")]
    if mode == "adiantum" {
        return (block == "xchacha12,aes").then(|| CipherSpec::of(BlockCipher::Aes, Mode::Adiantum, iv(made_by)?))?;
    }
    CipherSpec::of(of_block(block)?, of_mode(mode)?, iv(made_by)?)
}

/// Reads a spelling of the kernel's crypto API, with the IV generator: `xts(aes)-plain64`.
fn of_crypto_api(spelled: &str) -> Option<CipherSpec> {
    let (template, rest) = spelled.split_at(spelled.rfind(')')? + 1);
    let made_by = match rest.strip_prefix('-') {
        Some(made_by) => Some(made_by),
        None if rest.is_empty() => None,
        None => return None,
    };
    let (mode, inner) = template.strip_suffix(')')?.split_once('(')?;
    #[cfg(feature = "legacy")]
    if mode == "adiantum" {
        let known = matches!(inner, "xchacha12,aes" | "xchacha12,aes,nhpoly1305");
        return known.then(|| CipherSpec::of(BlockCipher::Aes, Mode::Adiantum, iv(made_by)?))?;
    }
    // dm-crypt's `essiv` has been this template since Linux 5.4. It encrypts the number that `plain64` gives.
    if mode == "essiv" {
        let (inner, hash) = inner.rsplit_once(',')?;
        let (mode, block) = inner.strip_suffix(')')?.split_once('(')?;
        let hash = HashAlgorithm::from_name(hash)?;
        let is_number = iv(made_by)? == IvKind::Plain64;
        return is_number.then(|| CipherSpec::of(of_block(block)?, of_mode(mode)?, IvKind::Essiv(hash)))?;
    }
    // XTS may name the mode of its blocks: `xts(ecb(aes))`.
    let block = inner.strip_prefix("ecb(").and_then(|inner| inner.strip_suffix(')')).unwrap_or(inner);
    CipherSpec::of(of_block(block)?, of_mode(mode)?, iv(made_by)?)
}

fn of_block(name: &str) -> Option<BlockCipher> {
    match name {
        "aes" => Some(BlockCipher::Aes),
        #[cfg(feature = "legacy")]
        "serpent" => Some(BlockCipher::Serpent),
        #[cfg(feature = "legacy")]
        "twofish" => Some(BlockCipher::Twofish),
        #[cfg(feature = "legacy")]
        "camellia" => Some(BlockCipher::Camellia),
        _ => None,
    }
}

fn of_mode(name: &str) -> Option<Mode> {
    match name {
        "xts" => Some(Mode::Xts),
        "cbc" => Some(Mode::Cbc),
        "ecb" => Some(Mode::Ecb),
        "hctr2" => Some(Mode::Hctr2),
        _ => None,
    }
}

fn iv(made_by: Option<&str>) -> Option<IvKind> {
    let Some(made_by) = made_by else { return Some(IvKind::Absent) };
    let (generator, argument) = made_by.split_once(':').map_or((made_by, None), |(name, rest)| (name, Some(rest)));
    match generator {
        "plain" => Some(IvKind::Plain),
        "plain64" => Some(IvKind::Plain64),
        "plain64be" => Some(IvKind::Plain64Be),
        "benbi" => Some(IvKind::Benbi),
        "essiv" => HashAlgorithm::from_name(argument?).map(IvKind::Essiv),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_it_is_written() {
        let mut blocks = vec!["aes"];
        if cfg!(feature = "legacy") {
            blocks.extend(["serpent", "twofish", "camellia"]);
        }
        for block in blocks {
            for mode in ["xts", "cbc"] {
                for iv in ["plain", "plain64", "plain64be", "benbi", "essiv:sha256"] {
                    let name = format!("{block}-{mode}-{iv}");
                    let spec = parse(&name).unwrap();
                    assert_eq!(spec.name(), name);
                    assert_eq!(parse(&format!("capi:{mode}({block})-{iv}")), Some(spec));
                    assert_eq!(spec.with_large_sectors().name(), format!("{name},iv_large_sectors"));
                }
            }
        }
        for (spelled, usual) in [
            ("aes-plain", "aes-cbc-plain"),
            ("aes-xts-plain64:sha256", "aes-xts-plain64"),
            ("capi:xts(ecb(aes))-plain64", "aes-xts-plain64"),
            ("capi:essiv(cbc(aes),sha256)-plain64", "aes-cbc-essiv:sha256"),
            ("capi:ecb(aes)", "aes-ecb"),
            ("capi:hctr2(aes)-plain64", "aes-hctr2-plain64"),
        ] {
            assert_eq!(parse(spelled).unwrap().name(), usual);
        }
    }

    #[test]
    fn a_refusal_names_the_reason_or_the_program_that_opens_it() {
        for (name, reason) in [
            ("aes-cbc-lmk", "--type loopaes"),
            ("aes-cbc-tcw", "--type tcrypt"),
            ("aes-cbc-essiv:sha1", "of 16, 24 or 32 bytes"),
            ("aes-cbc-essiv:sha224", "of 16, 24 or 32 bytes"),
            ("aes-cbc-essiv:sha384", "of 16, 24 or 32 bytes"),
            ("aes-xts-essiv:sha512", "of 16, 24 or 32 bytes"),
            ("capi:cbc(aes)-essiv:sha512", "of 16, 24 or 32 bytes"),
            ("aes-cbc-essiv:md5", "which is not known"),
            ("cipher_null-ecb", "encrypts nothing"),
        ] {
            let refused = name.parse::<CipherSpec>().unwrap_err().to_string();
            assert!(refused.contains(name) && refused.contains(reason), "{refused}");
        }
        // Serpent has keys of any length up to 32 bytes, so the kernel may take it.
        let refused = "serpent-cbc-essiv:sha1".parse::<CipherSpec>().unwrap_err().to_string();
        assert!(refused.contains("`cryptsetup open` may open it"), "{refused}");
    }

    #[test]
    fn what_is_no_cipher_of_a_header_has_no_name() {
        for name in [
            "",
            "-",
            "aes",
            "aes-",
            "aes-xts",
            "aes-ecb-plain64",
            "aes-cbc-null",
            "aes-xts-essiv",
            "aes-cbc-essiv:sha512",
            "aes-cbc-essiv:",
            "aes-cbc-eboiv",
            "aes-hctr2-plain",
            "aes-xts-plain64,iv_large_sectors",
            "aes-xts of SPDK",
            "cipher_null-ecb",
            "capi:",
            "capi:xts",
            "capi:xts(aes",
            "capi:xts(aes)",
            "capi:xts(aes)plain64",
            "capi:)(-plain64",
            "capi:essiv(cbc(aes),sha256)-plain",
            "capi:essiv(cbc(aes))-plain64",
            "capi:authenc(hmac(sha256),xts(aes))-random",
            "capi:gcm(aes)-random",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
