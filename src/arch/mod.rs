//! Kernels: the inner loops of the sector engine, chosen once, when a key is expanded.
//!
//! A kernel trusts its caller: [`SectorCipher`](crate::SectorCipher) has checked every length and number.

mod portable;

use aes::cipher::inout::InOutBuf;

/// Which way a run goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Encrypt,
    Decrypt,
}

/// How a buffer is cut into data units and how these are numbered.
#[derive(Clone, Copy)]
pub(crate) struct DataUnits {
    /// The number of the first data unit.
    pub(crate) first: u128,
    /// By how much the number grows from one data unit to the next.
    pub(crate) step: u128,
    /// The length of a data unit in bytes: at least 16, and a divisor of the buffer's length.
    pub(crate) len: usize,
}

/// An expanded key in the form that its kernel wants.
// Without an allocator there is no box to put the larger keys in, and one cipher serves a whole device.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Kernel {
    PortableAes128(portable::Aes128Xts),
    PortableAes256(portable::Aes256Xts),
}

impl Kernel {
    /// Expands two keys of 16 or two of 32 bytes each.
    pub(crate) fn new(data_key: &[u8], tweak_key: &[u8]) -> Self {
        match data_key.len() {
            16 => Kernel::PortableAes128(portable::Aes128Xts::new(data_key, tweak_key)),
            _ => Kernel::PortableAes256(portable::Aes256Xts::new(data_key, tweak_key)),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Kernel::PortableAes128(_) | Kernel::PortableAes256(_) => "portable",
        }
    }

    /// Encrypts or decrypts whole data units: one dispatch for the whole run.
    pub(crate) fn crypt(&self, direction: Direction, units: DataUnits, data: InOutBuf<'_, '_, u8>) {
        match self {
            Kernel::PortableAes128(kernel) => kernel.crypt(direction, units, data),
            Kernel::PortableAes256(kernel) => kernel.crypt(direction, units, data),
        }
    }
}
