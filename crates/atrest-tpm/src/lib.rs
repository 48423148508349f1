//! A vault for [`atrest`] whose KEKs are sealed by a TPM 2.0, on Unix.
#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]
#![cfg(unix)]

mod code;
mod crypt;
mod fault;
mod key_file;
mod options;
mod pcr;
mod public;
mod self_test;
mod session;
mod tpm;
mod transport;
mod url;
mod vault;
mod wire;

pub use options::{TpmAuth, TpmOptions};
pub use pcr::PcrSelection;
pub use self_test::self_test;
pub use transport::TpmAddress;
pub use url::open;
pub use vault::TpmVault;

/// The examples of the documentation compile.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../../../docs/kms/tpm.md")]
    struct Guide;
}
