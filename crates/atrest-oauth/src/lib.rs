//! Bearer tokens for `atrest`'s stores and key services: of Microsoft Entra ID and of Google.
//!
//! It was tried on fakes that were written from the documentation, and **not on the real services**.
//!
//! - A token is kept until five minutes before it ends, or until half of a short life is over. One thread gets it for all. Others
//!   wait, but not beyond their deadlines.
//! - While a token is good and its source is away, it is used on.
//! - A login that the service refuses to this identity is [`TokenError::Denied`]. All else is [`TokenError::Failed`].
//! - Secrets and tokens are wiped, and stand in no `Debug` and no error.
//!
//! ```no_run
//! use std::time::Duration;
//! use atrest_http::{Deadline, HttpOptions};
//! use atrest_oauth::AzureIdentity;
//!
//! let identity = AzureIdentity::managed(None);
//! let tokens = identity.tokens("https://vault.azure.net", &HttpOptions::new())?;
//! let token = tokens.get(Deadline::after(Duration::from_secs(20)))?;
//! println!("a token of {} bytes", token.expose().len());
//! # Ok::<(), std::io::Error>(())
//! ```
#![deny(unsafe_code)]

mod azure;
mod exchange;
mod google;
mod jwt;
mod tokens;

pub use azure::AzureIdentity;
pub use google::GoogleIdentity;
pub use tokens::{Token, TokenError, Tokens};
