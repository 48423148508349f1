//! Derives keys from passphrases: PBKDF2 (RFC 8018, 5.2) and Argon2 (RFC 9106), as LUKS headers name them.

use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroize;

use super::self_test;
use crate::approval::Approval;
use crate::arch::on_wiped_stack;
use crate::hash::HashAlgorithm;
use crate::{Error, Result, Secret, latch};

/// A key derivation function and its costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kdf {
    /// PBKDF2 with HMAC.
    Pbkdf2 {
        /// The hash of the HMAC.
        hash: HashAlgorithm,
        /// Iterations for each block of hash output.
        iterations: u32,
    },
    /// Argon2i, version 0x13.
    Argon2i {
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes over the memory.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
    /// Argon2id, version 0x13.
    Argon2id {
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes over the memory.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
}

/// The kind of a [`Kdf`] whose costs are not chosen yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KdfKind {
    /// PBKDF2 with HMAC of this hash.
    Pbkdf2(HashAlgorithm),
    /// Argon2i.
    Argon2i,
    /// Argon2id.
    Argon2id,
}

/// The limits for the costs of reading a header. Without limits, anybody who can write to the disk could ask for a
/// derivation that never ends: a denial of service.
///
/// ```
/// use core::time::Duration;
/// use atrest::OpenOptions;
/// use atrest::key::KdfLimits;
///
/// let limits = KdfLimits::new().max_memory_kib(1 << 20).max_total(Duration::from_secs(2));
/// let options = OpenOptions::new().kdf_limits(limits);
/// # let _ = options;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KdfLimits {
    /// The most memory of Argon2, in KiB.
    pub max_memory_kib: u32,
    /// The most iterations of PBKDF2.
    pub max_pbkdf2_iterations: u32,
    /// The most work of Argon2: its memory in KiB times its passes.
    pub max_argon2_kib_passes: u64,
    /// The most lanes of Argon2.
    pub max_lanes: u32,
    /// The most time for all keyslots tried with one passphrase, by [`Kdf::cost`], with the digests of their keys. A
    /// keyslot that the caller names ([`OpenOptions::keyslot`](crate::OpenOptions::keyslot)) is tried even if it takes
    /// longer; only the other limits apply.
    pub max_total: Duration,
}

impl Default for KdfLimits {
    /// 4 GiB, and 64 GiB over all passes; 16 lanes; 50,000,000 iterations; 10 seconds in all.
    fn default() -> Self {
        KdfLimits {
            max_memory_kib: 4 << 20,
            max_pbkdf2_iterations: 50_000_000,
            max_argon2_kib_passes: 64 << 20,
            max_lanes: 16,
            max_total: Duration::from_secs(10),
        }
    }
}

impl KdfLimits {
    /// The default limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the most memory of Argon2, in KiB.
    pub fn max_memory_kib(mut self, kib: u32) -> Self {
        self.max_memory_kib = kib;
        self
    }

    /// Sets the most iterations of PBKDF2.
    pub fn max_pbkdf2_iterations(mut self, iterations: u32) -> Self {
        self.max_pbkdf2_iterations = iterations;
        self
    }

    /// Sets the most work of Argon2: its memory in KiB times its passes.
    pub fn max_argon2_kib_passes(mut self, kib_passes: u64) -> Self {
        self.max_argon2_kib_passes = kib_passes;
        self
    }

    /// Sets the most lanes of Argon2.
    pub fn max_lanes(mut self, lanes: u32) -> Self {
        self.max_lanes = lanes;
        self
    }

    /// Sets the most time for all keyslots tried with one passphrase.
    pub fn max_total(mut self, total: Duration) -> Self {
        self.max_total = total;
        self
    }
}

