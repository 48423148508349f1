//! Features of the CPU that are not used, for tests.

/// What the CPU is taken not to have, so that tests see each kernel as the default: `ATREST_DENY=vaes cargo test`. It is
/// read when this crate is compiled.
pub(super) const DENIED: Option<Feature> = match option_env!("ATREST_DENY") {
    None => None,
    Some(name) => match name.as_bytes() {
        b"aes" => Some(Feature::Aes),
        b"vaes" => Some(Feature::Vaes),
        b"avx512" => Some(Feature::Avx512),
        b"products" => Some(Feature::Products),
        _ => panic!("ATREST_DENY is none of aes, vaes, avx512 and products"),
    },
};

/// Each is of use to a kernel only where those before it are there.
#[derive(Clone, Copy)]
pub(super) enum Feature {
    Aes,
    Vaes,
    Avx512,
    /// The form of the kernel for AVX-512 that is for CPUs of Intel.
    Products,
}
