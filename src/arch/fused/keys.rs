//! The AES key schedule (FIPS 197, 5.2), by the round instructions themselves: no table, no branch on the key.

use super::vector::{Vector, Words};

/// The most round keys: 14 rounds of AES-256 and the first addition.
const MAX: usize = 15;

/// Round keys in the order in which they are used, and what the fused kernel makes of them. [`Kernel`](crate::arch::Kernel)
/// wipes them with the place that they lie in.
#[repr(C, align(16))]
pub(super) struct RoundKeys {
    keys: [[u8; 16]; MAX],
    count: usize,
    last: [u8; 16],
    /// The first round key xor the last.
    first_and_last: [u8; 16],
    /// K x^64 xor K in GF(2^128), K being the last round key: it takes `T xor K` to `T x^64 xor K`.
    step: [u8; 16],
    zero: [u8; 16],
}

impl RoundKeys {
    const EMPTY: RoundKeys = RoundKeys {
        keys: [[0; 16]; MAX],
        count: 0,
        last: [0; 16],
        first_and_last: [0; 16],
        step: [0; 16],
        zero: [0; 16],
    };

    /// Fills in what follows from the first `count` of `keys`.
    #[inline(always)]
    fn finish(&mut self, count: usize) {
        let last = u128::from_le_bytes(self.keys[count - 1]);
        let high = last >> 64;
        // x^128 is x^7 + x^2 + x + 1, so the high half comes back at the low end.
        let times_x64 = (last << 64) ^ high ^ (high << 1) ^ (high << 2) ^ (high << 7);
        self.count = count;
        self.last = self.keys[count - 1];
        self.first_and_last = (u128::from_le_bytes(self.keys[0]) ^ last).to_le_bytes();
        self.step = (times_x64 ^ last).to_le_bytes();
    }
}

/// Round keys as kernels see them: by a pointer, not a reference. The compiler can't know then that what a kernel writes
/// is not the keys, and so reads each key where it is used. Knowing it, it would read them all ahead of the loop, run out
/// of registers, and put them on the stack.
#[derive(Clone, Copy)]
pub(super) struct KeyPointer(*const RoundKeys);

/// The rounds between the first key and the last: as many as all of AES has.
pub(super) const MIDDLE_ROUNDS: usize = 9;
/// The further ones of AES-256.
pub(super) const MORE_ROUNDS: usize = 4;

impl KeyPointer {
    #[inline(always)]
    pub(super) fn new(keys: *const RoundKeys) -> Self {
        KeyPointer(keys)
    }

    /// Whether there are [`MORE_ROUNDS`].
    ///
    /// # Safety
    /// The keys still live.
    #[inline(always)]
    pub(super) unsafe fn is_aes_256(self) -> bool {
        // SAFETY: the caller vouches for the keys.
        unsafe { (*self.0).count == MAX }
    }

    /// The key of a round, 0 being the one before the first round.
    ///
    /// # Safety
    /// The keys still live, `round` is one of theirs, and the CPU has the instructions of `V`.
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

    /// Zero that the compiler does not know to be zero: to unpack with it would become a byte shift, which takes the ports
    /// of AES on Zen 5.
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
pub(super) struct XtsKeys {
    pub(super) encrypt: RoundKeys,
    pub(super) decrypt: RoundKeys,
    pub(super) tweak: RoundKeys,
}

impl XtsKeys {
    pub(super) const EMPTY: XtsKeys =
        XtsKeys { encrypt: RoundKeys::EMPTY, decrypt: RoundKeys::EMPTY, tweak: RoundKeys::EMPTY };

