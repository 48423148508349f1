//! The rounds of AES (FIPS 197) over several registers in lock step, which hides the latency of the instructions.
//!
//! Loops fill and change arrays of registers. `map` and `from_fn` of an array may become calls. Such a call is compiled
//! without the kernel's instructions, and leaves its arguments on the stack.

use super::keys::{KeyPointer, MIDDLE_ROUNDS, MORE_ROUNDS};
use super::vector::Vector;

pub(super) const BLOCK: usize = 16;

/// One middle round of all registers.
#[inline(always)]
pub(super) fn one_round<V: Vector, const C: usize, const DECRYPT: bool>(blocks: &mut [V; C], key: V) {
    for block in blocks {
        *block = if DECRYPT { block.decrypt_round(key) } else { block.encrypt_round(key) };
    }
}

/// The middle rounds from `from` on, counted from 0.
///
/// # Safety
/// The CPU has the instructions of `V`, and the keys live.
#[inline(always)]
pub(super) unsafe fn rounds_from<V: Vector, const C: usize, const DECRYPT: bool>(
    keys: KeyPointer,
    blocks: &mut [V; C],
    from: usize,
) {
    // SAFETY: the caller vouches for it.
    unsafe {
        for round in from..MIDDLE_ROUNDS {
            one_round::<V, C, DECRYPT>(blocks, keys.round(1 + round));
        }
        if keys.is_aes_256() {
            for round in MIDDLE_ROUNDS..MIDDLE_ROUNDS + MORE_ROUNDS {
                one_round::<V, C, DECRYPT>(blocks, keys.round(1 + round));
            }
        }
    }
}

/// All of AES for whole registers. `DECRYPT` needs the keys of the equivalent inverse cipher.
///
/// # Safety
/// As [`rounds_from`].
#[inline(always)]
pub(super) unsafe fn crypt<V: Vector, const C: usize, const DECRYPT: bool>(
    keys: KeyPointer,
    mut blocks: [V; C],
) -> [V; C] {
    // SAFETY: the caller vouches for it.
    unsafe {
        let key = keys.round(0);
        for block in &mut blocks {
            *block = block.xor(key);
        }
        rounds_from::<V, C, DECRYPT>(keys, &mut blocks, 0);
        let key = keys.last();
        for block in &mut blocks {
            *block = if DECRYPT { block.decrypt_last(key) } else { block.encrypt_last(key) };
        }
    }
    blocks
}
