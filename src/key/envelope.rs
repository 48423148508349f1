//! The record of a wrapped DEK, for engines that keep their own metadata.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{DekAlgorithm, KeyId, KeyVault, MAX_CONTEXT, WrapAlgorithm, WrappedDek};
use crate::approval::Approval;
use crate::{Dek, Error, Result};

const MAGIC: [u8; 8] = *b"atrestEV";
const VERSION: u16 = 1;
const FIXED: usize = 20;
const MAC: usize = 32;
const MAC_INFO: &str = "atrest envelope v1";

/// A wrapped DEK with everything needed to unwrap it: the vault, key and version, the algorithms, and the context that
/// it is bound to. Store its bytes next to the data; they hold no secret.
///
/// A MAC under a key derived from the DEK covers every byte: if the key name, algorithm or context was replaced, the
/// envelope does not open. `docs/formats/envelope.md` specifies the bytes.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("keys.vault");
/// use atrest::vault::{FileVault, Unlock};
/// use atrest::{Dek, DekAlgorithm, Envelope};
///
/// let vault = FileVault::create(&path, Unlock::Passphrase(b"correct horse battery staple"))?;
/// vault.create_key("disks")?;
///
/// let dek = Dek::generate(DekAlgorithm::Aes256Xts)?;
/// let envelope = Envelope::seal(&dek, &vault, "disks", b"disk-17")?;
/// let stored: Vec<u8> = envelope.to_bytes();
///
/// let again = Envelope::from_bytes(&stored)?.unseal(&vault, b"disk-17")?;
/// assert_eq!(again, dek);
/// # Ok::<(), atrest::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    algorithm: DekAlgorithm,
    wrapped: WrappedDek,
    context: Vec<u8>,
    mac: [u8; MAC],
}

impl Envelope {
    /// The most bytes that an envelope can have.
    pub const MAX_LEN: usize = FIXED + 1024 + super::MAX_WRAPPED + MAX_CONTEXT + MAC;

    /// Asks `vault` to wrap `dek` under the latest version of its key `key`, bound to `context`.
    ///
    /// `context` identifies the user of the DEK, such as a disk by its id: 0 to [`MAX_CONTEXT`] bytes, stored in the clear.
    ///
    /// # Errors
    /// [`Error::InvalidName`]; [`Error::ContextLength`]; [`Error::UnsupportedAlgorithm`] unless the DEK is for XTS or CTR;
    /// the vault's errors.
    pub fn seal(dek: &Dek, vault: &dyn KeyVault, key: &str, context: &[u8]) -> Result<Self> {
        check_context(context)?;
        if !dek.algorithm().is_for_engines() {
            return Err(Error::UnsupportedAlgorithm(dek.algorithm().name().into()));
        }
        let wrapped = WrappedDek::wrap(vault, key, dek)?;
        let mut envelope = Envelope { algorithm: dek.algorithm(), wrapped, context: context.to_vec(), mac: [0; MAC] };
        envelope.mac = envelope.keyed_mac(dek).finalize().into_bytes().into();
        Ok(envelope)
    }

    /// Asks `vault` to unwrap the DEK.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`] if the envelope is bound to another context than `context` (then the vault isn't
    /// asked); [`Error::NotThisVault`]; the vault's errors; [`Error::InvalidEnvelope`] if the MAC does not match.
    pub fn unseal(&self, vault: &dyn KeyVault, context: &[u8]) -> Result<Dek> {
        if self.context != context {
            return Err(Error::ContextMismatch);
        }
        let dek = self.wrapped.unwrap(vault, self.algorithm, Error::InvalidEnvelope)?;
        let dek = dek.ok_or_else(|| Error::NotThisVault { wanted: self.wrapped.kek.to_string() })?;
        self.keyed_mac(&dek)
            .verify_slice(&self.mac)
            .map_err(|_| Error::InvalidEnvelope("its MAC does not match: it was altered".into()))?;
        Ok(dek)
    }

    /// The key and version that wrapped the DEK.
    pub fn kek(&self) -> &KeyId {
        &self.wrapped.kek
    }

    /// The algorithm that the DEK is used with.
    pub fn dek_algorithm(&self) -> DekAlgorithm {
        self.algorithm
    }

    /// How the DEK was wrapped.
    pub fn wrap_algorithm(&self) -> WrapAlgorithm {
        self.wrapped.algorithm
    }