impl Kdf {
    /// The name, as headers have it.
    pub fn name(&self) -> &'static str {
        match self {
            Kdf::Pbkdf2 { .. } => "pbkdf2",
            Kdf::Argon2i { .. } => "argon2i",
            Kdf::Argon2id { .. } => "argon2id",
        }
    }

    /// Whether it is [approved](crate::approval): PBKDF2 with SHA-2 of at least 256 bits, or SHA-3, and at least 1000
    /// iterations.
    pub fn approval(&self) -> Approval {
        match self {
            Kdf::Pbkdf2 { hash, .. } if !hash.pbkdf2_unit().approval().is_approved() => hash.pbkdf2_unit().approval(),
            Kdf::Pbkdf2 { iterations, .. } if *iterations < 1000 => {
                Approval::NotApproved { algorithm: "PBKDF2", reason: "under 1000 iterations (SP 800-132, 5.2)" }
            }
            Kdf::Pbkdf2 { .. } => Approval::Approved,
            Kdf::Argon2i { .. } => latch::Algorithm::Argon2i.approval(),
            Kdf::Argon2id { .. } => latch::Algorithm::Argon2id.approval(),
        }
    }

    /// The approval of one use, which also depends on the salt.
    fn approval_with(&self, salt: &[u8]) -> Approval {
        const SHORT: Approval =
            Approval::NotApproved { algorithm: "PBKDF2", reason: "a salt of under 16 bytes (SP 800-132, 5.1)" };
        self.approval().and(if salt.len() < 16 { SHORT } else { Approval::Approved })
    }

    /// Refuses costs over `limits`, and costs that the function itself doesn't take.
    ///
    /// # Errors
    /// A text that names the requested cost and the limit.
    pub fn check(&self, limits: &KdfLimits) -> Result<(), String> {
        let name = self.name();
        let (memory_kib, passes, lanes) = match *self {
            Kdf::Pbkdf2 { iterations: 0, .. } => return Err("pbkdf2 takes at least 1 iteration, not 0".into()),
            Kdf::Pbkdf2 { iterations, .. } if iterations > limits.max_pbkdf2_iterations => {
                let most = limits.max_pbkdf2_iterations;
                return Err(format!(
                    "pbkdf2 asks for {iterations} iterations, where at most {most} are allowed; raise `KdfLimits::max_pbkdf2_iterations`"
                ));
            }
            Kdf::Pbkdf2 { .. } => return Ok(()),
            Kdf::Argon2i { memory_kib, passes, lanes } | Kdf::Argon2id { memory_kib, passes, lanes } => {
                (memory_kib, passes, lanes)
            }
        };
        if lanes == 0 || passes == 0 || u64::from(memory_kib) < 8 * u64::from(lanes) {
            return Err(format!(
                "{name} takes at least 1 lane, 1 pass and 8 KiB a lane, not {lanes}, {passes} and {memory_kib} KiB in all"
            ));
        }
        if lanes > limits.max_lanes {
            let most = limits.max_lanes;
            return Err(format!(
                "{name} asks for {lanes} lanes, where at most {most} are allowed; raise `KdfLimits::max_lanes`"
            ));
        }
        if memory_kib > limits.max_memory_kib {
            let most = limits.max_memory_kib;
            return Err(format!(
                "{name} asks for {memory_kib} KiB of memory, where at most {most} are allowed; raise `KdfLimits::max_memory_kib`"
            ));
        }
        let (work, most) = (u64::from(memory_kib) * u64::from(passes), limits.max_argon2_kib_passes);
        if work > most {
            return Err(format!(
                "{name} asks for {passes} passes over {memory_kib} KiB, {work} KiB in all, where at most {most} are allowed; \
                 raise `KdfLimits::max_argon2_kib_passes`"
            ));
        }
        Ok(())
    }

    /// About how long one core of a server of 2023 takes to derive `out_len` bytes: 150 ns per iteration of PBKDF2 with
    /// SHA-1 or SHA-256, and 600 ns with SHA-512, for each block of hash output; 1 us per pass over 1 KiB of Argon2,
    /// for any number of lanes. It is computed, not measured, so that all machines accept the same headers.
    pub fn cost(&self, out_len: usize) -> Duration {
        match *self {
            Kdf::Pbkdf2 { hash, iterations } => hash.pbkdf2_cost(iterations, out_len),
            Kdf::Argon2i { memory_kib, passes, .. } | Kdf::Argon2id { memory_kib, passes, .. } => {
                Duration::from_micros(u64::from(memory_kib) * u64::from(passes))
            }
        }
    }

    /// [Checks](Self::check) the costs of a new keyslot by the default limits, so that it opens under them.
    ///
    /// # Errors
    /// [`Error::InvalidOption`].
    pub(crate) fn check_new(&self) -> Result<()> {
        let limits = KdfLimits::default();
        let (cost, most) = (self.cost(LONGEST_KEY), limits.max_total);
        self.check(&limits).and_then(|()| if cost <= most { Ok(()) } else { Err(too_long(cost, most)) }).map_err(
            |text| Error::InvalidOption(format!("{text}. Such a keyslot would not open by the limits of default")),
        )
    }

    /// Derives `out_len` bytes. [Check](Self::check) the costs of a header first.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for costs, a salt (at least 8 bytes) or a length (at least 4 bytes) that Argon2 doesn't
    /// take, and if there is no memory for it; [`Error::SelfTest`]; [`Error::NotApproved`].
    pub(crate) fn derive(&self, passphrase: &[u8], salt: &[u8], out_len: usize) -> Result<Secret> {
        self.approval_with(salt).require()?;
        match self {
            Kdf::Pbkdf2 { hash, .. } => self_test::pbkdf2(*hash),
            Kdf::Argon2i { .. } => self_test::argon2i(),
            Kdf::Argon2id { .. } => self_test::argon2id(),
        }?;
        let mut out = Secret::zeroed(out_len);
        on_wiped_stack(|| self.derive_to(passphrase, salt, out.expose_mut()))?;
        Ok(out)
    }

    fn derive_to(&self, passphrase: &[u8], salt: &[u8], out: &mut [u8]) -> Result<()> {
        let (algorithm, memory_kib, passes, lanes) = match *self {
            Kdf::Pbkdf2 { hash, iterations } => {
                hash.pbkdf2(passphrase, salt, iterations, out);
                return Ok(());
            }
            Kdf::Argon2i { memory_kib, passes, lanes } => (Algorithm::Argon2i, memory_kib, passes, lanes),
            Kdf::Argon2id { memory_kib, passes, lanes } => (Algorithm::Argon2id, memory_kib, passes, lanes),
        };
        let failed = |e| Error::InvalidOption(format!("{}: {e}", self.name()));
        let params = Params::new(memory_kib, passes, lanes, Some(out.len())).map_err(failed)?;
        let mut blocks = argon2_memory(params.block_count())?;
        let argon2 = Argon2::new(algorithm, Version::V0x13, params);
        let hashed = argon2.hash_password_into_with_memory(passphrase, salt, out, &mut blocks);
        // The output is a hash of the last blocks, so they are secret.
        blocks.iter_mut().zeroize();
        hashed.map_err(failed)
    }

    /// Finds costs for which deriving a 64-byte key takes about `target` on this machine, with at most `max_memory_kib`
    /// of memory. They are at least 1000 iterations of PBKDF2, or 4 passes over 32 MiB of Argon2, and at most
    /// [`KdfLimits::default`]. Memory grows first; passes grow once memory can't.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: SHA-1, which is for old volumes only; less than 32 MiB for Argon2; fewer than 1 or
    /// more than 16 lanes; no memory.
    pub fn benchmark(kind: KdfKind, target: Duration, max_memory_kib: u32, lanes: u32) -> Result<Kdf> {
        let limits = KdfLimits::default();
        let bad = |text: String| Err(Error::InvalidOption(text));
        let argon2 = |memory_kib, passes| match kind {
            KdfKind::Argon2i => Kdf::Argon2i { memory_kib, passes, lanes },
            _ => Kdf::Argon2id { memory_kib, passes, lanes },
        };
        match kind {
            KdfKind::Pbkdf2(hash) if hash.is_legacy() => {
                bad(format!("{} is for old volumes only; use sha256 or sha512", hash.name()))
            }
            KdfKind::Pbkdf2(hash) => {
                let kdf = |work| Kdf::Pbkdf2 { hash, iterations: work as u32 };
                let one = hash.pbkdf2_cost(1000, LONGEST_KEY);
                let in_time = 1000 * limits.max_total.as_nanos() / one.as_nanos();
                let most = in_time.min(limits.max_pbkdf2_iterations.into()) as u64;
                let work = Work { least: 1000, most };
                work.measure(target, kdf).map(kdf)
            }
            KdfKind::Argon2i | KdfKind::Argon2id => {
                if !(1..=limits.max_lanes).contains(&lanes) {
                    return bad(format!("Argon2 has 1 to {} lanes here, not {lanes}", limits.max_lanes));
                }
                if max_memory_kib < MIN_MEMORY_KIB {
                    return bad(format!("Argon2 needs {MIN_MEMORY_KIB} KiB of memory, more than {max_memory_kib}"));
                }
                let max_memory_kib = u64::from(max_memory_kib.min(limits.max_memory_kib));
                let kdf = |work: u64| {
                    let memory_kib = (work / MIN_PASSES).min(max_memory_kib);
                    argon2(memory_kib as u32, (work / memory_kib) as u32)
                };
                let in_time = limits.max_total.as_micros() as u64;
                let work = Work {
                    least: u64::from(MIN_MEMORY_KIB) * MIN_PASSES,
                    most: in_time.min(limits.max_argon2_kib_passes),
                };
                work.measure(target, kdf).map(kdf)
            }
        }
    }
}

