//! An expanded KEK that wraps and unwraps.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::rsa::RsaKey;
use crate::key::{KeyId, KeyKind, WrapAlgorithm, WrappedDek, wrap};
use crate::{Error, Result, Secret};

pub(super) const AES_LEN: usize = 32;
pub(super) const MAC_KEY_LEN: usize = 32;
const MAC_LEN: usize = 32;

pub(super) enum Kek {
    Aes(Secret),
    Rsa {
        key: RsaKey,
        /// The key for the MACs on its wraps.
        mac_key: Option<Secret>,
        /// Whether it only unwraps keys with a MAC.
        authenticated: bool,
    },
}

impl Kek {
    /// A KEK from the bytes that the vault stores.
    pub(super) fn new(kind: KeyKind, bytes: Secret) -> Result<Self> {
        match kind {
            KeyKind::Aes256 => Ok(Kek::Aes(bytes)),
            kind => Ok(Kek::Rsa { key: RsaKey::new(kind, &bytes)?, mac_key: None, authenticated: false }),
        }
    }

    /// An RSA key with a key for MACs. `demand`: it only unwraps keys with a MAC.
    pub(super) fn authenticated(mut self, demand: bool, with: Option<Secret>) -> Self {
        if let Kek::Rsa { mac_key, authenticated, .. } = &mut self {
            (*mac_key, *authenticated) = (with, demand);
        }
        self
    }

    /// The bytes of a new key.
    pub(super) fn generate(kind: KeyKind) -> Result<Secret> {
        match kind {
            KeyKind::Aes256 => Secret::random(AES_LEN),
            kind => RsaKey::generate(kind),
        }
    }

    /// Wraps under the key's own name.
    pub(super) fn wrap(&self, id: &KeyId, dek: &Secret) -> Result<(WrapAlgorithm, Vec<u8>)> {
        match self {
            Kek::Aes(kek) => {
                let mut bytes = vec![0; dek.len() + 8];
                wrap::aes_kw_wrap(kek.expose(), dek.expose(), &mut bytes)?;
                Ok((WrapAlgorithm::Aes256Kw, bytes))
            }
            Kek::Rsa { key, mac_key: Some(mac_key), authenticated: true } => {
                let (_, mut bytes) = key.wrap(dek)?;
                let mac = mac_of(mac_key, id, &bytes).finalize().into_bytes();
                bytes.extend_from_slice(&mac);
                Ok((WrapAlgorithm::RsaOaep256Hs256, bytes))
            }
            Kek::Rsa { authenticated: true, .. } => {
                Err(Error::DamagedVault(format!("{id} demands MACs, and there is no key for them")))
            }
            Kek::Rsa { key, .. } => key.wrap(dek),
        }
    }

    pub(super) fn unwrap(&self, wrapped: &WrappedDek) -> Result<Secret> {
        let (algorithm, bytes) = (wrapped.algorithm, &wrapped.bytes[..]);
        match (self, algorithm) {
            (Kek::Aes(kek), _) => {
                let mut dek = Secret::zeroed(bytes.len().saturating_sub(8));
                let len = match algorithm {
                    WrapAlgorithm::Aes256Kw => wrap::aes_kw_unwrap(kek.expose(), bytes, dek.expose_mut())?.len(),
                    WrapAlgorithm::Aes256Kwp => wrap::aes_kwp_unwrap(kek.expose(), bytes, dek.expose_mut())?.len(),
                    other => return Err(Error::UnsupportedAlgorithm(other.name().into())),
                };
                Ok(if len == dek.len() { dek } else { Secret::copy_from(&dek.expose()[..len]) })
            }
            (Kek::Rsa { key, mac_key: Some(mac_key), .. }, WrapAlgorithm::RsaOaep256Hs256) => {
                let (bytes, mac) = bytes.split_last_chunk::<MAC_LEN>().ok_or(Error::UnwrapFailed)?;
                let matches = mac_of(mac_key, &wrapped.kek, bytes).verify_slice(mac);
                matches.map_err(|_| Error::UnwrapFailed)?;
                key.unwrap(WrapAlgorithm::RsaOaep256, bytes)
            }
            // The key decides whether it demands a MAC, not the algorithm name stored with the wrapped key.
            (Kek::Rsa { authenticated: true, .. }, other) => {
                let what = format!("{} without this vault's MAC, which the key demands", other.name());
                Err(Error::UnsupportedAlgorithm(what))
            }
            (Kek::Rsa { key, .. }, _) => key.unwrap(algorithm, bytes),
        }
    }
}

/// The MAC of an RSA key's wrap, over the algorithm, the key's URL and the ciphertext.
fn mac_of(key: &Secret, id: &KeyId, ciphertext: &[u8]) -> Hmac<Sha256> {
    let mac: Hmac<Sha256> = Hmac::new_from_slice(key.expose()).expect("HMAC takes a key of any length");
    let name = WrapAlgorithm::RsaOaep256Hs256.name();
    mac.chain_update(format!("{name}\0{id}\0")).chain_update(ciphertext)
}
