//! Buffers of Python's, without a copy: `bytes`, `bytearray`, `memoryview`, `mmap`, arrays of numpy.
//!
//! Each is one run of bytes of any item type. An exported buffer can be neither moved, resized nor freed until it is released,
//! so its bytes stay in place while other threads run. Concurrent writes by another thread have undefined content, as with
//! `readinto` of Python's own files: only these bytes are affected.

use core::slice;

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::prelude::*;

/// Bytes to be read.
pub struct Source(PyUntypedBuffer);

/// Bytes to be written.
pub struct Target(PyUntypedBuffer);

impl Source {
    pub fn bytes(&self) -> &[u8] {
        match self.0.len_bytes() {
            0 => &[],
            // SAFETY: `checked` has found one contiguous run of `len` initialized bytes at `buf_ptr`, and the export holds
            // it there for as long as `self` lives.
            len => unsafe { slice::from_raw_parts(self.0.buf_ptr().cast_const().cast(), len) },
        }
    }
}

impl Target {
    pub fn bytes(&mut self) -> &mut [u8] {
        match self.0.len_bytes() {
            0 => &mut [],
            // SAFETY: as in `Source::bytes`; `extract` has found that it may be written, and `apart` that no `Source` of the same
            // call shares it.
            len => unsafe { slice::from_raw_parts_mut(self.0.buf_ptr().cast(), len) },
        }
    }

    /// Refuses a source that lies in the same memory.
    pub fn apart(&self, source: &Source) -> PyResult<()> {
        let range = |buffer: &PyUntypedBuffer| {
            let start = buffer.buf_ptr() as usize;
            (start, start + buffer.len_bytes())
        };
        let (own, other) = (range(&self.0), range(&source.0));
        if own.0 < other.1 && other.0 < own.1 {
            return Err(PyValueError::new_err(
                "source and destination share memory; use another buffer, or the method that works in place",
            ));
        }
        Ok(())
    }
}

impl FromPyObject<'_, '_> for Source {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        checked(&object).map(Source)
    }
}

impl FromPyObject<'_, '_> for Target {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let buffer = checked(&object)?;
        if buffer.readonly() {
            let kind = object.get_type().name()?;
            return Err(PyTypeError::new_err(format!("the buffer must be writable, not a read-only {kind}")));
        }
        Ok(Target(buffer))
    }
}

fn checked(object: &Bound<'_, PyAny>) -> PyResult<PyUntypedBuffer> {
    let buffer = PyUntypedBuffer::get(object)?;
    if !buffer.is_c_contiguous() {
        return Err(PyBufferError::new_err(
            "the buffer is not contiguous; copy it into one that is, such as bytes(buffer)",
        ));
    }
    // Bytes written over pointers to objects would crash the interpreter, and those read would give addresses away.
    if has_objects(buffer.format().to_bytes()) {
        return Err(PyBufferError::new_err("the buffer holds Python objects, not bytes"));
    }
    Ok(buffer)
}

/// Whether a format (PEP 3118) has the item `O`. Names of fields stand between colons.
fn has_objects(format: &[u8]) -> bool {
    format.split(|&byte| byte == b':').step_by(2).any(|items| items.contains(&b'O'))
}
