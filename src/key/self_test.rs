//! Known-answer tests of key wrap, hashes and key derivation. Each runs once per process before the first use of its
//! algorithm (see `latch`); all run on demand.

#[cfg(feature = "std")]
use argon2::{Argon2, AssociatedData, ParamsBuilder, Version};

use super::aes_kw;
#[cfg(feature = "std")]
use super::hmac;
use crate::Result;
use crate::cipher;
#[cfg(feature = "std")]
use crate::hash::HashAlgorithm;
use crate::latch::{Algorithm, unhex};

/// Tests every algorithm, and every kernel that this CPU supports, against published vectors in both directions, even
/// if it was tested before.
///
/// Each algorithm is tested before its first use in a process anyway. Call this in a service that wants to know at its start, or
/// from time to time. It takes 32 KiB of memory, for Argon2. RSA keys are tested pairwise when they are generated and
/// imported; a failure of an imported key refuses only that key.
///
/// The crates beside this one that have algorithms of their own, `atrest-tpm` and `atrest-quorum`, each have a `self_test` of those.
/// `atrest_vaults::self_test` calls this one and those of the vaults in its build.
///
/// A failure latches: from then on this process expands no key, and encrypts, decrypts, wraps, unwraps and derives
/// nothing.
///
/// # Errors
/// [`Error::SelfTest`](crate::Error::SelfTest) names the algorithm that failed.
pub fn self_test() -> Result<()> {
    cipher::self_test::all()?;
    Algorithm::Kw.run(kw_is_right)?;
    Algorithm::Kwp.run(kwp_is_right)?;
    #[cfg(feature = "std")]
    for (algorithm, test) in STD {
        algorithm.run(*test)?;
    }
    #[cfg(feature = "legacy")]
    crate::hash::rare::run_all()?;
    Ok(())
}

/// Tests AES-KW before its first use.
pub(super) fn kw() -> Result<()> {
    Algorithm::Kw.check(kw_is_right)
}

/// Tests AES-KWP before its first use.
pub(super) fn kwp() -> Result<()> {
    Algorithm::Kwp.check(kwp_is_right)
}

/// Tests HKDF and its HMAC before their first use.
#[cfg(feature = "std")]
pub(crate) fn hkdf() -> Result<()> {
    Algorithm::HkdfSha256.check(hmac::hkdf_is_right)
}

/// Tests PBKDF2 with HMAC of this hash, and the hash with it, before its first use.
#[cfg(feature = "std")]
pub(crate) fn pbkdf2(hash: HashAlgorithm) -> Result<()> {
    match hash {
        HashAlgorithm::Sha1 => Algorithm::Pbkdf2Sha1.check(pbkdf2_sha1_is_right),
        HashAlgorithm::Sha224 => Algorithm::Pbkdf2Sha224.check(pbkdf2_sha224_is_right),
        HashAlgorithm::Sha256 => Algorithm::Pbkdf2Sha256.check(pbkdf2_sha256_is_right),
        HashAlgorithm::Sha384 => Algorithm::Pbkdf2Sha384.check(pbkdf2_sha384_is_right),
        HashAlgorithm::Sha512 => Algorithm::Pbkdf2Sha512.check(pbkdf2_sha512_is_right),
        #[cfg(feature = "legacy")]
        other => crate::hash::rare::check(other),
    }
}

/// Tests a hash before its first use.
#[cfg(feature = "std")]
pub(crate) fn hash(hash: HashAlgorithm) -> Result<()> {
    crate::hash::check_any(hash)
}

/// Tests Argon2i before its first use.
#[cfg(feature = "std")]
pub(super) fn argon2i() -> Result<()> {
    Algorithm::Argon2i.check(argon2i_is_right)
}

/// Tests Argon2id before its first use.
#[cfg(feature = "std")]
pub(super) fn argon2id() -> Result<()> {
    Algorithm::Argon2id.check(argon2id_is_right)
}

/// An algorithm and its test.
#[cfg(feature = "std")]
type Test = (Algorithm, fn() -> bool);

#[cfg(feature = "std")]
const STD: &[Test] = &[
    (Algorithm::HmacSha256, hmac::is_right),
    (Algorithm::HkdfSha256, hmac::hkdf_is_right),
    (Algorithm::Pbkdf2Sha1, pbkdf2_sha1_is_right),
    (Algorithm::Pbkdf2Sha224, pbkdf2_sha224_is_right),
    (Algorithm::Pbkdf2Sha256, pbkdf2_sha256_is_right),
    (Algorithm::Pbkdf2Sha384, pbkdf2_sha384_is_right),
    (Algorithm::Pbkdf2Sha512, pbkdf2_sha512_is_right),
    (Algorithm::Argon2i, argon2i_is_right),
    (Algorithm::Argon2id, argon2id_is_right),
    #[cfg(feature = "bitlocker")]
    (Algorithm::Ccm, super::aes_ccm::is_right),
];

