//! How much a key has encrypted, and its limits.

use core::sync::atomic::Ordering::Relaxed;

use crate::{Error, Result};

/// How many blocks of 16 bytes a key has encrypted.
///
/// | limit | blocks | source |
/// |---|---|---|
/// | for one data unit, refused beyond | 2^20 (16 MiB) | IEEE 1619-2018, 5.1; SP 800-38E, 4 |
/// | [`DUE`](Self::DUE): time for another key | 2^44 (256 TiB) | the largest key scope of IEEE 1619-2025 |
/// | [`MAX`](Self::MAX), refused beyond | 2^48 (4 PiB) | the birthday bound: two inputs collide with probability 2^-33; SP 800-38D, 8, accepts 2^-32 |
/// | for all data under one key | 2^64 | IEEE 1619-2018, 5.1 |
///
/// SP 800-38E and SP 800-38A don't limit a key's blocks. The texts of SP 800-38F, on wraps, and of IEEE 1619-2025 were
/// not available; the 2^44 is from Brož and Sedláček, *XTS mode revisited* (2025). A *key scope* is the amount of data
/// stored under a key, however often it is overwritten. This type counts every block encrypted, which is never less.
/// Decryption doesn't count. All modes have the same two thresholds, because all of them use a 128-bit block.
///
/// A count belongs to one cipher or volume in one process. To keep a key longer, store its count and give it back with
/// [`OpenOptions::used_blocks`](crate::OpenOptions::used_blocks) or
/// [`SectorCipher::count_in`](crate::SectorCipher::count_in). To make counting cheap, a thread counts ahead by as much
/// as it has just encrypted, at most 64 KiB. A count is exact to that amount.
///
/// ```
/// use atrest::{SectorCipher, SectorSize, SectorUnit};
///
/// let key: [u8; 64] = core::array::from_fn(|i| i as u8);
/// let cipher = SectorCipher::new(&key, SectorSize::B4096, SectorUnit::Bytes512)?;
/// cipher.encrypt(0, &mut [0; 8192])?;
/// let usage = cipher.usage();
/// assert_eq!(usage.blocks(), 512);
/// assert!(!usage.is_due() && usage.remaining() > 1 << 47);
/// # Ok::<(), atrest::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct KeyUsage {
    blocks: u64,
}

impl KeyUsage {
    /// From this many blocks on, the key is due for replacement.
    pub const DUE: u64 = 1 << 44;
    /// The most blocks that a key may encrypt.
    pub const MAX: u64 = 1 << 48;

    /// A usage with a stored count.
    pub fn new(blocks: u64) -> Self {
        KeyUsage { blocks }
    }

    /// The usage of a KEK that made `wraps` wraps of keys of `key_len` bytes by AES-KW or AES-KWP: at most 6 blocks for
    /// each 8 bytes (SP 800-38F, 6.1). For DEKs of 64 bytes, 2^42 wraps reach [`MAX`](Self::MAX).
    pub fn of_wraps(wraps: u64, key_len: usize) -> Self {
        KeyUsage::new(wraps.saturating_mul(6).saturating_mul(key_len.div_ceil(8) as u64))
    }

    /// The number of blocks of 16 bytes.
    pub fn blocks(self) -> u64 {
        self.blocks
    }

    /// How many more blocks the key may encrypt.
    pub fn remaining(self) -> u64 {
        Self::MAX.saturating_sub(self.blocks)
    }

    /// Whether the key has reached [`DUE`](Self::DUE) and should be replaced.
    pub fn is_due(self) -> bool {
        self.blocks >= Self::DUE
    }

    /// Whether the key may encrypt no more blocks.
    pub fn is_exhausted(self) -> bool {
        self.blocks >= Self::MAX
    }

    /// Refuses `more` blocks if they exceed the limit.
    ///
    /// # Errors
    /// [`Error::KeyExhausted`].
    #[inline]
    pub(crate) fn check(self, more: u64) -> Result<()> {
        if more > self.remaining() { Err(Error::KeyExhausted { blocks: self.blocks }) } else { Ok(()) }
    }
}

/// The number of blocks in `len` bytes.
#[inline(always)]
pub(crate) fn blocks(len: usize) -> u64 {
    len.div_ceil(16) as u64
}

/// Counts the blocks that a key encrypts.
pub(crate) struct Counter {
    total: Total,
    /// Identifies the counter in [`PAID`]; 0 until it first counts. It is assigned late, because an atomic addition takes a tenth
    /// of a key's set-up, and a caller that only decrypts needs none.
    #[cfg(feature = "std")]
    id: core::sync::atomic::AtomicU64,
}

impl Counter {
    pub(crate) fn new() -> Self {
        Counter {
            total: Total::new(),
            #[cfg(feature = "std")]
            id: core::sync::atomic::AtomicU64::new(0),
        }
    }

    pub(crate) fn usage(&self) -> KeyUsage {
        KeyUsage::new(self.total.get())
    }

