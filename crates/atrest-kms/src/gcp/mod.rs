//! Google Cloud KMS.

mod api;
mod options;
mod vault;

pub use options::GcpOptions;
pub use vault::GcpKms;
