//! The jobs of kernels, written once for vectors of any width.

use super::vector::Vector;

/// A job for a kernel, with its arguments.
pub(super) trait Work {
    /// Does the job. It keeps `C` registers in lock step while the data fills as many.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`. The type of the job states its further demands.
    unsafe fn run<V: Vector, const C: usize>(self);
}