    /// Whether the envelope uses [approved](crate::approval) algorithms. Its MAC and its DEK always do, so this is the
    /// approval of the wrap.
    pub fn approval(&self) -> Approval {
        self.wrapped.algorithm.approval()
    }

    /// The context that the envelope claims. Only [`unseal`](Self::unseal) proves it.
    pub fn context(&self) -> &[u8] {
        &self.context
    }

    /// The bytes to store: at most [`MAX_LEN`](Self::MAX_LEN).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.covered_bytes();
        bytes.extend_from_slice(&self.mac);
        bytes
    }

    /// Reads the bytes of [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    /// [`Error::InvalidEnvelope`], with a text that names the defect; [`Error::UnsupportedAlgorithm`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let bad = |text: String| Error::InvalidEnvelope(text);
        let len = bytes.len();
        if len < FIXED + MAC {
            return Err(bad(format!("{len} bytes are too few, there must be at least {}", FIXED + MAC)));
        }
        if bytes[..8] != MAGIC {
            return Err(bad("it does not begin with \"atrestEV\"".into()));
        }
        let field = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        if field(8) != VERSION {
            return Err(bad(format!("version {} is not known, this library reads version {VERSION}", field(8))));
        }
        let algorithm = DekAlgorithm::from_code(field(10))
            .filter(|algorithm| algorithm.is_for_engines())
            .ok_or_else(|| Error::UnsupportedAlgorithm(format!("DEK algorithm {}", field(10))))?;
        let wrap = WrapAlgorithm::from_code(field(12))
            .ok_or_else(|| Error::UnsupportedAlgorithm(format!("wrap algorithm {}", field(12))))?;
        let (url, wrapped, context) = (field(14) as usize, field(16) as usize, field(18) as usize);
        if len != FIXED + url + wrapped + context + MAC {
            let needed = FIXED + url + wrapped + context + MAC;
            return Err(bad(format!("it has {len} bytes, but its fields add up to {needed}")));
        }
        let (url, rest) = bytes[FIXED..].split_at(url);
        let (wrapped, rest) = rest.split_at(wrapped);
        let (context, mac) = rest.split_at(context);
        let url = str::from_utf8(url).map_err(|_| bad("the key's URL is not ASCII".into()))?;
        let kek = url.parse().map_err(|e: Error| bad(e.to_string()))?;
        let wrapped = WrappedDek { kek, algorithm: wrap, bytes: wrapped.to_vec() };
        wrapped.check().map_err(bad)?;
        check_context(context)?;
        let mac = mac.try_into().map_err(|_| bad("its MAC is not 32 bytes long".into()))?;
        Ok(Envelope { algorithm, wrapped, context: context.to_vec(), mac })
    }

    fn covered_bytes(&self) -> Vec<u8> {
        let url = self.wrapped.kek.to_string();
        let mut bytes = Vec::with_capacity(Self::MAX_LEN);
        bytes.extend_from_slice(&MAGIC);
        let lengths = [url.len(), self.wrapped.bytes.len(), self.context.len()].map(|len| len as u16);
        let [url_len, wrapped_len, context_len] = lengths;
        let codes = [VERSION, self.algorithm.code(), self.wrapped.algorithm.code()];
        for field in codes.into_iter().chain([url_len, wrapped_len, context_len]) {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        bytes.extend_from_slice(url.as_bytes());
        bytes.extend_from_slice(&self.wrapped.bytes);
        bytes.extend_from_slice(&self.context);
        bytes
    }

    fn keyed_mac(&self, dek: &Dek) -> Hmac<Sha256> {
        let key = dek.derive(MAC_INFO);
        let mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes a key of any length");
        mac.chain_update(self.covered_bytes())
    }
}

pub(crate) fn check_context(context: &[u8]) -> Result<()> {
    if context.len() > MAX_CONTEXT {
        return Err(Error::ContextLength { len: context.len() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_the_limit_of_a_context() {
        check_context(&[0; MAX_CONTEXT]).unwrap();
        let text = check_context(&[0; MAX_CONTEXT + 1]).unwrap_err().to_string();
        assert!(text.contains(&format!("at most {MAX_CONTEXT} bytes, not {}", MAX_CONTEXT + 1)), "{text}");
    }
}
