//! MACs over fields of headers.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// A MAC over fields and lists. Each field is preceded by its length, and each list by its count, so that no two headers give the
/// same bytes.
pub(super) struct Fields(pub(super) Hmac<Sha256>);

impl Fields {
    pub(super) fn count<T>(&mut self, list: &[T]) {
        self.field((list.len() as u32).to_be_bytes());
    }

    pub(super) fn field(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.0.update(&(bytes.len() as u32).to_be_bytes());
        self.0.update(bytes);
    }
}
