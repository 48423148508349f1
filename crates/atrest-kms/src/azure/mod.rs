//! Azure Key Vault and Managed HSM.

mod api;
mod key;
mod options;
mod vault;

pub use options::AzureOptions;
pub use vault::AzureKeyVault;
