//! A KEK at work.

use super::rsa::RsaKey;
use crate::key::{KeyKind, WrapAlgorithm, wrap};
use crate::{Error, Result, Secret};

pub(super) const AES_LEN: usize = 32;

pub(super) enum Kek {
    Aes(Secret),
    Rsa(RsaKey),
}

impl Kek {
    /// A KEK from the bytes that the vault keeps of it.
    pub(super) fn new(kind: KeyKind, bytes: Secret) -> Result<Self> {
        match kind {
            KeyKind::Aes256 => Ok(Kek::Aes(bytes)),
            kind => RsaKey::new(kind, &bytes).map(Kek::Rsa),
        }
    }

    /// The bytes of a new key.
    pub(super) fn generate(kind: KeyKind) -> Result<Secret> {
        match kind {
            KeyKind::Aes256 => Secret::random(AES_LEN),
            kind => RsaKey::generate(kind),
        }
    }

    pub(super) fn wrap(&self, dek: &Secret) -> Result<(WrapAlgorithm, Vec<u8>)> {
        match self {
            Kek::Aes(kek) => {
                let mut bytes = vec![0; dek.len() + 8];
                wrap::aes_kw_wrap(kek.expose(), dek.expose(), &mut bytes)?;
                Ok((WrapAlgorithm::Aes256Kw, bytes))
            }
            Kek::Rsa(key) => key.wrap(dek),
        }
    }

    pub(super) fn unwrap(&self, algorithm: WrapAlgorithm, wrapped: &[u8]) -> Result<Secret> {
        match self {
            Kek::Aes(kek) => {
                let mut dek = Secret::zeroed(wrapped.len().saturating_sub(8));
                let len = match algorithm {
                    WrapAlgorithm::Aes256Kw => wrap::aes_kw_unwrap(kek.expose(), wrapped, dek.expose_mut())?.len(),
                    WrapAlgorithm::Aes256Kwp => wrap::aes_kwp_unwrap(kek.expose(), wrapped, dek.expose_mut())?.len(),
                    other => return Err(Error::UnsupportedAlgorithm(other.name().into())),
                };
                Ok(if len == dek.len() { dek } else { Secret::copy_from(&dek.expose()[..len]) })
            }
            Kek::Rsa(key) => key.unwrap(algorithm, wrapped),
        }
    }
}
