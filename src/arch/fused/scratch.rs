//! The memory of tweaks.

use core::hint::black_box;
use core::mem::MaybeUninit;

use super::aes::BLOCK;
use super::vector::Vector;

/// The blocks of a stride, and its bytes.
pub(super) const STRIDE: usize = 64;
pub(super) const STRIDE_BYTES: usize = STRIDE * BLOCK;
/// The number of data units whose first tweaks are computed together.
pub(super) const GROUP: usize = 64;
/// The bytes that may be overwritten behind the tweaks of a stride: the size of the widest register.
pub(super) const SLACK: usize = 64;
/// A stride's tweaks with the slack behind them.
const TWEAK_BYTES: usize = STRIDE_BYTES + SLACK;

/// Memory for tweaks.
#[repr(C, align(64))]
pub(super) struct Memory {
    tweaks: [[u8; TWEAK_BYTES]; 2],
    first: [[[u8; BLOCK]; GROUP]; 2],
}

/// Access to [`Memory`]. Tweaks are as sensitive as a part of the tweak key, so they are wiped. Only the used part is
/// wiped, since clearing 4 KiB would noticeably slow down a single sector.
pub(super) struct Scratch {
    /// The tweaks of this stride and the next, in turn.
    pub(super) tweaks: [*mut u8; 2],
    /// The first tweaks of a group of data units, and behind them the same with swapped halves.
    pub(super) first: *mut [u8; BLOCK],
    used_tweaks: [usize; 2],
    /// The bytes in use of both kinds of first tweaks.
    pub(super) used_first: usize,
}

impl Scratch {
    #[inline(always)]
    pub(super) fn new(memory: &mut MaybeUninit<Memory>) -> Self {
        // The compiler must not know where this points. Otherwise it would see that writing tweaks can't change keys,
        // read keys ahead of the loops, and put them on the stack.
        let memory = black_box(memory.as_mut_ptr());
        // SAFETY: these are places within `memory`; nothing is read.
        let (one, two, first) =
            unsafe { (&raw mut (*memory).tweaks[0], &raw mut (*memory).tweaks[1], &raw mut (*memory).first) };

        Scratch { tweaks: [one.cast(), two.cast()], first: first.cast(), used_tweaks: [0; 2], used_first: 0 }
    }

    /// Records how many blocks of both strides were used, to be wiped with the bytes that may be overwritten behind them.
    #[inline(always)]
    pub(super) fn used(&mut self, blocks: [usize; 2]) {
        let [one, two] = self.used_tweaks;
        self.used_tweaks = [one.max(blocks[0]), two.max(blocks[1])];
    }

    /// Wipes what was used, with `slack` bytes behind the tweaks of a stride.
    #[inline(always)]
    pub(super) fn wipe<V: Vector>(&mut self, slack: usize) {
        /// The number of registers cleared before each `black_box`. With a single `black_box` at the end the compiler
        /// would call `memset`, which takes longer.
        const AT_ONCE: usize = 8;
        let used = |blocks| if blocks == 0 { 0 } else { blocks * BLOCK + slack };
        let ([one, two], [used_one, used_two]) = (self.tweaks, self.used_tweaks.map(used));
        let (first, swapped) = (self.first.cast(), self.first.wrapping_add(GROUP).cast());
        for (area, used) in [(one, used_one), (two, used_two), (first, self.used_first), (swapped, self.used_first)] {
            // SAFETY: a kernel runs only on a CPU that has the instructions of `V`.
            let zero = unsafe { V::splat([0; BLOCK].as_ptr()) };
            let clear = |offset, registers| {
                for i in 0..registers {
                    // SAFETY: `used` never exceeds an area.
                    unsafe { zero.store(area.add(offset + i * V::BYTES)) };
                }
                black_box(area);
            };
            let whole = used - used % (AT_ONCE * V::BYTES);
            for offset in (0..whole).step_by(AT_ONCE * V::BYTES) {
                clear(offset, AT_ONCE);
            }
            for offset in (whole..used).step_by(V::BYTES) {
                clear(offset, 1);
            }
        }
    }
}
