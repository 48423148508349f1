//! Known-answer tests of the algorithms that sessions use and that `atrest` doesn't have. They run before the first session of a
//! process.

use atrest::{Result, SelfTest};
use p256::SecretKey;

use crate::crypt::{Point, cfb, counter, one_step, shared};

static ALL: [SelfTest; 4] = [
    SelfTest::new(CFB, || cfb_is_right() && !is_spoilt(CFB)),
    SelfTest::new(KDF_A, || counter_is_right() && !is_spoilt(KDF_A)),
    SelfTest::new(KDF_E, || one_step_is_right() && !is_spoilt(KDF_E)),
    SelfTest::new(ECDH, || ecdh_is_right() && !is_spoilt(ECDH)),
];

const CFB: &str = "AES-128-CFB";
const KDF_A: &str = "KDFa (SP 800-108)";
const KDF_E: &str = "KDFe (SP 800-56C)";
const ECDH: &str = "ECDH on P-256";

/// Tests the algorithms of this crate against published vectors, even if they were tested before: AES-128-CFB, KDFa, KDFe and ECDH
/// on P-256, which sessions with a TPM use. All of them are [approved](atrest::approval).
///
/// They are tested before the first session of a process anyway. [`atrest::self_test`] tests HMAC, SHA-256 and AES-KW.
///
/// # Errors
/// [`Error::SelfTest`](atrest::Error::SelfTest) names the algorithm that failed. From then on all algorithms of the process are
/// refused.
pub fn self_test() -> Result<()> {
    ALL.iter().try_for_each(SelfTest::run)
}

/// Tests them unless they have passed.
pub(crate) fn check() -> Result<()> {
    ALL.iter().try_for_each(SelfTest::check)
}

/// SP 800-38A, F.3.13 and F.3.14.
fn cfb_is_right() -> bool {
    const KEY: [u8; 16] = SelfTest::unhex(b"2b7e151628aed2a6abf7158809cf4f3c");
    const IV: [u8; 16] = SelfTest::unhex(b"000102030405060708090a0b0c0d0e0f");
    const PLAIN: [u8; 32] = SelfTest::unhex(b"6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
    const SEALED: [u8; 32] = SelfTest::unhex(b"3b3fd92eb72dad20333449f8e83cfb4ac8a64537a0b3a93fcde3cdad9f1ce58b");
    let mut data = PLAIN;
    cfb(&KEY, &IV, &mut data, true);
    let encrypts = data == SEALED;
    cfb(&KEY, &IV, &mut data, false);
    encrypts && data == PLAIN
}

/// NIST CAVP, KDFCTR_gen: HMAC_SHA256, BEFORE_FIXED, 32_BITS, the count 10.
fn counter_is_right() -> bool {
    const KEY: [u8; 32] = SelfTest::unhex(b"e204d6d466aad507ffaf6d6dab0a5b26152c9e21e764370464e360c8fbc765c6");
    const FIXED: [u8; 60] = SelfTest::unhex(
        b"7b03b98d9f94b899e591f3ef264b71b193fba7043c7e953cde23bc5384bc1a62\
        93580115fae3495fd845dadbd02bd6455cf48d0f62b33e62364a3a80",
    );
    const OUT: [u8; 32] = SelfTest::unhex(b"770dfab6a6a4a4bee0257ff335213f78d8287b4fd537d5c1fffa956910e7c779");
    counter(&KEY, &[&FIXED]).is_ok_and(|key| key.expose() == OUT)
}

/// RFC 7518, C, which takes the first half of the hash.
fn one_step_is_right() -> bool {
    const Z: [u8; 32] = SelfTest::unhex(b"9e56d91d817135d372834283bf84269cfb316ea3da806a48f6daa7798cfe90c4");
    const OUT: [u8; 16] = SelfTest::unhex(b"56aa8deaf8236d205c2228cd71a7101a");
    let fixed: &[&[u8]] = &[b"\0\0\0\x07A128GCM", b"\0\0\0\x05Alice", b"\0\0\0\x03Bob", b"\0\0\0\x80"];
    one_step(&Z, fixed).is_ok_and(|key| key.expose()[..16] == OUT)
}

/// RFC 5903, 8.1.
fn ecdh_is_right() -> bool {
    const I: [u8; 32] = SelfTest::unhex(b"c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433");
    const G_I: [u8; 32] = SelfTest::unhex(b"dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180");
    const G_R: Point = Point {
        x: SelfTest::unhex(b"d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63"),
        y: SelfTest::unhex(b"56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab"),
    };
    const Z: [u8; 32] = SelfTest::unhex(b"d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de");
    let agreed = SecretKey::from_slice(&I).ok().and_then(|own| shared(&G_R, &own));
    agreed.is_some_and(|(z, own)| *z == Z && own.x == G_I)
}

/// Unit tests make a self-test fail, by name, in a process of their own. No other build can do this.
fn is_spoilt(name: &str) -> bool {
    cfg!(test) && std::env::var("ATREST_SPOIL").is_ok_and(|spoilt| spoilt == name)
}

#[cfg(test)]
#[path = "../../../tests/common/spoilt.rs"]
mod spoilt;

#[cfg(test)]
mod tests {

    use super::*;
    use crate::{TpmAddress, TpmOptions, TpmVault};
    use atrest::Error;

    #[test]
    fn everything_passes() {
        self_test().unwrap();
        check().unwrap();
    }

    /// Each self-test fails once, in a process of its own. No session begins there, and nothing else of the process is used.
    #[test]
    fn a_failure_latches_and_refuses_everything_by_name() {
        for name in [CFB, KDF_A, KDF_E, ECDH] {
            spoilt::passes("self_test::tests::a_spoilt_process", name);
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
        atrest::self_test().unwrap();
        // Its TPM isn't there: the self-test comes before the first byte to it.
        let folder = tempfile::tempdir().unwrap();
        let options = TpmOptions::new("tpm:here", TpmAddress::device("/dev/none"), folder.path());
        let vault = TpmVault::new(options).unwrap();
        for _ in 0..2 {
            refused(vault.create_key("disks", None).map(drop));
        }
        refused(self_test());
        refused(atrest::self_test());
        refused(atrest::key::HmacSha256::new(b"key").map(drop));
    }
}
