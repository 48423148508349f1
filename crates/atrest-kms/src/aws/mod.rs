//! AWS KMS.

mod api;
mod credentials;
mod options;
mod profiles;
mod session;
mod sources;
mod sts;
mod vault;

pub use credentials::AwsCredentials;
pub use options::AwsOptions;
pub use vault::AwsKms;
