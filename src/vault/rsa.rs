//! RSA KEKs, by AWS-LC.
//!
//! Traces in memory: this crate wipes its copies of a private key, and AWS-LC wipes memory that it frees. AWS-LC
//! doesn't wipe registers and the stack, and its heap is not locked, so keys on it can reach swap.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey,
};

use crate::key::{KeyKind, WrapAlgorithm};
use crate::latch::{self, Algorithm};
use crate::{Error, Result, Secret};

pub(super) struct RsaKey(PrivateDecryptingKey);

impl RsaKey {
    /// A key from the bytes that the vault stores.
    pub(super) fn new(kind: KeyKind, pkcs8: &Secret) -> Result<Self> {
        let key = PrivateDecryptingKey::from_pkcs8(pkcs8.expose()).map_err(|_| Error::UnwrapFailed)?;
        if kind_of(&key)? != kind {
            return Err(Error::UnwrapFailed);
        }
        Ok(RsaKey(key))
    }

    pub(super) fn generate(kind: KeyKind) -> Result<Secret> {
        let size = match kind {
            KeyKind::Rsa2048 => KeySize::Rsa2048,
            KeyKind::Rsa3072 => KeySize::Rsa3072,
            KeyKind::Rsa4096 => KeySize::Rsa4096,
            other => return Err(Error::UnsupportedAlgorithm(other.name().into())),
        };
        let failed = |_| Error::Vault(format!("AWS-LC could not generate an {} key", kind.name()).into());
        let key = PrivateDecryptingKey::generate(size).map_err(failed)?;
        let pair = RsaKey(key);
        // Code that makes a wrong pair may make another, or compute wrongly, so its failure latches.
        Algorithm::RsaPair.judge(unwraps_of(&pair, &pair))?;
        to_pkcs8(&pair.0)
    }

    /// The kind of an imported private key, and the PKCS#8 that the vault stores.
    pub(super) fn import(pkcs8: &Secret) -> Result<(KeyKind, Secret)> {
        let key = PrivateDecryptingKey::from_pkcs8(pkcs8.expose()).map_err(|e| {
            Error::UnsupportedAlgorithm(format!("a key that is not RSA of 2048, 3072 or 4096 bits in PKCS#8 ({e})"))
        })?;
        let pair = RsaKey(key);
        let kind = kind_of(&pair.0)?;
        // Somebody else made this key, so only it is refused.
        if !unwraps_of(&pair, &pair) {
            return Err(Error::SelfTest { algorithm: "RSA-OAEP (pairwise, of this key)" });
        }
        Ok((kind, to_pkcs8(&pair.0)?))
    }

    pub(super) fn wrap(&self, dek: &Secret) -> Result<(WrapAlgorithm, Vec<u8>)> {
        latch::sound()?;
        let too_long = || Error::WrapLength { len: dek.len() };
        let key = OaepPublicEncryptingKey::new(self.0.public_key()).map_err(|_| too_long())?;
        let mut bytes = vec![0; key.ciphertext_size()];
        let wrapped = key.encrypt(&OAEP_SHA256_MGF1SHA256, dek.expose(), &mut bytes, None);
        let len = wrapped.map_err(|_| too_long())?.len();
        bytes.truncate(len);
        Ok((WrapAlgorithm::RsaOaep256, bytes))
    }

    pub(super) fn unwrap(&self, algorithm: WrapAlgorithm, wrapped: &[u8]) -> Result<Secret> {
        latch::sound()?;
        let algorithm = match algorithm {
            WrapAlgorithm::RsaOaep256 => &OAEP_SHA256_MGF1SHA256,
            WrapAlgorithm::RsaOaep => &OAEP_SHA1_MGF1SHA1,
            other => return Err(Error::UnsupportedAlgorithm(other.name().into())),
        };
        // One error for all causes: an attacker who can tell them apart can decrypt (Manger, CRYPTO 2001).
        let failed = |_| Error::UnwrapFailed;
        let key = OaepPrivateDecryptingKey::new(self.0.clone()).map_err(failed)?;
        let mut dek = Secret::zeroed(key.min_output_size());
        let len = key.decrypt(algorithm, wrapped, dek.expose_mut(), None).map_err(failed)?.len();
        Ok(Secret::copy_from(&dek.expose()[..len]))
    }
}

/// The pairwise consistency test of FIPS 140-3 (IG 10.3.A): the private half of one unwraps the output of the public half of the
/// other, and that output doesn't hold the key in the clear. Except in tests, the two are one key.
fn unwraps_of(public: &RsaKey, private: &RsaKey) -> bool {
    const PROBE: [u8; 32] = *b"pairwise consistency of RSA keys";
    let consistent = public.wrap(&Secret::copy_from(&PROBE)).and_then(|(algorithm, wrapped)| {
        let unwrapped = private.unwrap(algorithm, &wrapped)?;
        Ok(unwrapped.expose() == PROBE && !wrapped.windows(PROBE.len()).any(|window| window == PROBE))
    });
    consistent.unwrap_or(false)
}

fn kind_of(key: &PrivateDecryptingKey) -> Result<KeyKind> {
    match key.key_size_bits() {
        2048 => Ok(KeyKind::Rsa2048),
        3072 => Ok(KeyKind::Rsa3072),
        4096 => Ok(KeyKind::Rsa4096),
        bits => Err(Error::UnsupportedAlgorithm(format!("RSA-{bits}: a key has 2048, 3072 or 4096 bits"))),
    }
}

fn to_pkcs8(key: &PrivateDecryptingKey) -> Result<Secret> {
    let pkcs8: Pkcs8V1Der<'_> = key.as_der().map_err(|_| Error::Vault("AWS-LC could not write an RSA key".into()))?;
    Ok(Secret::copy_from(pkcs8.as_ref()))
}

#[cfg(test)]
mod tests;