    /// Expands two keys of 16 or 32 bytes.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`.
    #[inline(always)]
    pub(super) unsafe fn expand<V: Words>(&mut self, data_key: &[u8], tweak_key: &[u8]) {
        // SAFETY: the caller vouches for the CPU, and blocks of a key have the 16 bytes of one block.
        let count = unsafe {
            match (data_key.as_chunks(), tweak_key.as_chunks()) {
                (([one, two], []), ([three, four], [])) => {
                    expand_256::<V>([one, two], [three, four], &mut self.encrypt.keys, &mut self.tweak.keys)
                }
                (([one], []), ([two], [])) => expand_128::<V>(one, two, &mut self.encrypt.keys, &mut self.tweak.keys),
                _ => unreachable!("the caller has checked the length"),
            }
        };
        self.encrypt.finish(count);
        self.tweak.finish(count);
        // SAFETY: the caller vouches for the CPU.
        unsafe { invert::<V>(&self.encrypt.keys[..count], &mut self.decrypt.keys) };
        self.decrypt.finish(count);
    }
}

type Keys = [[u8; 16]; MAX];

/// Rcon of each step, in every word (FIPS 197, table 5).
const ROUND_CONSTANTS: [[u32; 4]; 10] =
    [[0x01; 4], [0x02; 4], [0x04; 4], [0x08; 4], [0x10; 4], [0x20; 4], [0x40; 4], [0x80; 4], [0x1b; 4], [0x36; 4]];

/// Both keys at once, since each step waits for the one before.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn expand_256<V: Words>(one: [&[u8; 16]; 2], two: [&[u8; 16]; 2], a: &mut Keys, b: &mut Keys) -> usize {
    // SAFETY: round keys have the 16 bytes of one block; the caller vouches for the CPU.
    unsafe {
        let zero = V::splat([0; 16].as_ptr());
        let [mut a0, mut a1] = one.map(|key| V::load(key.as_ptr()));
        let [mut b0, mut b1] = two.map(|key| V::load(key.as_ptr()));
        for step in 0..7 {
            a0.store(a[2 * step].as_mut_ptr());
            a1.store(a[2 * step + 1].as_mut_ptr());
            b0.store(b[2 * step].as_mut_ptr());
            b1.store(b[2 * step + 1].as_mut_ptr());
            let constant = V::load(ROUND_CONSTANTS[step].as_ptr().cast());
            a0 = next(a0, a1.last_word().rotate_words(), constant);
            b0 = next(b0, b1.last_word().rotate_words(), constant);
            if step < 6 {
                a1 = next(a1, a0.last_word(), zero);
                b1 = next(b1, b0.last_word(), zero);
            }
        }
        a0.store(a[14].as_mut_ptr());
        b0.store(b[14].as_mut_ptr());
    }
    15
}

/// # Safety
/// As [`expand_256`].
#[inline(always)]
unsafe fn expand_128<V: Words>(one: &[u8; 16], two: &[u8; 16], a: &mut Keys, b: &mut Keys) -> usize {
    // SAFETY: round keys have the 16 bytes of one block; the caller vouches for the CPU.
    unsafe {
        let (mut a0, mut b0) = (V::load(one.as_ptr()), V::load(two.as_ptr()));
        for step in 0..10 {
            a0.store(a[step].as_mut_ptr());
            b0.store(b[step].as_mut_ptr());
            let constant = V::load(ROUND_CONSTANTS[step].as_ptr().cast());
            a0 = next(a0, a0.last_word().rotate_words(), constant);
            b0 = next(b0, b0.last_word().rotate_words(), constant);
        }
        a0.store(a[10].as_mut_ptr());
        b0.store(b[10].as_mut_ptr());
    }
    11
}

/// Each word of `key` xor all before it, xor SubWord of `word` xor `constant`. A block of four equal words is the same after
/// ShiftRows, so that the last round of AES is SubBytes alone.
#[inline(always)]
fn next<V: Words>(key: V, word: V, constant: V) -> V {
    let pairs = key.xor(key.up_one_word());
    pairs.xor3(pairs.up_one_word().up_one_word(), word.encrypt_last(constant))
}

/// The round keys of the equivalent inverse cipher: backwards, the middle ones through InvMixColumns, which is a round of
/// decryption behind the last round of encryption, since these undo each other's SubBytes and ShiftRows.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn invert<V: Vector>(encrypt: &[[u8; 16]], decrypt: &mut Keys) {
    let last = encrypt.len() - 1;
    for (i, (key, backwards)) in decrypt.iter_mut().zip(encrypt.iter().rev()).enumerate() {
        // SAFETY: a round key has the 16 bytes of one block; the caller vouches for the CPU.
        unsafe {
            let (zero, block) = (V::splat([0; 16].as_ptr()), V::load(backwards.as_ptr()));
            let block = if i != 0 && i != last { block.encrypt_last(zero).decrypt_round(zero) } else { block };
            block.store(key.as_mut_ptr());
        }
    }
}
