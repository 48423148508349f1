//! [`KernelKind`]: which kernels there are.

/// The inner loop of a sector engine. All give the same bytes; the widest that the CPU has is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KernelKind {
    /// Over the `aes` crate, on every CPU; constant time everywhere.
    Portable,
    /// x86-64 with AES-NI and PCLMULQDQ: 128 bits at once.
    AesNi,
    /// x86-64 with VAES, VPCLMULQDQ and AVX2: 256 bits at once.
    Vaes256,
    /// x86-64 with VAES, VPCLMULQDQ and AVX-512: 512 bits at once.
    Vaes512,
    /// AArch64 with the AES and PMULL instructions of ARMv8.
    Armv8,
}

impl KernelKind {
    /// The name, as people write it.
    pub fn name(self) -> &'static str {
        match self {
            KernelKind::Portable => "portable",
            KernelKind::AesNi => "AES-NI",
            KernelKind::Vaes256 => "VAES-256",
            KernelKind::Vaes512 => "VAES-512",
            KernelKind::Armv8 => "ARMv8",
        }
    }
}
