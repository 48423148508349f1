//! The transit engine of HashiCorp Vault and OpenBao.

mod auth;
mod options;
mod session;
mod vault;

pub use auth::TransitAuth;
pub use options::TransitOptions;
pub use vault::TransitVault;
