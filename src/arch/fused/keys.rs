//! The AES key schedule (FIPS 197, 5.2), by the round instructions themselves: no table, no branch on the key.

use zeroize::Zeroize;

use super::vector::Vector;

/// The most round keys: 14 rounds of AES-256 and the first addition.
const MAX: usize = 15;

/// Round keys in the order in which they are used, and what the fused kernel makes of them.
pub(super) struct RoundKeys {
    keys: [[u8; 16]; MAX],
    count: usize,
    /// The first round key xor the last.
    pub(super) first_and_last: [u8; 16],
    /// K x^64 xor K in GF(2^128), K being the last round key: it takes `T xor K` to `T x^64 xor K`.
    pub(super) step: [u8; 16],
}

impl Drop for RoundKeys {
    fn drop(&mut self) {
        self.keys.as_flattened_mut().zeroize();
        self.first_and_last.zeroize();
        self.step.zeroize();
    }
}

impl RoundKeys {
    fn new(keys: [[u8; 16]; MAX], count: usize) -> Self {
        let last = u128::from_le_bytes(keys[count - 1]);
        let high = last >> 64;
        // x^128 is x^7 + x^2 + x + 1, so the high half comes back at the low end.
        let times_x64 = (last << 64) ^ high ^ (high << 1) ^ (high << 2) ^ (high << 7);
        let first_and_last = (u128::from_le_bytes(keys[0]) ^ last).to_le_bytes();
        RoundKeys { keys, count, first_and_last, step: (times_x64 ^ last).to_le_bytes() }
    }

    #[inline(always)]
    pub(super) fn first(&self) -> &[u8; 16] {
        &self.keys[0]
    }

    /// The keys between the first and the last: 9 or 13.
    #[inline(always)]
    pub(super) fn middle(&self) -> &[[u8; 16]] {
        &self.keys[1..self.count - 1]
    }

    #[inline(always)]
    pub(super) fn last(&self) -> &[u8; 16] {
        &self.keys[self.count - 1]
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
    let (zero, columns) = unsafe { (V::One::splat(&[0; 16]), V::One::splat(&block)) };
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
    for i in 0..=last {
        keys[i] = encrypt.keys[last - i];
        if i != 0 && i != last {
            // SAFETY: the caller vouches for the CPU.
            let (zero, key) = unsafe { (V::One::splat(&[0; 16]), V::One::splat(&keys[i])) };
            // SAFETY: a round key has the 16 bytes of one block.
            unsafe { key.encrypt_last(zero).decrypt_round(zero).store(keys[i].as_mut_ptr()) };
        }
    }
    RoundKeys::new(keys, encrypt.count)
}
