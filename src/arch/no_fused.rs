//! In place of the fused kernels where there are none for the CPU.

use aes::cipher::inout::InOutBuf;

use super::kind::KernelKind;
use super::run::{DataUnits, Direction, Store};

/// Never made.
pub(super) enum Fused {}

impl Fused {
    pub(super) fn has(_kind: KernelKind) -> bool {
        false
    }

    pub(super) fn blank(_kind: KernelKind) -> Option<Self> {
        None
    }

    pub(super) fn expand(&mut self, _data_key: &[u8], _tweak_key: &[u8]) {
        match *self {}
    }

    pub(super) fn crypt(&self, _direction: Direction, _units: DataUnits, _data: InOutBuf<'_, '_, u8>, _store: Store) {
        match *self {}
    }
}
