//! Known-answer tests of the hashes that only the feature `legacy` has.
//!
//! The digest of "abc" is that of the hash's own publication (FIPS 202, RFC 7693, ISO/IEC 10118-3). PBKDF2 has the input of RFC
//! 6070's second vector; no publication has its output for these hashes, but Python's `hashlib` and libgcrypt agree on it.

use super::algorithm::HashAlgorithm;
use crate::Result;
use crate::latch::{Algorithm, unhex};

macro_rules! vectors {
    ($($hash:ident: $digest:literal, $derived:literal;)*) => {
        fn test_of(hash: HashAlgorithm) -> Option<fn() -> bool> {
            match hash {
                $(HashAlgorithm::$hash => Some(|| {
                    const DIGEST: [u8; $digest.len() / 2] = unhex($digest);
                    const DERIVED: [u8; 20] = unhex($derived);
                    is_right(HashAlgorithm::$hash, &DIGEST, &DERIVED)
                }),)*
                _ => None,
            }
        }

        const ALL: &[(HashAlgorithm, Algorithm)] = &[$((HashAlgorithm::$hash, Algorithm::$hash),)*];
    };
}

vectors! {
    Sha3_224: b"e642824c3f8cf24ad09234ee7d3c766fc9a3a5168d0c94ad73b46fdf", b"7979d7e05025f5b056e995939694ad55c644f43f";
    Sha3_256: b"3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532", b"4c915baedd1773383e77fcfe38114ca7514010ad";
    Sha3_384: b"ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c2596da7cf0e49be4b298d88cea927ac7f539f1edf228376d25", b"0a163df94a9e97f05fb5bf609c4b02854299dc46";
    Sha3_512: b"b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e\
        10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0", b"d6824ab17801706ad465f3196eb80dde20378696";
    Ripemd160: b"8eb208f7e05d987a9b044a8e98c6b087f15a0bfc", b"768dcc27b7bfdef794a1ff9d935090fcf598555e";
    Whirlpool: b"4e2448a4c6f486bb16b6562c73b4020bf3043e3a731bce721ae1b303d97e6d4c\
        7181eebdb6c57e277d0e34957114cbd6c797fc9d95d8b582d225292076d4eef5", b"110b2e4266f03c334f6085bf421a68d6976a2f76";
    Blake2b160: b"384264f676f39536840523f284921cdc68b6846b", b"39c66fb0811c6b832623fbdda5e8e4b2ac01a67e";
    Blake2b256: b"bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319", b"9d630dc2d5d64832875dca5a34d702f966c22e72";
    Blake2b384: b"6f56a82c8e7ef526dfe182eb5212f7db9df1317e57815dbda46083fc30f54ee6c66ba83be64b302d7cba6ce15bb556f4", b"28821ba5af145b8cfd2650fb6bc13db3f8cd6bae";
    Blake2b512: b"ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1\
        7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923", b"40b77cc2ee4b4c44eeb5babc299be14af5670e39";
    Blake2s160: b"5ae3b99be29b01834c3b508521ede60438f8de17", b"bc1aa5bd15a87c92bbf732240ec21de9bfa32580";
    Blake2s224: b"0b033fc226df7abde29f67a05d3dc62cf271ef3dfea4d387407fbd55", b"dfad6e76f91b094852178dedd021c63c14ee4360";
    Blake2s256: b"508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982", b"7b88e65e6e95a118bc995f681a391cbd7b46e0cf";
    Sm3: b"66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0", b"fee723a2bc966e11dffb66133f4e8df577383c78";
}

/// Tests a hash, and PBKDF2 with its HMAC, before the first use of either.
///
/// # Errors
/// [`Error::SelfTest`](crate::Error::SelfTest); [`Error::NotApproved`](crate::Error::NotApproved).
pub(crate) fn check(hash: HashAlgorithm) -> Result<()> {
    test_of(hash).map_or(Ok(()), |test| hash.unit().check(test))
}

/// Tests all of them, even if they were tested before.
pub(crate) fn run_all() -> Result<()> {
    ALL.iter().try_for_each(|&(hash, unit)| test_of(hash).map_or(Ok(()), |test| unit.run(test)))
}

fn is_right(hash: HashAlgorithm, digest: &[u8], derived: &[u8; 20]) -> bool {
    let (mut hashed, mut out) = ([0; 64], [0; 20]);
    let hashed = &mut hashed[..hash.output_len()];
    hash.digest_to(b"abc", hashed);
    hash.pbkdf2(b"password", b"salt", 2, &mut out);
    hashed == digest && out == *derived
}
