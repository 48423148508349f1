//! Events for operators. The feature `log` sends them to the facade of the crate `log`.
//!
//! Reads and writes log nothing, and no event contains a secret.

/// Logs an event: `tell!(warn, "..", ..)`, with a level of the crate `log`.
macro_rules! tell {
    ($level:ident, $($text:tt)+) => {{
        #[cfg(feature = "log")]
        ::log::$level!(target: "atrest", $($text)+);
        #[cfg(not(feature = "log"))]
        let _ = ::core::format_args!($($text)+);
    }};
}

pub(crate) use tell;