const MIN_MEMORY_KIB: u32 = 32 << 10;
const MIN_PASSES: u64 = 4;

/// The bounds of a benchmark, in iterations or in KiB times passes. The time is proportional to them.
struct Work {
    least: u64,
    most: u64,
}

impl Work {
    /// The work that takes about `target`.
    fn measure(&self, target: Duration, kdf: impl Fn(u64) -> Kdf) -> Result<u64> {
        let scaled = |work: u64, took: Duration| {
            let wanted = u128::from(work) * target.as_nanos() / took.as_nanos().max(1);
            u64::try_from(wanted).unwrap_or(u64::MAX).clamp(self.least, self.most)
        };
        let mut work = self.least;
        loop {
            let start = Instant::now();
            kdf(work).derive(b"passphrase", &[0; 32], 64)?;
            let (took, next) = (start.elapsed(), scaled(work, start.elapsed()));
            // A short run is not precise: the first use of memory and the clock's resolution dominate it.
            if took >= target / 4 || took >= Duration::from_millis(500) || next <= work {
                return Ok(next);
            }
            work = next.min(work.saturating_mul(8));
        }
    }
}

/// The text for a cost over the total limit, with the way to raise it.
pub(crate) fn too_long(cost: Duration, most: Duration) -> String {
    format!("it takes about {cost:.1?}, over the {most:.1?} that are allowed in all; raise `KdfLimits::max_total`")
}

/// The longest key of a keyslot's area, in bytes.
const LONGEST_KEY: usize = 64;

/// Allocates memory for Argon2. A failed allocation is an error and doesn't end the process.
fn argon2_memory(blocks: usize) -> Result<Vec<Block>> {
    let mut memory = Vec::new();
    let refused = |_| Error::InvalidOption(format!("there is no memory for Argon2, {blocks} KiB"));
    memory.try_reserve_exact(blocks).map_err(refused)?;
    memory.resize(blocks, Block::default());
    Ok(memory)
}

#[cfg(test)]
mod tests;
