//! How much a key has encrypted, and how much it may.

use core::sync::atomic::Ordering::Relaxed;

use crate::{Error, Result};

/// How many blocks of 16 bytes a key has encrypted.
///
/// | limit | blocks | source |
/// |---|---|---|
/// | of one data unit, refused beyond | 2^20 (16 MiB) | IEEE 1619-2018, 5.1; SP 800-38E, 4 |
/// | [`DUE`](Self::DUE): time for another key | 2^44 (256 TiB) | the largest key scope of IEEE 1619-2025 |
/// | [`MAX`](Self::MAX), refused beyond | 2^48 (4 PiB) | the birthday bound: two inputs meet with probability 2^-33, where SP 800-38D, 8, bears 2^-32 |
/// | of all data under one key | 2^64 | IEEE 1619-2018, 5.1 |
///
/// SP 800-38E and SP 800-38A have no limit of a key's blocks. The text of SP 800-38F, on wraps, and that of IEEE 1619-2025
/// couldn't be read for this; the 2^44 is from Brož and Sedláček, *XTS mode revisited* (2025). A *key scope*
/// is how much data lies under a key, whatever is written over it; what is counted here is every block encrypted, which is
/// never less. Decryption doesn't count. All modes have the same two thresholds, since all of them rest on a 128-bit block.
///
/// Counts are those of one cipher, or volume, in one process: who keeps a key longer keeps its count and gives it back
/// ([`OpenOptions::used_blocks`](crate::OpenOptions::used_blocks), [`SectorCipher::count_in`](crate::SectorCipher::count_in)).
/// So that counting costs nothing, a thread counts ahead by as much as it has just encrypted, 64 KiB at most; a count is
/// right to that.
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
    /// From here on it is time for another key.
    pub const DUE: u64 = 1 << 44;
    /// What a key may encrypt.
    pub const MAX: u64 = 1 << 48;

    /// A count that was kept.
    pub fn new(blocks: u64) -> Self {
        KeyUsage { blocks }
    }

    /// What a KEK has done that wrapped keys of `key_len` bytes by AES-KW or AES-KWP so often: 6 blocks for each 8 bytes, at
    /// most (SP 800-38F, 6.1). For DEKs of 64 bytes, 2^42 wraps are [`MAX`](Self::MAX).
    pub fn of_wraps(wraps: u64, key_len: usize) -> Self {
        KeyUsage::new(wraps.saturating_mul(6).saturating_mul(key_len.div_ceil(8) as u64))
    }

    /// How many blocks of 16 bytes.
    pub fn blocks(self) -> u64 {
        self.blocks
    }

    /// How many more there may be.
    pub fn remaining(self) -> u64 {
        Self::MAX.saturating_sub(self.blocks)
    }

    /// Whether it is time for another key: [`DUE`](Self::DUE) is reached.
    pub fn is_due(self) -> bool {
        self.blocks >= Self::DUE
    }

    /// Whether nothing more may be encrypted.
    pub fn is_exhausted(self) -> bool {
        self.blocks >= Self::MAX
    }

    /// Refuses `more` blocks where they are too many.
    ///
    /// # Errors
    /// [`Error::KeyExhausted`].
    #[inline]
    pub(crate) fn check(self, more: u64) -> Result<()> {
        if more > self.remaining() { Err(Error::KeyExhausted { blocks: self.blocks }) } else { Ok(()) }
    }
}

/// The blocks of so many bytes.
#[inline(always)]
pub(crate) fn blocks(len: usize) -> u64 {
    len.div_ceil(16) as u64
}

/// Counts what a key encrypts.
pub(crate) struct Counter {
    total: Total,
    /// By which a thread knows it again.
    #[cfg(feature = "std")]
    id: u64,
}

impl Counter {
    pub(crate) fn new() -> Self {
        Counter {
            total: Total::new(),
            #[cfg(feature = "std")]
            id: LAST_ID.fetch_add(1, Relaxed) + 1,
        }
    }

    pub(crate) fn usage(&self) -> KeyUsage {
        KeyUsage::new(self.total.get())
    }

    /// Counts what was encrypted elsewhere.
    pub(crate) fn count_in(&self, blocks: u64) {
        self.total.add(blocks.min(KeyUsage::MAX));
    }

    /// Counts blocks before they are encrypted.
    ///
    /// An addition that all threads see takes as long as a tenth of a sector, or much longer where they meet. So a thread
    /// pays ahead for the counter that it used last.
    ///
    /// # Errors
    /// [`Error::KeyExhausted`].
    #[cfg(feature = "std")]
    #[inline(always)]
    pub(crate) fn add(&self, blocks: u64) -> Result<()> {
        let paid = PAID.get();
        if paid.id == self.id && paid.left >= blocks {
            PAID.set(Paid { left: paid.left - blocks, used: paid.used + blocks, ..paid });
            return Ok(());
        }
        self.pay(blocks, if paid.id == self.id { paid } else { Paid { id: self.id, left: 0, used: 0 } })
    }

    /// As with the standard library, at once.
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
        let (owed, ahead) = (blocks - paid.left, paid.used.min(MOST));
        self.usage().check(owed)?;
        self.total.add(owed + ahead);
        PAID.set(Paid { left: ahead, used: paid.used + blocks, ..paid });
        Ok(())
    }
}

/// Counts how much of a stream a key has encrypted, each block once however often it is: all as far as it reaches within the
/// first 2^48 blocks, so that there is nothing to refuse in it; and each run beyond. It can't tell a read from a write.
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

/// What a thread has paid ahead.
#[cfg(feature = "std")]
#[derive(Clone, Copy)]
struct Paid {
    /// For which counter; 0 for none.
    id: u64,
    left: u64,
    /// What the thread has encrypted since it last turned to this counter.
    used: u64,
}

#[cfg(feature = "std")]
static LAST_ID: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);

#[cfg(feature = "std")]
std::thread_local! {
    static PAID: core::cell::Cell<Paid> = const { core::cell::Cell::new(Paid { id: 0, left: 0, used: 0 }) };
}

/// A number that only grows, and stays where it is once it is far beyond every limit.
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

    /// What is added is below 2^60, and nothing is added to what is over 2^48 but by threads that come at the same time.
    fn add(&self, blocks: u64) {
        self.0.fetch_add(blocks, Relaxed);
    }

    fn raise(&self, to: u64) {
        self.0.fetch_max(to, Relaxed);
    }
}

/// Where there are no atomics of 64 bits, which is on small CPUs, two calls at the same time may count as one.
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
            // Runs of one counter, of all lengths, between calls of the other.
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
        // All of the first 4 PiB, and so nothing beyond any more.
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
