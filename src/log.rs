//! What an operator needs to know, told by the facade of the crate `log` where the feature `log` is on.
//!
//! Nothing on the way of reads and writes is told, and no secret.

/// Tells of an event: `tell!(warn, "..", ..)`, with a level of the crate `log`.
macro_rules! tell {
    ($level:ident, $($text:tt)+) => {{
        #[cfg(feature = "log")]
        ::log::$level!(target: "atrest", $($text)+);
        #[cfg(not(feature = "log"))]
        let _ = ::core::format_args!($($text)+);
    }};
}

pub(crate) use tell;
