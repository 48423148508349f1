//! CPU features that tests can switch off.

/// Whether to treat a feature as absent, so that tests can make each kernel the default: `ATREST_DENY=vaes cargo test`.
///
/// The variable is read when this crate is compiled. With debug assertions it is read when a program runs instead, so that
/// the same programs are tried with each feature denied.
pub(super) fn is_denied(feature: Feature) -> bool {
    #[cfg(all(feature = "std", debug_assertions))]
    let denied = std::env::var_os("ATREST_DENY").map(|name| Feature::named(name.as_encoded_bytes()));
    #[cfg(not(all(feature = "std", debug_assertions)))]
    let denied = const {
        match option_env!("ATREST_DENY") {
            None => None,
            Some(name) => Some(Feature::named(name.as_bytes())),
        }
    };
    denied == Some(feature)
}

/// A kernel can use a feature only together with those before it.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Feature {
    Aes,
    Vaes,
    Avx512,
    /// The forms of the AVX-512 kernel for the CPUs of Intel and Zen 4: what is left is that of Zen 5.
    Products,
    /// All forms of the AVX-512 kernel but that of Zen 4.
    Strides,
}

impl Feature {
    const fn named(name: &[u8]) -> Self {
        match name {
            b"aes" => Feature::Aes,
            b"vaes" => Feature::Vaes,
            b"avx512" => Feature::Avx512,
            b"products" => Feature::Products,
            b"strides" => Feature::Strides,
            _ => panic!("ATREST_DENY is none of aes, vaes, avx512, products and strides"),
        }
    }
}
