//! Azure Key Vault and Managed HSM.

mod api;
mod connect;
mod key;
mod options;
mod secrets;
mod vault;

pub use options::AzureOptions;
pub use secrets::{AzureSecret, AzureSecrets};
pub use vault::AzureKeyVault;
