//! Known answers of AES-XTS, for testing each kernel before its first use. The keys are published, so a test leaves no
//! secrets on the stack.

use aes::cipher::inout::InOutBuf;

use crate::Result;
use crate::arch::{DataUnits, Direction, KernelKind, Store, XtsKernel};
use crate::latch::{Algorithm, unhex};

/// Tests a kernel before its first use.
///
/// # Errors
/// [`Error::SelfTest`](crate::Error::SelfTest).
#[inline(always)]
pub(super) fn xts(kind: KernelKind) -> Result<()> {
    let (algorithm, test) = of_kernel(kind);
    algorithm.check(test)
}

#[inline(always)]
pub(super) fn of_kernel(kind: KernelKind) -> (Algorithm, fn() -> bool) {
    match kind {
        KernelKind::Portable => (Algorithm::XtsPortable, || kernel_is_right(KernelKind::Portable)),
        KernelKind::AesNi => (Algorithm::XtsAesNi, || kernel_is_right(KernelKind::AesNi)),
        KernelKind::Vaes256 => (Algorithm::XtsVaes256, || kernel_is_right(KernelKind::Vaes256)),
        KernelKind::Vaes512 => (Algorithm::XtsVaes512, || kernel_is_right(KernelKind::Vaes512)),
        KernelKind::Armv8 => (Algorithm::XtsArmv8, || kernel_is_right(KernelKind::Armv8)),
    }
}

/// IEEE 1619-2007, annex B, in both directions: two data units in one run (vectors 4 and 5, AES-128), one unit (vector
/// 10, AES-256), and one with ciphertext stealing (vector 15).
#[inline(never)]
fn kernel_is_right(kind: KernelKind) -> bool {
    let counting: [u8; 512] = core::array::from_fn(|i| i as u8);
    let mut run = [0; 1024];
    run[..512].copy_from_slice(&counting);
    run[512..].copy_from_slice(&VECTOR_4);
    let mut cipher = [0; 1024];
    cipher[..512].copy_from_slice(&VECTOR_4);
    cipher[512..].copy_from_slice(&VECTOR_5);
    round_trip(kind, &KEY_4, DataUnits { first: 0, step: 1, len: 512 }, &mut run, &cipher)
        && round_trip(kind, &KEY_10, DataUnits { first: 0xff, step: 1, len: 512 }, &mut counting.clone(), &VECTOR_10)
        && round_trip(
            kind,
            &KEY_15,
            DataUnits { first: 0x12_3456_789a, step: 0, len: 17 },
            &mut STOLEN.0.clone(),
            &STOLEN.1,
        )
}

fn round_trip(kind: KernelKind, key: &[u8], units: DataUnits, data: &mut [u8], ciphertext: &[u8]) -> bool {
    let (data_key, tweak_key) = key.split_at(key.len() / 2);
    let mut kernel = match kind {
        KernelKind::Portable => XtsKernel::portable(data_key, tweak_key),
        _ => match XtsKernel::blank(kind) {
            Some(kernel) => kernel,
            None => return false,
        },
    };
    let expanded = kernel.expand(data_key, tweak_key).is_ok();
    let mut plaintext = [0; 1024];
    plaintext[..data.len()].copy_from_slice(data);
    let encrypted = kernel.crypt(Direction::Encrypt, units, InOutBuf::from(&mut *data), Store::Cache).is_ok();
    let encrypts = expanded && encrypted && *data == *ciphertext;
    let decrypted = kernel.crypt(Direction::Decrypt, units, InOutBuf::from(&mut *data), Store::Cache).is_ok();
    encrypts && decrypted && *data == plaintext[..data.len()]
}

const KEY_4: [u8; 32] = unhex(b"2718281828459045235360287471352631415926535897932384626433832795");
const KEY_10: [u8; 64] = unhex(
    b"2718281828459045235360287471352662497757247093699959574966967627\
    3141592653589793238462643383279502884197169399375105820974944592",
);
const KEY_15: [u8; 32] = unhex(b"fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0bfbebdbcbbbab9b8b7b6b5b4b3b2b1b0");
/// The plaintext and the ciphertext of vector 15.
const STOLEN: ([u8; 17], [u8; 17]) =
    (unhex(b"000102030405060708090a0b0c0d0e0f10"), unhex(b"6c1625db4671522d3d7599601de7ca09ed"));

