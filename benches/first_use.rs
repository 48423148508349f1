//! Times the first use of each algorithm in a process, with its self-test, and a later use: medians, with each first
//! use in a process of its own. The difference is the self-test, and the first access to code and memory.

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use atrest::cipher::{CipherSpec, DmCipher, KernelKind};
use atrest::key::{HashAlgorithm, Kdf, KdfKind, wrap};
use atrest::{Dek, DekAlgorithm, SectorCipher, SectorSize, SectorUnit, StreamCipher, self_test};

const ROUNDS: usize = 31;
/// The use that this child process measures.
const USE: &str = "ATREST_FIRST_USE";
const KEY: [u8; 64] = {
    let mut key = [7; 64];
    key[0] = 1;
    key
};

type Use = Box<dyn Fn()>;

fn uses() -> Vec<(String, Use)> {
    let dm = |spec| move || drop(black_box(DmCipher::boxed(spec, &KEY[..32], SectorSize::B512)));
    // The cheapest derivation that can be measured: 1000 iterations, or 4 passes over 32 MiB.
    let kdf = |kind| move || drop(black_box(Kdf::benchmark(kind, Duration::from_nanos(1), 32 << 10, 1)));
    let mut uses: Vec<(String, Use)> = Vec::new();
    for kind in KernelKind::available() {
        let set_up =
            move || drop(black_box(SectorCipher::with_kernel(&KEY, SectorSize::B512, SectorUnit::Bytes512, kind)));
        uses.push((format!("key set-up, AES-256-XTS, kernel {}", kind.name()), Box::new(set_up)));
    }
    let others: [(&str, Use); 12] = [
        ("key set-up, AES-256-CTR", Box::new(|| drop(black_box(StreamCipher::new(&KEY[..32], [0; 16]))))),
        ("key set-up, AES-256-CBC with ESSIV", Box::new(dm(CipherSpec::AesCbcEssivSha256))),
        ("key set-up, AES-256-HCTR2", Box::new(dm(CipherSpec::AesHctr2Plain64))),
        ("wrap, AES-256-KW", Box::new(|| drop(black_box(wrap::aes_kw_wrap(&KEY[..32], &KEY, &mut [0; 72]))))),
        ("wrap, AES-256-KWP", Box::new(|| drop(black_box(wrap::aes_kwp_wrap(&KEY[..32], &KEY, &mut [0; 72]))))),
        ("a new DEK (HKDF-SHA-256)", Box::new(|| drop(black_box(Dek::generate(DekAlgorithm::Aes256Xts))))),
        ("PBKDF2, SHA-256, 1000 iterations", Box::new(kdf(KdfKind::Pbkdf2(HashAlgorithm::Sha256)))),
        ("PBKDF2, SHA-512, 1000 iterations", Box::new(kdf(KdfKind::Pbkdf2(HashAlgorithm::Sha512)))),
        ("Argon2i, 32 MiB, 4 passes", Box::new(kdf(KdfKind::Argon2i))),
        ("Argon2id, 32 MiB, 4 passes", Box::new(kdf(KdfKind::Argon2id))),
        ("self_test(), which tries all anew", Box::new(|| self_test().unwrap())),
        ("nothing", Box::new(|| ())),
    ];
    uses.extend(others.map(|(name, used)| (name.to_owned(), used)));
    uses
}

fn main() {
    let uses = uses();
    if let Some(at) = std::env::var(USE).ok().and_then(|at| at.parse::<usize>().ok()) {
        return time(&uses[at].1);
    }
    let this = std::env::current_exe().unwrap();
    println!("{:<40} {:>12} {:>12} {:>12}", "microseconds", "first", "later", "difference");
    for (at, (name, _)) in uses.iter().enumerate() {
        let mut times = [const { Vec::new() }; 2];
        for _ in 0..ROUNDS {
            let output = Command::new(&this).env(USE, at.to_string()).output().unwrap();
            let line = String::from_utf8(output.stdout).unwrap();
            let (first, later) = line.trim().split_once(' ').unwrap_or_else(|| panic!("{name}: {line:?}"));
            times[0].push(first.parse::<u64>().unwrap());
            times[1].push(later.parse::<u64>().unwrap());
        }
        let [first, later] = times.map(|mut times| {
            times.sort_unstable();
            times[ROUNDS / 2] as f64 / 1000.0
        });
        println!("{name:<40} {first:>12.1} {later:>12.1} {:>12.1}", first - later);
    }
}

/// Prints the nanoseconds of the first use, and the median of later ones.
fn time(used: &Use) {
    let once = || {
        let start = Instant::now();
        used();
        start.elapsed().as_nanos()
    };
    let first = once();
    let mut later: Vec<u128> = (0..9).map(|_| once()).collect();
    later.sort_unstable();
    println!("{first} {}", later[4]);
}
