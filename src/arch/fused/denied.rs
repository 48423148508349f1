//! CPU features that tests can switch off.

/// The feature to treat as absent, so that tests can make each kernel the default: `ATREST_DENY=vaes cargo test`. The
/// variable is read when this crate is compiled.
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

/// A kernel can use a feature only together with those before it.
#[derive(Clone, Copy)]
pub(super) enum Feature {
    Aes,
    Vaes,
    Avx512,
    /// The form of the AVX-512 kernel for Intel's CPUs.
    Products,
}
