//! The AES key schedule (FIPS 197, 5.2), by the round instructions themselves: no table, no branch on the key.

use zeroize::Zeroize;

use super::vector::Vector;

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
    fn new(keys: [[u8; 16]; MAX], count: usize) -> Self {
        let last = u128::from_le_bytes(keys[count - 1]);
        let high = last >> 64;
        // x^128 is x^7 + x^2 + x + 1, so the high half comes back at the low end.
        let times_x64 = (last << 64) ^ high ^ (high << 1) ^ (high << 2) ^ (high << 7);
        let first_and_last = (u128::from_le_bytes(keys[0]) ^ last).to_le_bytes();
        RoundKeys {
            keys,
            count,
            last: keys[count - 1],
            first_and_last,
            step: (times_x64 ^ last).to_le_bytes(),
            zero: [0; 16],
        }
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
    /// Expands two keys of 16 or 32 bytes.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`.
    #[inline(always)]
    pub(super) unsafe fn expand<V: Vector>(data_key: &[u8], tweak_key: &[u8]) -> Self {
        // SAFETY: the caller vouches for the CPU.
        let encrypt = unsafe { expand::<V>(data_key) };
        // SAFETY: as above.
        let tweak = unsafe { expand::<V>(tweak_key) };
        // SAFETY: as above.
        let decrypt = unsafe { invert::<V>(&encrypt) };
        XtsKeys { encrypt, decrypt, tweak }
    }
}

/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn expand<V: Vector>(key: &[u8]) -> RoundKeys {
    let words = key.len() / 4;
    let count = words + 7;
    let mut w = [0u32; 4 * MAX];
    for (word, bytes) in w.iter_mut().zip(key.chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    let mut rcon = 1;
    for i in words..4 * count {
        let mut t = w[i - 1];
        if i % words == 0 {
            // SAFETY: the caller vouches for the CPU.
            t = unsafe { substitute::<V>(t) }.rotate_right(8) ^ rcon;
            rcon = if rcon == 0x80 { 0x1b } else { rcon << 1 };
        } else if words == 8 && i % 8 == 4 {
            // SAFETY: the caller vouches for the CPU.
            t = unsafe { substitute::<V>(t) };
        }
        w[i] = w[i - words] ^ t;
    }
    let mut keys = [[0; 16]; MAX];
    for (key, words) in keys.iter_mut().zip(w.chunks_exact(4)) {
        for (bytes, word) in key.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
    }
    w.zeroize();
    RoundKeys::new(keys, count)
}

/// SubWord: a block of four equal columns is the same after ShiftRows, so that the last round is SubBytes alone.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn substitute<V: Vector>(word: u32) -> u32 {
    let [a, b, c, d] = word.to_le_bytes();
    let mut block = [a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d];
    // SAFETY: the caller vouches for the CPU.
    let (zero, columns) = unsafe { (V::One::splat([0; 16].as_ptr()), V::One::splat(block.as_ptr())) };
    // SAFETY: `block` has the 16 bytes of one block.
    unsafe { columns.encrypt_last(zero).store(block.as_mut_ptr()) };
    u32::from_le_bytes([block[0], block[1], block[2], block[3]])
}

/// The round keys of the equivalent inverse cipher: backwards, the middle ones through InvMixColumns, which is a round of
/// decryption behind the last round of encryption, since these undo each other's SubBytes and ShiftRows.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn invert<V: Vector>(encrypt: &RoundKeys) -> RoundKeys {
    let last = encrypt.count - 1;
    let mut keys = [[0; 16]; MAX];
    for (i, (key, backwards)) in keys.iter_mut().zip(encrypt.keys[..=last].iter().rev()).enumerate() {
        *key = *backwards;
        if i != 0 && i != last {
            // SAFETY: a round key has the 16 bytes of one block; the caller vouches for the CPU.
            unsafe {
                let (zero, block) = (V::One::splat([0; 16].as_ptr()), V::One::splat(key.as_ptr()));
                block.encrypt_last(zero).decrypt_round(zero).store(key.as_mut_ptr());
            }
        }
    }
    RoundKeys::new(keys, encrypt.count)
}
