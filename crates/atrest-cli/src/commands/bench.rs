//! `bench` and `self-test`.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use atrest::key::{HashAlgorithm, Kdf, KdfKind};
use atrest::{Dek, DekAlgorithm, SectorSize, SectorUnit, memory_protection};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::Result;
use crate::output::{Answer, Output, Text, note};

const BUFFER: usize = 256 << 10;
const KDF_TIME: Duration = Duration::from_secs(2);
const TIME: Duration = Duration::from_millis(300);

#[derive(Args)]
pub struct Bench {
    /// Has OpenSSL do the same, if it is installed
    #[arg(long)]
    compare: bool,
}

/// `bench`.
#[derive(Serialize, JsonSchema)]
pub struct Measured {
    /// One core, 256 KiB in its cache.
    ciphers: Vec<Speed>,
    /// The key derivations of passphrases.
    kdfs: Vec<Cost>,
}

#[derive(Serialize, JsonSchema)]
struct Speed {
    /// Such as `AES-256-XTS`.
    cipher: &'static str,
    /// In bytes.
    sector_size: u32,
    /// The kernel of this library, or `openssl`.
    engine: String,
    encrypt_mib_per_second: u64,
    /// Null where it was not measured.
    decrypt_mib_per_second: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
struct Cost {
    kdf: &'static str,
    /// The costs that take 2 seconds, as for a new keyslot.
    in_two_seconds: String,
}

impl Answer for Measured {
    fn text(&self, out: &mut Text) {
        let rate = |rate: u64| format!("{rate} MiB/s");
        let row = |speed: &Speed| {
            let decrypt = speed.decrypt_mib_per_second.map_or_else(|| "-".into(), rate);
            let encrypt = rate(speed.encrypt_mib_per_second);
            [speed.cipher.into(), speed.sector_size.to_string(), speed.engine.clone(), encrypt, decrypt]
        };
        out.table(["CIPHER", "SECTOR", "ENGINE", "ENCRYPT", "DECRYPT"], self.ciphers.iter().map(row));
        out.line("");
        let row = |cost: &Cost| [cost.kdf.into(), cost.in_two_seconds.clone()];
        out.table(["PASSPHRASE BY", "IN 2 SECONDS"], self.kdfs.iter().map(row));
    }
}

/// The rate of the fastest pass: it shows the machine's other activity least.
fn best(mut pass: impl FnMut() -> Result<()>) -> Result<u64> {
    let (start, mut best) = (Instant::now(), Duration::MAX);
    while start.elapsed() < TIME {
        let begun = Instant::now();
        pass()?;
        best = best.min(begun.elapsed());
    }
    Ok((BUFFER as f64 / f64::from(1 << 20) / best.as_secs_f64()) as u64)
}

impl Bench {
    pub fn run(self, output: Output) -> Result<()> {
        let mut ciphers = Vec::new();
        for algorithm in [DekAlgorithm::Aes128Xts, DekAlgorithm::Aes256Xts] {
            for sector_size in [SectorSize::B512, SectorSize::B4096] {
                let cipher = Dek::generate(algorithm)?.sector_cipher(sector_size, SectorUnit::Bytes512)?;
                let mut buffer = vec![0; BUFFER];
                ciphers.push(Speed {
                    cipher: algorithm.name(),
                    sector_size: sector_size.bytes(),
                    engine: cipher.kernel().name().into(),
                    encrypt_mib_per_second: best(|| Ok(cipher.encrypt(0, &mut buffer)?))?,
                    decrypt_mib_per_second: Some(best(|| Ok(cipher.decrypt(0, &mut buffer)?))?),
                });
            }
            if self.compare {
                match openssl(algorithm) {
                    Some(rate) => ciphers.push(Speed {
                        cipher: algorithm.name(),
                        sector_size: 4096,
                        engine: "openssl".into(),
                        encrypt_mib_per_second: rate,
                        decrypt_mib_per_second: None,
                    }),
                    None => note("openssl is not installed, or does not measure this"),
                }
            }
        }
        let mut kdfs = Vec::new();
        for kind in [KdfKind::Argon2id, KdfKind::Pbkdf2(HashAlgorithm::Sha256)] {
            let (kdf, work) = match Kdf::benchmark(kind, KDF_TIME, 1 << 20, 4)? {
                Kdf::Pbkdf2 { iterations, .. } => ("pbkdf2 with SHA-256", format!("{iterations} iterations")),
                Kdf::Argon2id { memory_kib, passes, lanes } => {
                    ("argon2id", format!("{} MiB, {passes} passes, {lanes} lanes", memory_kib >> 10))
                }
                _ => continue,
            };
            kdfs.push(Cost { kdf, in_two_seconds: work });
        }
        output.answer(&Measured { ciphers, kdfs })
    }
}

/// The rate of OpenSSL, in MiB/s.
fn openssl(algorithm: DekAlgorithm) -> Option<u64> {
    let name = if algorithm == DekAlgorithm::Aes128Xts { "aes-128-xts" } else { "aes-256-xts" };
    let mut command = Command::new("openssl");
    command.args(["speed", "-mr", "-seconds", "1", "-bytes", "4096", "-evp", name]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    // +F:NUMBER:NAME:BYTES A SECOND
    let rate: f64 = text.lines().find_map(|line| line.strip_prefix("+F:"))?.rsplit(':').next()?.trim().parse().ok()?;
    Some((rate / f64::from(1 << 20)) as u64)
}

/// `self-test`.
#[derive(Serialize, JsonSchema)]
pub struct Tested {
    /// Every known answer was right.
    passed: bool,
    /// The kernel of the sector engine.
    kernel: &'static str,
    /// The bytes of memory with secrets that can't be locked, so that they could be swapped.
    unlocked_bytes: u64,
}

impl Answer for Tested {
    fn text(&self, out: &mut Text) {
        out.line("all known answers are right");
        out.pair("kernel", self.kernel);
        let memory = match self.unlocked_bytes {
            0 => "secrets are in locked memory".into(),
            bytes => format!("{bytes} bytes with secrets could be swapped: raise RLIMIT_MEMLOCK (`ulimit -l`)"),
        };
        out.pair("memory", memory);
    }
}

pub fn self_test(output: Output) -> Result<()> {
    atrest_vaults::self_test()?;
    let dek = Dek::generate(DekAlgorithm::Aes256Xts)?;
    let kernel = dek.sector_cipher(SectorSize::B512, SectorUnit::Bytes512)?.kernel().name();
    output.answer(&Tested { passed: true, kernel, unlocked_bytes: memory_protection().unlocked })
}
