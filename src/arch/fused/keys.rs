//! The AES key schedule (FIPS 197, 5.2), computed by the round instructions. It has no table and no branch on the key.

use super::vector::{Vector, Words};

/// The most round keys: 14 rounds of AES-256 and the first addition.
const MAX: usize = 15;

/// Round keys in the order of use, and values that the fused kernels derive from them. [`Kernel`](crate::arch::Kernel)
/// wipes them together with their place.
///
/// The struct is aligned to a cache line and each key to its size, so that no key lies in two lines.
#[repr(C, align(64))]
pub(super) struct RoundKeys {
    keys: [[u8; 16]; MAX],
    last: [u8; 16],
    /// The first round key xor the last.
    first_and_last: [u8; 16],
    /// K x^64 xor K in GF(2^128), where K is the last round key. It takes `T xor K` to `T x^64 xor K`.
    step: [u8; 16],
    zero: [u8; 16],
    count: usize,
}

impl RoundKeys {
    /// Expands keys of 16 or 32 bytes, all of one length. They are expanded together, since each step of one key waits
    /// for the step before.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`.
    #[inline(always)]
    pub(super) unsafe fn expand<V: Words, const N: usize>(keys: [&[u8]; N], to: [&mut RoundKeys; N]) {
        // SAFETY: the caller vouches for the CPU.
        unsafe {
            match keys[0].len() {
                16 => expand_128::<V, N>(keys, to),
                32 => expand_256::<V, N>(keys, to),
                _ => unreachable!("the caller has checked the length"),
            }
        }
    }

    /// The keys of the equivalent inverse cipher (FIPS 197, 5.3.5).
    ///
    /// # Safety
    /// The CPU has the instructions of `V`.
    #[inline(always)]
    pub(super) unsafe fn invert<V: Vector>(&self, to: &mut RoundKeys) {
        // SAFETY: the caller vouches for the CPU.
        unsafe {
            match self.count {
                MAX => invert::<V, MAX>(&self.keys, &mut to.keys),
                _ => invert::<V, 11>(&self.keys, &mut to.keys),
            }
        }
        // SAFETY: the caller vouches for the CPU; a round key has the 16 bytes of one block.
        unsafe {
            let [first, last] = [self.count - 1, 0].map(|of| V::load(self.keys[of].as_ptr()));
            to.finish(first, last, self.count);
        }
    }

    /// Fills in the values derived from the first and the last of `count` keys.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`, and its registers hold one block.
    #[inline(always)]
    unsafe fn finish<V: Vector>(&mut self, first: V, last: V, count: usize) {
        self.count = count;
        // SAFETY: the fields have the 16 bytes of one block; the caller vouches for the CPU.
        unsafe {
            // x^128 is x^7 + x^2 + x + 1, so the high half comes back at the low end.
            let high = last.multiply_high(V::number(0x87));
            let times_x64 = last.low_to_high(V::number(0)).xor(high);
            last.store(self.last.as_mut_ptr());
            last.xor(first).store(self.first_and_last.as_mut_ptr());
            last.xor(times_x64).store(self.step.as_mut_ptr());
        }
    }
}

/// Round keys as kernels see them: a pointer, not a reference. The compiler must assume that a kernel's writes may
/// change the keys, so it reads each key where it is used. With a reference it would read all keys ahead of the loop,
/// run out of registers, and put them on the stack.
#[derive(Clone, Copy)]
pub(super) struct KeyPointer(*const RoundKeys);

/// The rounds between the first round key and the last that all key sizes have.
pub(super) const MIDDLE_ROUNDS: usize = 9;
/// The further middle rounds of AES-256.
pub(super) const MORE_ROUNDS: usize = 4;

impl KeyPointer {
    #[inline(always)]
    pub(super) fn new(keys: *const RoundKeys) -> Self {
        KeyPointer(keys)
    }

    /// Whether the keys have [`MORE_ROUNDS`].
    ///
    /// # Safety
    /// The keys still live.
    #[inline(always)]
    pub(super) unsafe fn is_aes_256(self) -> bool {
        // SAFETY: the caller vouches for the keys.
        unsafe { (*self.0).count == MAX }
    }

    /// The key of a round. Key 0 is added before the first round.
    ///
    /// # Safety
    /// The keys still live, they have a round `round`, and the CPU has the instructions of `V`.
    #[inline(always)]
    pub(super) unsafe fn round<V: Vector>(self, round: usize) -> V {
        // SAFETY: the caller vouches for all of it.
        unsafe { V::splat((&raw const (*self.0).keys).cast::<u8>().add(16 * round)) }
    }

    /// # Safety
    /// As [`round`](Self::round).
    #[inline(always)]
    pub(super) unsafe fn last<V: Vector>(self) -> V {
        // SAFETY: the caller vouches for all of it.
        unsafe { V::splat((&raw const (*self.0).last).cast()) }
    }

    /// # Safety
    /// As [`round`](Self::round).
    #[inline(always)]
    pub(super) unsafe fn first_and_last<V: Vector>(self) -> V {
        // SAFETY: the caller vouches for all of it.
        unsafe { V::splat((&raw const (*self.0).first_and_last).cast()) }
    }