    /// Adds blocks that were encrypted elsewhere.
    pub(crate) fn count_in(&self, blocks: u64) {
        self.total.add(blocks.min(KeyUsage::MAX));
    }

    /// Counts blocks before they are encrypted.
    ///
    /// A shared atomic addition takes a tenth of a sector's time, and much longer under contention. So a thread pays
    /// ahead for the counter that it used last.
    ///
    /// # Errors
    /// [`Error::KeyExhausted`].
    #[cfg(feature = "std")]
    #[inline(always)]
    pub(crate) fn add(&self, blocks: u64) -> Result<()> {
        let paid = PAID.get();
        // A thread without a counter has nothing left.
        if paid.id == self.id.load(Relaxed) && paid.left >= blocks {
            PAID.set(Paid { left: paid.left - blocks, used: paid.used + blocks, ..paid });
            return Ok(());
        }
        self.pay(blocks, paid)
    }

    /// Without the standard library, counts at once.
    #[cfg(not(feature = "std"))]
    #[inline(always)]
    pub(crate) fn add(&self, blocks: u64) -> Result<()> {
        self.usage().check(blocks)?;
        self.total.add(blocks);
        Ok(())
    }

    #[cfg(feature = "std")]
    #[inline(never)]
    fn pay(&self, blocks: u64, paid: Paid) -> Result<()> {
        const MOST: u64 = 4096;
        let id = self.id();
        let paid = if paid.id == id { paid } else { Paid { id, left: 0, used: 0 } };
        let (owed, ahead) = (blocks - paid.left, paid.used.min(MOST));
        self.usage().check(owed)?;
        self.total.add(owed + ahead);
        PAID.set(Paid { left: ahead, used: paid.used + blocks, ..paid });
        Ok(())
    }

    /// Its number, which it gets at its first use.
    #[cfg(feature = "std")]
    fn id(&self) -> u64 {
        let id = self.id.load(Relaxed);
        if id != 0 {
            return id;
        }
        let new = LAST_ID.fetch_add(1, Relaxed) + 1;
        match self.id.compare_exchange(0, new, Relaxed, Relaxed) {
            Ok(_) => new,
            Err(of_another_thread) => of_another_thread,
        }
    }
}

/// Counts how much of a stream a key has encrypted. Within the first 2^48 blocks it counts everything up to the highest
/// block, once, so it never refuses a run there. Beyond, it counts each run. It can't tell a read from a write.
pub(crate) struct Reach {
    within: Total,
    beyond: Total,
}

impl Reach {
    pub(crate) const fn new() -> Self {
        Reach { within: Total::new(), beyond: Total::new() }
    }

    pub(crate) fn usage(&self) -> KeyUsage {
        KeyUsage::new(self.within.get().saturating_add(self.beyond.get()))
    }

    /// Counts `len` bytes that end at byte `end` of the stream, before they are encrypted.
    ///
    /// # Errors
    /// [`Error::KeyExhausted`].
    #[inline(always)]
    pub(crate) fn add(&self, end: u128, len: usize) -> Result<()> {
        let end = end.div_ceil(16) as u64; // at most 2^60
        if end > KeyUsage::MAX {
            self.usage().check(blocks(len))?;
            self.beyond.add(blocks(len));
        } else if end > self.within.get() {
            self.within.raise(end);
        }
        Ok(())
    }
}

/// A thread's prepayment.
#[cfg(feature = "std")]
#[derive(Clone, Copy)]
struct Paid {
    /// The counter's id; 0 for none.
    id: u64,
    left: u64,
    /// The blocks that the thread encrypted since it last switched to this counter.
    used: u64,
}

#[cfg(feature = "std")]
static LAST_ID: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);

#[cfg(feature = "std")]
std::thread_local! {
    static PAID: core::cell::Cell<Paid> = const { core::cell::Cell::new(Paid { id: 0, left: 0, used: 0 }) };
}

/// A number that only grows. It stops growing once it is far beyond every limit.
#[cfg(target_has_atomic = "64")]
struct Total(core::sync::atomic::AtomicU64);

#[cfg(target_has_atomic = "64")]
impl Total {
    const fn new() -> Self {
        Total(core::sync::atomic::AtomicU64::new(0))
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Can't overflow: an addend is below 2^60, and only concurrent calls add to a total over 2^48.
    fn add(&self, blocks: u64) {
        self.0.fetch_add(blocks, Relaxed);
    }

    fn raise(&self, to: u64) {
        self.0.fetch_max(to, Relaxed);
    }
}

/// CPUs without 64-bit atomics are small; there, two simultaneous calls may count as one.
#[cfg(not(target_has_atomic = "64"))]
struct Total([core::sync::atomic::AtomicU32; 2]);

#[cfg(not(target_has_atomic = "64"))]
impl Total {
    const fn new() -> Self {
        Total([const { core::sync::atomic::AtomicU32::new(0) }; 2])
    }

