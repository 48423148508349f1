//! Memory for secrets where there is no way to lock pages: the heap. `Secret` wipes it.

pub(super) struct Memory(Box<[u8]>);

impl Memory {
    pub(super) fn zeroed(len: usize) -> Self {
        Memory(vec![0; len].into_boxed_slice())
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
