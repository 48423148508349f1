//! [`KernelKind`]: the list of kernels.

/// The inner loop of a sector engine. All kernels give the same bytes. The default is the widest that the CPU supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KernelKind {
    /// Built on the `aes` crate. Runs on every CPU, in constant time.
    Portable,
    /// x86-64 with AES-NI and PCLMULQDQ: 128 bits at a time.
    AesNi,
    /// x86-64 with VAES, VPCLMULQDQ and AVX2: 256 bits at a time.
    Vaes256,
    /// x86-64 with VAES, VPCLMULQDQ and AVX-512: 512 bits at a time.
    Vaes512,
    /// AArch64 with the AES and PMULL instructions of ARMv8.
    Armv8,
}

impl KernelKind {
    /// The usual spelling of the name.
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