    fn get(&self) -> u64 {
        let [low, high] = [&self.0[0], &self.0[1]].map(|half| u64::from(half.load(Relaxed)));
        high << 32 | low
    }

    fn add(&self, blocks: u64) {
        self.raise(self.get() + blocks);
    }

    fn raise(&self, total: u64) {
        self.0[0].store(total as u32, Relaxed);
        self.0[1].store((total >> 32) as u32, Relaxed);
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_never_too_low_and_at_most_64_kib_too_high() {
        let (a, b) = (Counter::new(), Counter::new());
        let (mut in_a, mut in_b) = (0, 0);
        for i in 0..10_000u64 {
            // Runs of one counter, of all lengths, with calls of the other between them.
            let blocks = 1 + i * 31 % 300;
            if (i / 7) % (1 + i / 1000) == 0 {
                b.add(blocks).unwrap();
                in_b += blocks;
            } else {
                a.add(blocks).unwrap();
                in_a += blocks;
            }
            for (counter, sum) in [(&a, in_a), (&b, in_b)] {
                let counted = counter.usage().blocks();
                assert!((sum..=2 * sum).contains(&counted), "{i}: {counted} of {sum}");
            }
        }
        for _ in 0..100 {
            a.add(4096).unwrap();
            in_a += 4096;
        }
        let before = a.usage().blocks() - in_a;
        (0..1000).for_each(|_| a.add(32).unwrap());
        assert!(a.usage().blocks() <= in_a + 32_000 + before + 4096);
    }

    #[test]
    fn threads_together_lose_nothing() {
        let counter = Counter::new();
        std::thread::scope(|scope| {
            for thread in 1..=4 {
                let counter = &counter;
                scope.spawn(move || (0..20_000).for_each(|_| counter.add(thread).unwrap()));
            }
        });
        let (counted, sum) = (counter.usage().blocks(), 20_000 * (1 + 2 + 3 + 4));
        assert!((sum..=sum + 4 * 4096).contains(&counted), "{counted}");
    }

    #[test]
    fn what_is_too_much_is_refused_and_not_counted() {
        let counter = Counter::new();
        counter.count_in(KeyUsage::MAX - 100);
        assert!(counter.usage().is_due() && !counter.usage().is_exhausted());
        assert!(matches!(counter.add(101), Err(Error::KeyExhausted { blocks }) if blocks == KeyUsage::MAX - 100));
        counter.add(60).unwrap();
        assert_eq!(counter.usage().remaining(), 40);
        assert!(matches!(counter.add(41), Err(Error::KeyExhausted { .. })));
        counter.add(40).unwrap();
        assert!(counter.usage().is_exhausted());
        counter.count_in(u64::MAX);
        assert!(counter.usage().is_exhausted() && counter.usage().remaining() == 0);
    }

    #[test]
    fn a_stream_counts_as_far_as_it_reaches() {
        const PIB_4: u128 = 1 << 52;
        let reach = Reach::new();
        for (end, len, blocks) in [(16, 16, 1), (4096, 10, 256), (17, 17, 256), (4097, 1, 257), (4097, 4097, 257)] {
            reach.add(end, len).unwrap();
            assert_eq!(reach.usage().blocks(), blocks, "{end}");
        }
        reach.add(1 << 64, 160).unwrap();
        reach.add(PIB_4 + 1, 16).unwrap();
        assert_eq!(reach.usage().blocks(), 257 + 10 + 1);
        // All of the first 4 PiB, so nothing beyond is allowed any more.
        reach.add(PIB_4, 1).unwrap();
        assert!(reach.usage().is_exhausted());
        assert!(matches!(reach.add(PIB_4 + 1, 1), Err(Error::KeyExhausted { .. })));
        reach.add(PIB_4, 4096).unwrap();
    }

    #[test]
    fn thresholds() {
        for (blocks, due, exhausted) in [
            (0, false, false),
            ((1 << 44) - 1, false, false),
            (1 << 44, true, false),
            ((1 << 48) - 1, true, false),
            (1 << 48, true, true),
            (u64::MAX, true, true),
        ] {
            let usage = KeyUsage::new(blocks);
            assert_eq!((usage.is_due(), usage.is_exhausted()), (due, exhausted), "{blocks}");
            assert_eq!(usage.check(1).is_err(), exhausted);
        }
        // Two inputs of 2^48 meet with a probability of about n^2 / 2 / 2^128.
        let n = KeyUsage::MAX as f64;
        assert_eq!((n * n / 2.0 / 2f64.powi(128)).log2(), -33.0);
        assert_eq!(KeyUsage::of_wraps(1, 64).blocks(), 48);
        assert!(KeyUsage::of_wraps(1 << 43, 64).is_exhausted() && !KeyUsage::of_wraps(1 << 42, 64).is_exhausted());
        assert!(KeyUsage::of_wraps(u64::MAX, 4096).is_exhausted());
    }
}
