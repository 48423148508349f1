//! Replaces the fused kernels on CPUs that have none.

use aes::cipher::inout::InOutBuf;

use super::kind::KernelKind;
use super::run::{DataUnits, Direction, Store};

/// Has no values.
#[derive(Clone, Copy)]
pub(super) enum Fused {}

pub(super) struct XtsKeys;
pub(super) struct CtrKeys;
#[cfg(feature = "std")]
pub(super) struct Hctr2Keys;
#[cfg(feature = "std")]
pub(super) struct CbcKeys;

impl Fused {
    pub(super) fn has(_kind: KernelKind) -> bool {
        false
    }

    pub(super) fn of(_kind: KernelKind) -> Option<Self> {
        None
    }

    pub(super) fn kind(self) -> KernelKind {
        match self {}
    }

    pub(super) fn expand_xts(self, _keys: &mut XtsKeys, _data_key: &[u8], _tweak_key: &[u8]) {
        match self {}
    }

    pub(super) fn xts(
        self,
        _keys: &XtsKeys,
        _direction: Direction,
        _units: DataUnits,
        _data: InOutBuf<'_, '_, u8>,
        _store: Store,
    ) {
        match self {}
    }

    pub(super) fn expand_ctr(self, _keys: &mut CtrKeys, _key: &[u8; 32]) {
        match self {}
    }

    pub(super) fn ctr(self, _keys: &CtrKeys, _counter: u128, _skip: usize, _data: InOutBuf<'_, '_, u8>) {
        match self {}
    }

    #[cfg(feature = "std")]
    pub(super) fn expand_hctr2(self, _keys: &mut Hctr2Keys, _key: &[u8; 32]) {
        match self {}
    }

    #[cfg(feature = "std")]
    pub(super) fn hctr2(
        self,
        _keys: &Hctr2Keys,
        _direction: Direction,
        _tweak: [u128; 2],
        _step: u64,
        _sector_size: usize,
        _data: &mut [u8],
    ) {
        match self {}
    }

    #[cfg(feature = "std")]
    pub(super) fn expand_cbc(self, _keys: &mut CbcKeys, _key: &[u8], _iv_key: Option<&[u8]>) {
        match self {}
    }

    #[cfg(feature = "std")]
    pub(super) fn cbc(
        self,
        _keys: &CbcKeys,
        _direction: Direction,
        _first: u64,
        _step: u64,
        _sector_size: usize,
        _data: &mut [u8],
    ) {
        match self {}
    }
}
