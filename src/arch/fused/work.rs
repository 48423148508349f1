//! What a kernel does, written once for vectors of any width.

use super::vector::Vector;

/// A job for a kernel, with its arguments.
pub(super) trait Work {
    /// Does it, with `C` registers in lock step where it has as many.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`. What makes the job tells the rest.
    unsafe fn run<V: Vector, const C: usize>(self);
}
