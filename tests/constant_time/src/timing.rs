//! Tests whether timing reveals secrets, also for kernels that Valgrind can't run.
//!
//! The method is dudect's (Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?", 2017). The same call runs
//! on one fixed secret and on random ones, in random order. Welch's t-test then says whether the two differ in time. A
//! difference is a finding only if it appears in every attempt, in the same direction, because a machine's other
//! activity comes and goes.
//!
//! First comes a function that leaks: if it isn't found, the test itself is broken.

use std::hint::black_box;
use std::process::ExitCode;

use atrest::cipher::KernelKind;
use atrest::{SectorCipher, SectorSize, SectorUnit};

/// From where on a difference is taken for one: dudect calls over 10 "definitely not constant time".
const LIMIT: f64 = 10.0;
const ATTEMPTS: usize = 5;
const CALLS: usize = 100_000;
/// Random secrets to choose from.
const POOL: usize = 256;

fn main() -> ExitCode {
    let mut wrong = 0;
    let mut case = |name: &str, leaks: bool, len: usize, work: &mut dyn FnMut(&mut [u8])| {
        let found = differs(len, work);
        let right = found.is_some() == leaks;
        let told = found.map_or("no difference".into(), |t| format!("they differ, t = {t:.1}"));
        println!("{} {name}: {told}", if right { "ok   " } else { "WRONG" });
        wrong += u32::from(!right);
    };
    case("a comparison that ends early (must be found)", true, 512, &mut |secret| {
        // As one with the fixed secret.
        black_box(secret.iter().all(|&byte| black_box(byte) == 0));
    });
    for kind in KernelKind::available() {
        for len in [32, 64] {
            let key: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let make = |key: &[u8]| SectorCipher::with_kernel(key, SectorSize::B512, SectorUnit::Sector, kind);
            let cipher = make(&key).expect("a good key and a kernel of this CPU");
            let name = format!("{}, AES-{}", kind.name(), len * 4);
            case(&format!("{name}: encrypt a sector"), false, 512, &mut |data| {
                cipher.encrypt(7, data).expect("whole sectors");
            });
            case(&format!("{name}: decrypt 8 sectors"), false, 4096, &mut |data| {
                cipher.decrypt(7, data).expect("whole sectors");
            });
            case(&format!("{name}: encrypt a unit"), false, 1001, &mut |data| {
                cipher.encrypt_unit([9; 16], data).expect("a good length");
            });
            case(&format!("{name}: key set-up and a sector"), false, len, &mut |key| {
                key[0] = key[len / 2] ^ 1; // so that the halves differ, also in the fixed key
                make(key).and_then(|cipher| cipher.encrypt(7, &mut [0; 512])).expect("a good key");
            });
        }
    }
    println!("{wrong} wrong");
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The least t of all attempts, if `work` takes another time on zeros than on random bytes in each.
fn differs(len: usize, work: &mut dyn FnMut(&mut [u8])) -> Option<f64> {
    let mut least: Option<f64> = None;
    for _ in 0..ATTEMPTS {
        let t = attempt(len, work);
        if t.abs() < LIMIT || least.is_some_and(|least| least.signum() != t.signum()) {
            return None;
        }
        least = Some(least.map_or(t, |least| if t.abs() < least.abs() { t } else { least }));
    }
    least
}

fn attempt(len: usize, work: &mut dyn FnMut(&mut [u8])) -> f64 {
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ now());
    let pool: Vec<Vec<u8>> = (0..POOL).map(|_| (0..len).map(|_| random.next() as u8).collect()).collect();
    // As many, so that the memory that a fixed secret comes from is no other kind.
    let zeros = vec![vec![0; len]; POOL];
    let mut buffer = vec![0; len];
    let mut times: [Vec<f64>; 2] = Default::default();
    for call in 0..CALLS + CALLS / 10 {
        let class = random.next() as usize % 2;
        let from = if class == 0 { &zeros } else { &pool };
        buffer.copy_from_slice(&from[random.next() as usize % POOL]);
        let begin = now();
        work(black_box(&mut buffer));
        let took = now() - begin;
        // The first ones warm up.
        if call >= CALLS / 10 {
            times[class].push(took as f64);
        }
    }
    // What an interrupt or another guest of the machine prolonged says nothing: the slowest tenth of all is left out.
    let mut all: Vec<f64> = times.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    let bound = all[all.len() * 9 / 10];
    let [a, b] = times.map(|times| moments(times.into_iter().filter(|&time| time <= bound)));
    // A clock that is coarse may show no variance at all.
    (a.mean - b.mean) / (a.variance / a.count + b.variance / b.count).sqrt().max(1e-9)
}

struct Moments {
    count: f64,
    mean: f64,
    variance: f64,
}

fn moments(times: impl Iterator<Item = f64>) -> Moments {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for time in times {
        count += 1.0;
        let delta = time - mean;
        mean += delta / count;
        squares += delta * (time - mean);
    }
    Moments { count, mean, variance: squares / (count - 1.0) }
}

/// Xorshift; its least bits serve as classes, so they are taken from above.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 24
    }
}

/// Cycles, or the closest substitute.
fn now() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has both instructions.
    unsafe {
        use core::arch::x86_64::{_mm_lfence, _rdtsc};
        _mm_lfence();
        let now = _rdtsc();
        _mm_lfence();
        now
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        use std::sync::LazyLock;
        use std::time::Instant;
        static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        BEGIN.elapsed().as_nanos() as u64
    }
}