/// RFC 3394, 4.1, 4.2 and 4.6: a KEK of each length, both ways.
fn kw_is_right() -> bool {
    const KEK: [u8; 32] = unhex(b"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    const KEY: [u8; 32] = unhex(b"00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f");
    const BY_128: [u8; 24] = unhex(b"1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5");
    const BY_192: [u8; 24] = unhex(b"96778b25ae6ca435f92b5b97c050aed2468ab8a17ad84e5d");
    const BY_256: [u8; 40] = unhex(b"28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21");
    [(&KEK[..16], &KEY[..16], &BY_128[..]), (&KEK[..24], &KEY[..16], &BY_192), (&KEK, &KEY, &BY_256)].into_iter().all(
        |(kek, key, wrapped)| {
            let mut out = [0; 40];
            let wraps = aes_kw::kw_wrap(kek, key, &mut out).is_ok_and(|out| out == wrapped);
            wraps && aes_kw::kw_unwrap(kek, wrapped, &mut out).is_ok_and(|out| out == key)
        },
    )
}

/// RFC 5649, 6: 20 and 7 bytes, both ways.
fn kwp_is_right() -> bool {
    const KEK: [u8; 24] = unhex(b"5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8");
    const KEY_20: [u8; 20] = unhex(b"c37b7e6492584340bed12207808941155068f738");
    const KEY_7: [u8; 7] = unhex(b"466f7250617369");
    const WRAPPED_20: [u8; 32] = unhex(b"138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a");
    const WRAPPED_7: [u8; 16] = unhex(b"afbeb0f07dfbf5419200f2ccb50bb24f");
    [(&KEY_20[..], &WRAPPED_20[..]), (&KEY_7, &WRAPPED_7)].into_iter().all(|(key, wrapped)| {
        let mut out = [0; 32];
        let wraps = aes_kw::kwp_wrap(&KEK, key, &mut out).is_ok_and(|out| out == wrapped);
        wraps && aes_kw::kwp_unwrap(&KEK, wrapped, &mut out).is_ok_and(|out| out == key)
    })
}

/// RFC 6070, 2: the second vector.
#[cfg(feature = "std")]
fn pbkdf2_sha1_is_right() -> bool {
    const DERIVED: [u8; 20] = unhex(b"ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957");
    let mut out = [0; 20];
    HashAlgorithm::Sha1.pbkdf2(b"password", b"salt", 2, &mut out);
    out == DERIVED
}

/// RFC 7914, 11: the first vector.
#[cfg(feature = "std")]
fn pbkdf2_sha256_is_right() -> bool {
    const DERIVED: [u8; 64] = unhex(
        b"55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc\
        49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783",
    );
    let mut out = [0; 64];
    HashAlgorithm::Sha256.pbkdf2(b"passwd", b"salt", 1, &mut out);
    out == DERIVED
}

/// The input of RFC 6070's second vector, with SHA-224. No RFC has such a vector; Python's `hashlib` and libgcrypt give the
/// same output.
#[cfg(feature = "std")]
fn pbkdf2_sha224_is_right() -> bool {
    const DERIVED: [u8; 20] = unhex(b"93200ffa96c5776d38fa10abdf8f5bfc0054b971");
    let mut out = [0; 20];
    HashAlgorithm::Sha224.pbkdf2(b"password", b"salt", 2, &mut out);
    out == DERIVED
}

/// As SHA-224's, with SHA-384.
#[cfg(feature = "std")]
fn pbkdf2_sha384_is_right() -> bool {
    const DERIVED: [u8; 20] = unhex(b"54f775c6d790f21930459162fc535dbf04a93918");
    let mut out = [0; 20];
    HashAlgorithm::Sha384.pbkdf2(b"password", b"salt", 2, &mut out);
    out == DERIVED
}

/// The input of RFC 6070's first vector, with SHA-512. No RFC has such a vector; Python's `hashlib` gives the same
/// output.
#[cfg(feature = "std")]
fn pbkdf2_sha512_is_right() -> bool {
    const DERIVED: [u8; 64] = unhex(
        b"867f70cf1ade02cff3752599a3a53dc4af34c7a669815ae5d513554e1c8cf252\
        c02d470a285a0501bad999bfe943c08f050235d7d68b1da55e63f73b60a57fce",
    );
    let mut out = [0; 64];
    HashAlgorithm::Sha512.pbkdf2(b"password", b"salt", 1, &mut out);
    out == DERIVED
}

/// RFC 9106, 5.2.
#[cfg(feature = "std")]
fn argon2i_is_right() -> bool {
    const TAG: [u8; 32] = unhex(b"c814d9d1dc7f37aa13f0d77f2494bda1c8de6b016dd388d29952a4c4672b6ce8");
    argon2(argon2::Algorithm::Argon2i) == Some(TAG)
}

/// RFC 9106, 5.3.
#[cfg(feature = "std")]
fn argon2id_is_right() -> bool {
    const TAG: [u8; 32] = unhex(b"0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659");
    argon2(argon2::Algorithm::Argon2id) == Some(TAG)
}

#[cfg(feature = "std")]
fn argon2(algorithm: argon2::Algorithm) -> Option<[u8; 32]> {
    let data = AssociatedData::new(&[4; 12]).ok()?;
    let params = ParamsBuilder::new().m_cost(32).t_cost(3).p_cost(4).data(data).build().ok()?;
    let argon2 = Argon2::new_with_secret(&[3; 8], algorithm, Version::V0x13, params).ok()?;
    let mut tag = [0; 32];
    argon2.hash_password_into(&[1; 32], &[2; 16], &mut tag).ok()?;
    Some(tag)
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use crate::cipher::{CipherSpec, DmCipher, KernelKind, SectorCipher, SectorSize, SectorUnit, StreamCipher};
    use crate::key::{HmacSha256, Kdf, hkdf_sha256, spoilt, wrap};
    use crate::{DekAlgorithm, Error, Secret, SelfTest, hazmat, latch};

    /// An algorithm as another crate has it.
    static FOREIGN: SelfTest =
        SelfTest::new(FOREIGN_NAME, || std::env::var("ATREST_SPOIL").as_deref() != Ok(FOREIGN_NAME));
    const FOREIGN_NAME: &str = "an algorithm of another crate";
    /// One whose test uses an algorithm of this crate.
    static UPON_HMAC: SelfTest =
        SelfTest::new("an algorithm that uses HMAC", || HmacSha256::new(b"key").and_then(|hmac| hmac.mac(&[])).is_ok());

    #[test]
    fn everything_passes() {
        self_test().unwrap();
        self_test().unwrap();
    }

    /// Each self-test fails once, in a process of its own. Nothing works there afterwards.
    #[test]
    fn a_failure_latches_and_refuses_everything_by_name() {
        // Volumes take the default kernel; the others of CBC and HCTR2 are tried by `self_test` alone.
        let kernels: Vec<String> = KernelKind::available()
            .enumerate()
            .flat_map(|(i, kind)| {
                let modes: &[&str] = if i == 0 { &["XTS", "CTR", "CBC", "HCTR2"] } else { &["XTS", "CTR"] };
                modes.iter().map(move |mode| format!("AES-{mode} (kernel {})", kind.name()))
            })
            .collect();
        for &name in latch::names().iter().chain(&[FOREIGN_NAME]) {
            if name.contains("kernel") && !kernels.iter().any(|kernel| kernel == name) {
                continue;
            }
            // A pair of keys is tried where it is generated, and has its test there.
            if name.contains("pairwise") {
                continue;
            }
            spoilt::passes("key::self_test::tests::a_spoilt_process", name);
        }
    }

    #[test]
    #[ignore = "run by the test above, in a process where a self-test fails"]
    fn a_spoilt_process() {
        let spoilt = std::env::var("ATREST_SPOIL").expect("the name of an algorithm");
        let refused = |result: Result<()>| match result {
            Err(Error::SelfTest { algorithm }) => assert_eq!(algorithm, spoilt),
            other => panic!("{other:?}"),
        };
        let key: [u8; 64] = core::array::from_fn(|i| i as u8);
        let mut out = [0; 72];
        let uses = |out: &mut [u8; 72]| -> Vec<(&str, Result<()>)> {
            let mut uses: Vec<(&str, Result<()>)> = KernelKind::available()
                .map(|kind| {
                    let made = SectorCipher::with_kernel(&key, SectorSize::B512, SectorUnit::Bytes512, kind);
                    (kind.name(), made.map(drop))
                })
                .collect();
            uses.extend(
                KernelKind::available()
                    .map(|kind| ("AES-CTR", StreamCipher::with_kernel(&key[..32], [0; 16], kind).map(drop))),
            );
            let dm = |spec| DmCipher::boxed(spec, &key[..32], SectorSize::B512).map(drop);
            let pbkdf2 = |hash| Kdf::Pbkdf2 { hash, iterations: 1 }.derive(b"p", b"saltsalt", 16).map(drop);
            uses.extend([
                ("AES-CBC", dm(CipherSpec::AesCbcPlain64)),
                ("AES in sectors", dm(CipherSpec::AesCbcPlain)),
                ("SHA-256", dm(CipherSpec::AesCbcEssivSha256)),
                ("AES-HCTR2", dm(CipherSpec::AesHctr2Plain64)),
                ("AES-KW", wrap::aes_kw_wrap(&key[..32], &key[..16], out).map(drop)),
                ("AES-KW", wrap::aes_kw_unwrap(&key[..32], &key[..24], out).map(drop)),
                ("AES-KWP", wrap::aes_kwp_wrap(&key[..32], &key[..16], out).map(drop)),
                ("AES-KWP", wrap::aes_kwp_unwrap(&key[..32], &key[..24], out).map(drop)),
                (FOREIGN_NAME, FOREIGN.check()),
                ("SHA-1", hash(HashAlgorithm::Sha1)),
                ("SHA-224", hash(HashAlgorithm::Sha224)),
                ("SHA-384", hash(HashAlgorithm::Sha384)),
                ("SHA-512", hash(HashAlgorithm::Sha512)),
                ("SHA-256", crate::key::sha256(&[b"m"]).map(drop)),
                ("HMAC-SHA-256", HmacSha256::new(&key).map(drop)),
                ("HKDF-SHA-256", hkdf_sha256(&Secret::zeroed(32), b"", b"", 32).map(drop)),
                ("HKDF-SHA-256", hazmat::dek_from_bytes_for(DekAlgorithm::Aes256Xts, &key).map(drop)),
                ("PBKDF2-HMAC-SHA-1", pbkdf2(HashAlgorithm::Sha1)),
                ("PBKDF2-HMAC-SHA-224", pbkdf2(HashAlgorithm::Sha224)),
                ("PBKDF2-HMAC-SHA-256", pbkdf2(HashAlgorithm::Sha256)),
                ("PBKDF2-HMAC-SHA-384", pbkdf2(HashAlgorithm::Sha384)),
                ("PBKDF2-HMAC-SHA-512", pbkdf2(HashAlgorithm::Sha512)),
                (
                    "Argon2i",
                    Kdf::Argon2i { memory_kib: 8, passes: 1, lanes: 1 }.derive(b"p", b"saltsalt", 16).map(drop),
                ),
                (
                    "Argon2id",
                    Kdf::Argon2id { memory_kib: 8, passes: 1, lanes: 1 }.derive(b"p", b"saltsalt", 16).map(drop),
                ),
            ]);
            #[cfg(feature = "bitlocker")]
            uses.push(("AES-CCM", crate::key::aes_ccm::seal(&key[..32], [0; 12], &mut []).map(drop)));
            #[cfg(feature = "legacy")]
            uses.extend(
                [
                    "serpent-xts-plain64",
                    "twofish-xts-plain64",
                    "camellia-xts-plain64",
                    "xchacha12,aes-adiantum-plain64",
                ]
                .map(|name| (name, dm(CipherSpec::from_name(name).unwrap()))),
            );
            #[cfg(feature = "legacy")]
            uses.extend(HashAlgorithm::ALL.iter().map(|&algorithm| (algorithm.name(), hash(algorithm))));
            uses
        };
        // Self-tests are lazy: everything before the failing one works, and an open cipher works until then.
        let open = (!spoilt.starts_with("AES-XTS"))
            .then(|| SectorCipher::new(&key, SectorSize::B512, SectorUnit::Bytes512).unwrap());
        if spoilt == "HMAC-SHA-256" {
            // The first to use it, and so the one that finds its failure.
            refused(UPON_HMAC.check());
        }
        let hmac = (spoilt != "HMAC-SHA-256").then(|| HmacSha256::new(&key).unwrap());
        let hmac = hmac.map(|hmac| (hmac.mac(&[b"m"]).unwrap(), hmac)).map(|(mac, hmac)| (hmac, mac));
        assert!(uses(&mut out).iter().any(|(_, result)| matches!(result, Err(Error::SelfTest { .. }))), "{spoilt}");
        for (_, result) in uses(&mut out) {
            refused(result);
        }
        if let Some((hmac, mac)) = hmac {
            refused(hmac.mac(&[b"m"]).map(drop));
            refused(hmac.verify(&[b"m"], &mac).map(drop));
        }
        if let Some(open) = open {
            refused(open.encrypt(0, &mut [0; 512]));
            refused(open.decrypt_unit([0; 16], &mut [0; 17]));
        }
        refused(self_test());
        refused(FOREIGN.run());
    }
}