    /// Zero, hidden from the compiler. It would turn an unpack with a known zero into a byte shift, which takes the
    /// ports of AES on Zen 5.
    ///
    /// # Safety
    /// As [`round`](Self::round).
    #[inline(always)]
    pub(super) unsafe fn zero<V: Vector>(self) -> V {
        // SAFETY: the caller vouches for all of it.
        unsafe { V::splat((&raw const (*self.0).zero).cast()) }
    }

    /// # Safety
    /// As [`round`](Self::round).
    #[inline(always)]
    pub(super) unsafe fn step<V: Vector>(self) -> V {
        // SAFETY: the caller vouches for all of it.
        unsafe { V::splat((&raw const (*self.0).step).cast()) }
    }
}

/// The keys of XTS: to encrypt and decrypt data, and to encrypt tweaks.
#[repr(C)]
pub(in crate::arch) struct XtsKeys {
    pub(super) encrypt: RoundKeys,
    pub(super) decrypt: RoundKeys,
    pub(super) tweak: RoundKeys,
}

impl XtsKeys {
    /// Expands two keys of 16 or 32 bytes.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`.
    #[inline(always)]
    pub(super) unsafe fn expand<V: Words>(&mut self, data_key: &[u8], tweak_key: &[u8]) {
        // SAFETY: the caller vouches for the CPU.
        unsafe {
            RoundKeys::expand::<V, 2>([data_key, tweak_key], [&mut self.encrypt, &mut self.tweak]);
            self.encrypt.invert::<V>(&mut self.decrypt);
        }
    }
}

type Keys = [[u8; 16]; MAX];

/// Rcon of each step, in every word (FIPS 197, table 5).
const ROUND_CONSTANTS: [[u32; 4]; 10] =
    [[0x01; 4], [0x02; 4], [0x04; 4], [0x08; 4], [0x10; 4], [0x20; 4], [0x40; 4], [0x80; 4], [0x1b; 4], [0x36; 4]];

/// SubWord of a word is the last round of AES of a block of four such words, since ShiftRows doesn't change it and the round has no
/// MixColumns. Here the round adds all else as its key, which is known before the word. With keys of 16 bytes it isn't.
///
/// # Safety
/// The CPU has the instructions of `V`. All keys have 32 bytes.
#[inline(always)]
unsafe fn expand_256<V: Words, const N: usize>(keys: [&[u8]; N], to: [&mut RoundKeys; N]) {
    // SAFETY: a key has two blocks, and a round key one; the caller vouches for the CPU.
    unsafe {
        let mut low = keys.map(|key| V::load(key.as_ptr()));
        let mut high = keys.map(|key| V::load(key[16..].as_ptr()));
        for (step, constant) in ROUND_CONSTANTS[..7].iter().enumerate() {
            let constant = V::load(constant.as_ptr().cast());
            for i in 0..N {
                low[i].store(to[i].keys[2 * step].as_mut_ptr());
                high[i].store(to[i].keys[2 * step + 1].as_mut_ptr());
            }
            for i in 0..N {
                low[i] = high[i].rotated_last_word().encrypt_last(sums(low[i]).xor(constant));
            }
            if step < 6 {
                for i in 0..N {
                    high[i] = low[i].last_word().encrypt_last(sums(high[i]));
                }
            }
        }
        for ((low, to), key) in low.into_iter().zip(to).zip(keys) {
            low.store(to.keys[14].as_mut_ptr());
            to.finish(V::load(key.as_ptr()), low, 15);
        }
    }
}

/// # Safety
/// As [`expand_256`], for keys of 16 bytes.
#[inline(always)]
unsafe fn expand_128<V: Words, const N: usize>(keys: [&[u8]; N], to: [&mut RoundKeys; N]) {
    // SAFETY: a key has one block, and so has a round key; the caller vouches for the CPU.
    unsafe {
        let mut last = keys.map(|key| V::load(key.as_ptr()));
        for (step, constant) in ROUND_CONSTANTS.iter().enumerate() {
            let constant = V::load(constant.as_ptr().cast());
            for i in 0..N {
                last[i].store(to[i].keys[step].as_mut_ptr());
                last[i] = sums(last[i]).xor(last[i].rotated_last_word().encrypt_last(constant));
            }
        }
        for ((last, to), key) in last.into_iter().zip(to).zip(keys) {
            last.store(to.keys[10].as_mut_ptr());
            to.finish(V::load(key.as_ptr()), last, 11);
        }
    }
}

/// Each word xor all words before it.
#[inline(always)]
fn sums<V: Words>(key: V) -> V {
    let pairs = key.xor(key.up_one_word());
    pairs.xor(pairs.up_one_word().up_one_word())
}

/// The round keys of the equivalent inverse cipher, in reverse order. The middle ones go through InvMixColumns: a last
/// round of encryption followed by a middle round of decryption. These two undo each other's SubBytes and ShiftRows.
/// The count is a constant, which makes the loop as short as the key schedule itself.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn invert<V: Vector, const COUNT: usize>(encrypt: &Keys, decrypt: &mut Keys) {
    for i in 0..COUNT {
        // SAFETY: a round key has the 16 bytes of one block; the caller vouches for the CPU.
        unsafe {
            let (zero, block) = (V::splat([0; 16].as_ptr()), V::load(encrypt[COUNT - 1 - i].as_ptr()));
            let middle = i != 0 && i != COUNT - 1;
            let block = if middle { block.encrypt_last(zero).decrypt_round(zero) } else { block };
            block.store(decrypt[i].as_mut_ptr());
        }
    }
}
