//! Numbers of blocks and of data units.

use super::vector::Vector;

/// Numbers at equal distances, one in each lane. Only their lower 64 bits are incremented.
pub(super) struct Numbers<V> {
    next: V,
    step: V,
}

impl<V: Vector> Numbers<V> {
    /// # Safety
    /// The CPU has the instructions of `V`.
    #[inline(always)]
    pub(super) unsafe fn new(first: u128, step: u64) -> Self {
        // SAFETY: the caller vouches for the CPU.
        unsafe {
            let step_of_register = V::number(u128::from(step.wrapping_mul(V::LANES as u64)));
            Numbers { next: V::numbers(first, step), step: step_of_register }
        }
    }

    /// The numbers of the next registers.
    #[inline(always)]
    pub(super) fn take<const C: usize>(&mut self) -> [V; C] {
        let mut registers = [self.next; C];
        for register in &mut registers {
            *register = self.next;
            self.next = self.next.add_halves(self.step);
        }
        registers
    }
}