/// The ciphertext of vector 4, which is also the plaintext of vector 5: data units 0 and 1 under one key.
const VECTOR_4: [u8; 512] = unhex(
    b"\
    27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89cc78cf7f5e543445f8333d8fa7f56000005279fa5d8b5e4ad\
    40e736ddb4d35412328063fd2aab53e5ea1e0a9f332500a5df9487d07a5c92cc512c8866c7e860ce93fdf166a24912b422976146ae20ce84\
    6bb7dc9ba94a767aaef20c0d61ad02655ea92dc4c4e41a8952c651d33174be51a10c421110e6d81588ede82103a252d8a750e8768defffed\
    9122810aaeb99f9172af82b604dc4b8e51bcb08235a6f4341332e4ca60482a4ba1a03b3e65008fc5da76b70bf1690db4eae29c5f1badd03c\
    5ccf2a55d705ddcd86d449511ceb7ec30bf12b1fa35b913f9f747a8afd1b130e94bff94effd01a91735ca1726acd0b197c4e5b03393697e1\
    26826fb6bbde8ecc1e08298516e2c9ed03ff3c1b7860f6de76d4cecd94c8119855ef5297ca67e9f3e7ff72b1e99785ca0a7e7720c5b36dc6\
    d72cac9574c8cbbc2f801e23e56fd344b07f22154beba0f08ce8891e643ed995c94d9a69c9f1b5f499027a78572aeebd74d20cc39881c213\
    ee770b1010e4bea718846977ae119f7a023ab58cca0ad752afe656bb3c17256a9f6e9bf19fdd5a38fc82bbe872c5539edb609ef4f79c203e\
    bb140f2e583cb2ad15b4aa5b655016a8449277dbd477ef2c8d6c017db738b18deb4a427d1923ce3ff262735779a418f20a282df920147bea\
    be421ee5319d0568",
);

/// The ciphertext of vector 5.
const VECTOR_5: [u8; 512] = unhex(
    b"\
    264d3ca8512194fec312c8c9891f279fefdd608d0c027b60483a3fa811d65ee59d52d9e40ec5672d81532b38b6b089ce951f0f9c35590b8b\
    978d175213f329bb1c2fd30f2f7f30492a61a532a79f51d36f5e31a7c9a12c286082ff7d2394d18f783e1a8e72c722caaaa52d8f065657d2\
    631fd25bfd8e5baad6e527d763517501c68c5edc3cdd55435c532d7125c8614deed9adaa3acade5888b87bef641c4c994c8091b5bcd387f3\
    963fb5bc37aa922fbfe3df4e5b915e6eb514717bdd2a74079a5073f5c4bfd46adf7d282e7a393a52579d11a028da4d9cd9c77124f9648ee3\
    83b1ac763930e7162a8d37f350b2f74b8472cf09902063c6b32e8c2d9290cefbd7346d1c779a0df50edcde4531da07b099c638e83a755944\
    df2aef1aa31752fd323dcb710fb4bfbb9d22b925bc3577e1b8949e729a90bbafeacf7f7879e7b1147e28ba0bae940db795a61b15ecf4df8d\
    b07b824bb062802cc98a9545bb2aaeed77cb3fc6db15dcd7d80d7d5bc406c4970a3478ada8899b329198eb61c193fb6275aa8ca340344a75\
    a862aebe92eee1ce032fd950b47d7704a3876923b4ad62844bf4a09c4dbe8b4397184b7471360c9564880aedddb9baa4af2e75394b08cd32\
    ff479c57a07d3eab5d54de5f9738b8d27f27a9f0ab11799d7b7ffefb2704c95c6ad12c39f1e867a4b7b1d7818a4b753dfd2a89ccb45e001a\
    03a867b187f225dd",
);

/// The ciphertext of vector 10.
const VECTOR_10: [u8; 512] = unhex(
    b"\
    1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b5d31e276f8fe4a8d66b317f9ac683f44680a86ac35adfc33\
    45befecb4bb188fd5776926c49a3095eb108fd1098baec70aaa66999a72a82f27d848b21d4a741b0c5cd4d5fff9dac89aeba122961d03a75\
    7123e9870f8acf1000020887891429ca2a3e7a7d7df7b10355165c8b9a6d0a7de8b062c4500dc4cd120c0f7418dae3d0b5781c34803fa754\
    21c790dfe1de1834f280d7667b327f6c8cd7557e12ac3a0f93ec05c52e0493ef31a12d3d9260f79a289d6a379bc70c50841473d1a8cc81ec\
    583e9645e07b8d9670655ba5bbcfecc6dc3966380ad8fecb17b6ba02469a020a84e18e8f84252070c13e9f1f289be54fbc481457778f6160\
    15e1327a02b140f1505eb309326d68378f8374595c849d84f4c333ec4423885143cb47bd71c5edae9be69a2ffeceb1bec9de244fbe15992b\
    11b77c040f12bd8f6a975a44a0f90c29a9abc3d4d893927284c58754cce294529f8614dcd2aba991925fedc4ae74ffac6e333b93eb4aff04\
    79da9a410e4450e0dd7ae4c6e2910900575da401fc07059f645e8b7e9bfdef33943054ff84011493c27b3429eaedb4ed5376441a77ed4385\
    1ad77f16f541dfd269d50d6a5f14fb0aab1cbb4c1550be97f7ab4066193c4caa773dad38014bd2092fa755c824bb5e54c4f36ffda9fcea70\
    b9c6e693e148c151",
);
